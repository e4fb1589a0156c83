import { closeSync, mkdirSync, openSync, readFileSync, renameSync, statSync, writeSync } from "node:fs";
import path from "node:path";

export interface GenerationLogOptions {
  readonly file: string;
  /** A generation lasts at least this long, so that a line is kept at least as long, and at most about twice. */
  readonly generationMs: number;
  /** A generation ends before its time when it is this big. */
  readonly maxBytes: number;
  readonly now: () => number;
  /** Called for every line that an earlier process left, oldest first. */
  readonly onLine: (line: string) => void;
  /** The older generation is gone; the present one is now the older one. */
  readonly onRotate: () => void;
}

/**
 * Lines that survive SIGKILL: each is one write(2) to an append-only file (no fsync: the page cache outlives the process).
 * Two generations, a file each: when the present one is old or big enough it takes the place of the older one, so that
 * forgetting costs one rename.
 */
export class GenerationLog {
  private readonly options: GenerationLogOptions;
  private fd: number;
  private bytes: number;
  private since: number;

  constructor(options: GenerationLogOptions) {
    this.options = options;
    mkdirSync(path.dirname(options.file), { recursive: true });
    for (const file of [this.olderFile, options.file]) this.replay(file);
    this.fd = openSync(options.file, "a", 0o600);
    this.bytes = statSync(options.file).size;
    this.since = options.now();
    // A line that the last process was killed in the middle of stays alone.
    if (this.bytes > 0) this.append("");
  }

  append(line: string): void {
    if (this.options.now() - this.since >= this.options.generationMs || this.bytes >= this.options.maxBytes) this.rotate();
    this.bytes += writeSync(this.fd, `${line}\n`);
  }

  close(): void {
    closeSync(this.fd);
  }

  private get olderFile(): string {
    return `${this.options.file}.older`;
  }

  private rotate(): void {
    // The present one stays open until there is another: when this fails it is tried again with the next line.
    renameSync(this.options.file, this.olderFile);
    const fd = openSync(this.options.file, "a", 0o600);
    closeSync(this.fd);
    this.fd = fd;
    this.bytes = 0;
    this.since = this.options.now();
    this.options.onRotate();
  }

  private replay(file: string): void {
    let text: string;
    try {
      text = readFileSync(file, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw error;
    }
    for (const line of text.split("\n")) if (line !== "") this.options.onLine(line);
  }
}
