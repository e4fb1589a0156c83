import { quantileSorted } from "simple-statistics";

/** Milliseconds to the microsecond, the resolution of the events; differences of floats would show more digits than are known. */
export const toMicroseconds = (ms: number): number => Math.round(ms * 1000) / 1000;

/**
 * Order statistics of a group in which each member should reach something. Members that never did count as infinitely late:
 * where the statistic falls upon one, it is null. `reached` of `total` members did.
 * Quantiles are interpolated linearly (type 7 of Hyndman and Fan, the default of R and numpy).
 */
export interface Spread {
  readonly first: number | null;
  readonly p50: number | null;
  readonly last: number | null;
  readonly reached: number;
  readonly total: number;
}

/** `values`: ms, null = not reached. */
export function spreadOf(values: readonly (number | null)[]): Spread {
  const sorted = values.map((value) => value ?? Number.POSITIVE_INFINITY).sort((a, b) => a - b);
  const at = (quantile: number): number | null => {
    if (sorted.length === 0) return null;
    const value = quantileSorted(sorted, quantile);
    return Number.isFinite(value) ? toMicroseconds(value) : null;
  };
  const reached = values.filter((value) => value !== null).length;
  return { first: at(0), p50: at(0.5), last: at(1), reached, total: values.length };
}

/** Latency percentiles (type 7); null where there are too few values for the percentile to differ from the maximum (n < 1 / (1 − p)). */
export interface LatencySummary {
  readonly n: number;
  readonly mean: number | null;
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
  readonly p99_9: number | null;
  readonly max: number | null;
}

/** Summarises latencies in ms. */
export function summarise(values: readonly number[]): LatencySummary {
  const sorted = values.toSorted((a, b) => a - b);
  const n = sorted.length;
  const at = (quantile: number, needed: number): number | null =>
    n < needed ? null : toMicroseconds(quantileSorted(sorted, quantile));
  return {
    n,
    mean: n === 0 ? null : toMicroseconds(sorted.reduce((sum, value) => sum + value, 0) / n),
    p50: at(0.5, 1),
    p90: at(0.9, 10),
    p95: at(0.95, 20),
    p99: at(0.99, 100),
    p99_9: at(0.999, 1000),
    max: at(1, 1),
  };
}
