import { type Clock, type EventLog, type NewEvent, openEventLog, RunError, type RunEvent } from "@failstorm/core";

/** The run folder's own file of orchestrator events, before `mergeEvents`. */
export const ORCHESTRATOR_EVENTS = "orchestrator.ndjson";

export interface Recorder {
  /** Writes an event of the orchestrator and shows it. Never throws: a write that fails ends the run through `onFatal`, once. */
  write(event: NewEvent): void;
  /** Shows an event that an agent has written itself. */
  show(event: RunEvent): void;
  close(): void;
}

/** Throws the file system's error when the file cannot be opened. */
export function openRecorder(options: {
  readonly path: string;
  readonly clock: Clock;
  readonly onEvent: (event: RunEvent) => void;
  readonly onFatal: (error: unknown) => void;
}): Recorder {
  const { path, clock, onEvent, onFatal } = options;
  const log: EventLog = openEventLog({ path, src: "orchestrator", incarnation: 0, clock });
  let broken = false;
  const show = (event: RunEvent): void => {
    try {
      onEvent(event);
    } catch (error) {
      onFatal(error);
    }
  };
  const guarded = (act: () => void): void => {
    if (broken) return;
    try {
      act();
    } catch (error) {
      broken = true;
      onFatal(toRunError(error, `events cannot be written to ${path}`));
    }
  };
  return {
    show,
    write: (event) => guarded(() => show(log.write(event))),
    close: () => guarded(() => log.close()),
  };
}

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full: free space, or choose another folder with output.dir (--results)",
  EDQUOT: "the disk quota is used up: free space, or choose another folder with output.dir (--results)",
  EACCES: "permission is missing: choose a folder you may write to with output.dir (--results)",
  EPERM: "permission is missing: choose a folder you may write to with output.dir (--results)",
  EROFS: "the file system is read-only: choose another folder with output.dir (--results)",
  EADDRINUSE: "the port is taken: choose another network.base_port (--base-port), or 0 for any free ports",
  EMFILE: "too many open files: raise the limit (ulimit -n)",
  ENFILE: "too many open files on this machine",
  EAGAIN: "no more processes: raise the limit (ulimit -u), or use fewer agents (--agents)",
  ENOMEM: "out of memory: use fewer agents (--agents)",
};

/** What to do about a system error code, or null. */
export const remedyFor = (code: string | undefined): string | null => (code === undefined ? null : (REMEDIES[code] ?? null));

/** A system error as a RunError that says what was being done and what helps; anything else (a bug) unchanged. */
export function toRunError(error: unknown, what: string): unknown {
  if (!(error instanceof Error) || error instanceof RunError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === undefined || (error as NodeJS.ErrnoException).syscall === undefined) return error;
  return new RunError(code, `${what}: ${error.message}${remedySuffix(code)}`, { cause: error });
}

/** "; <remedy>" for a known code, else "". */
export const remedySuffix = (code: string): string => {
  const remedy = remedyFor(code);
  return remedy === null ? "" : `; ${remedy}`;
};
