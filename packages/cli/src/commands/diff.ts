import path from "node:path";
import { InputError } from "@failstorm/core";
import { findMeasure, formatValue } from "@failstorm/report";
import { type Diff, type DiffRow, diffResults, type FailRule, parseFailRule } from "@failstorm/report/comparison/diff.ts";
import { readResults, type ResultSet } from "@failstorm/report/comparison/resultSet.ts";
import Table from "cli-table3";
import { userFolder } from "../project.ts";
import { log, painter, useColor } from "../view/log.ts";

export interface DiffOptions {
  readonly failOn: readonly string[];
  readonly alpha: number;
  readonly all: boolean;
  readonly json: boolean;
}

const REGRESSION = 4;
const BAD_INPUT = 2;
/** What is looked at when nothing else was asked for: any significant worsening of it. */
const DEFAULT_RULE = "service_gap_ms";

const signed = (value: number): string => `${value > 0 ? "+" : ""}${formatValue(value)}`;

function cells(row: DiffRow): string[] {
  const { a, b, meanDifference, relative, pCorrected, effect } = row;
  const measure = findMeasure(row.measure);
  return [
    `${measure?.label ?? row.measure}, ${measure?.unit ?? ""}`,
    formatValue(a.median),
    formatValue(b.median),
    meanDifference === null
      ? "–"
      : `${signed(meanDifference.estimate)} [${signed(meanDifference.low)}, ${signed(meanDifference.high)}]`,
    relative === null ? "–" : `${signed(relative * 100)} %`,
    effect === null ? "–" : effect.toFixed(2),
    pCorrected === null ? "–" : pCorrected < 0.0001 ? "<0.0001" : pCorrected.toFixed(4),
    row.regression === null ? row.change : `REGRESSION (${row.regression.judgedBy})`,
  ];
}

function print(diff: Diff, all: boolean): void {
  const paint = painter(useColor(process.stdout));
  for (const { name, paired, rows } of diff.groups) {
    const n = rows.reduce((most, { a, b }) => [Math.max(most[0] ?? 0, a.n), Math.max(most[1] ?? 0, b.n)], [0, 0]);
    process.stdout.write(
      `${paint("bold", name)}: ${n[0]} and ${n[1]} runs, ${paired ? "paired by seed" : "not of the same seeds: two samples"}\n`,
    );
    const table = new Table({
      head: [
        "measure",
        "A median",
        "B median",
        "B − A, mean [95 %]",
        "relative",
        paired ? "d_z" : "Cliff's δ",
        "p (Holm)",
        "change",
      ].map((word) => paint("bold", word)),
      style: { head: [], border: [], compact: true },
      colAligns: ["left", "right", "right", "right", "right", "right", "right", "left"],
    });
    const shown = rows.filter(
      (row) =>
        all || row.regression !== null || row.change === "better" || row.change === "worse" || row.measure === DEFAULT_RULE,
    );
    for (const row of shown) {
      const [first = "", ...rest] = cells(row);
      const colour = row.regression !== null || row.change === "worse" ? "red" : row.change === "better" ? "green" : null;
      const last = rest.pop() ?? "";
      table.push([first, ...rest, colour === null ? last : paint(colour, last)]);
    }
    process.stdout.write(`${table.toString()}\n`);
    if (shown.length < rows.length)
      process.stdout.write(`${rows.length - shown.length} more measures did not change significantly (--all shows them)\n`);
  }
}

function explain(side: string, { source, excluded, groups, unreadable = [] }: ResultSet): void {
  if (unreadable.length > 0)
    log(
      "WARNING",
      `${side} (${source}): ${unreadable.length} runs have no metrics that this version can read and are left out: ${unreadable[0] ?? ""}`,
    );
  if (excluded.length > 0)
    log(
      "WARNING",
      `${side} (${source}): ${excluded.length} runs are not valid and left out: ${excluded[0]?.invalidBecause.join("; ") ?? ""}`,
    );
  const flagged = groups.flatMap(({ runs }) => runs).filter((run) => run.saturated || run.disturbed.length > 0).length;
  if (flagged > 0) log("WARNING", `${side} (${source}): ${flagged} runs were saturated or disturbed`);
}

/** Throws InputError. */
function readRules(texts: readonly string[]): FailRule[] {
  const rules = texts.map(parseFailRule);
  for (const [i, { measure, text }] of rules.entries()) {
    const other = rules.slice(0, i).find((rule) => rule.measure.key === measure.key);
    if (other !== undefined)
      throw new InputError(`--fail-on ${text}: ${measure.key} has a rule already, ${other.text}; remove one of them`);
  }
  return rules;
}

/** Says what is worse, and what could not be judged. Returns the exit code. */
function conclude({ groups }: Diff, asked: boolean): number {
  const rows = groups.flatMap(({ name, rows }) => rows.map((row) => ({ name, row })));
  for (const { name, row } of rows)
    if (row.regression !== null)
      log(
        "ERROR",
        `regression of ${row.measure} (${name}): worse than ${row.regression.rule} allows${row.regression.judgedBy === "threshold alone" ? "; too few runs for a test: judged by the threshold alone" : ""}`,
      );
    else if (row.unjudged !== null)
      log(
        asked && row.unjudged.lacksValues ? "ERROR" : "WARNING",
        `--fail-on ${row.unjudged.rule} (${name}): cannot be judged: ${row.unjudged.because}`,
      );
  if (rows.some(({ row }) => row.regression !== null)) return REGRESSION;
  // A gate that saw nothing must not open.
  return asked && rows.some(({ row }) => row.unjudged?.lacksValues === true) ? BAD_INPUT : 0;
}

/**
 * `failstorm diff A B`: what changed, and exit code 4 when B is worse in what --fail-on names, 2 when one of the two has no value of
 * that.
 */
export async function diff(given: readonly [string, string], options: DiffOptions): Promise<number> {
  if (!(options.alpha > 0 && options.alpha < 0.5))
    throw new InputError(`--alpha ${options.alpha}: must be a number above 0 and below 0.5, for example 0.05`);
  const asked = options.failOn.length > 0;
  const rules = readRules(asked ? options.failOn : [DEFAULT_RULE]);
  const [a, b] = (await Promise.all(given.map((source) => readResults(path.resolve(userFolder(), source), source)))) as [
    ResultSet,
    ResultSet,
  ];
  const result = diffResults(a, b, { rules, alpha: options.alpha, seed: 1 });
  explain("A", a);
  explain("B", b);
  if (result.groups.length === 0)
    throw new InputError(
      `diff ${given.join(" ")}: nothing in common: ${a.groups.map(({ name }) => name).join("; ") || "no valid run"} and ${b.groups.map(({ name }) => name).join("; ") || "no valid run"}`,
    );
  if (options.json) process.stdout.write(`${JSON.stringify(result, null, 1)}\n`);
  else print(result, options.all);
  for (const name of result.unmatched) log("WARNING", `${name}: only in one of the two`);
  return conclude(result, asked);
}
