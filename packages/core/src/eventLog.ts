import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from "node:fs";
import type { Clock } from "./clock.ts";
import type { NewEvent, RunEvent } from "./events.ts";

export interface EventLog {
  /** Writes the event to the file with write(2) and returns it as written. Throws the file system's error (ENOSPC, …). */
  write(event: NewEvent): RunEvent;
  /**
   * Runs `fn`; the events it writes go to the file in one write(2) when it returns. For effects that cannot happen before that: `fn` is
   * synchronous, and nothing of what it announces begins in its own turn.
   */
  together(fn: () => void): void;
  readonly stats: { readonly events: number; readonly writeUs: number };
  /** fsync and close; a later write throws. */
  close(): void;
}

/** Opens for appending; a line that an earlier writer was killed in the middle of is ended first. */
function openForAppending(path: string): number {
  const fd = openSync(path, "a+");
  const { size } = fstatSync(fd);
  const last = Buffer.alloc(1);
  if (size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last.toString() !== "\n") writeSync(fd, "\n");
  return fd;
}

/**
 * Appends run events to a file, each with one synchronous write: what was announced survives a SIGKILL of the writer.
 * `onEvent` sees each event after it was written.
 */
export function openEventLog(options: {
  readonly path: string;
  readonly src: string;
  readonly incarnation: number;
  readonly clock: Clock;
  readonly onEvent?: (event: RunEvent) => void;
}): EventLog {
  const fd = openForAppending(options.path);
  const stats = { events: 0, writeUs: 0 };
  const { clock, src, incarnation, onEvent } = options;
  /** Lines that wait for the end of `together`; null outside of it. */
  let held: string | null = null;
  return {
    stats,
    together(fn) {
      if (held !== null) {
        fn();
        return;
      }
      held = "";
      try {
        fn();
      } finally {
        const lines = held;
        held = null;
        const t = clock.now();
        if (lines !== "") writeSync(fd, lines);
        stats.writeUs += (clock.now() - t) * 1000;
      }
    },
    write(event) {
      const t = clock.now();
      const full: RunEvent = { t, src, inc: incarnation, seq: stats.events, ...event };
      const line = `${JSON.stringify(full)}\n`;
      if (held === null) writeSync(fd, line);
      else held += line;
      stats.events += 1;
      stats.writeUs += (clock.now() - t) * 1000;
      onEvent?.(full);
      return full;
    },
    close() {
      fsyncSync(fd);
      closeSync(fd);
    },
  };
}
