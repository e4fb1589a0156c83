import { findMeasure, formatValue, type Measure } from "../measures.ts";
import { meanOf } from "../statistics/bootstrap.ts";
import type { Comparison, Stratum } from "./analysis.ts";
import { type Cell, cell, type Column, type DataTable } from "./dataTable.ts";
import { findPublished, type PublishedTable } from "./published.ts";
import { isFlagged, type RunEntry, standIn } from "./summaries.ts";
import { column, differenceText, inFile, inTitle, labelOf, pText } from "./tableParts.ts";

const yes = (value: boolean): Cell => cell(value ? "yes" : "", value);
const share = (value: number | null | undefined): Cell =>
  cell(value === null || value === undefined ? "–" : `${(value * 100).toFixed(1)} %`, value ?? null);

function remarks({ digest, problem, made }: RunEntry): string {
  const said = [
    problem,
    // Nobody saw how a run ended whose `compare` had been killed.
    made !== null && made.exitCode !== null && made.exitCode !== 0 ? `exit code ${made.exitCode}` : null,
    ...(digest?.invalidBecause ?? []),
    digest?.saturated ? "saturated" : null,
    ...(digest?.disturbed ?? []),
  ];
  return said.filter((words) => words !== null).join("; ");
}

/** For programs; to a reader the other columns say the same. */
const inData = (key: string): Column => ({ ...column(key, key, false), dataOnly: true });

/** Every run that was made: what it gave, and what speaks against it. None is left out. */
export function runsTable(comparison: Comparison): DataTable {
  const measure = findMeasure(comparison.experiment.primary) as Measure;
  const made = comparison.runs.filter((entry) => entry.made !== null || entry.digest !== null);
  const left = comparison.runs.length - made.length;
  return {
    id: "runs",
    title: "All runs",
    columns: [
      inData("run"),
      column("block"),
      column("variant", "variant", false),
      column("role", "role", false),
      column("seed"),
      column(measure.key, `${measure.label}, ${measure.unit}`),
      column("busy", "machine busy"),
      column("foreign", "other processes"),
      column("steal"),
      inData("valid"),
      inData("flagged"),
      column("remarks", "remarks", false),
      column("dir", "folder", false),
    ],
    rows: made.map((entry) => {
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
      ...(left > 0 ? [`${left} more are planned and not made yet.`] : []),
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
          cell(differenceText(spread.meanDifference, spread.n), spread.meanDifference?.estimate ?? null),
          cell(formatValue(spread.typical), spread.typical),
          cell(pText(spread.p), spread.p),
        ];
      }),
    notes: ["Not corrected for their number: about one in twenty p-values below 0.05 is to be expected."],
  };
}

/** What the fault took, against the same questions without one. */
export function faultCostTable(comparison: Comparison, stratum: Stratum): DataTable {
  return {
    id: `fault-cost${inFile(stratum)}`,
    title: `With and without the fault, the same questions${inTitle(stratum)}`,
    columns: [
      column("variant", "variant", false),
      column("n", "blocks"),
      column("goodput_without", "right in time without, %"),
      column("goodput_with", "with, %"),
      column("lost", "lost to the fault, % of all questions [95 %]"),
    ],
    rows: stratum.faultCost.map(({ variant, blocks, goodputWithout, goodputWith, lost }) => [
      cell(labelOf(comparison, variant), variant),
      cell(String(blocks), blocks),
      cell(goodputWithout.toFixed(2), goodputWithout),
      cell(goodputWith.toFixed(2), goodputWith),
      cell(differenceText(lost, blocks), lost.estimate),
    ]),
    notes: ["Over the whole run; questions that both runs of a block had."],
  };
}

/** Our numbers beside published ones, each with its own words. Null when the experiment repeats none. */
export function publishedTable(comparison: Comparison): DataTable | null {
  const published = findPublished(comparison.experiment.published);
  if (published === null) return null;
  // In the order of the variants; that of the runs is drawn.
  const byVariant = Map.groupBy(comparison.runs, ({ planned }) => planned.variant);
  const ordered = comparison.experiment.variants.flatMap(({ id }) => byVariant.get(id) ?? []);
  const names = [...new Set(ordered.flatMap(({ digest }) => (digest === null ? [] : [digest.protocol])))];
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
  const recovered = windows.flatMap((own) => own.recoverySeconds ?? []);
  const recovery = number(mean(recovered), 2);
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
    recovered.length === windows.length ? recovery : Object.assign(recovery, { detail: `in ${recovered.length} runs` }),
  ]);
  return rows;
}
