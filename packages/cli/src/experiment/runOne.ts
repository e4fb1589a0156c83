import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import path from "node:path";
import { type Clock, LLM_KEY_VARIABLE } from "@failstorm/core";
import { parseProcStat } from "@failstorm/orchestrator/machine.ts";
import type { MadeRun, PlannedRun } from "@failstorm/report/comparison/experiment.ts";
import { projectRoot } from "../project.ts";
import type { ExperimentStore } from "./folder.ts";

const MAIN = path.join(projectRoot, "packages", "cli", "src", "main.ts");
/** Before each run the machine should be as quiet as it gets; it is not waited for longer than this. */
const MAX_SETTLE_MS = 3000;
const QUIET_BUSY = 0.25;
const LOOK_MS = 500;

/** What configures failstorm in the shell would go before the experiment's own configuration; a model's key stands in none. */
export const withoutSettings = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(env).filter(([name]) => name === LLM_KEY_VARIABLE || !name.startsWith("FAILSTORM_")));

/** Waits until the machine is quiet; returns how busy it was last, null where that cannot be told. */
export async function settle(clock: Clock, signal: AbortSignal): Promise<number | null> {
  const until = clock.now() + MAX_SETTLE_MS;
  for (;;) {
    const busy = await busyNow(clock, signal);
    if (busy === null || busy < QUIET_BUSY || clock.now() >= until) return busy;
  }
}

async function busyNow(clock: Clock, signal: AbortSignal): Promise<number | null> {
  const read = (): ReturnType<typeof parseProcStat> => {
    try {
      return parseProcStat(readFileSync("/proc/stat", "latin1"));
    } catch {
      return null;
    }
  };
  const first = read();
  await clock.sleep(LOOK_MS, signal);
  const second = read();
  if (first === null || second === null || second.total === first.total) return null;
  return Math.round((1 - (second.idle - first.idle) / (second.total - first.total)) * 1000) / 1000;
}

export interface ChildRun {
  /** What it left; null when it was interrupted: then it is to be made again. It stands as running until its caller has recorded it. */
  readonly ended: Promise<MadeRun | null>;
  readonly signal: (name: NodeJS.Signals) => void;
}

/**
 * Starts a planned run as a process of its own, as a user would: nothing of one run is in the memory of the next. It has its own process
 * group: Ctrl-C reaches it through us, once.
 */
export function startRun(
  store: ExperimentStore,
  planned: PlannedRun,
  options: { readonly clock: Clock; readonly busyBefore: number | null; readonly attempt: number },
): ChildRun {
  const { clock, busyBefore, attempt } = options;
  const before = store.runFolders();
  const log = openSync(store.logOf(planned), "a");
  const noFault = planned.role === "no_fault" ? ["--kill-fraction", "0"] : [];
  const args = [
    MAIN,
    "--config",
    store.configOf(planned),
    "--seed",
    String(planned.seed),
    "--results",
    store.runsDir,
    "--quiet",
    ...noFault,
  ];
  const child = spawn(process.execPath, args, {
    cwd: store.dir,
    env: withoutSettings(process.env),
    stdio: ["ignore", log, log],
    detached: true,
  });
  closeSync(log);
  const startedAt = new Date(clock.wall()).toISOString();
  const startedMs = clock.now();
  if (child.pid !== undefined) store.setRunning({ id: planned.id, pid: child.pid, startedAt, attempt, before });
  const ended = exitOf(child).then(({ code, signal }): MadeRun | null => {
    if (code === null || code > 128 || signal !== null) return null;
    const dir = newFolder(store, before);
    return { id: planned.id, dir, exitCode: code, startedAt, wallMs: Math.round(clock.now() - startedMs), busyBefore, attempt };
  });
  return { ended, signal: (name) => void child.kill(name) };
}

/** The run folder that was not there before. */
export const newFolder = (store: ExperimentStore, before: readonly string[]): string | null =>
  store.runFolders().find((folder) => !before.includes(folder)) ?? null;

const exitOf = (child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> =>
  new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
