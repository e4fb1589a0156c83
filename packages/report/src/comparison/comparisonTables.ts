import { findMeasure, formatValue, MEASURES, type Measure } from "../measures.ts";
import type { Interval } from "../statistics/bootstrap.ts";
import type { Comparison, Stratum } from "./analysis.ts";
import { type Cell, cell, type DataTable } from "./dataTable.ts";
import { controlsTable, faultCostTable, publishedTable, runsTable } from "./listTables.ts";
import type { PairResult } from "./pairs.ts";
import type { MeasureSummary } from "./summaries.ts";
import { column, differenceText, inFile, inTitle, intervalText, labelOf, pText, signedText } from "./tableParts.ts";

function summaryCell(summary: MeasureSummary | undefined, isBest: boolean): Cell {
  if (summary === undefined || summary.median === null) return cell("–", null);
  const { estimate } = summary.median;
  const bound = summary.isLowerBound ? "≥ " : "";
  const censored = summary.censored > 0 ? `, ${summary.censored} never` : "";
  const [text = "", ...rest] = intervalText(summary.median).split(" ");
  // One run has no spread, and an interval of no width would say that it had none.
  if (summary.n < 2) return Object.assign(cell(`${bound}${text}`, estimate), { detail: `(one run)${censored}` });
  return Object.assign(cell(`${bound}${text}`, estimate, isBest), { detail: `${rest.join(" ")}${censored}` });
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

/** A difference over its interval. */
function intervalCell(interval: Interval | null, n: number, best = false): Cell {
  if (interval === null) return cell("–", null);
  const [text = "", ...rest] = differenceText(interval, n).split(" ");
  return Object.assign(cell(text, interval.estimate, best), { detail: rest.join(" ") });
}

function pairRow(comparison: Comparison, stratum: Stratum, pair: PairResult): Cell[] {
  const measure = findMeasure(pair.measure) as Measure;
  const harness = stratum.harness.find((spread) => spread.measure === pair.measure);
  const { unflagged } = pair;
  const n = cell(String(pair.n), pair.n);
  const lacking = [
    ...(pair.censored > 0 ? [`${pair.censored} never`] : []),
    ...(pair.dropped > 0 ? [`${pair.dropped} left out`] : []),
  ];
  return [
    cell(measure.label, measure.key),
    cell(`${labelOf(comparison, pair.a)} − ${labelOf(comparison, pair.b)}`, `${pair.a} - ${pair.b}`),
    cell(measure.unit),
    lacking.length === 0 ? n : Object.assign(n, { detail: lacking.join(", ") }),
    intervalCell(pair.meanDifference, pair.n, pair.significant),
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
    intervalCell(harness?.meanDifference ?? null, harness?.n ?? 0),
    unflagged.n === pair.n
      ? cell("–", null)
      : Object.assign(cell(signedText(unflagged.meanDifference), unflagged.meanDifference), {
          detail: `n = ${unflagged.n}, p = ${pText(unflagged.p)}`,
        }),
  ];
}

/** The same in full, a row a median, for programs. */
export function mediansTable(stratum: Stratum): DataTable {
  const number = (value: number | null): Cell => cell(formatValue(value), value);
  const numbers = ["n", "censored", "missing", "median", "low", "high", "q25", "q75", "min", "max"] as const;
  return {
    id: `medians${inFile(stratum)}`,
    title: `Medians and quantiles${inTitle(stratum)}`,
    columns: [
      column("measure", "measure", false),
      column("unit", "unit", false),
      column("variant", "variant", false),
      ...numbers.map((name) => column(name)),
    ],
    rows: MEASURES.flatMap((measure) =>
      stratum.variants.flatMap(({ variant, measures }) => {
        const own = measures[measure.key];
        if (own === undefined) return [];
        const { n, censored, missing, median, q25, q75, min, max } = own;
        const values = [n, censored, missing, median?.estimate, median?.low, median?.high, q25, q75, min, max];
        return [
          [
            cell(measure.label, measure.key),
            cell(measure.unit),
            cell(variant.label, variant.id),
            ...values.map((value) => number(value ?? null)),
          ],
        ];
      }),
    ),
    notes: [
      "n: runs with a value; censored: of these, runs that did not get there and count with the time they were observed for; missing: runs with nothing to measure.",
    ],
  };
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
      `Within blocks of the same seed. Interval: BCa bootstrap over blocks; d_z: mean over standard deviation of the differences; p: two-sided sign-flip test, Holm-corrected among the pairs of the primary measure (${primary}), and among all others. Bold: significant at α = ${alpha}. A/A: the same variant twice in each block, the harness's own difference. “n never”: so many blocks in which one of the two runs did not get there and counts with the time it was observed for: the true difference is larger or smaller by an unknown amount. Where nobody can say which of the two was longer, they count as equal. “n left out”: blocks that lack a valid run, or anything to measure, on one of the two sides.`,
    ],
  };
}

/** Every table of a comparison. */
export const comparisonTables = (comparison: Comparison): DataTable[] => [
  ...comparison.strata.flatMap((stratum) => [
    summaryTable(comparison, stratum),
    mediansTable(stratum),
    differencesTable(comparison, stratum, false),
    differencesTable(comparison, stratum, true),
    ...(stratum.harness.length > 0 ? [controlsTable(stratum)] : []),
    ...(stratum.faultCost.length > 0 ? [faultCostTable(comparison, stratum)] : []),
  ]),
  ...[publishedTable(comparison)].filter((table) => table !== null),
  runsTable(comparison),
];
