import type { Prng } from "@failstorm/core";

const RESAMPLES = 10_000;
/** Up to so many pairs all sign patterns are tried; above, this many random ones. */
const EXACT_PAIRS = 14;
const RANDOM_PATTERNS = 20_000;

/** The median; NaN of nothing. Infinite values (not reached) are allowed. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

export const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * 95 % percentile bootstrap interval (Efron) of a statistic of `items`, which are resampled whole: pairs stay pairs. null with
 * fewer than two items.
 */
export function bootstrapInterval<T>(
  items: readonly T[],
  statistic: (sample: readonly T[]) => number,
  prng: Prng,
): readonly [number, number] | null {
  if (items.length < 2) return null;
  const values = Array.from({ length: RESAMPLES }, () => statistic(items.map(() => prng.pick(items)))).sort((a, b) => a - b);
  const at = (share: number): number => values[Math.min(values.length - 1, Math.floor(share * values.length))] ?? Number.NaN;
  return [at(0.025), at(0.975)];
}

/** Statistic and interval at once. */
export function estimate<T>(
  items: readonly T[],
  statistic: (sample: readonly T[]) => number,
  prng: Prng,
): { readonly value: number; readonly interval: readonly [number, number] | null } {
  return { value: statistic(items), interval: bootstrapInterval(items, statistic, prng) };
}

/**
 * Two-sided p-value of the paired sign-flip (permutation) test of "the differences are symmetric about 0", with the mean as
 * statistic (Fisher 1935; Good, Permutation Tests): exact up to 14 pairs, else by random sign patterns, the observed one counted.
 */
export function signFlipTest(differences: readonly number[], prng: Prng): number {
  const n = differences.length;
  const total = (sign: (index: number) => boolean): number =>
    Math.abs(differences.reduce((sum, difference, index) => sum + (sign(index) ? difference : -difference), 0));
  // Sums in another order differ in the last bits; those are ties.
  const observed = total(() => true) * (1 - 1e-9);
  if (n <= EXACT_PAIRS) {
    let extreme = 0;
    for (let pattern = 0; pattern < 2 ** n; pattern++)
      if (total((index) => ((pattern >> index) & 1) === 1) >= observed) extreme++;
    return extreme / 2 ** n;
  }
  let extreme = 1;
  for (let draw = 0; draw < RANDOM_PATTERNS; draw++) if (total(() => prng.int(2) === 1) >= observed) extreme++;
  return extreme / (RANDOM_PATTERNS + 1);
}

/** p-values adjusted for testing them all at once (Holm 1979), in the order given. */
export function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((p, index) => ({ p, index })).sort((a, b) => a.p - b.p);
  const adjusted: number[] = pValues.map(() => 1);
  let running = 0;
  for (const [rank, { p, index }] of order.entries()) {
    running = Math.max(running, Math.min(1, p * (pValues.length - rank)));
    adjusted[index] = running;
  }
  return adjusted;
}
