import { createPrng, InputError, type Prng } from "@failstorm/core";
import { findMeasure, MEASURES, type Measure } from "../measures.ts";
import { bcaInterval, DEFAULT_RESAMPLES, drawResamples, type Interval, meanOf, medianOf } from "../statistics/bootstrap.ts";
import { cliffDelta, cohenDz } from "../statistics/effectSize.ts";
import { holm, signFlipTest, smallestSignFlipP, twoSampleTest } from "../statistics/permutation.ts";
import type { Observed, RunDigest } from "./digest.ts";
import type { ResultGroup, ResultSet } from "./resultSet.ts";
import { standIn, standInPair } from "./summaries.ts";

/** `recovery_ms:+20%`: what counts as a regression. */
export interface FailRule {
  readonly measure: Measure;
  /** Share of A's mean (`relative`), or in the measure's unit; signed: + for more. 0: any worsening. */
  readonly limit: number;
  readonly relative: boolean;
  readonly text: string;
}

/** Reads `measure`, `measure:+20%` or `measure:-1.5` (in the measure's unit). Throws InputError. */
export function parseFailRule(text: string): FailRule {
  const [, key = "", sign = "", amount = "", percent = ""] =
    /^([^:]+?)(?::([+-])(\d+(?:\.\d+)?)\s*(%|[A-Za-z/]+)?)?$/.exec(text.trim()) ?? [];
  const measure = findMeasure(key);
  if (measure === undefined || measure.better === null)
    throw new InputError(
      `--fail-on ${text}: must be MEASURE or MEASURE:+20% or MEASURE:+50 (in its unit); measures are ${MEASURES.filter(
        ({ better }) => better !== null,
      )
        .map((known) => known.key)
        .join(", ")}`,
    );
  if (percent !== "" && percent !== "%" && percent !== measure.unit)
    throw new InputError(
      `--fail-on ${text}: ${key} is in ${measure.unit}, not in ${percent}; give ${key}:${sign}${amount}${measure.unit}`,
    );
  const size = amount === "" ? 0 : Number(amount) * (sign === "-" ? -1 : 1);
  const isGood = measure.better === "lower" ? size < 0 : size > 0;
  if (isGood)
    throw new InputError(
      `--fail-on ${text}: a ${sign === "-" ? "lower" : "higher"} ${measure.label.toLowerCase()} is no regression; turn the sign`,
    );
  return { measure, limit: percent === "%" ? size / 100 : size, relative: percent === "%", text };
}

/** One measure of two results. Differences are B − A. */
export interface DiffRow {
  readonly measure: string;
  readonly a: { readonly n: number; readonly median: number | null };
  readonly b: { readonly n: number; readonly median: number | null };
  readonly meanDifference: Interval | null;
  readonly relative: number | null;
  /** d_z of paired runs, Cliff's delta of others. */
  readonly effect: number | null;
  readonly p: number | null;
  readonly pCorrected: number | null;
  /** The smallest p-value that so many runs could give. */
  readonly smallestP: number;
  readonly change: "better" | "worse" | "not significant" | "too few runs" | "nothing to compare";
  /** Set where a rule was asked for. */
  readonly regression: { readonly rule: string; readonly judgedBy: "significance" | "threshold alone" } | null;
  /** Why a rule that was asked for could not be judged: no regression then means nothing. */
  readonly unjudged: { readonly rule: string; readonly because: string; readonly lacksValues: boolean } | null;
}

export interface DiffGroup {
  readonly name: string;
  readonly paired: boolean;
  readonly rows: readonly DiffRow[];
}

export interface Diff {
  readonly a: string;
  readonly b: string;
  readonly alpha: number;
  readonly groups: readonly DiffGroup[];
  /** Groups that only one of the two has. */
  readonly unmatched: readonly string[];
}

interface Pair {
  readonly name: string;
  readonly a: readonly RunDigest[];
  readonly b: readonly RunDigest[];
}

function matchGroups(a: ResultSet, b: ResultSet): { pairs: Pair[]; unmatched: string[] } {
  const [onlyA, onlyB] = [a.groups[0], b.groups[0]];
  if (a.groups.length === 1 && b.groups.length === 1 && onlyA !== undefined && onlyB !== undefined) {
    const name = onlyA.name === onlyB.name ? onlyA.name : `${onlyA.name} → ${onlyB.name}`;
    return { pairs: [{ name, a: onlyA.runs, b: onlyB.runs }], unmatched: [] };
  }
  const others = new Map(b.groups.map((group) => [group.name, group]));
  const has = (groups: readonly ResultGroup[], name: string): boolean => groups.some((group) => group.name === name);
  return {
    pairs: a.groups.flatMap(({ name, runs }) => (others.has(name) ? [{ name, a: runs, b: others.get(name)?.runs ?? [] }] : [])),
    unmatched: [...a.groups.filter(({ name }) => !others.has(name)), ...b.groups.filter(({ name }) => !has(a.groups, name))].map(
      ({ name }) => name,
    ),
  };
}

/** Runs of the same seed and work, when most have such a partner; runs without one are left out. Else null. */
function partners({ a, b }: Pair): [RunDigest, RunDigest][] | null {
  const key = (run: RunDigest): string => `${run.seed} ${run.scheduleHash}`;
  const ofB = new Map(b.map((run) => [key(run), run]));
  if (ofB.size !== b.length || new Set(a.map(key)).size !== a.length) return null;
  const pairs = a.flatMap((run): [RunDigest, RunDigest][] => {
    const other = ofB.get(key(run));
    return other === undefined ? [] : [[run, other]];
  });
  return pairs.length > 1 && pairs.length * 2 >= Math.max(a.length, b.length) ? pairs : null;
}

const observedIn = (measure: Measure, run: RunDigest): Observed =>
  run.observed[measure.key] ?? { kind: "missing", reason: "not measured in this run" };

interface Tested {
  readonly meanDifference: Interval | null;
  readonly effect: number | null;
  readonly p: number | null;
  readonly smallestP: number;
}

function testPaired(differences: readonly number[], prng: Prng): Tested {
  const n = differences.length;
  if (n < 2) return { meanDifference: null, effect: null, p: null, smallestP: 1 };
  return {
    meanDifference: bcaInterval(differences, meanOf, drawResamples(n, prng.fork("resamples"))),
    effect: cohenDz(differences),
    p: signFlipTest(differences, prng.fork("signs")).p,
    smallestP: smallestSignFlipP(n),
  };
}

/** Percentile bootstrap of the difference of means, each side resampled by itself. */
function testUnpaired(a: readonly number[], b: readonly number[], prng: Prng): Tested {
  if (a.length < 2 || b.length < 2) return { meanDifference: null, effect: null, p: null, smallestP: 1 };
  const draw = prng.fork("resamples");
  const mean = (values: readonly number[]): number => meanOf(values.map(() => draw.pick(values)));
  const values = Array.from({ length: DEFAULT_RESAMPLES }, () => mean(b) - mean(a)).sort((x, y) => x - y);
  const at = (q: number): number => values[Math.round(q * (values.length - 1))] ?? Number.NaN;
  const test = twoSampleTest(a, b, prng.fork("splits"));
  return {
    meanDifference: { estimate: meanOf(b) - meanOf(a), low: at(0.025), high: at(0.975), level: 0.95 },
    effect: cliffDelta(b, a),
    p: test.p,
    smallestP: test.exact ? (a.length === b.length ? 2 : 1) / test.arrangements : 1 / test.arrangements,
  };
}

/** `gap`: mean of B less mean of A, in the measure's unit. */
interface RawRow extends Omit<DiffRow, "pCorrected" | "change" | "regression" | "unjudged"> {
  readonly gap: number | null;
}

/**
 * The values of both; where runs are paired those of the pairs that have two, so that all numbers of a row speak of the same runs. Of two samples
 * in which runs never got there, these count with the shortest time that one was observed for: that runs were longer is no difference.
 */
function valuesOf(measure: Measure, pair: Pair, matched: [RunDigest, RunDigest][] | null): { a: number[]; b: number[] } {
  if (matched !== null) {
    const both = matched.flatMap(([one, other]) => {
      const values = standInPair(observedIn(measure, one), observedIn(measure, other));
      return values === null ? [] : [values];
    });
    return { a: both.map(([value]) => value), b: both.map(([, value]) => value) };
  }
  const [ofA, ofB] = [pair.a, pair.b].map((runs) => runs.map((run) => observedIn(measure, run))) as [Observed[], Observed[]];
  const shortest = (all: readonly Observed[]): number =>
    Math.min(...all.flatMap((observed) => (observed.kind === "censored" ? [observed.after] : [])));
  const [shortestA, shortestB] = [shortest(ofA), shortest(ofB)];
  const inBoth = Number.isFinite(shortestA) && Number.isFinite(shortestB);
  const known = (all: readonly Observed[]): number[] =>
    all.flatMap((observed) =>
      inBoth && observed.kind === "censored" ? [Math.min(shortestA, shortestB)] : (standIn(observed) ?? []),
    );
  return { a: known(ofA), b: known(ofB) };
}

function compareMeasure(measure: Measure, pair: Pair, matched: [RunDigest, RunDigest][] | null, prng: Prng): RawRow {
  const { a, b } = valuesOf(measure, pair, matched);
  const differences = b.map((value, i) => value - (a[i] ?? 0));
  const tested = matched === null ? testUnpaired(a, b, prng) : testPaired(differences, prng);
  const base = a.length === 0 ? 0 : meanOf(a);
  const gap = a.length === 0 || b.length === 0 ? null : meanOf(b) - base;
  return {
    measure: measure.key,
    a: { n: a.length, median: a.length === 0 ? null : medianOf(a) },
    b: { n: b.length, median: b.length === 0 ? null : medianOf(b) },
    ...tested,
    // Of the size of A's mean: a drop that was negative before must not turn the sign.
    relative: gap === null || base === 0 ? null : gap / Math.abs(base),
    gap,
  };
}

/** Whether B is worse than the rule allows, and by what that was judged; or why it could not be. */
function judge(
  row: RawRow,
  rule: FailRule,
  pCorrected: number | null,
  { alpha, family }: { alpha: number; family: number },
): Pick<DiffRow, "regression" | "unjudged"> {
  const { gap, relative } = row;
  const fine = { regression: null, unjudged: null };
  const unjudged = (because: string, lacksValues: boolean) => ({
    regression: null,
    unjudged: { rule: rule.text, because, lacksValues },
  });
  if (gap === null) return unjudged("one of the two has no such value", true);
  // Any worsening of what was 0 is more than every share of it.
  const share = relative ?? (gap === 0 ? 0 : Math.sign(gap) * Number.POSITIVE_INFINITY);
  const size = rule.relative ? share : gap;
  const isWorse = rule.measure.better === "lower" ? size > 0 && size >= rule.limit : size < 0 && size <= rule.limit;
  if (!isWorse) return fine;
  // So few runs that nothing could be significant: the threshold decides, and that is said.
  if (row.p === null || row.smallestP * family > alpha)
    return rule.limit === 0
      ? unjudged("it is worse, but these are too few runs for a test, and the rule names no threshold", false)
      : { ...fine, regression: { rule: rule.text, judgedBy: "threshold alone" } };
  return pCorrected !== null && pCorrected <= alpha
    ? { ...fine, regression: { rule: rule.text, judgedBy: "significance" } }
    : fine;
}

function changeOf(row: RawRow, measure: Measure, pCorrected: number | null, alpha: number): DiffRow["change"] {
  if (row.a.n === 0 || row.b.n === 0) return "nothing to compare";
  if (row.p === null || pCorrected === null) return "too few runs";
  if (pCorrected > alpha) return "not significant";
  return (row.meanDifference?.estimate ?? 0) < 0 === (measure.better === "lower") ? "better" : "worse";
}

/**
 * What changed from A to B. Runs of the same seed are paired; else two samples are compared. p-values are corrected (Holm) among the
 * measures that `rules` name and, apart from them, among all others.
 */
export function diffResults(
  a: ResultSet,
  b: ResultSet,
  options: { readonly rules: readonly FailRule[]; readonly alpha: number; readonly seed: number },
): Diff {
  const { rules, alpha, seed } = options;
  const { pairs, unmatched } = matchGroups(a, b);
  const prng = createPrng(seed, "diff");
  const compared = MEASURES.filter(({ better }) => better !== null);
  const raw = pairs.map((pair) => {
    const matched = partners(pair);
    return {
      pair,
      matched,
      rows: compared.map((measure) => ({
        measure,
        row: compareMeasure(measure, pair, matched, prng.fork(`${pair.name}/${measure.key}`)),
      })),
    };
  });
  const ruleOf = (measure: Measure): FailRule | undefined => rules.find((rule) => rule.measure.key === measure.key);
  const corrected = new Map<RawRow, number>();
  const sizes = { gate: 0, other: 0 };
  for (const family of ["gate", "other"] as const) {
    const rows = raw.flatMap(({ rows }) =>
      rows
        .filter(({ measure, row }) => (ruleOf(measure) !== undefined) === (family === "gate") && row.p !== null)
        .map(({ row }) => row),
    );
    const ps = holm(rows.map(({ p }) => p ?? 1));
    sizes[family] = rows.length;
    for (const [i, row] of rows.entries()) corrected.set(row, ps[i] ?? 1);
  }
  const groups = raw.map(({ pair, matched, rows }) => ({
    name: pair.name,
    paired: matched !== null,
    rows: rows.map(({ measure, row }): DiffRow => {
      const pCorrected = corrected.get(row) ?? null;
      const rule = ruleOf(measure);
      const judged =
        rule === undefined ? { regression: null, unjudged: null } : judge(row, rule, pCorrected, { alpha, family: sizes.gate });
      const { gap: _, ...shown } = row;
      return { ...shown, pCorrected, change: changeOf(row, measure, pCorrected, alpha), ...judged };
    }),
  }));
  return { a: a.source, b: b.source, alpha, groups, unmatched };
}
