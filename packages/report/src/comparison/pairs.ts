import type { Prng } from "@failstorm/core";
import { quantileSorted } from "simple-statistics";
import { MEASURES, type Measure } from "../measures.ts";
import { bcaInterval, type Interval, meanOf, medianOf } from "../statistics/bootstrap.ts";
import { cohenDz } from "../statistics/effectSize.ts";
import { signFlipTest } from "../statistics/permutation.ts";
import { type Resampler, standInPair, type VariantSummary } from "./summaries.ts";

/** Two variants in one measure: a − b over the blocks that have both. */
export interface PairResult {
  readonly measure: string;
  readonly a: string;
  readonly b: string;
  /** Blocks with a value of both. */
  readonly n: number;
  /** Blocks that lack one. */
  readonly dropped: number;
  /** Of `n`: at least one of the two was not reached (see `standInPair`). */
  readonly censored: number;
  /** BCa over blocks; null when n = 0. */
  readonly meanDifference: Interval | null;
  readonly medianDifference: number | null;
  /** 95 % of |a − b|. */
  readonly typical: number | null;
  /** Mean difference over the size of b's mean. */
  readonly relative: number | null;
  readonly dz: number | null;
  /** Blocks in which a was lower than b, ties half. */
  readonly lower: number;
  /** Two-sided sign-flip test on the mean; null when n < 2. */
  readonly p: number | null;
  readonly exact: boolean;
  readonly pCorrected: number | null;
  readonly significant: boolean;
  /** The same without the blocks in which one of the two runs was saturated or disturbed. */
  readonly unflagged: { readonly n: number; readonly meanDifference: number | null; readonly p: number | null };
}

interface Block {
  readonly a: number;
  readonly b: number;
  readonly censored: boolean;
  readonly flagged: boolean;
}

function pairUp(measure: Measure, first: VariantSummary, second: VariantSummary): { blocks: Block[]; dropped: number } {
  const ofA = first.measures[measure.key]?.observations ?? [];
  const ofB = new Map((second.measures[measure.key]?.observations ?? []).map((observation) => [observation.block, observation]));
  const blocks: Block[] = [];
  const all = new Set([...ofA.map(({ block }) => block), ...ofB.keys()]);
  for (const one of ofA) {
    const other = ofB.get(one.block);
    const values = other === undefined ? null : standInPair(one.observed, other.observed);
    if (other === undefined || values === null) continue;
    const [a, b] = values;
    const censored = one.observed.kind === "censored" || other.observed.kind === "censored";
    blocks.push({ a, b, censored, flagged: one.flagged || other.flagged });
  }
  return { blocks, dropped: all.size - blocks.length };
}

function compareIn(measure: Measure, first: VariantSummary, second: VariantSummary, resample: Resampler, prng: Prng): PairResult {
  const { blocks, dropped } = pairUp(measure, first, second);
  const differences = blocks.map(({ a, b }) => a - b);
  const sizes = differences.map(Math.abs).sort((x, y) => x - y);
  const n = blocks.length;
  const base = n === 0 ? 0 : meanOf(blocks.map(({ b }) => b));
  const test = n < 2 ? null : signFlipTest(differences, prng.fork("all"));
  const quiet = blocks.filter(({ flagged }) => !flagged).map(({ a, b }) => a - b);
  return {
    measure: measure.key,
    a: first.variant.id,
    b: second.variant.id,
    n,
    dropped,
    censored: blocks.filter(({ censored }) => censored).length,
    meanDifference: n === 0 ? null : bcaInterval(differences, meanOf, resample(n)),
    medianDifference: n === 0 ? null : medianOf(differences),
    typical: n === 0 ? null : quantileSorted(sizes, 0.95),
    relative: n === 0 || base === 0 ? null : meanOf(differences) / Math.abs(base),
    dz: cohenDz(differences),
    lower: differences.reduce((sum, difference) => sum + (difference < 0 ? 1 : difference === 0 ? 0.5 : 0), 0),
    p: test?.p ?? null,
    exact: test?.exact ?? true,
    pCorrected: null,
    significant: false,
    unflagged: {
      n: quiet.length,
      meanDifference: quiet.length === 0 ? null : meanOf(quiet),
      p: quiet.length < 2 ? null : signFlipTest(quiet, prng.fork("quiet")).p,
    },
  };
}

/** Every measure that has a good direction, for every pair of variants. Not corrected yet. */
export function comparePairs(
  pairs: readonly (readonly [VariantSummary, VariantSummary])[],
  options: { readonly resample: Resampler; readonly prng: Prng },
): PairResult[] {
  return pairs.flatMap(([a, b]) =>
    MEASURES.filter((measure) => measure.better !== null).map((measure) =>
      compareIn(measure, a, b, options.resample, options.prng.fork(`${measure.key}/${a.variant.id}/${b.variant.id}`)),
    ),
  );
}
