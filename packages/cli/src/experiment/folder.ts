import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import path from "node:path";
import { InputError, makeFolder } from "@failstorm/core";
import {
  type Experiment,
  EXPERIMENT_FILE,
  type MadeRun,
  parseExperiment,
  parseMadeRuns,
  type PlannedRun,
  RUNS_FILE,
} from "@failstorm/report/comparison/experiment.ts";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { type LoadedConfig, resolvedDocument } from "../config/load.ts";
import { shownPath } from "../commands/config.ts";
import { writeAtomically } from "../run/folder.ts";

const RUNS = "runs";
const NOW_FILE = "running.json";

const nowSchema = z.object({
  id: z.string(),
  pid: z.number(),
  startedAt: z.string(),
  attempt: z.number(),
  before: z.array(z.string()),
});
/** The run that is going on, kept on disk so that it is not lost when we are. */
export type RunningRun = z.infer<typeof nowSchema>;

/** An experiment's folder: what is planned, what was made, what goes on. */
export interface ExperimentStore {
  readonly dir: string;
  readonly experiment: Experiment;
  readonly runsDir: string;
  made(): Map<string, MadeRun>;
  /** Appends; what was recorded is never rewritten. */
  record(run: MadeRun): void;
  running(): RunningRun | null;
  setRunning(run: RunningRun | null): void;
  /** Run folders, relative to the experiment's. */
  runFolders(): string[];
  configOf(planned: PlannedRun): string;
  logOf(planned: PlannedRun): string;
}

/** Of the parts that decide what is run; a question or a date may change. */
const essence = ({
  factors,
  compare,
  baseline,
  primary,
  alpha,
  seed,
  repeats,
  controls,
  settings,
  variants,
  runs,
}: Experiment): string =>
  JSON.stringify([factors, compare, baseline, primary, alpha, seed, repeats, controls, settings, variants, runs]);

/**
 * Makes `<results>/experiments/<name>`, or opens it when the same experiment was begun there. Throws InputError when another one
 * was: its runs would be mixed up with these.
 */
export function openExperiment(
  results: string,
  planned: Experiment,
  configs: ReadonlyMap<string, LoadedConfig>,
): ExperimentStore {
  const dir = path.join(results, "experiments", planned.name);
  const file = path.join(dir, EXPERIMENT_FILE);
  if (!existsSync(file)) {
    makeFolder(path.join(dir, "configs"));
    for (const [id, loaded] of configs) writeAtomically(configFile(dir, id), stringify(resolvedDocument(loaded)));
    writeAtomically(file, `${JSON.stringify(planned, null, 1)}\n`);
  }
  const experiment = parseExperiment(readFileSync(file, "utf8"), file);
  if (essence(experiment) !== essence(planned))
    throw new InputError(
      `--name ${planned.name}: another experiment is in ${shownPath(dir)}; give another --name, or remove that folder`,
    );
  for (const [id, loaded] of configs) rejectOtherConfig(dir, id, loaded);
  return createStore(dir, experiment, results);
}

/** Key → value as text, but for where results are put. */
function leaves(value: unknown, at = ""): Map<string, string> {
  if (at === "output") return new Map();
  if (typeof value !== "object" || value === null || Array.isArray(value)) return new Map([[at, JSON.stringify(value)]]);
  return new Map(Object.entries(value).flatMap(([key, below]) => Array.from(leaves(below, at === "" ? key : `${at}.${key}`))));
}

/**
 * Runs start from the configurations recorded at the beginning: what else came to differ since (`--config`, a protocol's file) would be
 * passed over in silence. Keys that a later version has added are no difference.
 */
function rejectOtherConfig(dir: string, variant: string, loaded: LoadedConfig): void {
  const file = configFile(dir, variant);
  if (!existsSync(file)) return;
  const [begun, now] = [leaves(parse(readFileSync(file, "utf8"))), leaves(resolvedDocument(loaded))];
  const sections = new Set([...begun.keys()].map((key) => key.split(".")[0]));
  const other =
    [...begun].find(([key, value]) => now.get(key) !== value)?.[0] ??
    [...now.keys()].find((key) => !sections.has(key.split(".")[0]));
  if (other === undefined) return;
  throw new InputError(
    `${shownPath(dir)}: this experiment was begun with ${other} ${begun.get(other) ?? "not set"} for ${variant}, now it is ${now.get(other) ?? "not set"}; give another --name, or the configuration of before`,
  );
}

const configFile = (dir: string, variant: string): string => path.join(dir, "configs", `${variant}.yaml`);

function createStore(dir: string, experiment: Experiment, results: string): ExperimentStore {
  const runsDir = path.join(dir, RUNS);
  makeFolder(path.join(dir, "logs"));
  makeFolder(runsDir);
  shareCompileCache(results, runsDir);
  const runsFile = path.join(dir, RUNS_FILE);
  const nowFile = path.join(dir, NOW_FILE);
  return {
    dir,
    experiment,
    runsDir,
    made: () => (existsSync(runsFile) ? parseMadeRuns(readFileSync(runsFile, "utf8")) : new Map()),
    // A line that an interruption cut short must not swallow this one.
    record: (run) => appendFileSync(runsFile, `${endsLine(runsFile) ? "" : "\n"}${JSON.stringify(run)}\n`),
    running: () => {
      if (!existsSync(nowFile)) return null;
      const parsed = nowSchema.safeParse(JSON.parse(readFileSync(nowFile, "utf8")));
      return parsed.success ? parsed.data : null;
    },
    setRunning: (run) => (run === null ? rmSync(nowFile, { force: true }) : writeAtomically(nowFile, JSON.stringify(run))),
    runFolders: () => listRunFolders(runsDir).map((folder) => path.relative(dir, folder)),
    configOf: ({ variant }) => configFile(dir, variant),
    logOf: ({ id }) => path.join(dir, "logs", `${id}.log`),
  };
}

function endsLine(file: string): boolean {
  return !existsSync(file) || /(^|\n)$/.test(readFileSync(file, "utf8").slice(-1));
}

/** Agents of all runs start from the same compiled code: the first run of an experiment would be slower than the others. */
function shareCompileCache(results: string, runsDir: string): void {
  const link = path.join(runsDir, ".cache");
  if (existsSync(link)) return;
  const cache = path.join(results, ".cache");
  makeFolder(cache);
  rmSync(link, { force: true });
  symlinkSync(path.relative(runsDir, cache), link);
}

/** `<results>/<scenario>/<protocol>/<run>`, every one that has a manifest. */
export function listRunFolders(results: string): string[] {
  const below = (dir: string): string[] =>
    readdirSync(dir, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
      .map((entry) => path.join(dir, entry.name));
  if (!existsSync(results)) return [];
  return below(results)
    .flatMap(below)
    .flatMap(below)
    .filter((dir) => existsSync(path.join(dir, "manifest.json")));
}
