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
 * Lines that survive SIGKILL: what is appended at once is one write(2) to an append-only file (no fsync: the page cache outlives the
 * process), or some where the system takes it in pieces.
 * Two generations, a file each: when the present one is old or big enough it takes the place of the older one, so that
 * forgetting costs one rename.
 */
export class GenerationLog {
  private readonly options: GenerationLogOptions;
  private fd: number;
  private bytes: number;
  private since: number;
  /** A line that could not be written to its end stays alone, as one does that the last process was killed in the middle of. */
  private isTorn: boolean;

  constructor(options: GenerationLogOptions) {
    this.options = options;
    mkdirSync(path.dirname(options.file), { recursive: true });
    for (const file of [this.olderFile, options.file]) this.replay(file);
    this.fd = openSync(options.file, "a", 0o600);
    this.bytes = statSync(options.file).size;
    this.since = options.now();
    this.isTorn = this.bytes > 0;
  }

  /** Appends lines; throws when not all of it is in the file. */
  append(lines: string): void {
    if (this.options.now() - this.since >= this.options.generationMs || this.bytes >= this.options.maxBytes) this.rotate();
    const bytes = Buffer.from(this.isTorn ? `\n${lines}\n` : `${lines}\n`);
    this.isTorn = true;
    let written = 0;
    // A full disk takes what still fits, and says so only of what comes then.
    while (written < bytes.length) {
      const taken = writeSync(this.fd, bytes, written);
      if (taken === 0) throw new Error(`${this.options.file}: nothing of ${bytes.length - written} bytes was written`);
      written += taken;
      this.bytes += taken;
    }
    this.isTorn = false;
  }

  close(): void {
    closeSync(this.fd);
    // The number may soon be another file's.
    this.fd = -1;
  }

  private get olderFile(): string {
    return `${this.options.file}.older`;
  }

  private rotate(): void {
    // The present one stays open until there is another: when this fails it is tried again with the next line. It may have the
    // older one's name by then.
    unlessMissing(() => renameSync(this.options.file, this.olderFile));
    const fd = openSync(this.options.file, "a", 0o600);
    closeSync(this.fd);
    this.fd = fd;
    this.bytes = 0;
    this.isTorn = false;
    this.since = this.options.now();
    this.options.onRotate();
  }

  private replay(file: string): void {
    const text = unlessMissing(() => readFileSync(file, "utf8")) ?? "";
    for (const line of text.split("\n")) if (line !== "") this.options.onLine(line);
  }
}

/** What `act` returns; undefined when there is no such file. */
function unlessMissing<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
