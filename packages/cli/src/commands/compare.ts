import { readFileSync } from "node:fs";
import path from "node:path";
import { type Clock, InputError, systemClock } from "@failstorm/core";
import { findMeasure, formatWithUnit } from "@failstorm/report";
import type { MadeRun, PlannedRun } from "@failstorm/report/comparison/experiment.ts";
import { blockPower } from "@failstorm/report/statistics/effectSize.ts";
import { type Entry, redact } from "../config/entry.ts";
import { loadConfig, type LoadedConfig } from "../config/load.ts";
import { type ExperimentStore, openExperiment } from "../experiment/folder.ts";
import { planExperiment } from "../experiment/plan.ts";
import { createProgress, formatDuration, type Progress } from "../experiment/progress.ts";
import { type CompareRequest, requestLayers } from "../experiment/request.ts";
import { isRunning, lockExperiment } from "../experiment/processes.ts";
import { type ChildRun, newFolder, settle, startRun, withoutSettings } from "../experiment/runOne.ts";
import { type ExperimentSpec, readSpec } from "../experiment/spec.ts";
import { projectRoot, userFolder } from "../project.ts";
import { checkWritable } from "../run/folder.ts";
import { type Interrupts, watchInterrupts } from "../run/interrupts.ts";
import { log } from "../view/log.ts";
import { passOnLlmKey, shownPath } from "./config.ts";
import { reportExperiment } from "./reportExperiment.ts";

export interface CompareOptions extends CompareRequest {
  /** `--config FILE`: what all runs have in common, below the experiment's settings. */
  readonly config: string | null;
  readonly dryRun: boolean;
  readonly retryFailed: boolean;
  readonly json: boolean;
}

const FAILED = 1;
const BAD_INPUT = 2;
const INVARIANT_BROKEN = 3;

/** The configuration of every variant, checked before anything is run. Throws InputError. */
async function loadVariants(
  spec: ExperimentSpec,
  experiment: ReturnType<typeof planExperiment>,
  file: string | null,
): Promise<Map<string, LoadedConfig>> {
  const configs = new Map<string, LoadedConfig>();
  for (const variant of experiment.variants) {
    const levels = [...spec.factors].map(([name, { key, entry }]): Entry => {
      const { origin } = entry;
      return { path: key, value: variant.levels[name], origin };
    });
    const flags = [...spec.settings.filter(({ path }) => path !== "output.dir"), ...levels];
    configs.set(
      variant.id,
      await loadConfig({
        flags,
        assignments: [],
        file,
        env: withoutSettings(process.env),
        cwd: userFolder(),
        root: projectRoot,
        drawSeed: () => spec.seed,
      }),
    );
  }
  // The runs' configurations are written down, without it; where there are several, each run finds its own.
  const [key = null, ...others] = new Set([...configs.values()].map(({ llmKey }) => llmKey).filter((one) => one !== null));
  if (others.length === 0) passOnLlmKey(key);
  return configs;
}

/** Runs start from recorded configurations, and no secret is recorded. Throws InputError naming the section that has one. */
function rejectSecrets(configs: Iterable<LoadedConfig>): void {
  for (const { protocol, protocolSection } of configs) {
    if (JSON.stringify(redact(protocolSection)) === JSON.stringify(protocolSection)) continue;
    const { name } = protocol.getProtocolInfo();
    throw new InputError(
      `${name}: this section holds a secret; the runs of an experiment start from recorded configurations, which hold none; leave it out`,
    );
  }
}

/** Says what the experiment is and what its size can show, before its first run. */
function announce(store: ExperimentStore, todo: readonly PlannedRun[], progress: Progress): void {
  const { experiment, dir } = store;
  const { variants, repeats, runs, alpha } = experiment;
  const strata = Map.groupBy(variants, ({ stratum }) => stratum);
  const comparisons = [...strata.values()].reduce((sum, own) => sum + (own.length * (own.length - 1)) / 2, 0);
  const power = blockPower(repeats, comparisons, alpha);
  log("INFO", `${experiment.name}: ${variants.map(({ label }) => label).join(" · ")}`);
  log(
    "INFO",
    `${runs.length} runs in ${repeats} blocks (controls: A/A ${experiment.controls.aa ? "yes" : "no"}, without a fault ${experiment.controls.no_fault}); primary measure ${experiment.primary}, baseline ${experiment.baseline}`,
  );
  const p = (value: number): string => value.toPrecision(2);
  if (comparisons === 0)
    log("INFO", "one level only: nothing is compared within this experiment; `failstorm diff` compares two of them");
  else if (power.canPass)
    log(
      "INFO",
      `${repeats} blocks can show: p ≥ ${p(power.smallestP)} where Holm over ${comparisons} pairs asks for ${p(power.neededP)}${power.detectableDz === null ? "" : `; a difference of ${power.detectableDz.toFixed(2)} standard deviations is found in 4 of 5 such experiments`}`,
    );
  else
    log(
      "WARNING",
      `${repeats} blocks can show no significant difference: a sign-flip test gives p ≥ ${p(power.smallestP)}, and Holm over ${comparisons} pairs asks for ${p(power.neededP)}; ${power.blocksNeeded} blocks are needed`,
    );
  log(
    "INFO",
    `${todo.length === runs.length ? "" : `${runs.length - todo.length} made before; `}${todo.length} to make, about ${formatDuration(progress.remaining(todo))}; ${shownPath(dir)}`,
  );
}

/** Planned runs that have no record yet, or with `retry` no success. */
function remainingRuns(store: ExperimentStore, retry: boolean): PlannedRun[] {
  const made = store.made();
  return store.experiment.runs.filter(({ id }) => {
    const run = made.get(id);
    return run === undefined || (retry && (run.dir === null || run.exitCode === FAILED));
  });
}

/** A run whose compare was killed goes on by itself: it is waited for, and counted when it was or is made to its end. */
export async function adopt(store: ExperimentStore, clock: Clock, signal: AbortSignal): Promise<void> {
  const run = store.running();
  if (run === null) return;
  const goesOn = (): boolean => isRunning(run.pid, store.runsDir);
  if (goesOn()) log("INFO", `${run.id} is still going on (process ${run.pid}) from an interrupted call: waiting for it`);
  while (goesOn()) await clock.sleep(500, signal);
  const dir = newFolder(store, run.before);
  const { id, startedAt, attempt } = run;
  // Killed between the record of a run and this file's removal, we find a run that is recorded already.
  if ((store.made().get(id)?.attempt ?? 0) < attempt && dir !== null && (await isWhole(path.join(store.dir, dir)))) {
    store.record({ id, dir, exitCode: null, startedAt, wallMs: 0, busyBefore: null, attempt });
    log("INFO", `${id} came to its end after the call that had begun it was ended: it counts`);
  }
  store.setRunning(null);
}

async function isWhole(dir: string): Promise<boolean> {
  const { readMetricsFile } = await import("@failstorm/report/comparison/readExperiment.ts");
  return (await readMetricsFile(path.join(dir, "failstorm_metrics.json")))?.partial === false;
}

/** What a run that was made says, in a line. */
async function describeRun(store: ExperimentStore, run: MadeRun): Promise<string> {
  const { readMetricsFile } = await import("@failstorm/report/comparison/readExperiment.ts");
  const { disturbances } = await import("@failstorm/report/comparison/digest.ts");
  const metrics = run.dir === null ? null : await readMetricsFile(path.join(store.dir, run.dir, "failstorm_metrics.json"));
  if (metrics === null) return `exit code ${run.exitCode}, no metrics; see logs/${run.id}.log`;
  const measure = findMeasure(store.experiment.primary);
  const value = measure?.pick(metrics) ?? null;
  const flags = [...metrics.invalid_because, ...(metrics.saturated ? ["saturated"] : []), ...disturbances(metrics)];
  const said =
    metrics.storms.length === 0
      ? "no fault"
      : `${measure?.label.toLowerCase()} ${formatWithUnit(value === null ? null : value * (measure?.factor ?? 1), measure?.unit ?? "ms")}`;
  return `${said}${flags.length === 0 ? "" : `; ${flags.join("; ")}`}`;
}

interface Session {
  readonly store: ExperimentStore;
  readonly todo: readonly PlannedRun[];
  readonly progress: Progress;
  readonly interrupts: Interrupts;
  /** The run that is going on, for signals. */
  readonly now: { child: ChildRun | null };
}

/** Makes what is left, one after the other. Stops at an interruption, and at a run that says its input is bad. */
async function makeRuns({ store, todo, progress, interrupts, now }: Session): Promise<void> {
  for (const [i, planned] of todo.entries()) {
    if (interrupts.signal.aborted) return;
    const begun = systemClock.now();
    const attempt = (store.made().get(planned.id)?.attempt ?? 0) + 1;
    const busyBefore = await settle(systemClock, interrupts.signal).catch(() => null);
    if (interrupts.signal.aborted) return;
    now.child = startRun(store, planned, { clock: systemClock, busyBefore, attempt });
    const run = await now.child.ended;
    now.child = null;
    if (run === null) {
      store.setRunning(null);
      if (interrupts.signal.aborted) return;
      log("WARNING", `${planned.id}: ended by a signal; it is made again by the next call`);
      continue;
    }
    if (run.exitCode !== BAD_INPUT) store.record(run);
    store.setRunning(null);
    if (run.exitCode === BAD_INPUT)
      throw new InputError(`${planned.id} could not start: ${readFileSync(store.logOf(planned), "utf8").trim()}`);
    progress.note(planned.variant, systemClock.now() - begun);
    const left = progress.remaining(todo.slice(i + 1));
    const until = new Date(systemClock.wall() + left).toTimeString().slice(0, 5);
    log(
      run.exitCode === 0 ? "PROGRESS" : "WARNING",
      `${i + 1} of ${todo.length} ${planned.id}: ${await describeRun(store, run)} (${formatDuration(run.wallMs)}); ${i + 1 < todo.length ? `${formatDuration(left)} left, until ${until}` : "done"}`,
    );
  }
}

/** `failstorm compare`: an experiment from plan to page. Returns the exit code; throws InputError before the first run. */
export async function compare(options: CompareOptions): Promise<number> {
  const spec = readSpec(requestLayers(options, userFolder(), projectRoot, withoutSettings(process.env)));
  const planned = planExperiment(spec, new Date(systemClock.wall()).toISOString());
  const configs = await loadVariants(spec, planned, options.config);
  rejectSecrets(configs.values());
  const [sample] = configs.values();
  for (const warning of new Set([...configs.values()].flatMap(({ warnings }) => warnings))) log("WARNING", warning);
  if ([...configs.values()].some(({ config }) => config.scenario.cycles > 1))
    log("WARNING", "scenario.cycles: of each run its first storm is compared; the others stand in its failstorm_metrics.json");
  const progress = createProgress(new Map([...configs].map(([id, { config }]) => [id, config.scenario.runtimeMs])));
  const results = path.resolve(projectRoot, resultsDir(spec) ?? sample?.config.output.dir ?? "results");
  checkWritable(results);
  if (options.dryRun) {
    announce(
      { experiment: planned, dir: path.join(results, "experiments", planned.name) } as ExperimentStore,
      planned.runs,
      progress,
    );
    for (const { id, seed } of planned.runs) process.stdout.write(`${id} seed ${seed}\n`);
    return 0;
  }
  const now: Session["now"] = { child: null };
  const interrupts = watchInterrupts(systemClock, {
    onFirst: () => {
      log("WARNING", "interrupted: the run that is going on is broken off and will be made again; what is finished is kept");
      now.child?.signal("SIGINT");
    },
    // While the report is being made there is no run to end; its files are written whole or not at all.
    onSecond: (exitCode) => (now.child === null ? process.exit(exitCode) : now.child.signal("SIGINT")),
  });
  try {
    const store = openExperiment(results, planned, configs);
    const unlock = lockExperiment(store.dir, planned.name);
    try {
      return await carryOut(store, { progress, interrupts, now, retry: options.retryFailed, json: options.json });
    } finally {
      unlock();
    }
  } finally {
    interrupts.close();
  }
}

/** `--results DIR`, relative to where the user is. */
function resultsDir({ settings }: ExperimentSpec): string | null {
  const given = settings.find(({ path }) => path === "output.dir")?.value;
  return typeof given === "string" ? path.resolve(userFolder(), given) : null;
}

async function carryOut(
  store: ExperimentStore,
  options: Pick<Session, "progress" | "interrupts" | "now"> & { readonly retry: boolean; readonly json: boolean },
): Promise<number> {
  const { interrupts } = options;
  await adopt(store, systemClock, interrupts.signal).catch((error: unknown) => {
    if (!interrupts.signal.aborted) throw error;
  });
  const todo = remainingRuns(store, options.retry);
  announce(store, todo, options.progress);
  await makeRuns({ store, todo, ...options });
  if (store.made().size === 0) return interrupts.exitCode() ?? FAILED;
  await reportExperiment(store.dir, { json: options.json, fresh: false, publish: null });
  const interrupted = interrupts.exitCode();
  if (interrupted !== null) {
    log("INFO", "the same command goes on from here");
    return interrupted;
  }
  const codes = new Set([...store.made().values()].map(({ exitCode }) => exitCode));
  if (remainingRuns(store, false).length > 0 || codes.has(FAILED)) return FAILED;
  return codes.has(INVARIANT_BROKEN) ? INVARIANT_BROKEN : 0;
}
