import type { Prng } from "@failstorm/core";
import { DoneSet } from "./doneSet.ts";
import type { FailureCode, QueueEffect, QueueEngineConfig, QueueStatus, WorkerAnswer, WorkerFailure } from "./effects.ts";
import { type OpenQuestion, OpenQuestions } from "./openQuestions.ts";
import type { QueueQuestion } from "./question.ts";
import { WorkerPool } from "./workerPool.ts";

/** A message that somebody waits for. */
interface Message {
  readonly id: number;
  readonly worker: string;
  readonly sentAt: number;
  readonly deadlineAt: number;
  readonly questions: number;
  /** Its questions that are in flight in it. */
  readonly open: Set<OpenQuestion>;
  /** Answers that came in it. */
  answers: number;
}

/** Finished questions that are remembered, to say of a duplicate what it is a duplicate of. */
const REMEMBERED = 256;

/**
 * The dispatch of a streaming queue: pure, without clock and I/O. Every method takes the present time (ms, never decreasing) and
 * returns what is to be done, in order.
 *
 * Invariants:
 * I1  A question that was taken is either open or done, and stays done; one that is done is never sent again.
 * I2  It is recorded at the moment it becomes done, and at no other: once, by whichever answer is first, or as failed when its last
 *     attempt has failed and no other is under way.
 * I3  A question is in flight in one message at most. (An earlier message that was given up may still be answered.)
 * I4  A message is open while one of its questions is in flight in it; a worker's load is the number of its open messages.
 * I5  A worker in quarantine is sent nothing.
 * I6  `window` questions are open at most; the numbers held of finished ones are fewer than `lead`: memory does not grow with the source.
 * I7  Unless the queue is finished or starved, something is due (`nextDueAt`), or a question is wanted of the source, or an answer is due.
 */
export class QueueEngine {
  private readonly config: QueueEngineConfig;
  private readonly prng: Prng;
  private readonly done: DoneSet;
  private readonly takesBatches: (worker: string) => boolean;
  private readonly open = new OpenQuestions();
  private readonly pool: WorkerPool;
  /** In the order they were sent: with one deadline for all, that of their deadlines too. */
  private readonly messages = new Map<number, Message>();
  private readonly remembered = new Map<number, { readonly open: OpenQuestion; readonly answer: string | null }>();
  private lastMessage = 0;
  private nextSeq = 0;
  private ended = false;
  private inFlight = 0;
  private noWorkerSince: number | null;
  private starved = false;
  private readonly counts = { recorded: 0, failed: 0, duplicates: 0, strays: 0 };

  /**
   * `done`: what earlier incarnations have recorded. It becomes the engine's own. `takesBatches`: whether a worker understands several questions
   * in a message (default: all do); `auto` finds no larger ones for those that do not.
   */
  constructor(options: {
    config: QueueEngineConfig;
    prng: Prng;
    now: number;
    done?: DoneSet;
    takesBatches?: (worker: string) => boolean;
  }) {
    checkConfig(options.config);
    this.config = options.config;
    this.prng = options.prng;
    this.done = options.done ?? new DoneSet();
    this.takesBatches = options.takesBatches ?? (() => true);
    this.pool = new WorkerPool(options.config);
    this.noWorkerSince = options.now;
  }

  /**
   * A worker is there. `concurrency`: messages it may have at once. `unhealthy`: why it begins in quarantine; null = it is well. One that
   * is known already: nothing happens.
   */
  addWorker(worker: string, concurrency: number, now: number, unhealthy: string | null = null): QueueEffect[] {
    if (this.pool.has(worker)) return this.tick(now);
    this.pool.add(worker, concurrency);
    return [...(unhealthy === null ? [] : this.pool.quarantine(worker, unhealthy, now)), ...this.tick(now)];
  }

  /** How many further questions may be offered now. */
  wanted(): number {
    if (this.ended || this.starved) return 0;
    return Math.max(0, Math.min(this.config.window - this.open.size, this.done.watermark + this.config.lead - this.nextSeq));
  }

  /** Takes questions from the source, in its order; those done already are left out. Throws RangeError when one is out of order. */
  offer(questions: readonly QueueQuestion[], now: number): QueueEffect[] {
    for (const question of questions) {
      if (question.seq !== this.nextSeq) throw new RangeError(`question ${question.seq} offered, ${this.nextSeq} was next`);
      this.nextSeq += 1;
      if (!this.done.has(question.seq)) this.open.add(question);
    }
    return this.tick(now);
  }

  /** The source has no more. */
  endOfSource(): void {
    this.ended = true;
  }

  answered(answer: WorkerAnswer, now: number): QueueEffect[] {
    const effects: QueueEffect[] = [];
    this.pool.answered(answer.worker);
    const open = this.open.get(answer.seq);
    if (open === undefined) effects.push(...this.again(answer));
    else {
      const send = open.sends.findIndex((sent) => sent.message === answer.message && sent.worker === answer.worker);
      if (send === -1) this.counts.strays += 1;
      else {
        const status = answer.answer === null ? "no_answer" : "answered";
        effects.push(...this.settle(open, { send, status, answer: answer.answer, code: null }, now));
      }
    }
    return [...effects, ...this.tick(now)];
  }

  /** A message came to nothing. One that nobody waits for any more: nothing happens. */
  failed(failure: WorkerFailure, now: number): QueueEffect[] {
    const message = this.messages.get(failure.message);
    return [...(message === undefined ? [] : this.fail(message, failure, now)), ...this.tick(now)];
  }

  /** A health check, or the transport, says that the worker is gone: what it has is given up at once. */
  unhealthy(worker: string, reason: string, now: number): QueueEffect[] {
    const effects = this.pool.quarantine(worker, reason, now);
    for (const message of [...this.messages.values()].filter((own) => own.worker === worker)) {
      effects.push({ type: "cancel", message: message.id, worker, reason: "unhealthy" });
      effects.push(...this.fail(message, { message: message.id, code: "unhealthy", detail: reason }, now));
    }
    return [...effects, ...this.tick(now)];
  }

  /** The result of a `probe`. */
  probed(worker: string, probe: number, ok: boolean, now: number): QueueEffect[] {
    return [...this.pool.probed(worker, probe, ok, now), ...this.tick(now)];
  }

  /** What has fallen due: deadlines, ends of back-offs, probes; then everything that can be sent is. */
  tick(now: number): QueueEffect[] {
    const effects: QueueEffect[] = [];
    for (const message of this.messages.values()) {
      if (message.deadlineAt > now) break;
      effects.push({ type: "cancel", message: message.id, worker: message.worker, reason: "deadline" });
      const detail = `no answer in ${this.config.deadlineMs} ms`;
      effects.push(...this.fail(message, { message: message.id, code: "timeout", detail }, now));
    }
    this.open.wake(now);
    effects.push(...this.pool.tick(now));
    effects.push(...this.watchWorkers(now));
    this.dispatch(now, effects);
    return effects;
  }

  /** When `tick` has something to do next; null = only after something was reported. */
  nextDueAt(): number | null {
    const [first] = this.messages.values();
    const starvedAt =
      this.starved || this.finished || this.noWorkerSince === null ? null : this.noWorkerSince + this.config.starvedAfterMs;
    const due = [first?.deadlineAt ?? null, this.open.nextWakeAt(), this.pool.nextDueAt(), starvedAt].filter((at) => at !== null);
    return due.length === 0 ? null : Math.min(...due);
  }

  /** Every question has its record, and no more will come. */
  get finished(): boolean {
    return this.ended && this.open.size === 0;
  }

  status(): QueueStatus {
    return {
      phase: this.finished ? "finished" : this.starved ? "starved" : "running",
      ...this.counts,
      inFlight: this.inFlight,
      waiting: this.open.readyCount + this.open.backingOffCount,
      free: this.pool.freeSlots,
      quarantined: this.pool.quarantinedCount,
    };
  }

  private dispatch(now: number, effects: QueueEffect[]): void {
    while (this.open.readyCount > 0 && this.pool.freeSlots > 0) {
      const share = Math.ceil(this.open.readyCount / this.pool.freeSlots);
      const sent = this.pool.free().some((worker) => {
        const alone = this.pool.activeCount === 1;
        const taken = this.open.ready(Math.min(share, this.batchOf(worker)), (open) => alone || open.avoid !== worker);
        if (taken.length > 0) effects.push(this.send(worker, taken, now));
        return taken.length > 0;
      });
      // What is left waits for another worker than the one that failed it; that one is busy, so its answer or deadline comes first.
      if (!sent) return;
    }
  }

  private batchOf(worker: string): number {
    return this.config.batch === "auto" && !this.takesBatches(worker) ? 1 : this.pool.batchOf(worker);
  }

  private send(worker: string, taken: readonly OpenQuestion[], now: number): QueueEffect {
    this.lastMessage += 1;
    const message = {
      id: this.lastMessage,
      worker,
      sentAt: now,
      deadlineAt: now + this.config.deadlineMs,
      questions: taken.length,
      open: new Set(taken),
      answers: 0,
    };
    for (const open of taken) this.open.send(open, message.id, worker, now);
    this.inFlight += taken.length;
    this.messages.set(message.id, message);
    this.pool.take(worker, taken.length);
    const questions = taken.map((open) => ({ question: open.question, attempt: open.sends.length }));
    return { type: "send", message: message.id, worker, questions, deadlineAt: message.deadlineAt };
  }

  private fail(message: Message, failure: WorkerFailure, now: number): QueueEffect[] {
    const effects = this.pool.failed(message.worker, failure.code, now);
    const only = failure.seqs === undefined ? null : new Set(failure.seqs);
    for (const open of message.open) {
      if (only !== null && !only.has(open.question.seq)) continue;
      effects.push(...this.failAttempt(message, open, failure, now));
    }
    this.closeIfEmpty(message);
    return effects;
  }

  private failAttempt(message: Message, open: OpenQuestion, failure: WorkerFailure, now: number): QueueEffect[] {
    const attempt = open.sends.length;
    const last = attempt >= this.config.maxAttempts;
    const retryInMs = last ? null : this.backoffMs(open.question.seq, attempt);
    const { code, detail } = failure;
    const effect: QueueEffect = {
      type: "failed",
      message: message.id,
      worker: message.worker,
      question: open.question,
      attempt,
      code,
      detail,
      retryInMs,
    };
    open.avoid = message.worker;
    if (retryInMs === null)
      return [effect, ...this.settle(open, { send: attempt - 1, status: "failed", answer: null, code }, now)];
    message.open.delete(open);
    this.inFlight -= 1;
    this.open.backOff(open, now + retryInMs);
    return [effect];
  }

  /** From open to done. The message it is in flight in, if any, is no longer waited for on its account. */
  private settle(
    open: OpenQuestion,
    how: { send: number; status: "answered" | "no_answer" | "failed"; answer: string | null; code: FailureCode | null },
    now: number,
  ): QueueEffect[] {
    const { seq, id, gold } = open.question;
    const sent = open.sends[how.send];
    const { status, answer, code } = how;
    this.open.remove(open);
    this.done.add(seq);
    this.counts.recorded += 1;
    if (status === "failed") this.counts.failed += 1;
    this.remember(open, answer);
    const effects: QueueEffect[] = [
      {
        type: "record",
        result: {
          seq,
          id,
          status,
          answer,
          gold,
          worker: sent?.worker ?? null,
          attempts: open.sends.length,
          code,
          intendedAt: open.intendedAt ?? now,
          sentAt: sent?.sentAt ?? null,
          finishedAt: now,
        },
      },
    ];
    if (open.place.kind !== "in_flight") return effects;
    const message = this.messages.get(open.place.message);
    if (message === undefined) return effects;
    message.open.delete(open);
    this.inFlight -= 1;
    const isOwn = message.id === sent?.message;
    if (isOwn && status !== "failed") message.answers += 1;
    if (!this.closeIfEmpty(message)) return effects;
    if (!isOwn) effects.push({ type: "cancel", message: message.id, worker: message.worker, reason: "answered" });
    else if (message.answers === message.questions)
      this.pool.answeredWhole(message.worker, message.questions, now - message.sentAt);
    return effects;
  }

  private closeIfEmpty(message: Message): boolean {
    if (message.open.size > 0) return false;
    // Whoever fails a message closes it again after its last question was settled, which has closed it already.
    if (this.messages.delete(message.id)) this.pool.release(message.worker);
    return true;
  }

  private again({ message, worker, seq, answer }: WorkerAnswer): QueueEffect[] {
    if (!this.done.has(seq)) {
      this.counts.strays += 1;
      return [];
    }
    this.counts.duplicates += 1;
    const first = this.remembered.get(seq);
    const send = first?.open.sends.findIndex((sent) => sent.message === message) ?? -1;
    return [
      {
        type: "duplicate",
        message,
        worker,
        seq,
        id: first?.open.question.id ?? null,
        attempt: send === -1 ? null : send + 1,
        same: first === undefined ? null : first.answer === answer,
      },
    ];
  }

  private remember(open: OpenQuestion, answer: string | null): void {
    this.remembered.set(open.question.seq, { open, answer });
    if (this.remembered.size <= REMEMBERED) return;
    const [oldest] = this.remembered.keys();
    if (oldest !== undefined) this.remembered.delete(oldest);
  }

  private watchWorkers(now: number): QueueEffect[] {
    if (this.pool.activeCount > 0) {
      this.noWorkerSince = null;
      this.starved = false;
      return [];
    }
    this.noWorkerSince ??= now;
    if (this.starved || this.finished || now - this.noWorkerSince < this.config.starvedAfterMs) return [];
    this.starved = true;
    return [{ type: "starved", open: this.open.size, sinceMs: now - this.noWorkerSince }];
  }

  /** Seeded by question and attempt, so that the order of events elsewhere does not change it. */
  private backoffMs(seq: number, attempt: number): number {
    const { baseMs, factor, maxMs, jitter } = this.config.backoff;
    const full = Math.min(maxMs, baseMs * factor ** (attempt - 1));
    return full * (1 - jitter * this.prng.fork(`backoff/${seq}/${attempt}`).next());
  }
}

function checkConfig(config: QueueEngineConfig): void {
  for (const name of ["batch", "maxAttempts", "quarantineAfter", "window", "lead"] as const) {
    const value = config[name];
    if (value !== "auto" && !(Number.isInteger(value) && value >= 1))
      throw new RangeError(`queue ${name} ${value}: must be a whole number, at least 1`);
  }
  if (!(config.deadlineMs > 0)) throw new RangeError(`queue deadlineMs ${config.deadlineMs}: must be above 0`);
}
