import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import path from "node:path";

/** A segment is closed at this size even before its time, bytes. */
const MAX_SEGMENT_BYTES = 16 * 1024 * 1024;

const SEGMENT = /^tasks-(\d+)\.ndjson$/;

interface LogOptions {
  readonly dir: string;
  /** A segment's time; an entry is kept for at least as long, and for at most twice as long. */
  readonly segmentMs: number;
  readonly now: () => number;
}

const segmentsIn = (dir: string): number[] =>
  readdirSync(dir)
    .map((name) => SEGMENT.exec(name)?.[1])
    .filter((number) => number !== undefined)
    .map(Number)
    .sort((a, b) => a - b);

/**
 * An append-only log of JSON lines in two segments. Each entry is handed to the kernel by one write(2) before `append` returns: it
 * survives SIGKILL (it is not fsync'd: the machine survives). Whatever can not be read back, such as the last line of a killed
 * writer, is passed over.
 */
export class TaskLog {
  private readonly options: LogOptions;
  private segment = 0;
  private fd: number | null = null;
  private bytes = 0;
  private openedAt = 0;
  private torn = false;

  constructor(options: LogOptions) {
    this.options = options;
  }

  /** All entries of earlier incarnations, oldest first. */
  read(): unknown[] {
    mkdirSync(this.options.dir, { recursive: true });
    const entries: unknown[] = [];
    for (const number of segmentsIn(this.options.dir)) {
      this.segment = number;
      for (const line of readFileSync(this.file(number), "utf8").split("\n")) {
        try {
          entries.push(JSON.parse(line));
        } catch {
          // The line of a writer that was killed, or ran out of disk, in the middle of it; also the empty one at the end.
        }
      }
    }
    return entries;
  }

  /** Begins a segment that holds all there is to keep; the older ones go. */
  restart(lines: Iterable<string>): void {
    this.openNext();
    for (const line of lines) this.write(line);
    this.dropBefore(this.segment);
  }

  /**
   * Appends an entry, as JSON. Throws what write(2) throws (ENOSPC); the log stays usable. `unfinished`: what must outlive a change
   * of segments, written ahead. Does nothing after `close`.
   */
  append(line: string, unfinished: () => Iterable<string>): void {
    if (this.fd === null) return;
    if (this.bytes > MAX_SEGMENT_BYTES || this.options.now() - this.openedAt > this.options.segmentMs) {
      this.openNext();
      for (const kept of unfinished()) this.write(kept);
      this.dropBefore(this.segment - 1);
    }
    this.write(line);
  }

  close(): void {
    if (this.fd !== null) closeSync(this.fd);
    this.fd = null;
  }

  private write(line: string): void {
    if (this.fd === null) return;
    const bytes = Buffer.from(`${this.torn ? "\n" : ""}${line}\n`);
    this.torn = true;
    const written = writeSync(this.fd, bytes);
    this.torn = written < bytes.length;
    this.bytes += written;
  }

  private openNext(): void {
    this.close();
    this.segment += 1;
    this.fd = openSync(this.file(this.segment), "a");
    this.bytes = 0;
    this.torn = false;
    this.openedAt = this.options.now();
  }

  private dropBefore(number: number): void {
    for (const old of segmentsIn(this.options.dir)) if (old < number) rmSync(this.file(old), { force: true });
  }

  private file(number: number): string {
    return path.join(this.options.dir, `tasks-${number}.ndjson`);
  }
}
