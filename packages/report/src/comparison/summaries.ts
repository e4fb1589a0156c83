import type { Prng } from "@failstorm/core";
import { quantileSorted } from "simple-statistics";
import { MEASURES, type Measure } from "../measures.ts";
import { bcaInterval, drawResamples, type Interval, medianOf, type Resamples } from "../statistics/bootstrap.ts";
import type { Observation } from "../statistics/survival.ts";
import type { Observed, RunDigest } from "./digest.ts";
import type { MadeRun, PlannedRun, Variant } from "./experiment.ts";

/** A planned run and what came of it. */
export interface RunEntry {
  readonly planned: PlannedRun;
  readonly made: MadeRun | null;
  readonly digest: RunDigest | null;
  /** Why there is no digest. */
  readonly problem: string | null;
}

/** One run of a variant in one block. */
export interface BlockObservation {
  readonly block: number;
  readonly observed: Observed;
  /** The run was saturated or disturbed. */
  readonly flagged: boolean;
}

export interface MeasureSummary {
  readonly measure: string;
  readonly n: number;
  /** Of `n`: not reached when the observation ended; they count with the time they were observed for. */
  readonly censored: number;
  /** Runs in which there was nothing to measure; not in `n`. */
  readonly missing: number;
  readonly missingBecause: string | null;
  /** BCa over runs. Null when n = 0. `estimate` is a lower bound when `isLowerBound`. */
  readonly median: Interval | null;
  readonly isLowerBound: boolean;
  readonly q25: number | null;
  readonly q75: number | null;
  readonly min: number | null;
  readonly max: number | null;
  readonly observations: readonly BlockObservation[];
}

export interface VariantSummary {
  readonly variant: Variant;
  readonly measures: Readonly<Record<string, MeasureSummary>>;
}

export const isUsable = (digest: RunDigest | null): digest is RunDigest => digest?.valid === true;
export const isFlagged = (digest: RunDigest): boolean => digest.saturated || digest.disturbed.length > 0;

/** The value that stands for an observation: what was reached, or how long it was waited for; null = nothing to measure. */
export const standIn = (observed: Observed): number | null =>
  observed.kind === "value" ? observed.value : observed.kind === "censored" ? observed.after : null;

/**
 * The two values of a pair. Where nobody can say which of the two was longer (neither was reached, or one had been waited for less long than the
 * other took) they count as equal: how long each was watched is no difference between them. Null: one of them has nothing to measure.
 */
export function standInPair(one: Observed, other: Observed): readonly [number, number] | null {
  const [a, b] = [standIn(one), standIn(other)];
  if (a === null || b === null) return null;
  const isUnknown = (one.kind === "censored" && a <= b) || (other.kind === "censored" && b <= a);
  return isUnknown ? [Math.min(a, b), Math.min(a, b)] : [a, b];
}

/** The runs of a variant as observations for a survival curve. */
export const observations = (summary: MeasureSummary): Observation[] =>
  summary.observations.flatMap(({ observed }) => {
    const time = standIn(observed);
    return time === null ? [] : [{ time, censored: observed.kind === "censored" }];
  });

/** Draws the resamples for each number of runs once: every measure sees the same ones. */
export function createResampler(prng: Prng, count: number): (n: number) => Resamples {
  const bySize = new Map<number, Resamples>();
  return (n) => {
    const known = bySize.get(n) ?? drawResamples(n, prng.fork(`resamples/${n}`), count);
    bySize.set(n, known);
    return known;
  };
}

export type Resampler = ReturnType<typeof createResampler>;

function summarise(measure: Measure, runs: readonly { block: number; digest: RunDigest }[], resample: Resampler): MeasureSummary {
  const seen = runs.map(({ block, digest }): BlockObservation => {
    const observed = digest.observed[measure.key] ?? { kind: "missing", reason: "not measured in this run" };
    return { block, observed, flagged: isFlagged(digest) };
  });
  const values = seen.flatMap(({ observed }) => standIn(observed) ?? []);
  const sorted = values.toSorted((a, b) => a - b);
  const at = (q: number): number | null => (sorted.length === 0 ? null : quantileSorted(sorted, q));
  const missing = seen.flatMap(({ observed }) => (observed.kind === "missing" ? [observed.reason] : []));
  const firstCensored = Math.min(...seen.flatMap(({ observed }) => (observed.kind === "censored" ? [observed.after] : [])));
  const median = values.length === 0 ? null : bcaInterval(values, medianOf, resample(values.length));
  // Of an even number both middle values make the median: it is a lower bound already when the upper one is.
  const upperMiddle = sorted[Math.floor(sorted.length / 2)];
  return {
    measure: measure.key,
    n: values.length,
    censored: seen.filter(({ observed }) => observed.kind === "censored").length,
    missing: missing.length,
    missingBecause: missing[0] ?? null,
    median,
    isLowerBound: upperMiddle !== undefined && upperMiddle >= firstCensored,
    q25: at(0.25),
    q75: at(0.75),
    min: at(0),
    max: at(1),
    observations: seen,
  };
}

/** All measures of a variant over its usable runs of a role, by block. */
export function summariseVariant(
  variant: Variant,
  entries: readonly RunEntry[],
  role: PlannedRun["role"],
  resample: Resampler,
): VariantSummary {
  const runs = entries.flatMap(({ planned, digest }) =>
    planned.variant === variant.id && planned.role === role && isUsable(digest) ? [{ block: planned.block, digest }] : [],
  );
  return { variant, measures: Object.fromEntries(MEASURES.map((measure) => [measure.key, summarise(measure, runs, resample)])) };
}
