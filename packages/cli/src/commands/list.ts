import { existsSync } from "node:fs";
import path from "node:path";
import { InputError } from "@failstorm/core";
import { findMeasure, formatValue, formatWithUnit } from "@failstorm/report";
import { type ExperimentFolder, readExperimentFolder } from "@failstorm/report/comparison/readExperiment.ts";
import Table from "cli-table3";
import { experimentsIn, type ListedRun, readListed } from "../experiment/catalogue.ts";
import { listRunFolders } from "../experiment/folder.ts";
import { projectRoot, userFolder } from "../project.ts";
import { log, painter, useColor } from "../view/log.ts";
import { shownPath } from "./config.ts";

const resultsDir = (given: string | null): string => {
  const dir = given === null ? path.join(projectRoot, "results") : path.resolve(userFolder(), given);
  if (!existsSync(dir)) throw new InputError(`list ${given ?? dir}: there is no such folder; give a folder of results`);
  return dir;
};

function stateOf({ metrics }: ListedRun): string {
  if (metrics === null) return "no metrics";
  if (metrics.partial) return "partial";
  if (!metrics.valid) return "not valid";
  return metrics.saturated ? "saturated" : "ok";
}

function runRow(run: ListedRun): string[] {
  const { metrics, startedAt, dir } = run;
  const value = (key: string): string => {
    const measure = findMeasure(key);
    const picked = metrics === null || measure === undefined ? null : measure.pick(metrics);
    return picked === null || measure === undefined ? "–" : formatWithUnit(picked * measure.factor, measure.unit);
  };
  const [protocol = ""] = path.relative(path.dirname(path.dirname(dir)), dir).split(path.sep);
  return [
    startedAt.slice(0, 16).replace("T", " "),
    metrics?.protocol ?? protocol,
    String(metrics?.agent_count ?? "–"),
    String(metrics?.victims?.length ?? 0),
    String(metrics?.seed ?? "–"),
    value("service_gap_ms"),
    value("recovery_ms"),
    value("success_rate_drop"),
    stateOf(run),
    shownPath(dir),
  ];
}

const percent = (share: number | null): string => (share === null ? "–" : formatWithUnit(share * 100, "%"));

function queueRow({ queue, startedAt, dir }: ListedRun): string[] {
  if (queue === null) return [];
  return [
    startedAt.slice(0, 16).replace("T", " "),
    queue.protocol,
    String(queue.workers.length),
    queue.questions === null ? `${queue.recorded} of an endless stream` : `${queue.recorded} of ${queue.questions}`,
    queue.throughput_per_s === null ? "–" : `${formatValue(queue.throughput_per_s)} /s`,
    percent(queue.correctness.rate),
    String(queue.crashes.length),
    queue.partial ? "partial" : "ok",
    shownPath(dir),
  ];
}

interface ListedExperiment extends Pick<ExperimentFolder, "experiment"> {
  readonly dir: string;
  readonly made: number;
}

const tableOf = (head: readonly string[]): Table.Table =>
  new Table({
    head: head.map((word) => painter(useColor(process.stdout))("bold", word)),
    style: { head: [], border: [], compact: true },
  });

function printRuns(runs: readonly ListedRun[], last: number): void {
  const table = tableOf([
    "started (UTC)",
    "protocol",
    "agents",
    "killed",
    "seed",
    "service gap",
    "recovery",
    "success drop",
    "state",
    "folder",
  ]);
  for (const run of runs.slice(-last)) table.push(runRow(run));
  process.stdout.write(`${table.toString()}\n`);
  if (runs.length > last) process.stdout.write(`the last ${last} of ${runs.length} runs (--last N shows more)\n`);
}

function printQueues(runs: readonly ListedRun[], last: number): void {
  const table = tableOf([
    "queue started (UTC)",
    "protocol",
    "workers",
    "recorded",
    "throughput",
    "right",
    "crashes",
    "state",
    "folder",
  ]);
  for (const run of runs.slice(-last)) table.push(queueRow(run));
  process.stdout.write(`${table.toString()}\n`);
  if (runs.length > last) process.stdout.write(`the last ${last} of ${runs.length} queues (--last N shows more)\n`);
}

function printExperiments(experiments: readonly ListedExperiment[]): void {
  const table = tableOf(["experiment", "begun", "runs made", "compares", "folder"]);
  for (const { dir, experiment, made } of experiments) {
    const { name, createdAt, runs, compare, factors } = experiment;
    const levels = (factors[compare] ?? []).join(", ");
    table.push([
      name,
      createdAt.slice(0, 16).replace("T", " "),
      `${made} of ${runs.length}`,
      `${compare}: ${levels}`,
      shownPath(dir),
    ]);
  }
  process.stdout.write(`${table.toString()}\n`);
}

/** Newest last; one that cannot be read is said, and hides no other. */
async function readExperiments(results: string): Promise<ListedExperiment[]> {
  const read: ListedExperiment[] = [];
  for (const dir of experimentsIn(results))
    try {
      const { experiment, made } = await readExperimentFolder(dir);
      read.push({ dir, experiment, made: made.size });
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      log("WARNING", error.message);
    }
  return read.sort((a, b) => (a.experiment.createdAt < b.experiment.createdAt ? -1 : 1));
}

/** `failstorm list [DIR]`: the runs and experiments of a results folder, newest last. */
export async function list(given: string | null, options: { readonly json: boolean; readonly last: number }): Promise<number> {
  const results = resultsDir(given);
  const runs = listRunFolders(results)
    .map(readListed)
    .sort((a, b) => (a.startedAt < b.startedAt ? -1 : 1));
  const [storms, queues] = [runs.filter(({ queue }) => queue === null), runs.filter(({ queue }) => queue !== null)];
  const experiments = await readExperiments(results);
  if (options.json) {
    const shown = {
      runs: storms.map(({ dir, startedAt, metrics }) => ({
        dir,
        startedAt,
        runId: metrics?.run_id ?? path.basename(dir),
        protocol: metrics?.protocol ?? null,
        agents: metrics?.agent_count ?? null,
        seed: metrics?.seed ?? null,
        valid: metrics?.valid ?? null,
        service_gap_ms: metrics?.service_gap_ms ?? null,
      })),
      queues: queues.map(({ dir, startedAt, queue }) => ({
        dir,
        startedAt,
        runId: queue?.run_id ?? path.basename(dir),
        protocol: queue?.protocol ?? null,
        workers: queue?.workers.length ?? null,
        recorded: queue?.recorded ?? null,
        partial: queue?.partial ?? null,
        throughput_per_s: queue?.throughput_per_s ?? null,
      })),
      experiments: experiments.map(({ dir, experiment, made }) => ({
        dir,
        name: experiment.name,
        createdAt: experiment.createdAt,
        made,
        planned: experiment.runs.length,
      })),
    };
    process.stdout.write(`${JSON.stringify(shown, null, 1)}\n`);
    return 0;
  }
  if (storms.length > 0) printRuns(storms, options.last);
  if (queues.length > 0) printQueues(queues, options.last);
  if (experiments.length > 0) printExperiments(experiments);
  if (runs.length === 0 && experiments.length === 0) process.stdout.write(`nothing in ${shownPath(results)} yet\n`);
  return 0;
}
