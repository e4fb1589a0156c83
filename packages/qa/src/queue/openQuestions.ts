import type { QueueQuestion } from "./question.ts";

/** Where an open question is. */
type Place =
  | { readonly kind: "ready" }
  | { readonly kind: "in_flight"; readonly message: number }
  | { readonly kind: "backing_off"; readonly until: number };

/** A question that was taken from the source and is not finished. */
export interface OpenQuestion {
  readonly question: QueueQuestion;
  place: Place;
  /** CLOCK_MONOTONIC ms; null before it was due. */
  intendedAt: number | null;
  /** Every message it was in, in order: late answers are accepted from each of them. */
  readonly sends: { readonly message: number; readonly worker: string; readonly sentAt: number }[];
  /** Who failed it last. */
  avoid: string | null;
}

/**
 * The open questions by place. Invariant: each is in exactly one of `retrying`, `fresh` (ready), `backingOff`, or in flight; those that
 * were tried already are taken first, so that no question waits behind the whole source.
 */
export class OpenQuestions {
  private readonly all = new Map<number, OpenQuestion>();
  private readonly fresh = new Set<OpenQuestion>();
  private readonly retrying = new Set<OpenQuestion>();
  private readonly backingOff = new Set<OpenQuestion>();

  get size(): number {
    return this.all.size;
  }

  get readyCount(): number {
    return this.fresh.size + this.retrying.size;
  }

  get backingOffCount(): number {
    return this.backingOff.size;
  }

  get(seq: number): OpenQuestion | undefined {
    return this.all.get(seq);
  }

  add(question: QueueQuestion): void {
    const open: OpenQuestion = {
      question,
      place: { kind: "ready" },
      intendedAt: question.intendedAt ?? null,
      sends: [],
      avoid: null,
    };
    this.all.set(question.seq, open);
    this.fresh.add(open);
  }

  /** Up to `count` ready questions that `wanted` accepts; they stay where they are. */
  ready(count: number, wanted: (open: OpenQuestion) => boolean): OpenQuestion[] {
    const found: OpenQuestion[] = [];
    for (const set of [this.retrying, this.fresh]) {
      for (const open of set) {
        if (found.length >= count) return found;
        if (wanted(open)) found.push(open);
      }
    }
    return found;
  }

  send(open: OpenQuestion, message: number, worker: string, now: number): void {
    this.leave(open);
    open.place = { kind: "in_flight", message };
    open.intendedAt ??= now;
    open.sends.push({ message, worker, sentAt: now });
  }

  backOff(open: OpenQuestion, until: number): void {
    this.leave(open);
    open.place = { kind: "backing_off", until };
    this.backingOff.add(open);
  }

  /** Those whose back-off is over become ready. */
  wake(now: number): void {
    for (const open of this.backingOff) {
      if (open.place.kind === "backing_off" && open.place.until > now) continue;
      this.backingOff.delete(open);
      open.place = { kind: "ready" };
      this.retrying.add(open);
    }
  }

  /** When the next back-off is over; null = none. */
  nextWakeAt(): number | null {
    let next: number | null = null;
    for (const { place } of this.backingOff) {
      if (place.kind === "backing_off") next = Math.min(next ?? place.until, place.until);
    }
    return next;
  }

  remove(open: OpenQuestion): void {
    this.leave(open);
    this.all.delete(open.question.seq);
  }

  private leave(open: OpenQuestion): void {
    this.fresh.delete(open);
    this.retrying.delete(open);
    this.backingOff.delete(open);
  }
}
