import { findMeasure, formatValue, MEASURES, type Measure } from "../measures.ts";
import { meanOf } from "../statistics/bootstrap.ts";
import type { Interval } from "../statistics/bootstrap.ts";
import type { Comparison, Stratum } from "./analysis.ts";
import { type Cell, cell, type Column, type DataTable } from "./dataTable.ts";
import type { PairResult } from "./pairs.ts";
import { findPublished, type PublishedTable } from "./published.ts";
import { isFlagged, type MeasureSummary, type RunEntry, standIn } from "./summaries.ts";

export const intervalText = (interval: Interval | null, sign = false): string => {
  if (interval === null) return "–";
  const plus = (value: number): string => `${sign && value > 0 ? "+" : ""}${formatValue(value).replace("-", "−")}`;
  return `${plus(interval.estimate)} [${plus(interval.low)}, ${plus(interval.high)}]`;
};

export const pText = (p: number | null): string => (p === null ? "–" : p < 0.0001 ? "<0.0001" : p.toFixed(4));

const column = (key: string, name = key, numeric = true): Column => ({ key, name, numeric });

/** Names of a stratum's variants: its levels of the compared factor are enough where there is one stratum. */
export const labelOf = (comparison: Comparison, id: string): string =>
  comparison.experiment.variants.find((variant) => variant.id === id)?.label ?? id;

const inFile = (stratum: Stratum): string => (stratum.name === "" ? "" : `-${stratum.name.replaceAll(/[^A-Za-z0-9.]+/g, "_")}`);
const inTitle = (stratum: Stratum): string => (stratum.name === "" ? "" : ` (${stratum.name})`);

function summaryCell(summary: MeasureSummary | undefined, isBest: boolean): Cell {
  if (summary === undefined || summary.median === null) return cell("–", null);
  const bound = summary.isLowerBound ? "≥ " : "";
  const censored = summary.censored > 0 ? ` (${summary.censored} of ${summary.n} never)` : "";
  return cell(`${bound}${intervalText(summary.median)}${censored}`, summary.median.estimate, isBest);
}

function summaryRow({ experiment }: Comparison, stratum: Stratum, measure: Measure): Cell[] {
  const label = measure.key === experiment.primary ? `${measure.label} (primary)` : measure.label;
  const medians = stratum.variants.map(({ variant, measures }) =>
    summaryCell(measures[measure.key], stratum.best[measure.key] === variant.id),
  );
  return [cell(label, measure.key), cell(measure.unit), ...medians];
}

/** Medians of all measures with their intervals, a column a variant. */
export function summaryTable(comparison: Comparison, stratum: Stratum): DataTable {
  const { primary } = comparison.experiment;
  const measures = [findMeasure(primary), ...MEASURES.filter((measure) => measure.key !== primary)].filter(
    (measure) => measure !== undefined,
  );
  const n = stratum.variants.map(({ measures: own }) => own[primary]?.observations.length ?? 0);
  return {
    id: `summary${inFile(stratum)}`,
    title: `Medians over runs with 95 % intervals${inTitle(stratum)}`,
    columns: [
      column("measure", "measure", false),
      column("unit", "unit", false),
      ...stratum.variants.map(({ variant }, i) => column(variant.id, `${variant.label} (n = ${n[i]})`)),
    ],
    rows: measures.map((measure) => summaryRow(comparison, stratum, measure)),
    notes: [
      `Median [BCa bootstrap interval over runs]. Bold: better than every other, each difference significant after Holm's correction (α = ${comparison.experiment.alpha}). “n never”: not reached before the end of the observation; such runs count with the time they were observed for, and a median that falls upon one is a lower bound (≥).`,
    ],
  };
}

function pairRow(comparison: Comparison, stratum: Stratum, pair: PairResult): Cell[] {
  const measure = findMeasure(pair.measure) as Measure;
  const harness = stratum.harness.find((spread) => spread.measure === pair.measure);
  const { unflagged } = pair;
  return [
    cell(measure.label, measure.key),
    cell(`${labelOf(comparison, pair.a)} − ${labelOf(comparison, pair.b)}`, `${pair.a} - ${pair.b}`),
    cell(measure.unit),
    cell(String(pair.n), pair.n),
    cell(intervalText(pair.meanDifference, true), pair.meanDifference?.estimate ?? null, pair.significant),
    cell("", pair.meanDifference?.low ?? null),
    cell("", pair.meanDifference?.high ?? null),
    cell(
      pair.relative === null ? "–" : `${pair.relative > 0 ? "+" : ""}${(pair.relative * 100).toFixed(1)} %`.replace("-", "−"),
      pair.relative,
    ),
    cell(pair.dz === null ? "–" : pair.dz.toFixed(2).replace("-", "−"), pair.dz),
    cell(`${pair.lower} of ${pair.n}`, pair.lower),
    cell(pText(pair.p), pair.p),
    cell(pText(pair.pCorrected), pair.pCorrected, pair.significant),
    cell(intervalText(harness?.meanDifference ?? null, true), harness?.meanDifference?.estimate ?? null),
    cell(
      unflagged.n === pair.n ? "–" : `${formatValue(unflagged.meanDifference)} (n = ${unflagged.n}, p = ${pText(unflagged.p)})`,
      unflagged.meanDifference,
    ),
  ];
}

/** Paired differences: of the primary measure between all variants, of the others to the baseline (all in the CSV's second part: `all`). */
export function differencesTable(comparison: Comparison, stratum: Stratum, all: boolean): DataTable {
  const { primary, alpha } = comparison.experiment;
  const own = stratum.pairs.filter((pair) => pair.n > 0 && (all || pair.measure === primary || pair.b === stratum.baseline));
  const rows = [...own.filter((pair) => pair.measure === primary), ...own.filter((pair) => pair.measure !== primary)];
  return {
    id: `${all ? "all-differences" : "differences"}${inFile(stratum)}`,
    title: `Paired differences over blocks${inTitle(stratum)}`,
    columns: [
      column("measure", "measure", false),
      column("pair", "pair", false),
      column("unit", "unit", false),
      column("n"),
      column("mean_difference", "mean difference [95 %]"),
      { ...column("low"), dataOnly: true },
      { ...column("high"), dataOnly: true },
      column("relative", "relative"),
      column("dz", "d_z"),
      column("lower", "lower in"),
      column("p"),
      column("p_holm", "p (Holm)"),
      column("aa_mean_difference", "A/A [95 %]"),
      column("unflagged_mean_difference", "without flagged runs"),
    ],
    rows: rows.map((pair) => pairRow(comparison, stratum, pair)),
    notes: [
      `Within blocks of the same seed. Interval: BCa bootstrap over blocks; d_z: mean over standard deviation of the differences; p: two-sided sign-flip test, Holm-corrected among the pairs of the primary measure (${primary}), and among all others. Bold: significant at α = ${alpha}. A/A: the same variant twice in each block, the harness's own difference.`,
    ],
  };
}

const yes = (value: boolean): Cell => cell(value ? "yes" : "", value);
const share = (value: number | null | undefined): Cell =>
  cell(value === null || value === undefined ? "–" : `${(value * 100).toFixed(1)} %`, value ?? null);

function remarks({ digest, problem, made }: RunEntry): string {
  const said = [
    problem,
    made !== null && made.exitCode !== 0 ? `exit code ${made.exitCode}` : null,
    ...(digest?.invalidBecause ?? []),
    digest?.saturated ? "saturated" : null,
    ...(digest?.disturbed ?? []),
  ];
  return said.filter((words) => words !== null).join("; ");
}

/** Every planned run: what it gave, and what speaks against it. None is left out. */
export function runsTable(comparison: Comparison): DataTable {
  const measure = findMeasure(comparison.experiment.primary) as Measure;
  return {
    id: "runs",
    title: "All runs",
    columns: [
      column("run", "run", false),
      column("block"),
      column("variant", "variant", false),
      column("role", "role", false),
      column("seed"),
      column(measure.key, `${measure.label}, ${measure.unit}`),
      column("busy", "machine busy"),
      column("foreign", "other processes"),
      column("steal"),
      column("valid", "valid", false),
      column("flagged", "flagged", false),
      column("remarks", "remarks", false),
      column("dir", "folder", false),
    ],
    rows: comparison.runs.map((entry) => {
      const { planned, digest, made } = entry;
      const value = digest === null ? null : standIn(digest.observed[measure.key] ?? { kind: "missing", reason: "" });
      const isCensored = digest?.observed[measure.key]?.kind === "censored";
      return [
        cell(planned.id),
        cell(String(planned.block), planned.block),
        cell(labelOf(comparison, planned.variant), planned.variant),
        cell({ variant: "compared", aa: "A/A", no_fault: "no fault" }[planned.role], planned.role),
        cell(String(planned.seed), planned.seed),
        cell(`${isCensored ? "≥ " : ""}${formatValue(value)}`, value),
        share(digest?.load.machine_busy),
        share(digest?.load.foreign),
        share(digest?.load.steal),
        yes(digest?.valid === true),
        yes(digest !== null && isFlagged(digest)),
        cell(remarks(entry)),
        cell(made?.dir ?? ""),
      ];
    }),
    notes: [
      "Flagged: saturated (machine more than 60 % busy before the fault, or loop lag p99 above 20 ms), or disturbed by others (other processes above 15 % of the machine, steal above 2 %).",
    ],
  };
}

/** The harness's own spread, and what the questions cost without a fault. */
export function controlsTable(stratum: Stratum): DataTable {
  return {
    id: `controls${inFile(stratum)}`,
    title: `A/A: the same variant twice in each block${inTitle(stratum)}`,
    columns: [
      column("measure", "measure", false),
      column("unit", "unit", false),
      column("n"),
      column("mean_difference", "mean difference [95 %]"),
      column("typical", "95 % of single differences below"),
      column("p"),
    ],
    rows: stratum.harness
      .filter((spread) => spread.n > 0)
      .map((spread) => {
        const measure = findMeasure(spread.measure) as Measure;
        return [
          cell(measure.label, measure.key),
          cell(measure.unit),
          cell(String(spread.n), spread.n),
          cell(intervalText(spread.meanDifference, true), spread.meanDifference?.estimate ?? null),
          cell(formatValue(spread.typical), spread.typical),
          cell(pText(spread.p), spread.p),
        ];
      }),
    notes: ["Not corrected for their number: about one in twenty p-values below 0.05 is to be expected."],
  };
}

/** Our numbers beside published ones, each with its own words. Null when the experiment repeats none. */
export function publishedTable(comparison: Comparison): DataTable | null {
  const published = findPublished(comparison.experiment.published);
  if (published === null) return null;
  const names = [...new Set(comparison.runs.flatMap(({ digest }) => (digest === null ? [] : [digest.protocol])))];
  const head: [string, string][] = [
    ["discovery_pre", "answered right before, %"],
    ["discovery_post", "after, %"],
    ["retention", "after / before, %"],
    ["latency_pre", "latency before, s"],
    ["latency_post", "after, s"],
    ["recovery", "recovery, s"],
  ];
  return {
    id: "published",
    title: `Beside ${published.source}`,
    columns: [
      column("protocol", "protocol", false),
      column("source", "source", false),
      ...head.map(([key, name]) => column(key, name)),
    ],
    rows: names.flatMap((protocol) => publishedRows(comparison, published, protocol)),
    notes: published.differences,
  };
}

function publishedRows(comparison: Comparison, published: PublishedTable, protocol: string): Cell[][] {
  const number = (value: number | null, digits: number): Cell => cell(value === null ? "–" : value.toFixed(digits), value);
  const theirs = published.rows.find((row) => row.protocol === protocol);
  const windows = comparison.runs.flatMap(({ planned, digest }) =>
    digest !== null && digest.protocol === protocol && planned.role === "variant" && digest.valid && digest.windows !== null
      ? [digest.windows]
      : [],
  );
  const mean = (values: readonly (number | null | undefined)[]): number | null => {
    const known = values.filter((value) => value !== null && value !== undefined);
    return known.length === 0 ? null : meanOf(known);
  };
  const rate = (window: { n: number; good: number } | null): number | null =>
    window === null || window.n === 0 ? null : (window.good / window.n) * 100;
  const pre = mean(windows.map((own) => rate(own.pre)));
  const post = mean(windows.map((own) => rate(own.post)));
  const rows: Cell[][] = [];
  if (theirs !== undefined)
    rows.push([
      cell(protocol),
      cell("published"),
      number(theirs.discoveryPre, 2),
      number(theirs.discoveryPost, 2),
      number((theirs.discoveryPost / theirs.discoveryPre) * 100, 2),
      number(theirs.latencyPre, 2),
      number(theirs.latencyPost, 2),
      number(theirs.recovery, 2),
    ]);
  rows.push([
    cell(protocol),
    cell(`ours, mean of ${windows.length} runs`, "ours"),
    number(pre, 2),
    number(post, 2),
    number(pre === null || post === null ? null : (post / pre) * 100, 2),
    number(mean(windows.map((own) => own.pre.meanLatencySeconds)), 2),
    number(mean(windows.map((own) => own.post?.meanLatencySeconds)), 2),
    number(mean(windows.map((own) => own.recoverySeconds)), 2),
  ]);
  return rows;
}

/** Every table of a comparison. */
export const comparisonTables = (comparison: Comparison): DataTable[] => [
  ...comparison.strata.flatMap((stratum) => [
    summaryTable(comparison, stratum),
    differencesTable(comparison, stratum, false),
    differencesTable(comparison, stratum, true),
    ...(stratum.harness.length > 0 ? [controlsTable(stratum)] : []),
  ]),
  ...[publishedTable(comparison)].filter((table) => table !== null),
  runsTable(comparison),
];
