import { rmSync } from "node:fs";
import path from "node:path";
import { InputError, RunError, type RunPlan, systemClock } from "@failstorm/core";
import type { Outcome } from "@failstorm/orchestrator";
import type { Scenario } from "@failstorm/scenarios";
import { stringify } from "yaml";
import { type LoadedConfig, resolvedDocument } from "../config/load.ts";
import { agentEntry, agentWarmUp } from "../project.ts";
import { checkWritable, createRunFolder, updateLatest, writeAtomically } from "../run/folder.ts";
import { type Interrupts, watchInterrupts } from "../run/interrupts.ts";
import { describeRun } from "../run/manifest.ts";
import { failure, log } from "../view/log.ts";
import { openTerminal, type Terminal } from "../view/terminal.ts";
import { describeShortfall, describeVictims } from "../view/victims.ts";
import { type ConfigRequest, loadRequested, shownPath, stormWarnings } from "./config.ts";
import { type OutputOptions, printSummary } from "./print.ts";
import { type Summary, summarise } from "./summary.ts";

export type RunRequest = ConfigRequest & OutputOptions;

const FAILED = 1;
const INVARIANT_BROKEN = 3;

/** The command `failstorm`: one run from configuration to result table. Returns the exit code; throws InputError before it starts. */
export async function run(request: RunRequest): Promise<number> {
  const { killAllNow } = await import("@failstorm/orchestrator");
  const interrupts = watchInterrupts(systemClock, {
    onFirst: () => log("WARNING", "interrupted: ending in order; once more ends at once"),
    onSecond: (code) => {
      killAllNow();
      process.exit(code);
    },
  });
  try {
    return await runWatched(request, interrupts);
  } finally {
    interrupts.close();
  }
}

async function runWatched(request: RunRequest, interrupts: Interrupts): Promise<number> {
  const loaded = await loadRequested(request);
  const { config } = loaded;
  const isTalkative = !request.quiet;
  if (isTalkative) for (const warning of stormWarnings(loaded)) log("WARNING", warning);
  const [{ findScenario }, { checkPorts }] = await Promise.all([
    import("@failstorm/scenarios"),
    import("@failstorm/orchestrator"),
  ]);
  const scenario = findScenario(config.scenario.name);
  checkWritable(config.output.dir);
  if (isTalkative) announce(loaded);
  const [plan] = await Promise.all([scenario.plan(config), checkPorts(config)]);
  if (isTalkative) for (const warning of [...(plan.notes ?? []), ...describeShortfall(plan)]) log("WARNING", warning);
  const beforeStart = interrupts.exitCode();
  if (beforeStart !== null) return beforeStart;
  const runDir = await prepareFolder(loaded, plan);
  if (isTalkative) log("INFO", `run folder ${shownPath(runDir)}`);
  const outcome = await carryOut({ loaded, plan, runDir, quiet: request.quiet, interrupts });
  if (outcome.status === "failed")
    log("ERROR", `the run failed: ${outcome.reason ?? "no reason given"}; logs are in ${shownPath(path.join(runDir, "logs"))}`);
  const summary = await summariseAnyway(runDir, scenario, outcome);
  if (summary === null) return interrupts.exitCode() ?? FAILED;
  if (!updateLatest(config.output.dir, runDir)) log("WARNING", `${shownPath(config.output.dir)}/latest could not be updated`);
  printSummary(summary, { runDir, json: request.json, quiet: request.quiet });
  if (request.json && hasPnpmHeader(process.env))
    log(
      "WARNING",
      "pnpm printed two lines of its own on stdout before the JSON; `pnpm -s failstorm --json` prints the JSON alone",
    );
  return exitCodeOf(outcome, summary, interrupts);
}

/** Whether a package script was started by a pnpm that announces it on stdout. */
const hasPnpmHeader = (env: NodeJS.ProcessEnv): boolean =>
  env["npm_lifecycle_event"] !== undefined &&
  (env["npm_config_user_agent"] ?? "").startsWith("pnpm") &&
  env["npm_config_reporter"] !== "silent";

function exitCodeOf(outcome: Outcome, { check }: Summary, interrupts: Interrupts): number {
  if (outcome.status === "interrupted") return interrupts.exitCode() ?? FAILED;
  if (outcome.status === "failed") return FAILED;
  return check.violations.length > 0 ? INVARIANT_BROKEN : 0;
}

function announce({ config, settings }: LoadedConfig): void {
  const { agentCount, killCount, seed, protocol, timeScale, fault, fakeFault } = config.scenario;
  const seconds = (ms: number): string => `${Number((ms / 1000).toFixed(3))} s`;
  const storm =
    killCount === 0
      ? "no fault"
      : `${fakeFault ? "fake " : ""}${fault} to ${describeVictims(config.scenario)} at ${seconds(config.scenario.faultTimeMs)}`;
  const scaled = timeScale === 1 ? "" : `, times × ${timeScale}, rate ${settings.tasks.rate} / ${timeScale}`;
  log("INFO", `${agentCount} agents, ${storm} of ${seconds(config.scenario.runtimeMs)}, seed ${seed}${scaled}`, protocol);
}

/** The run's folder with all that is known before the start. */
async function prepareFolder(loaded: LoadedConfig, plan: RunPlan): Promise<string> {
  const { config, protocol } = loaded;
  const { describeMachine } = await import("@failstorm/orchestrator");
  const { name, seed } = config.scenario;
  const runDir = createRunFolder({
    results: config.output.dir,
    scenario: name,
    protocol: protocol.getProtocolInfo().name,
    seed,
    clock: systemClock,
  });
  try {
    const manifest = await describeRun({
      runId: path.basename(runDir),
      config,
      machine: describeMachine(),
      argv: process.argv.slice(2),
      clock: systemClock,
    });
    writeAtomically(path.join(runDir, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
    writeAtomically(path.join(runDir, "config.yaml"), stringify(resolvedDocument(loaded)));
    writeAtomically(path.join(runDir, "schedule.json"), `${JSON.stringify(plan.schedule)}\n`);
  } catch (error) {
    rmSync(runDir, { recursive: true, force: true });
    throw error;
  }
  return runDir;
}

interface Parts {
  readonly loaded: LoadedConfig;
  readonly plan: RunPlan;
  readonly runDir: string;
  readonly quiet: boolean;
  readonly interrupts: Interrupts;
}

/** Runs the plan under the eyes of the terminal. Bad input that only shows now leaves no folder behind. */
async function carryOut(parts: Parts): Promise<Outcome> {
  const { execute } = await import("@failstorm/orchestrator");
  const terminal = await watch(parts);
  try {
    return await execute(parts.plan, {
      runDir: parts.runDir,
      agentEntry,
      agentWarmUp,
      clock: systemClock,
      signal: parts.interrupts.signal,
      onEvent: (event) => terminal.onEvent(event),
    });
  } catch (error) {
    if (error instanceof InputError) rmSync(parts.runDir, { recursive: true, force: true });
    throw error;
  } finally {
    terminal.close();
  }
}

function watch({ loaded, plan, runDir, quiet }: Parts): Promise<Terminal> {
  const { config, protocol } = loaded;
  const { agentCount, seed, runtimeMs, timeScale } = config.scenario;
  const isWindow = process.stderr.isTTY && config.logging.level !== "debug" && process.env["TERM"] !== "dumb";
  return openTerminal({
    clock: systemClock,
    stream: process.stderr,
    mode: isWindow && !quiet ? "live" : "lines",
    level: quiet ? "error" : config.logging.level,
    timeScale,
    view: {
      runId: path.basename(runDir),
      agentCount,
      protocol: protocol.getProtocolInfo().name,
      seed,
      runtimeMs,
      deadlineMs: config.tasks.deadlineMs,
      faultTimesMs: plan.schedule.faults.map(({ atMs }) => atMs),
      tasks: plan.schedule.tasks,
    },
  });
}

/** Partial metrics are better than none: when a broken-off run cannot even give those, say so and go on. */
async function summariseAnyway(runDir: string, scenario: Scenario, outcome: Outcome): Promise<Summary | null> {
  try {
    return await summarise(runDir, () => scenario);
  } catch (error) {
    if (outcome.status === "done" && !(error instanceof RunError)) throw error;
    failure(error);
    log("ERROR", `no metrics could be computed; what was recorded is in ${shownPath(runDir)}`);
    return null;
  }
}
