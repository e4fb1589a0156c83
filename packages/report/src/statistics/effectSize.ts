import { mean, sampleStandardDeviation } from "simple-statistics";
import { normalQuantile } from "./normal.ts";
import { smallestSignFlipP } from "./permutation.ts";

/** Cohen's d_z: the mean paired difference in units of its own standard deviation; null when that is 0 or unknown. */
export function cohenDz(differences: readonly number[]): number | null {
  if (differences.length < 2) return null;
  const deviation = sampleStandardDeviation([...differences]);
  const centre = mean([...differences]);
  // Equal differences of unequal numbers deviate in their last digits.
  return deviation <= 1e-12 * Math.abs(centre) ? null : centre / deviation;
}

/** Cliff's delta (1993): P(a > b) − P(a < b) over all pairs, −1…1. */
export function cliffDelta(a: readonly number[], b: readonly number[]): number | null {
  if (a.length === 0 || b.length === 0) return null;
  let sum = 0;
  for (const x of a) for (const y of b) sum += Math.sign(x - y);
  return sum / (a.length * b.length);
}

/** What so many blocks can show, said before they are run. */
export interface BlockPower {
  readonly blocks: number;
  readonly comparisons: number;
  readonly alpha: number;
  /** The smallest p-value that a two-sided sign-flip test of so many blocks can give. */
  readonly smallestP: number;
  /** What Holm's first step asks of the smallest p-value. */
  readonly neededP: number;
  readonly canPass: boolean;
  /** The fewest blocks with which the test can pass at all. */
  readonly blocksNeeded: number;
  /** The |d_z| that is found with 80 % probability under Holm's first step; null when the test cannot pass. */
  readonly detectableDz: number | null;
}

const POWER = 0.8;

/**
 * Power of the paired comparison of `blocks` blocks when the smallest of `comparisons` p-values is held to alpha / comparisons.
 * The detectable effect: Guenther's approximation (1981) for the paired t-test, which the sign-flip test follows closely.
 */
export function blockPower(blocks: number, comparisons: number, alpha = 0.05): BlockPower {
  const neededP = alpha / Math.max(1, comparisons);
  const smallestP = smallestSignFlipP(blocks);
  const z = normalQuantile(1 - neededP / 2);
  const left = blocks - z ** 2 / 2;
  const canPass = smallestP <= neededP;
  return {
    blocks,
    comparisons,
    alpha,
    smallestP,
    neededP,
    canPass,
    blocksNeeded: Math.ceil(1 - Math.log2(neededP) - 1e-12),
    detectableDz: canPass && left > 0 ? (z + normalQuantile(POWER)) / Math.sqrt(left) : null,
  };
}
