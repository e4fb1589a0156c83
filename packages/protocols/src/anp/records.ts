import path from "node:path";
import { atEndOfTurn } from "@failstorm/core";
import { GenerationLog } from "./generationLog.ts";
import { NONCE_GENERATION_MS, NonceRecord } from "./nonceRecord.ts";
import { OperationRecord } from "./operationRecord.ts";

export interface RecordsOptions {
  readonly workspaceDir: string;
  readonly agentId: string;
  /** How long an operation is remembered at least. */
  readonly rememberMs: number;
  /** Ms on a clock that does not jump. */
  readonly now: () => number;
}

/** When operations are so many or so big that a generation gets here before its time, they are remembered for less. */
const MAX_GENERATION_BYTES = 32 * 1024 * 1024;
/** So many nonces are copied to their own log at once. */
const MAX_UNCOPIED = 256;

/**
 * What an agent has to know after a SIGKILL: the nonces it saw and the operations it answered. The lines of one turn of the event
 * loop are one write(2), and answers wait for it (`written`). A nonce is written with the operations of its turn, to their log,
 * and copied to its own with many others; only where its turn has no operation is it written there at once. What can't be written is
 * kept, and written before what comes later.
 */
export class Records {
  readonly nonces: NonceRecord;
  readonly operations: OperationRecord;
  private readonly nonceLog: GenerationLog;
  private readonly operationLog: GenerationLog;
  /** Lines of this turn, and those of earlier ones that could not be written. */
  private nonceLines: string[] = [];
  private operationLines: string[] = [];
  /** Nonces that the operations' log alone has. */
  private uncopied: string[] = [];
  private turn: PromiseWithResolvers<void> | null = null;
  private hasFailed = false;
  private isOpen = true;

  constructor({ workspaceDir, agentId, rememberMs, now }: RecordsOptions) {
    const fileOf = (what: string): string => path.join(workspaceDir, `anp-${what}-${encodeURIComponent(agentId)}.log`);
    this.nonces = new NonceRecord((line) => this.note(this.nonceLines, line));
    this.operations = new OperationRecord((line) => this.note(this.operationLines, line));
    this.nonceLog = new GenerationLog({
      file: fileOf("nonces"),
      generationMs: NONCE_GENERATION_MS,
      maxBytes: Number.POSITIVE_INFINITY,
      now,
      onLine: (line) => this.nonces.restore(line),
      onRotate: () => this.nonces.rotate(),
    });
    this.operationLog = new GenerationLog({
      file: fileOf("operations"),
      generationMs: rememberMs,
      maxBytes: MAX_GENERATION_BYTES,
      now,
      onLine: (line) => this.restore(line),
      onRotate: () => {
        this.operations.rotate();
        // They went with the older generation.
        this.copyNonces();
      },
    });
    this.copyNonces();
  }

  /** Resolves when all that was noted until now is written; null when it is. Rejects when it can't be written. */
  written(): Promise<void> | null {
    const isWritten = this.nonceLines.length + this.operationLines.length === 0;
    return isWritten ? null : this.begin().promise;
  }

  /** What an earlier turn could not write is tried once more: as `written`, but null when all earlier turns were written. */
  overdue(): Promise<void> | null {
    return this.hasFailed ? this.written() : null;
  }

  /** Throws when something can't be written; what is noted from then on never is. */
  close(): void {
    try {
      this.endTurn();
      this.copyNonces();
    } finally {
      this.isOpen = false;
      this.nonceLog.close();
      this.operationLog.close();
    }
  }

  private note(lines: string[], line: string): void {
    lines.push(line);
    this.begin();
  }

  private begin(): PromiseWithResolvers<void> {
    if (this.turn !== null) return this.turn;
    const turn = Promise.withResolvers<void>();
    this.turn = turn;
    // Whoever waits is told; nobody may.
    turn.promise.catch(() => {});
    atEndOfTurn(() => {
      // Closing may have ended it.
      if (this.turn !== turn) return;
      try {
        this.endTurn();
      } catch {
        // Told to who waits, and tried again when something else is to be written.
      }
    });
    return turn;
  }

  private endTurn(): void {
    const { turn } = this;
    this.turn = null;
    try {
      this.write();
      this.hasFailed = false;
      turn?.resolve();
    } catch (error) {
      this.hasFailed = true;
      turn?.reject(error);
      throw error;
    }
  }

  private write(): void {
    const { nonceLines, operationLines } = this;
    if (!this.isOpen) throw new Error("the records are closed");
    if (operationLines.length > 0) {
      this.operationLog.append([...nonceLines, ...operationLines].join("\n"));
      this.uncopied.push(...nonceLines);
    } else this.copyNonces(nonceLines);
    this.nonceLines = [];
    this.operationLines = [];
    if (this.uncopied.length >= MAX_UNCOPIED) this.copyNonces();
  }

  /** Writes to the nonces' own log what only the operations' has, and `more`. */
  private copyNonces(more: readonly string[] = []): void {
    const lines = [...this.uncopied, ...more];
    if (lines.length === 0) return;
    this.nonceLog.append(lines.join("\n"));
    this.uncopied = [];
  }

  /** A line of the operations' log: an operation is an object, a nonce among them an array. */
  private restore(line: string): void {
    if (!line.startsWith("[")) this.operations.restore(line);
    else if (this.nonces.restore(line)) this.uncopied.push(line);
  }
}
