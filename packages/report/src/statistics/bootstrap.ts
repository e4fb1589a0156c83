import type { Prng } from "@failstorm/core";
import { mean, quantileSorted } from "simple-statistics";
import { normalCdf, normalQuantile } from "./normal.ts";

/** A value computed from a sample; must not depend on its order. */
export type Statistic = (sample: readonly number[]) => number;

/** The sample's median, between the two middle values when their number is even. */
export const medianOf: Statistic = (sample) =>
  quantileSorted(
    sample.toSorted((a, b) => a - b),
    0.5,
  );
export const meanOf: Statistic = (sample) => mean([...sample]);

/** An estimate with its confidence interval; `low` = `high` = `estimate` when there is nothing to resample. */
export interface Interval {
  readonly estimate: number;
  readonly low: number;
  readonly high: number;
  readonly level: number;
}

/** Which members each resample consists of, drawn once and used for every measure: runs are resampled, not numbers. */
export interface Resamples {
  readonly n: number;
  readonly count: number;
  /** `count` times `n` indices. */
  readonly picks: Uint32Array;
}

export const DEFAULT_RESAMPLES = 10_000;

/** Draws `count` resamples of `n` members with replacement. */
export function drawResamples(n: number, prng: Prng, count = DEFAULT_RESAMPLES): Resamples {
  const picks = new Uint32Array(n * count);
  for (let i = 0; i < picks.length; i++) picks[i] = prng.int(n);
  return { n, count, picks };
}

/** The statistic of every resample, in ascending order. */
function distribution(sample: readonly number[], statistic: Statistic, { n, count, picks }: Resamples): Float64Array {
  const values = new Float64Array(count);
  const own = Array.from({ length: n }, () => 0);
  for (let b = 0; b < count; b++) {
    for (let i = 0; i < n; i++) own[i] = sample[picks[b * n + i] as number] as number;
    values[b] = statistic(own);
  }
  return values.sort();
}

/**
 * How fast the statistic's standard error changes with its value, from the jackknife (Efron and Tibshirani, 1993, eq. 14.15);
 * 0 when leaving one out changes nothing.
 */
export function acceleration(sample: readonly number[], statistic: Statistic): number {
  const left = sample.map((_, i) => statistic(sample.toSpliced(i, 1)));
  const centre = meanOf(left);
  let squares = 0;
  let cubes = 0;
  for (const value of left) {
    squares += (centre - value) ** 2;
    cubes += (centre - value) ** 3;
  }
  return squares === 0 ? 0 : cubes / (6 * squares ** 1.5);
}

/**
 * The bias-corrected and accelerated bootstrap interval (Efron, 1987; Efron and Tibshirani, 1993, ch. 14). Resamples that equal the
 * estimate count half below it, since medians of few runs repeat. Throws RangeError when the resamples are of another size.
 */
export function bcaInterval(sample: readonly number[], statistic: Statistic, resamples: Resamples, level = 0.95): Interval {
  if (resamples.n !== sample.length) throw new RangeError(`resamples of ${resamples.n} for a sample of ${sample.length}`);
  if (sample.length === 0) throw new RangeError("no sample");
  const estimate = statistic(sample);
  const values = distribution(sample, statistic, resamples);
  const [first, last] = [values[0] as number, values.at(-1) as number];
  if (sample.length < 2 || first === last) return { estimate, low: estimate, high: estimate, level };
  const below = lowerBound(values, estimate - rounding(estimate));
  const upTo = lowerBound(values, estimate + rounding(estimate));
  const share = (below + (upTo - below) / 2) / values.length;
  // An estimate outside of all resamples (it cannot be for medians and means) would give an infinite correction.
  const z0 = normalQuantile(Math.min(Math.max(share, 0.5 / values.length), 1 - 0.5 / values.length));
  const a = acceleration(sample, statistic);
  const bound = (z: number): number => {
    const shifted = z0 + z;
    return quantileSorted(values as unknown as number[], normalCdf(z0 + shifted / (1 - a * shifted)));
  };
  const z = normalQuantile((1 + level) / 2);
  return { estimate, low: bound(-z), high: bound(z), level };
}

/** How many of the sorted `values` are smaller than `limit`. */
function lowerBound(values: Float64Array, limit: number): number {
  let [from, to] = [0, values.length];
  while (from < to) {
    const middle = (from + to) >>> 1;
    if ((values[middle] as number) < limit) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** A little, so that equal values that were summed up in another order still count as equal. */
const rounding = (value: number): number => Math.max(Math.abs(value) * 1e-12, Number.MIN_VALUE);
