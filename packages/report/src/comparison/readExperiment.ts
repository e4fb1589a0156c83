import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { InputError } from "@failstorm/core";
import { type FailstormMetrics, metricsSchema } from "../schema.ts";
import { METRICS_FILE } from "../writeMetrics.ts";
import { digestRun, type RunDigest } from "./digest.ts";
import {
  type Experiment,
  EXPERIMENT_FILE,
  type MadeRun,
  parseExperiment,
  parseMadeRuns,
  type PlannedRun,
  RUNS_FILE,
} from "./experiment.ts";
import { recomputeMetrics } from "./recompute.ts";
import type { RunEntry } from "./summaries.ts";

/** A run's metrics as they were written; null when they are not there or of another version. */
export async function readMetricsFile(file: string): Promise<FailstormMetrics | null> {
  try {
    return metricsSchema.parse(JSON.parse(await readFile(file, "utf8")));
  } catch {
    return null;
  }
}

export const isExperiment = (dir: string): boolean => existsSync(path.join(dir, EXPERIMENT_FILE));

export interface ExperimentFolder {
  readonly experiment: Experiment;
  readonly made: ReadonlyMap<string, MadeRun>;
}

/** What is planned and what was made so far. Throws InputError when the folder holds no experiment. */
export async function readExperimentFolder(dir: string): Promise<ExperimentFolder> {
  const file = path.join(dir, EXPERIMENT_FILE);
  if (!existsSync(file)) throw new InputError(`${dir}: no ${EXPERIMENT_FILE} there; give the folder of an experiment`);
  const experiment = parseExperiment(await readFile(file, "utf8"), file);
  const runs = path.join(dir, RUNS_FILE);
  return { experiment, made: existsSync(runs) ? parseMadeRuns(await readFile(runs, "utf8")) : new Map() };
}

/**
 * The results of an experiment, run by run: one run's metrics in memory at a time, of which the digest is kept. Metrics that are missing
 * or of another version, with `fresh` all, are computed from the events first, on all cores. Throws InputError when it is no experiment.
 */
export async function readExperiment(
  dir: string,
  options: { readonly fresh?: boolean; readonly onProgress?: (done: number, of: number) => void } = {},
): Promise<{ experiment: Experiment; entries: RunEntry[] }> {
  const { experiment, made } = await readExperimentFolder(dir);
  const folders = [...made.values()].flatMap((run) => (run.dir === null ? [] : [path.join(dir, run.dir)]));
  const stale: string[] = [];
  for (const folder of folders) if (options.fresh === true || !(await hasMetrics(folder))) stale.push(folder);
  const problems = await recomputeMetrics(
    stale.filter((folder) => existsSync(folder)),
    options.onProgress,
  );
  const entries: RunEntry[] = [];
  for (const planned of experiment.runs) entries.push(await readEntry(dir, planned, made.get(planned.id) ?? null, problems));
  return { experiment, entries };
}

async function hasMetrics(folder: string): Promise<boolean> {
  return (await readMetricsFile(path.join(folder, METRICS_FILE))) !== null;
}

async function readEntry(
  dir: string,
  planned: PlannedRun,
  made: MadeRun | null,
  problems: ReadonlyMap<string, string>,
): Promise<RunEntry> {
  const none = (problem: string): RunEntry => ({ planned, made, digest: null, problem });
  if (made === null) return none("not made yet");
  if (made.dir === null) return none("left no run folder");
  const folder = path.join(dir, made.dir);
  // Metrics of before must not stand for what the events could not give.
  const problem = problems.get(folder);
  if (problem !== undefined) return none(problem);
  const digest = await readDigest(folder);
  return digest === null ? none("left no metrics") : { planned, made, digest, problem: null };
}

async function readDigest(folder: string): Promise<RunDigest | null> {
  const metrics = await readMetricsFile(path.join(folder, METRICS_FILE));
  return metrics === null ? null : digestRun(metrics);
}
