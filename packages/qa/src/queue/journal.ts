import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { InputError, type QueueResult, RunError } from "@failstorm/core";
import { DoneSet } from "./doneSet.ts";

/** What a journal said when it was opened. */
export interface Replay {
  /** The numbers (`seq`) of the questions that are finished. */
  readonly done: DoneSet;
  readonly recorded: number;
  readonly failed: number;
  /** Bytes of a last line that its writer was killed in; they are cut off, and the question is asked again. */
  readonly tornBytes: number;
  /** Whole lines that are no results (damage); they stay in the file, and count for nothing. Lines count from 1. */
  readonly badLines: readonly number[];
  /** Lines about a question that an earlier line had finished; never written by a journal. */
  readonly repeated: number;
}

export interface Journal {
  readonly path: string;
  /**
   * Appends a line for each with one write(2): once this returns, a SIGKILL does not undo it. Throws RunError: `JOURNAL_NOT_WRITTEN` (disk full, …),
   * `JOURNAL_CUT` (somebody shortened the file: results are gone), `JOURNAL_REPLACED` (another file stands in its place).
   */
  record(...results: readonly QueueResult[]): void;
  /** Whether the file is still where it belongs; one that was deleted or moved away is made anew. Call it now and then; throws as `record`. */
  check(): void;
  /** check, fsync and close; a later record throws. */
  close(): void;
}

const CHUNK = 1 << 16;
const NEWLINE = 10;
/** `record` looks at the file itself each time, at its name only so often: that is the dearer half. */
const RECORDS_PER_CHECK = 64;

/**
 * Opens a queue's results file for appending, and says what is in it. Beside it, `<path>.source` keeps the fingerprint of the questions:
 * a journal of other questions is an InputError, since its numbers mean others. One writer at a time.
 *
 * A file that is deleted or moved away while it is written is made anew with everything that was in it: its content lives as long as
 * it is open. Content that somebody has cut off is lost, and that is an error, not a shorter result.
 */
export function openJournal(options: {
  readonly path: string;
  /** `QuestionSource.fingerprint`; null is not checked. */
  readonly source: string | null;
  /** Sees each finished question of earlier incarnations, in order of the file. */
  readonly onResult?: (result: QueueResult) => void;
  /** Somebody took the file away, and it has been made anew. */
  readonly onRecreated?: () => void;
}): { readonly journal: Journal; readonly replay: Replay } {
  checkSource(options.path, options.source);
  const fd = open(options.path);
  const replay = replayFile(fd, options.onResult);
  return { journal: createJournal(options.path, fd, options.onRecreated ?? (() => {})), replay };
}

function open(path: string): number {
  try {
    return openSync(path, "a+");
  } catch (error) {
    throw notWritten(path, error);
  }
}

const notWritten = (path: string, error: unknown): RunError =>
  new RunError("JOURNAL_NOT_WRITTEN", `${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });

function checkSource(path: string, source: string | null): void {
  if (source === null) return;
  const beside = `${path}.source`;
  if (existsSync(path) && existsSync(beside)) {
    const before = readFileSync(beside, "utf8").trim();
    if (before === source) return;
    throw new InputError(
      `${path} holds results of other questions (${before.slice(0, 19)}…, now ${source.slice(0, 19)}…); go on with the questions as they were, or start a new run`,
    );
  }
  try {
    writeFileSync(`${beside}.tmp`, `${source}\n`);
    renameSync(`${beside}.tmp`, beside);
  } catch (error) {
    throw notWritten(beside, error);
  }
}

function createJournal(path: string, firstFd: number, onRecreated: () => void): Journal {
  let fd = firstFd;
  let { size } = fstatSync(fd);
  let sinceCheck = 0;

  const recreate = (): void => {
    const temporary = `${path}.${process.pid}.tmp`;
    try {
      const fresh = openSync(temporary, "a+");
      copy(fd, fresh);
      fsyncSync(fresh);
      renameSync(temporary, path);
      closeSync(fd);
      fd = fresh;
    } catch (error) {
      rmSync(temporary, { force: true });
      throw notWritten(path, error);
    }
    onRecreated();
  };
  const check = (): void => {
    sinceCheck = 0;
    const own = fstatSync(fd);
    if (own.size < size)
      throw new RunError("JOURNAL_CUT", `${path}: cut from ${size} to ${own.size} bytes by somebody else; results are lost`);
    const there = statSync(path, { throwIfNoEntry: false });
    if (there === undefined) recreate();
    else if (there.ino !== own.ino || there.dev !== own.dev)
      throw new RunError("JOURNAL_REPLACED", `${path}: another file has been put in its place; it is left alone`);
  };
  return {
    path,
    record(...results) {
      sinceCheck += results.length;
      if (sinceCheck >= RECORDS_PER_CHECK) check();
      else if (fstatSync(fd).nlink === 0) recreate();
      const lines = results.map((result) => `${JSON.stringify(result)}\n`).join("");
      try {
        size += writeWhole(fd, lines);
      } catch (error) {
        throw notWritten(path, error);
      }
    },
    check,
    close() {
      check();
      fsyncSync(fd);
      closeSync(fd);
    },
  };
}

/** Usually one write(2), without a buffer in between; returns how many bytes. */
function writeWhole(fd: number, line: string): number {
  const length = Buffer.byteLength(line);
  let done = writeSync(fd, line);
  if (done < length) for (const bytes = Buffer.from(line); done < length; ) done += writeSync(fd, bytes, done);
  return length;
}

function copy(from: number, to: number): void {
  const buffer = Buffer.allocUnsafe(CHUNK);
  for (let at = 0; ; ) {
    const n = readSync(from, buffer, 0, CHUNK, at);
    if (n === 0) return;
    for (let done = 0; done < n; ) done += writeSync(to, buffer, done, n - done);
    at += n;
  }
}

/** Reads what is there, chunk by chunk, and cuts off a torn last line. */
function replayFile(fd: number, onResult?: (result: QueueResult) => void): Replay {
  const done = new DoneSet();
  const state = { recorded: 0, failed: 0, repeated: 0 };
  const badLines: number[] = [];
  let line = 0;
  const whole = eachLine(fd, (text) => {
    line += 1;
    const result = parseResult(text);
    if (result === null) badLines.push(line);
    else if (!done.add(result.seq)) state.repeated += 1;
    else {
      state.recorded += 1;
      if (result.status === "failed") state.failed += 1;
      onResult?.(result);
    }
  });
  const tornBytes = fstatSync(fd).size - whole;
  if (tornBytes > 0) ftruncateSync(fd, whole);
  return { done, ...state, badLines, tornBytes };
}

/** Calls `fn` with each line that has its newline; returns where the last of them ends. */
function eachLine(fd: number, fn: (text: string) => void): number {
  const buffer = Buffer.allocUnsafe(CHUNK);
  let rest = Buffer.alloc(0);
  let at = 0;
  for (;;) {
    const n = readSync(fd, buffer, 0, CHUNK, at);
    if (n === 0) return at - rest.length;
    at += n;
    const bytes = Buffer.concat([rest, buffer.subarray(0, n)]);
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, start)) {
      fn(bytes.toString("utf8", start, end));
      start = end + 1;
    }
    rest = bytes.subarray(start);
  }
}

/** null: no result. Only what a restart relies on is looked at; the reader of the results checks the rest. */
function parseResult(text: string): QueueResult | null {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return null;
    const { seq, id, status } = value as Record<string, unknown>;
    const sound =
      typeof seq === "number" && Number.isInteger(seq) && seq >= 0 && typeof id === "string" && typeof status === "string";
    return sound ? (value as QueueResult) : null;
  } catch {
    return null;
  }
}
