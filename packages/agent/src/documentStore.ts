import { createHash } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Clock, Roster } from "@failstorm/core";
import { Refusal } from "./messenger.ts";

const CHUNK_BYTES = 512 * 1024;

interface Chunk {
  readonly total: number;
  readonly base64: string;
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** The document as this agent keeps it: in its workspace, verified by the roster's SHA-256, served in chunks to whoever asks. */
export class DocumentStore {
  private readonly file: string;
  private bytes: Buffer | null = null;
  private readonly waiting = new Set<() => void>();

  constructor(workspaceDir: string) {
    this.file = path.join(workspaceDir, "document.ndjson");
  }

  get stored(): Buffer | null {
    return this.bytes;
  }

  /** Takes what an earlier incarnation (or the launcher, at the source) left on disk; false when it is not the roster's document. */
  load(expected: Roster["document"], from = this.file): boolean {
    if (!existsSync(from)) return false;
    const bytes = readFileSync(from);
    if (sha256(bytes) !== expected.sha256) return false;
    this.keep(bytes);
    return true;
  }

  /** Resolves when the document is here, or after `waitMs`. */
  arrival(waitMs: number, clock: Clock): Promise<void> {
    if (this.bytes !== null) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        cancel();
        this.waiting.delete(done);
        resolve();
      };
      const cancel = clock.after(waitMs, done);
      this.waiting.add(done);
    });
  }

  chunk(offset: number, length: number): Chunk {
    if (this.bytes === null) throw new Refusal("not_stored", "the document is not here yet");
    const end = Math.min(this.bytes.length, offset + Math.min(length, CHUNK_BYTES));
    return { total: this.bytes.length, base64: this.bytes.subarray(offset, end).toString("base64") };
  }

  /**
   * Pulls the document chunk by chunk with `ask` and keeps it when its hash is the roster's. Throws what `ask` throws, or a Refusal
   * `bad_hash`.
   */
  async pull(expected: Roster["document"], ask: (offset: number, length: number) => Promise<unknown>): Promise<void> {
    const chunks: Buffer[] = [];
    let offset = 0;
    do {
      const { base64 } = (await ask(offset, CHUNK_BYTES)) as Chunk;
      const bytes = Buffer.from(base64, "base64");
      if (bytes.length === 0) throw new Refusal("short", `the document ended after ${offset} of ${expected.bytes} bytes`);
      chunks.push(bytes);
      offset += bytes.length;
    } while (offset < expected.bytes);
    const whole = Buffer.concat(chunks);
    if (sha256(whole) !== expected.sha256) throw new Refusal("bad_hash", "the document's SHA-256 is not the roster's");
    this.keep(whole);
  }

  private keep(bytes: Buffer): void {
    const temporary = `${this.file}.partial`;
    writeFileSync(temporary, bytes);
    renameSync(temporary, this.file);
    this.bytes = bytes;
    for (const done of this.waiting) done();
  }
}
