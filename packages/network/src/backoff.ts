import type { Prng } from "@failstorm/core";

export interface Backoff {
  /** The next delay, ms: at least `baseMs`, at most `maxMs`. */
  next(): number;
  /** After a success: starts over at `baseMs`. */
  reset(): void;
}

/**
 * Exponential back-off with decorrelated jitter (Brooker, "Exponential Backoff And Jitter", 2015): each delay is uniform between
 * `baseMs` and `factor` times the one before, capped. Many that lost the same peer at the same moment spread out, and none
 * comes back sooner than `baseMs`, as it could with full jitter.
 */
export function createBackoff(options: {
  readonly prng: Prng;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly factor: number;
}): Backoff {
  const { prng, baseMs, maxMs, factor } = options;
  if (!(baseMs > 0 && maxMs >= baseMs && factor >= 1)) {
    throw new RangeError(`back-off needs 0 < baseMs <= maxMs and factor >= 1, got ${baseMs}, ${maxMs}, ${factor}`);
  }
  let previousMs = baseMs;
  return {
    next() {
      previousMs = Math.min(maxMs, baseMs + prng.next() * (previousMs * factor - baseMs));
      return previousMs;
    },
    reset() {
      previousMs = baseMs;
    },
  };
}
