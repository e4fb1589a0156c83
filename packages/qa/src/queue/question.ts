/** One question of a queue. */
export interface QueueQuestion {
  /** Place in its source, from 0 without gaps. */
  readonly seq: number;
  readonly id: string;
  readonly q: string;
  /** The right answer, for the reader of the results; never sent to a worker. */
  readonly gold: string | null;
  /** When it is due, CLOCK_MONOTONIC ms, where the source has a schedule; absent = as soon as a worker is free for it. */
  readonly intendedAt?: number;
}

/** Where questions come from, one at a time, as they are asked for: nothing is read ahead of who takes them (but for a buffer). */
export interface QuestionSource {
  readonly kind: "generated" | "file" | "stdin";
  /** How many there are; null = an endless stream. */
  readonly count: number | null;
  /** Tells whether a journal belongs to this source: equal for equal questions in equal order; null where nobody can know (stdin). */
  readonly fingerprint: string | null;
  /** From the first question on, at each call. A stream can be read once only. */
  questions(): AsyncIterable<QueueQuestion>;
}

/** A line of the source that is no question. Lines count from 1. */
export interface BadLine {
  readonly line: number;
  readonly reason: string;
}
