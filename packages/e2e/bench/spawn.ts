import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { agentEntry, loadConfig, projectRoot } from "@failstorm/cli";
import { RunError, type RunEvent, type RunPlan } from "@failstorm/core";
import { execute } from "../../orchestrator/src/index.ts";
import { findScenario } from "../../scenarios/src/index.ts";
import type { Bench, BenchContext, BenchOutcome, Check } from "./bench.ts";
import { estimate, median } from "./statistics.ts";

const AGENTS = 8;
const MAX_RATIO = 1.5;
const FLOOR_ENTRY = fileURLToPath(new URL("./spawnFloor.ts", import.meta.url));

interface Start {
  /** From the begin of the spawn phase to the last `agent.ready`. */
  readonly ms: number;
  /** Each process by itself, from its spawn to its ready. */
  readonly eachMs: readonly number[];
  readonly rssBytes: readonly number[];
}

/** Starts eight processes through the orchestrator itself and ends the run when the last is ready. */
async function startOnce(plan: RunPlan, entry: string, { workDir, clock, signal }: BenchContext): Promise<Start> {
  const runDir = mkdtempSync(path.join(workDir, "spawn-"));
  const enough = new AbortController();
  let from = 0;
  let to = 0;
  const ready: Extract<RunEvent, { ev: "agent.ready" }>[] = [];
  try {
    const { reason } = await execute(plan, {
      runDir,
      agentEntry: entry,
      agentWarmUp: null,
      clock,
      signal: AbortSignal.any([enough.signal, signal]),
      onEvent: (event) => {
        if (event.ev === "run.phase" && event.phase === "spawn") from = event.t;
        if (event.ev !== "agent.ready") return;
        ready.push(event);
        if (ready.length < AGENTS) return;
        to = event.t;
        enough.abort();
      },
    });
    signal.throwIfAborted();
    if (ready.length < AGENTS) throw new RunError("BENCH_RUN_FAILED", `only ${ready.length} of ${AGENTS} got ready: ${reason}`);
    return { ms: to - from, eachMs: ready.map((event) => event.ms), rssBytes: ready.map((event) => event.rssBytes) };
  } finally {
    rmSync(runDir, { recursive: true, force: true });
  }
}

async function planRun(workDir: string): Promise<RunPlan> {
  const assignments = [`scenario.agent_count=${AGENTS}`, "scenario.seed=1", "network.base_port=0", `output.dir=${workDir}`];
  const { config } = await loadConfig({ flags: [], assignments, file: null, env: {}, cwd: projectRoot, root: projectRoot });
  return findScenario(config.scenario.name).plan(config);
}

async function run(context: BenchContext): Promise<BenchOutcome> {
  const { repeats, workDir, prng, progress } = context;
  mkdirSync(workDir, { recursive: true });
  const plan = await planRun(workDir);
  const pair = async (): Promise<{ agents: Start; floor: Start }> => ({
    agents: await startOnce(plan, agentEntry, context),
    floor: await startOnce(plan, FLOOR_ENTRY, context),
  });
  await pair(); // fills the compile cache; not counted
  const pairs: { agents: Start; floor: Start }[] = [];
  for (let repeat = 1; repeat <= repeats; repeat++) {
    const { agents, floor } = await pair();
    pairs.push({ agents, floor });
    progress(`${repeat}/${repeats}: agents ${agents.ms.toFixed(0)} ms, floor ${floor.ms.toFixed(0)} ms`);
  }
  const check = (measure: string, of: (pair: { agents: Start; floor: Start }) => number): Check => {
    const { value, interval } = estimate(pairs.map(of), median, prng);
    return { measure, goal: "", unit: "ms", n: pairs.length, median: value, interval, met: null };
  };
  const ratio = estimate(
    pairs,
    (sample) => median(sample.map(({ agents }) => agents.ms)) / median(sample.map(({ floor }) => floor.ms)),
    prng,
  );
  return {
    checks: [
      {
        measure: `${AGENTS} agents / floor`,
        goal: `≤ ${MAX_RATIO} ×`,
        unit: "×",
        n: pairs.length,
        median: ratio.value,
        interval: ratio.interval,
        met: ratio.value <= MAX_RATIO,
      },
      check(`${AGENTS} agents, spawn → all ready`, ({ agents }) => agents.ms),
      check(`${AGENTS} bare Fastify children`, ({ floor }) => floor.ms),
      check("one agent, spawn → ready", ({ agents }) => median(agents.eachMs)),
      check("one bare child", ({ floor }) => median(floor.eachMs)),
    ],
    details: [],
    notes: [
      `Both through the orchestrator's own supervisor, launcher and control server (${availableParallelism()} at a time), same node, same compile cache, warmed by one pair that is not counted; only the entry file differs.`,
    ],
    doubt: null,
    data: { pairs },
  };
}

export const spawn: Bench = {
  name: "spawn",
  what: "eight agents, spawn → all ready, against eight bare Fastify children started the same way",
  goal: `≤ ${MAX_RATIO} × the floor`,
  run,
};
