import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import type { Clock } from "./clock.ts";
import type { NewEvent, RunEvent } from "./events.ts";

export interface EventLog {
  /** Writes the event to the file with write(2) and returns it as written. Throws the file system's error (ENOSPC, …). */
  write(event: NewEvent): RunEvent;
  readonly stats: { readonly events: number; readonly writeUs: number };
  /** fsync and close; a later write throws. */
  close(): void;
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
  const fd = openSync(options.path, "a");
  const stats = { events: 0, writeUs: 0 };
  const { clock, src, incarnation, onEvent } = options;
  return {
    stats,
    write(event) {
      const t = clock.now();
      const full: RunEvent = { t, src, inc: incarnation, seq: stats.events, ...event };
      writeSync(fd, `${JSON.stringify(full)}\n`);
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
