import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { InputError } from "@failstorm/core";
import { METRICS_FILE, PAGE_FILE, QUEUE_METRICS_FILE, QUEUE_RESULTS_FILE, queueRows } from "@failstorm/report";
import { EXPERIMENT_FILE } from "@failstorm/report/comparison/experiment.ts";
import { readExperimentFolder } from "@failstorm/report/comparison/readExperiment.ts";
import { experimentsIn, readListed } from "../experiment/catalogue.ts";
import { listRunFolders } from "../experiment/folder.ts";
import { projectRoot, userFolder } from "../project.ts";
import { painter, useColor } from "../view/log.ts";
import { renderResult, renderTable } from "../view/resultTable.ts";
import { shownPath } from "./config.ts";

/** A run or experiment by its folder, its id, or the beginning of its id. Throws InputError when there is none, or several. */
function find(given: string): string {
  const at = path.resolve(userFolder(), given);
  if (existsSync(at)) return at;
  const results = path.join(projectRoot, "results");
  const begun = [...listRunFolders(results), ...experimentsIn(results)].filter((dir) => path.basename(dir).startsWith(given));
  const exact = begun.filter((dir) => path.basename(dir) === given);
  const found = exact.length > 0 ? exact : begun;
  const [first, ...more] = found;
  if (first === undefined)
    throw new InputError(`show ${given}: there is no such folder, run or experiment; \`failstorm list\` shows what there is`);
  if (more.length > 0)
    throw new InputError(`show ${given}: ${found.length} are named so: ${found.map((dir) => path.basename(dir)).join(", ")}`);
  return first;
}

const FILES = [
  PAGE_FILE,
  METRICS_FILE,
  QUEUE_METRICS_FILE,
  QUEUE_RESULTS_FILE,
  "events.ndjson",
  "config.yaml",
  "manifest.json",
  "schedule.json",
  "logs",
];

/** `failstorm show RUN`: what a run or an experiment was, what came of it, and where it lies. */
export async function show(given: string): Promise<number> {
  const dir = find(given);
  if (existsSync(path.join(dir, EXPERIMENT_FILE))) return showExperiment(dir);
  const { manifest, metrics, queue, startedAt } = readListed(dir);
  if (Object.keys(manifest).length === 0 && metrics === null && queue === null)
    throw new InputError(`show ${given}: is no run's folder and no experiment's`);
  const line = (name: string, text: string): void => void process.stdout.write(`${name.padEnd(10)}${text}\n`);
  line("started", startedAt);
  const argv = manifest["argv"];
  if (Array.isArray(argv)) line("command", `failstorm ${argv.join(" ")}`);
  line("folder", shownPath(dir));
  for (const file of FILES.filter((name) => existsSync(path.join(dir, name)))) line("", file);
  const [columns, paint] = [process.stdout.isTTY ? process.stdout.columns : 160, painter(useColor(process.stdout))];
  if (metrics !== null) process.stdout.write(`${renderResult(metrics, columns, paint)}\n`);
  else if (queue !== null) process.stdout.write(`${renderTable(queueRows(queue), columns, paint)}\n`);
  else process.stdout.write("no metrics: the run goes on, or broke off; `failstorm report DIR` computes what can be\n");
  return 0;
}

async function showExperiment(dir: string): Promise<number> {
  const { experiment, made } = await readExperimentFolder(dir);
  const line = (name: string, text: string): void => void process.stdout.write(`${name.padEnd(10)}${text}\n`);
  line("experiment", ` ${experiment.name}`);
  if (experiment.question !== null) line("question", experiment.question);
  line("begun", experiment.createdAt);
  line(
    "compares",
    `${experiment.compare}: ${(experiment.factors[experiment.compare] ?? []).join(", ")}; baseline ${experiment.baseline}`,
  );
  line("primary", experiment.primary);
  if (made.size === 0 && existsSync(path.join(dir, PAGE_FILE)))
    line(
      "runs",
      `${experiment.runs.length} planned in ${experiment.repeats} blocks; they are not here: this is what was published of them`,
    );
  else
    line(
      "runs",
      `${made.size} of ${experiment.runs.length} made, in ${experiment.repeats} blocks, seeds from ${experiment.seed}`,
    );
  for (const [key, value] of Object.entries(experiment.settings)) line("", `${key}: ${JSON.stringify(value)}`);
  line("folder", shownPath(dir));
  // One of each stratum, where there are several.
  const tables = path.join(dir, "tables");
  const summaries = existsSync(tables) ? readdirSync(tables).filter((name) => /^summary.*\.md$/.test(name)) : [];
  for (const name of summaries.sort()) process.stdout.write(`\n${readFileSync(path.join(tables, name), "utf8")}`);
  if (summaries.length === 0) process.stdout.write("no tables yet; `failstorm report DIR` makes them of what is there\n");
  return 0;
}
