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

/** When answers are so big that a generation gets here before its time, they are remembered for less. */
const MAX_GENERATION_BYTES = 32 * 1024 * 1024;
/** So many nonces are copied to their own log at once. */
const MAX_UNCOPIED = 256;

/**
 * What an agent has to know after a SIGKILL: the nonces it saw and the operations it answered. The lines of one turn of the event
 * loop are one write(2), and answers wait for it (`written`). A nonce is written with the operations of its turn, to their log,
 * and copied to its own with many others; only where its turn has no operation is it written there at once.
 */
export class Records {
  readonly nonces: NonceRecord;
  readonly operations: OperationRecord;
  private readonly nonceLog: GenerationLog;
  private readonly operationLog: GenerationLog;
  /** Lines of this turn. */
  private nonceLines: string[] = [];
  private operationLines: string[] = [];
  /** Nonces that the operations' log alone has. */
  private uncopied: string[] = [];
  private turn: PromiseWithResolvers<void> | null = null;
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
    return this.turn?.promise ?? null;
  }

  close(): void {
    try {
      this.write();
      this.copyNonces();
    } finally {
      this.isOpen = false;
      this.nonceLog.close();
      this.operationLog.close();
    }
  }

  private note(lines: string[], line: string): void {
    if (!this.isOpen) return;
    lines.push(line);
    if (this.turn !== null) return;
    this.turn = Promise.withResolvers();
    // Whoever waits is told; nobody may.
    this.turn.promise.catch(() => {});
    atEndOfTurn(() => this.endTurn());
  }

  private endTurn(): void {
    const turn = this.turn;
    this.turn = null;
    try {
      this.write();
      turn?.resolve();
    } catch (error) {
      turn?.reject(error);
    }
  }

  private write(): void {
    const { nonceLines, operationLines } = this;
    this.nonceLines = [];
    this.operationLines = [];
    this.uncopied.push(...nonceLines);
    if (operationLines.length > 0) this.operationLog.append([...nonceLines, ...operationLines].join("\n"));
    if (operationLines.length === 0 || this.uncopied.length >= MAX_UNCOPIED) this.copyNonces();
  }

  private copyNonces(): void {
    if (this.uncopied.length === 0) return;
    this.nonceLog.append(this.uncopied.join("\n"));
    this.uncopied = [];
  }

  /** A line of the operations' log: an operation is an object, a nonce among them an array. */
  private restore(line: string): void {
    if (!line.startsWith("[")) this.operations.restore(line);
    else if (this.nonces.restore(line)) this.uncopied.push(line);
  }
}
