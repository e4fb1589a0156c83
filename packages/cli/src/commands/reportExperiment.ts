import { copyFileSync, existsSync, readFileSync, realpathSync } from "node:fs";
import path from "node:path";
import { InputError } from "@failstorm/core";
import { findMeasure } from "@failstorm/report";
import type { Comparison } from "@failstorm/report/comparison/analysis.ts";
import { EXPERIMENT_FILE, parseExperiment } from "@failstorm/report/comparison/experiment.ts";
import Table from "cli-table3";
import { log, painter, useColor } from "../view/log.ts";
import { shownPath } from "./config.ts";

interface ReportOptions {
  readonly json: boolean;
  readonly fresh: boolean;
  /** Where to write what can be passed on without the runs' folders; null = nowhere. */
  readonly publish: string | null;
}

/** Plan, page, tables and figures, with nothing that leads to the folders of runs, which stay where they are. */
async function publishTo(target: string, dir: string, comparison: Comparison): Promise<void> {
  const { writeComparison } = await import("@failstorm/report/comparison/writeComparison.ts");
  const runs = comparison.runs.map((entry) => ({
    ...entry,
    made: entry.made === null ? null : { ...entry.made, dir: null },
    problem: entry.problem?.replaceAll(`${dir}${path.sep}`, "") ?? null,
  }));
  await writeComparison(target, { ...comparison, runs });
  copyFileSync(path.join(dir, EXPERIMENT_FILE), path.join(target, EXPERIMENT_FILE));
  log("INFO", `published in ${shownPath(target)}`);
}

/** Throws InputError when what is published there, or the experiment itself, would be written over. */
export function checkPublishTarget(target: string, dir: string): void {
  const [there, here] = [target, dir].map((folder) => path.join(folder, EXPERIMENT_FILE)) as [string, string];
  if (!existsSync(there)) return;
  if (realpathSync(there) === realpathSync(here))
    throw new InputError(`--publish ${shownPath(target)}: is the experiment's own folder; give another one`);
  const { name } = parseExperiment(readFileSync(there, "utf8"), there);
  if (name !== parseExperiment(readFileSync(here, "utf8"), here).name)
    throw new InputError(`--publish ${shownPath(target)}: the experiment ${name} is published there; give another folder`);
}

/**
 * Everything that is made of an experiment's runs, again from their recorded events (`fresh`) or from the metrics kept with each run:
 * tables, figures, page; the primary measure on stdout, or with `json` all of it.
 */
export async function reportExperiment(dir: string, options: ReportOptions): Promise<void> {
  const [{ readExperiment }, { analyse }, { COMPARISON_FILE, writeComparison }, { summaryTable }, { readable }] =
    await Promise.all([
      import("@failstorm/report/comparison/readExperiment.ts"),
      import("@failstorm/report/comparison/analysis.ts"),
      import("@failstorm/report/comparison/writeComparison.ts"),
      import("@failstorm/report/comparison/comparisonTables.ts"),
      import("@failstorm/report/comparison/dataTable.ts"),
    ]);
  const onProgress = (done: number, of: number): void => {
    if (done % 10 === 0 || done === of) log("PROGRESS", `${done} of ${of} runs computed anew from their events`);
  };
  const { experiment, entries } = await readExperiment(dir, { fresh: options.fresh, onProgress });
  // Also so where an experiment was published: its tables and figures must not be replaced by empty ones.
  if (entries.every(({ made }) => made === null))
    throw new InputError(
      `report ${shownPath(dir)}: none of this experiment's runs is here; give the folder in which they were made`,
    );
  const comparison = analyse(experiment, entries);
  const page = await writeComparison(dir, comparison);
  if (options.json) process.stdout.write(readFileSync(path.join(dir, COMPARISON_FILE)));
  else {
    const paint = painter(useColor(process.stdout));
    for (const stratum of comparison.strata) {
      const { title, columns, rows } = readable(summaryTable(comparison, stratum));
      const table = new Table({
        head: columns.map(({ name }) => paint("bold", name)),
        style: { head: [], border: [], compact: true },
        colAligns: columns.map(({ numeric }) => (numeric ? "right" : "left")),
      });
      for (const row of rows)
        table.push(
          row.map(
            ({ text, detail, best }) =>
              `${best === true ? paint("green", text) : text}${detail === undefined ? "" : ` ${detail}`}`,
          ),
        );
      process.stdout.write(`${title} (green: better than every other, with significance)\n${table.toString()}\n`);
      const best = stratum.best[experiment.primary];
      const pairs = stratum.pairs.filter(({ measure, n }) => measure === experiment.primary && n > 0);
      const significant = pairs.filter((pair) => pair.significant).length;
      process.stdout.write(
        `${findMeasure(experiment.primary)?.label ?? ""}${stratum.name === "" ? "" : ` (${stratum.name})`}: ${best === undefined ? "no variant is better than every other" : `${best} is better than every other`}; ${significant} of ${pairs.length} pairs differ significantly\n`,
      );
    }
  }
  for (const warning of comparison.warnings) log("WARNING", warning);
  const lost = entries.filter(({ made, digest }) => made !== null && digest?.valid !== true);
  for (const { planned, problem, digest } of lost.slice(0, 10))
    log("WARNING", `${planned.id} is not in the numbers: ${problem ?? digest?.invalidBecause.join("; ") ?? ""}`);
  log("INFO", `report ${shownPath(page)}`);
  if (options.publish !== null) await publishTo(options.publish, dir, comparison);
}
