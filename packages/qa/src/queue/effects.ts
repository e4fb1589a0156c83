import type { CommErrorCode, QueueResult } from "@failstorm/core";
import type { QueueQuestion } from "./question.ts";

/** How a queue is worked off. All times in ms. */
export interface QueueEngineConfig {
  /**
   * Questions of one message, at most. Fewer go out when fewer wait than the free workers could take. `auto`: by worker, as many as come back
   * at once (see WorkerPool).
   */
  readonly batch: number | "auto";
  /** A message without an answer after this long has failed. */
  readonly deadlineMs: number;
  /** Messages a question may be in before it is recorded as failed. */
  readonly maxAttempts: number;
  /** The n-th failure of a question waits `base · factor^(n-1)`, at most `max`, less a seeded share of up to `jitter` (0…1) of it. */
  readonly backoff: { readonly baseMs: number; readonly factor: number; readonly maxMs: number; readonly jitter: number };
  /** Failed messages in a row after which a worker gets no more questions. A refused connection is enough by itself: nobody is there. */
  readonly quarantineAfter: number;
  /** Health checks of workers in quarantine: `successes` in a row bring one back; the interval doubles with each that fails, up to the largest. */
  readonly probe: {
    readonly intervalMs: number;
    readonly maxIntervalMs: number;
    readonly timeoutMs: number;
    readonly successes: number;
  };
  /** Questions taken from the source and not finished, at most. */
  readonly window: number;
  /** How far the newest question may be ahead of the oldest unfinished one. */
  readonly lead: number;
  /** Without any worker for this long, the queue is starved. */
  readonly starvedAfterMs: number;
}

export const QUEUE_DEFAULTS: QueueEngineConfig = {
  batch: "auto",
  deadlineMs: 10_000,
  maxAttempts: 5,
  backoff: { baseMs: 50, factor: 2, maxMs: 2000, jitter: 0.5 },
  quarantineAfter: 3,
  probe: { intervalMs: 200, maxIntervalMs: 5000, timeoutMs: 2000, successes: 2 },
  window: 256,
  lead: 65_536,
  starvedAfterMs: 30_000,
};

/**
 * Why a message failed: as the caller saw it; `garbage`: an answer that is none; `missing`: answers to other questions of the message,
 * none to this one; `unhealthy`: its worker was found dead meanwhile.
 */
export type FailureCode = CommErrorCode | "garbage" | "missing" | "unhealthy";

/** A question on its way; `attempt` counts from 1. */
export interface SentQuestion {
  readonly question: QueueQuestion;
  readonly attempt: number;
}

/** What is finished, as far as the engine knows; who writes it adds `protocol` and `inc`. */
export type FinishedQuestion = Omit<QueueResult, "protocol" | "inc">;

/** What is to be done, in this order. */
export type QueueEffect =
  /** Append this to the journal before anything that follows is carried out or told. */
  | { readonly type: "record"; readonly result: FinishedQuestion }
  | {
      readonly type: "send";
      readonly message: number;
      readonly worker: string;
      readonly questions: readonly SentQuestion[];
      readonly deadlineAt: number;
    }
  /** Nobody waits for this message any more; an answer that comes nevertheless is reported all the same (`answered`). */
  | {
      readonly type: "cancel";
      readonly message: number;
      readonly worker: string;
      readonly reason: "deadline" | "answered" | "unhealthy";
    }
  /** An attempt came to nothing. `retryInMs` null: it was the last one, the record follows. */
  | {
      readonly type: "failed";
      readonly message: number;
      readonly worker: string;
      readonly question: QueueQuestion;
      readonly attempt: number;
      readonly code: FailureCode;
      readonly detail: string;
      readonly retryInMs: number | null;
    }
  /**
   * A question was finished once more: recorded it is not. `id`, `attempt` (of the message that brought this answer), `same` (whether the
   * answer is the same): null when the first finish is no longer remembered.
   */
  | {
      readonly type: "duplicate";
      readonly message: number;
      readonly worker: string;
      readonly seq: number;
      readonly id: string | null;
      readonly attempt: number | null;
      readonly same: boolean | null;
    }
  | { readonly type: "quarantine"; readonly worker: string; readonly reason: string; readonly failures: number }
  /** Ask the worker for a sign of life; report with `probed`. */
  | { readonly type: "probe"; readonly worker: string; readonly probe: number; readonly deadlineAt: number }
  | { readonly type: "returned"; readonly worker: string; readonly afterMs: number; readonly probes: number }
  /** No worker for `starvedAfterMs`. Nothing is recorded: what is open stays open, and is asked when one returns or on resumption. */
  | { readonly type: "starved"; readonly open: number; readonly sinceMs: number };

/** An answer of a worker to one question of a message. `answer` null: it found none. */
export interface WorkerAnswer {
  readonly message: number;
  readonly worker: string;
  readonly seq: number;
  readonly answer: string | null;
}

/** A message that failed; `seqs`: for these of its questions only (absent = all that are open). */
export interface WorkerFailure {
  readonly message: number;
  readonly code: FailureCode;
  readonly detail: string;
  readonly seqs?: readonly number[];
}

export interface QueueStatus {
  readonly phase: "running" | "starved" | "finished";
  readonly recorded: number;
  readonly failed: number;
  readonly inFlight: number;
  /** Ready or backing off. */
  readonly waiting: number;
  readonly duplicates: number;
  /** Answers to questions that were never sent in that message. */
  readonly strays: number;
  readonly free: number;
  readonly quarantined: number;
}
