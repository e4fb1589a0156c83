import type { Prng } from "@failstorm/core";

/** The p-value of a test, and whether every arrangement was looked at or a sample of them. */
export interface PermutationTest {
  readonly p: number;
  readonly exact: boolean;
  /** Arrangements looked at. */
  readonly arrangements: number;
}

/** Up to here all 2^n sign patterns are counted: a million additions. */
const MAX_EXACT_SIGNS = 20;
const MAX_EXACT_SPLITS = 200_000;
export const DEFAULT_DRAWS = 100_000;

/** Sums in another order differ in their last digits; what is this near to the observed one equals it. */
const tolerance = (values: readonly number[]): number => 1e-9 * values.reduce((sum, value) => sum + Math.abs(value), 0);

/**
 * Fisher's test on paired differences (The Design of Experiments, 1935, § 21): under the hypothesis of no effect each difference
 * could as well have had the other sign. Two-sided, on the mean. With more than 20 pairs a seeded sample of patterns is taken, the observed
 * one among them (Phipson and Smyth, 2010: never p = 0).
 */
export function signFlipTest(differences: readonly number[], prng: Prng, draws = DEFAULT_DRAWS): PermutationTest {
  const observed = Math.abs(differences.reduce((sum, value) => sum + value, 0)) - tolerance(differences);
  const n = differences.length;
  if (n === 0) return { p: 1, exact: true, arrangements: 1 };
  return n <= MAX_EXACT_SIGNS ? allSigns(differences, observed) : someSigns(differences, observed, prng, draws);
}

/** The smallest p-value that the two-sided test of so many differences can give. */
export const smallestSignFlipP = (n: number, draws = DEFAULT_DRAWS): number =>
  n <= MAX_EXACT_SIGNS ? Math.min(1, 2 ** (1 - n)) : 1 / (draws + 1);

/** Gray code: each pattern differs from the one before in a single sign. The first sign stays: patterns and their mirrors are equal. */
function allSigns(differences: readonly number[], observed: number): PermutationTest {
  const patterns = 2 ** (differences.length - 1);
  const signed = [...differences];
  let sum = signed.reduce((total, value) => total + value, 0);
  let extreme = Math.abs(sum) >= observed ? 1 : 0;
  for (let pattern = 1; pattern < patterns; pattern++) {
    const flip = 1 + (31 - Math.clz32(pattern & -pattern));
    const value = signed[flip] as number;
    signed[flip] = -value;
    sum -= 2 * value;
    if (Math.abs(sum) >= observed) extreme += 1;
  }
  return { p: extreme / patterns, exact: true, arrangements: patterns * 2 };
}

function someSigns(differences: readonly number[], observed: number, prng: Prng, draws: number): PermutationTest {
  let extreme = 1;
  for (let draw = 0; draw < draws; draw++) {
    let sum = 0;
    for (const value of differences) sum += prng.next() < 0.5 ? value : -value;
    if (Math.abs(sum) >= observed) extreme += 1;
  }
  return { p: extreme / (draws + 1), exact: false, arrangements: draws + 1 };
}

/**
 * The two-sample permutation test on the difference of means (Fisher, 1936; Efron and Tibshirani, 1993, ch. 15), two-sided. All splits
 * are counted when there are at most 200 000 of them, else a seeded sample.
 */
export function twoSampleTest(a: readonly number[], b: readonly number[], prng: Prng, draws = DEFAULT_DRAWS): PermutationTest {
  if (a.length === 0 || b.length === 0) return { p: 1, exact: true, arrangements: 1 };
  const all = [...a, ...b];
  const total = all.reduce((sum, value) => sum + value, 0);
  const gap = (sumOfA: number): number => Math.abs(sumOfA / a.length - (total - sumOfA) / b.length);
  const observed = gap(a.reduce((sum, value) => sum + value, 0)) - tolerance(all) / Math.min(a.length, b.length);
  const splits = binomial(all.length, a.length);
  if (splits <= MAX_EXACT_SPLITS) {
    let extreme = 0;
    forEachSum(all, a.length, (sum) => {
      if (gap(sum) >= observed) extreme += 1;
    });
    return { p: extreme / splits, exact: true, arrangements: splits };
  }
  let extreme = 1;
  for (let draw = 0; draw < draws; draw++) {
    let sum = 0;
    for (let i = 0; i < a.length; i++) {
      const j = i + prng.int(all.length - i);
      const value = all[j] as number;
      all[j] = all[i] as number;
      all[i] = value;
      sum += value;
    }
    if (gap(sum) >= observed) extreme += 1;
  }
  return { p: extreme / (draws + 1), exact: false, arrangements: draws + 1 };
}

function binomial(n: number, k: number): number {
  let result = 1;
  for (let i = 1; i <= k; i++) result = (result * (n - k + i)) / i;
  return Math.round(result);
}

/** Calls `visit` with the sum of every choice of `k` of `values`. */
function forEachSum(values: readonly number[], k: number, visit: (sum: number) => void, from = 0, sum = 0): void {
  if (k === 0) {
    visit(sum);
    return;
  }
  for (let i = from; i <= values.length - k; i++) forEachSum(values, k - 1, visit, i + 1, sum + (values[i] as number));
}

/** p-values corrected for their number (Holm, 1979), in the order given; each is at most 1. */
export function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((_, i) => i).sort((a, b) => (pValues[a] as number) - (pValues[b] as number));
  const adjusted = pValues.map(() => 1);
  let largest = 0;
  for (const [rank, i] of order.entries()) {
    largest = Math.max(largest, Math.min(1, (pValues.length - rank) * (pValues[i] as number)));
    adjusted[i] = largest;
  }
  return adjusted;
}
