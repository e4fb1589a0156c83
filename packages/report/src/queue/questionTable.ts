import type { QueueResult, RunEventOf } from "@failstorm/core";
import { exactMatch } from "@failstorm/core/scores.ts";
import { Column } from "./numbers.ts";

/** Numbers standing for `answered`, `no_answer`, `failed`. */
const STATUSES = ["answered", "no_answer", "failed"] as const;

/** What is known of one finished question. */
export interface FinishedQuestion {
  readonly status: (typeof STATUSES)[number];
  readonly worker: string | null;
  readonly protocol: string | null;
  readonly attempts: number;
  readonly intendedAt: number;
  readonly sentAt: number;
  readonly finishedAt: number;
  /** null: there is no gold answer. */
  readonly right: boolean | null;
}

/**
 * Finished questions in columns: about 80 bytes each, and their ids. From the results file; questions that only the events know
 * (the file is gone) are added from there.
 */
export class QuestionTable {
  private readonly index = new Map<string, number>();
  private readonly names: string[] = [];
  private readonly nameIndex = new Map<string, number>();
  private readonly status = new Column();
  private readonly worker = new Column();
  private readonly protocol = new Column();
  private readonly attempts = new Column();
  private readonly intended = new Column();
  private readonly sent = new Column();
  private readonly finished = new Column();
  private readonly right = new Column();
  /** Lines about a question that had one already. */
  repeated = 0;
  /** Questions that only the events know. */
  onlyInEvents = 0;

  get size(): number {
    return this.status.length;
  }

  has(id: string): boolean {
    return this.index.has(id);
  }

  addResult(result: QueueResult): void {
    if (this.index.has(result.id)) {
      this.repeated += 1;
      return;
    }
    const graded = result.gold === null ? Number.NaN : gradeOf(result.answer, result.gold);
    this.add(result.id, { ...result, graded, sentAt: result.sentAt ?? Number.NaN });
  }

  /** Nothing happens when the question has a result. */
  addEvent(event: RunEventOf<"queue.result">, protocol: string | null): void {
    if (this.index.has(event.question)) return;
    this.onlyInEvents += 1;
    const finishedAt = event.intendedAt + event.latencyMs;
    const { status, worker, attempt: attempts, intendedAt } = event;
    const sentAt = event.ms > 0 ? finishedAt - event.ms : Number.NaN;
    this.add(event.question, { status, worker, protocol, attempts, intendedAt, sentAt, finishedAt, graded: Number.NaN });
  }

  /** The question left for the first time at `at`: it was due then at the latest, also when a coordinator that died did not say so. */
  dispatched(id: string, at: number): void {
    const row = this.index.get(id);
    if (row !== undefined && at < this.intended.at(row)) this.intended.set(row, at);
  }

  /** In the order they were added, from the given one on. */
  *rows(from = 0): Generator<FinishedQuestion> {
    for (let row = from; row < this.size; row++) {
      const right = this.right.at(row);
      yield {
        status: STATUSES[this.status.at(row)] ?? "failed",
        worker: this.names[this.worker.at(row)] ?? null,
        protocol: this.names[this.protocol.at(row)] ?? null,
        attempts: this.attempts.at(row),
        intendedAt: this.intended.at(row),
        sentAt: this.sent.at(row),
        finishedAt: this.finished.at(row),
        right: Number.isNaN(right) ? null : right === 1,
      };
    }
  }

  private add(
    id: string,
    row: {
      readonly status: (typeof STATUSES)[number];
      readonly worker: string | null;
      readonly protocol: string | null;
      readonly attempts: number;
      readonly intendedAt: number;
      readonly sentAt: number;
      readonly finishedAt: number;
      readonly graded: number;
    },
  ): void {
    this.index.set(id, this.size);
    this.status.push(STATUSES.indexOf(row.status));
    this.worker.push(this.name(row.worker));
    this.protocol.push(this.name(row.protocol));
    this.attempts.push(row.attempts);
    this.intended.push(row.intendedAt);
    this.sent.push(row.sentAt);
    this.finished.push(row.finishedAt);
    this.right.push(row.graded);
  }

  private name(name: string | null): number {
    if (name === null) return -1;
    const known = this.nameIndex.get(name);
    if (known !== undefined) return known;
    this.nameIndex.set(name, this.names.length);
    return this.names.push(name) - 1;
  }
}

/** 1 = the answer is the gold answer, both normalised; 0 = it is not, or there is none. */
const gradeOf = (answer: string | null, gold: string): number => (answer !== null && exactMatch(answer, gold) ? 1 : 0);
