import { toMicroseconds } from "../spread.ts";

/** Numbers that come one by one, kept in eight bytes each: a million of them is eight megabytes. */
export class Column {
  private values = new Float64Array(1024);
  private used = 0;

  get length(): number {
    return this.used;
  }

  push(value: number): void {
    if (this.used === this.values.length) {
      const larger = new Float64Array(this.values.length * 2);
      larger.set(this.values);
      this.values = larger;
    }
    this.values[this.used] = value;
    this.used += 1;
  }

  at(index: number): number {
    return index < this.used ? (this.values[index] ?? Number.NaN) : Number.NaN;
  }

  set(index: number, value: number): void {
    if (index < this.used) this.values[index] = value;
  }

  sorted(): Float64Array {
    return this.values.slice(0, this.used).sort();
  }
}

/** What is said of a distribution. A percentile p is null when there are too few values for it to differ from the maximum (n < 1 / (1 − p)). */
export interface Distribution {
  readonly n: number;
  readonly mean: number | null;
  readonly min: number | null;
  readonly max: number | null;
  /** Standard deviation of the sample (n − 1); null below two values. */
  readonly std: number | null;
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
  readonly p99_9: number | null;
}

type Percentiles = Pick<Distribution, "p50" | "p90" | "p95" | "p99" | "p99_9">;

function percentiles(n: number, at: (q: number) => number): Percentiles {
  const from = (needed: number, q: number): number | null => (n < needed ? null : toMicroseconds(at(q)));
  return { p50: from(1, 0.5), p90: from(10, 0.9), p95: from(20, 0.95), p99: from(100, 0.99), p99_9: from(1000, 0.999) };
}

/** Quantile by linear interpolation (type 7 of Hyndman and Fan, the default of R and numpy); NaN without values. */
export function quantile(sorted: Float64Array, q: number): number {
  const at = (sorted.length - 1) * q;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

/** Values in ms, kept to the microsecond. */
export function describe(column: Column): Distribution {
  const sorted = column.sorted();
  const n = sorted.length;
  if (n === 0) return { n, mean: null, min: null, max: null, std: null, ...percentiles(0, () => Number.NaN) };
  const mean = sorted.reduce((sum, value) => sum + value, 0) / n;
  const squares = sorted.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    n,
    mean: toMicroseconds(mean),
    min: toMicroseconds(sorted[0] ?? Number.NaN),
    max: toMicroseconds(sorted[n - 1] ?? Number.NaN),
    std: n < 2 ? null : toMicroseconds(Math.sqrt(squares / (n - 1))),
    ...percentiles(n, (q) => quantile(sorted, q)),
  };
}

/** `Distribution` with the pulls that a slow answer kept from happening. */
export interface CorrectedDistribution extends Distribution {
  /** The pace the correction assumes, ms. */
  readonly interval_ms: number;
  /** Samples that were added. */
  readonly missing: number;
}

/**
 * The latencies that would have been seen if a slow answer did not keep its slot from pulling (coordinated omission; Tene's correction,
 * `recordValueWithExpectedInterval` of HdrHistogram): a latency v above the interval i stands for v, v − i, v − 2i, … ≥ i as well, the
 * questions that would have been pulled meanwhile at that pace. i is the median service time, so a stall of a hundred times the median counts
 * a hundredfold, and answers that keep the pace to within a factor of two change nothing. It is an upper estimate: service times that are widely
 * spread without any stall are taken for small stalls (exponential ones: the median comes out 1.42 times, p99 1.06 times as large). Percentiles
 * are the smallest value that at least that share does not exceed. null without values or pace.
 */
export function describeCorrected(column: Column, interval: number | null): CorrectedDistribution | null {
  const sorted = column.sorted();
  if (sorted.length === 0 || interval === null || !(interval > 0)) return null;
  const samples = (value: number): number => Math.max(1, Math.floor(value / interval + 1e-9));
  let n = 0;
  let sum = 0;
  let squares = 0;
  for (const value of sorted) {
    const k = samples(value);
    // Σ (v − j·i) and Σ (v − j·i)² over j = 0 … k−1
    const j1 = (k * (k - 1)) / 2;
    const j2 = ((k - 1) * k * (2 * k - 1)) / 6;
    n += k;
    sum += k * value - interval * j1;
    squares += k * value ** 2 - 2 * value * interval * j1 + interval ** 2 * j2;
  }
  const atMost = (limit: number): number => {
    let count = 0;
    for (const value of sorted) {
      const k = samples(value);
      count += value <= limit ? k : k - Math.min(k, Math.ceil((value - limit) / interval - 1e-9));
    }
    return count;
  };
  const max = sorted.at(-1) ?? 0;
  const mean = sum / n;
  return {
    n,
    mean: toMicroseconds(mean),
    min: toMicroseconds(Math.min(sorted[0] ?? 0, n > sorted.length ? smallestAdded(sorted, interval) : Number.POSITIVE_INFINITY)),
    max: toMicroseconds(max),
    std: n < 2 ? null : toMicroseconds(Math.sqrt(Math.max(0, squares - n * mean ** 2) / (n - 1))),
    ...percentiles(n, (q) => bisect(max, (limit) => atMost(limit) >= q * n - 1e-9)),
    interval_ms: toMicroseconds(interval),
    missing: n - sorted.length,
  };
}

function smallestAdded(sorted: Float64Array, interval: number): number {
  let smallest = Number.POSITIVE_INFINITY;
  for (const value of sorted) if (value >= 2 * interval) smallest = Math.min(smallest, interval + (value % interval));
  return smallest;
}

/** The smallest value in (0, max] for which `enough` holds, to within a microsecond; `enough(max)` does. */
function bisect(max: number, enough: (value: number) => boolean): number {
  let low = 0;
  let high = max;
  while (high - low > 0.0005) {
    const middle = (low + high) / 2;
    if (enough(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** How evenly work is spread over those who could do it; those who did nothing are among `amounts`. */
export interface Balance {
  readonly n: number;
  /** Population variance of the shares (they add up to 1). */
  readonly variance: number | null;
  readonly std: number | null;
  /** Gini coefficient: 0 = all the same, (n − 1) / n = one did everything. */
  readonly gini: number | null;
  readonly min_share: number | null;
  readonly max_share: number | null;
}

export function balanceOf(amounts: readonly number[]): Balance {
  const n = amounts.length;
  const total = amounts.reduce((sum, amount) => sum + amount, 0);
  if (n === 0 || total === 0) return { n, variance: null, std: null, gini: null, min_share: null, max_share: null };
  const shares = amounts.map((amount) => amount / total).sort((a, b) => a - b);
  const variance = shares.reduce((sum, share) => sum + (share - 1 / n) ** 2, 0) / n;
  // Σ_i Σ_j |x_i − x_j| / (2 n² x̄), over sorted shares with Σ x = 1
  const gini = shares.reduce((sum, share, i) => sum + (2 * (i + 1) - n - 1) * share, 0) / n;
  const digits = (value: number): number => Math.round(value * 1e9) / 1e9;
  return {
    n,
    variance: digits(variance),
    std: digits(Math.sqrt(variance)),
    gini: digits(Math.max(0, gini)),
    min_share: digits(shares[0] ?? 0),
    max_share: digits(shares[n - 1] ?? 0),
  };
}
