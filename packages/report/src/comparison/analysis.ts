import { createPrng, type Prng } from "@failstorm/core";
import { MEASURES } from "../measures.ts";
import { bcaInterval, DEFAULT_RESAMPLES, type Interval, meanOf } from "../statistics/bootstrap.ts";
import { type BlockPower, blockPower } from "../statistics/effectSize.ts";
import { holm } from "../statistics/permutation.ts";
import type { RunDigest } from "./digest.ts";
import type { Experiment, PlannedRun } from "./experiment.ts";
import { comparePairs, type PairResult } from "./pairs.ts";
import {
  createResampler,
  isFlagged,
  isUsable,
  type Resampler,
  type RunEntry,
  summariseVariant,
  type VariantSummary,
} from "./summaries.ts";

/** The same variant run twice in each block: what differs is the harness and the machine. */
export interface HarnessSpread {
  readonly measure: string;
  readonly n: number;
  /** Of the second run less the first. */
  readonly meanDifference: Interval | null;
  /** 95 % of |second − first|. */
  readonly typical: number | null;
  readonly p: number | null;
}

/** What the fault took from a variant, against its own runs of the same questions without a fault. */
export interface FaultCost {
  readonly variant: string;
  readonly blocks: number;
  /** Goodput of the runs without a fault, mean, %. */
  readonly goodputWithout: number;
  readonly goodputWith: number;
  /** Answers right without and not with the fault, less the other way round; % of all questions. */
  readonly lost: Interval;
}

export interface Stratum {
  readonly name: string;
  readonly baseline: string;
  readonly variants: readonly VariantSummary[];
  readonly pairs: readonly PairResult[];
  readonly harness: readonly HarnessSpread[];
  /** Runs without a fault, by variant. */
  readonly noFault: readonly VariantSummary[];
  readonly faultCost: readonly FaultCost[];
  /** Measure → the variants that are better than every other with significance; at most one. */
  readonly best: Readonly<Record<string, string>>;
}

export interface Comparison {
  readonly experiment: Experiment;
  readonly runs: readonly RunEntry[];
  readonly strata: readonly Stratum[];
  readonly power: BlockPower;
  /** Blocks in which every planned run has a usable result. */
  readonly completeBlocks: number;
  /** Things that a reader must know. */
  readonly warnings: readonly string[];
}

function analyseStratum(
  experiment: Experiment,
  name: string,
  entries: readonly RunEntry[],
  resample: Resampler,
  prng: Prng,
): Stratum {
  const variants = experiment.variants.filter((variant) => variant.stratum === name);
  const baseline = variants.find((variant) => String(variant.levels[experiment.compare]) === experiment.baseline) ?? variants[0];
  const own = (role: PlannedRun["role"], list = variants): VariantSummary[] =>
    list.map((variant) => summariseVariant(variant, entries, role, resample));
  const summaries = own("variant");
  const again = own("aa").find((summary) => Object.values(summary.measures).some((measure) => measure.n > 0));
  const first = summaries.find((summary) => summary.variant.id === again?.variant.id);
  const harness =
    again === undefined || first === undefined
      ? []
      : comparePairs([[again, first]], { resample, prng: prng.fork("aa") }).map(({ measure, n, meanDifference, typical, p }) => ({
          measure,
          n,
          meanDifference,
          typical,
          p,
        }));
  return {
    name,
    baseline: baseline?.id ?? "",
    variants: summaries,
    pairs: comparePairs(allPairs(summaries, baseline?.id ?? ""), { resample, prng: prng.fork("pairs") }),
    harness,
    noFault: own("no_fault").filter((summary) => Object.values(summary.measures).some((measure) => measure.n > 0)),
    faultCost: variants.flatMap((variant) => measureFaultCost(variant.id, entries, resample) ?? []),
    best: {},
  };
}

function measureFaultCost(variant: string, entries: readonly RunEntry[], resample: Resampler): FaultCost | null {
  const ofRole = (role: PlannedRun["role"]): Map<number, RunDigest> =>
    new Map(
      entries.flatMap(({ planned, digest }) =>
        planned.variant === variant && planned.role === role && isUsable(digest) ? [[planned.block, digest] as const] : [],
      ),
    );
  const controls = ofRole("no_fault");
  const blocks = [...ofRole("variant")].flatMap(([block, run]) => {
    const control = controls.get(block);
    const tasks = control === undefined ? [] : [...run.good.keys()].filter((task) => control.good.has(task));
    if (control === undefined || tasks.length === 0) return [];
    const share = (good: ReadonlyMap<string, boolean>): number =>
      (tasks.filter((task) => good.get(task) === true).length / tasks.length) * 100;
    return [{ without: share(control.good), with: share(run.good) }];
  });
  if (blocks.length === 0) return null;
  return {
    variant,
    blocks: blocks.length,
    goodputWithout: meanOf(blocks.map((block) => block.without)),
    goodputWith: meanOf(blocks.map((block) => block.with)),
    lost: bcaInterval(
      blocks.map((block) => block.without - block.with),
      meanOf,
      resample(blocks.length),
    ),
  };
}

/** Every two variants; the baseline, where it is one of them, is the second, from which the difference is counted. */
function allPairs(summaries: readonly VariantSummary[], baseline: string): [VariantSummary, VariantSummary][] {
  return summaries.flatMap((a, i) =>
    summaries.slice(i + 1).map((b): [VariantSummary, VariantSummary] => (a.variant.id === baseline ? [b, a] : [a, b])),
  );
}

/** Corrects the p-values: those of the primary measure among themselves, all others among themselves. */
function correct(strata: readonly Stratum[], experiment: Experiment): Stratum[] {
  const corrected = new Map<PairResult, number>();
  for (const isPrimary of [true, false]) {
    const family = strata.flatMap((stratum) =>
      stratum.pairs.filter((pair) => (pair.measure === experiment.primary) === isPrimary && pair.p !== null),
    );
    const ps = holm(family.map((pair) => pair.p ?? 1));
    for (const [i, pair] of family.entries()) corrected.set(pair, ps[i] ?? 1);
  }
  return strata.map((stratum) => {
    const pairs = stratum.pairs.map((pair) => withCorrection(pair, corrected.get(pair) ?? null, experiment.alpha));
    return Object.assign({}, stratum, { pairs, best: findBest(stratum, pairs) });
  });
}

const withCorrection = (pair: PairResult, pCorrected: number | null, alpha: number): PairResult => ({
  ...pair,
  pCorrected,
  significant: pCorrected !== null && pCorrected <= alpha,
});

/** A variant is the best at a measure when it is better than each of the others, each time with significance. */
function findBest({ variants }: Stratum, pairs: readonly PairResult[]): Record<string, string> {
  const best: Record<string, string> = {};
  for (const { key, better } of MEASURES) {
    if (better === null || variants.length < 2) continue;
    const own = pairs.filter((pair) => pair.measure === key && pair.significant && pair.meanDifference !== null);
    const beaten = (id: string): number =>
      own.filter((pair) => {
        const isLower = (pair.meanDifference?.estimate ?? 0) < 0;
        return (isLower === (better === "lower") ? pair.a : pair.b) === id;
      }).length;
    const winner = variants.find(({ variant }) => beaten(variant.id) === variants.length - 1);
    if (winner !== undefined) best[key] = winner.variant.id;
  }
  return best;
}

function findWarnings(experiment: Experiment, entries: readonly RunEntry[], strata: readonly Stratum[]): string[] {
  const warnings: string[] = [];
  const flagged = entries.filter(({ digest }) => digest !== null && isFlagged(digest)).length;
  const made = entries.filter(({ digest }) => digest !== null).length;
  if (flagged > 0)
    warnings.push(
      `${flagged} of ${made} runs were saturated or disturbed; they are in the numbers, and the last columns say what is left without them.`,
    );
  for (const stratum of strata) {
    const wrong = stratum.harness.find(
      (spread) => spread.measure === experiment.primary && spread.p !== null && spread.p <= experiment.alpha,
    );
    if (wrong !== undefined)
      warnings.push(
        `A/A${stratum.name === "" ? "" : ` (${stratum.name})`}: two runs of the same differ in ${wrong.measure} (p = ${wrong.p?.toFixed(3)}): by chance in one of ${Math.round(1 / experiment.alpha)} experiments, else a fault of the harness.`,
      );
  }
  const byWork = Map.groupBy(
    entries.flatMap(({ planned, digest }) => (digest === null ? [] : [{ planned, digest }])),
    ({ planned, digest }) => `${planned.block} ${digest.agents}`,
  );
  const uneven = [...byWork.values()].filter(
    (group) =>
      new Set(group.map(({ digest }) => digest.scheduleHash)).size > 1 ||
      new Set(group.filter(({ digest }) => digest.victims.length > 0).map(({ digest }) => digest.victims.join())).size > 1,
  );
  const varies = Object.keys(experiment.factors).some((factor) => !["protocol", "detector", "agents"].includes(factor));
  if (uneven.length > 0 && !varies)
    warnings.push(`In ${uneven.length} blocks the runs did not have the same questions and victims; they cannot be paired.`);
  return warnings;
}

/** Everything that the runs of an experiment say. Pure: the same runs and seed give the same numbers. */
export function analyse(experiment: Experiment, entries: readonly RunEntry[], resamples = DEFAULT_RESAMPLES): Comparison {
  const prng = createPrng(experiment.seed, "analysis");
  const resample = createResampler(prng, resamples);
  const names = [...new Set(experiment.variants.map((variant) => variant.stratum))];
  const raw = names.map((name) => analyseStratum(experiment, name, entries, resample, prng.fork(name)));
  const strata = correct(raw, experiment);
  const blocks = Map.groupBy(entries, ({ planned }) => planned.block);
  const comparisons = strata.reduce((sum, { variants }) => sum + (variants.length * (variants.length - 1)) / 2, 0);
  return {
    experiment,
    runs: entries,
    strata,
    power: blockPower(experiment.repeats, comparisons, experiment.alpha),
    completeBlocks: [...blocks.values()].filter((block) => block.every(({ digest }) => isUsable(digest))).length,
    warnings: findWarnings(experiment, entries, strata),
  };
}
