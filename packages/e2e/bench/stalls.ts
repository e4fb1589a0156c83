import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { type Clock, type Prng, RunError, type RunEvent, type RunEventOf } from "@failstorm/core";
import type { Bench, BenchContext, BenchOutcome, Check } from "./bench.ts";
import { type ProductRun, runProduct } from "./product.ts";

const AGENTS = 16;
const TIMEOUT_MS = 3000;
/** These stand still for longer than their peers can bear; afterwards they must not blame those. */
const OBSERVERS = ["agent-0", "agent-1"];
const OBSERVER_STALL_MS = 1.5 * TIMEOUT_MS;
const PEER_STALL_MS = 0.5 * TIMEOUT_MS;
const RUNTIME_S = 60;
const ARGS = `--agents ${AGENTS} --kill-fraction 0 --rate 0.2 --runtime ${RUNTIME_S}`.split(" ");
/** Nobody stands still near the beginning and the end. */
const MARGIN_MS = 5000;
/** From one stall to the next. */
const PAUSE_MS = 700;
const MIN_LINK_HOURS = 10;
const LOOK_AGAIN_MS = 50;
const START_PATIENCE_MS = 120_000;

/** Keeps a core busy for as long as whoever started it lives. */
const BURNER = `process.stdin.on("end", () => process.exit()).resume(); new (require("node:worker_threads").Worker)("for (;;);", { eval: true });`;

const burn = (): ChildProcess => spawn(process.execPath, ["-e", BURNER], { stdio: ["pipe", "ignore", "ignore"] });

const eventsIn = (file: string): RunEvent[] =>
  readFileSync(file, "utf8")
    .split("\n")
    .slice(0, -1)
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as RunEvent);

/** The orchestrator's journal of the run that is under way, once its load has begun. */
async function loadBegun(workDir: string, former: ReadonlySet<string>, clock: Clock, signal: AbortSignal): Promise<RunEvent[]> {
  const runs = path.join(workDir, "fail-storm", "simple_json");
  for (const deadline = clock.now() + START_PATIENCE_MS; clock.now() < deadline; ) {
    await clock.sleep(LOOK_AGAIN_MS, signal);
    for (const id of foldersIn(runs)) {
      if (former.has(id)) continue;
      const events = tryRead(path.join(runs, id, "orchestrator.ndjson"));
      if (events.some(({ ev }) => ev === "run.load")) return events;
    }
  }
  throw new RunError("BENCH_RUN_FAILED", `the load did not begin within ${START_PATIENCE_MS / 1000} s`);
}

function foldersIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function tryRead(file: string): RunEvent[] {
  try {
    return eventsIn(file);
  } catch {
    // Not there yet, or its last line is being written.
    return [];
  }
}

interface Stalls {
  observers: number;
  peers: number;
}

/** Stops one agent after another until `until`, observers and others in turn; never ends with one that stands still. */
async function stall(
  pids: ReadonlyMap<string, number>,
  until: number,
  prng: Prng,
  { clock, signal }: Pick<BenchContext, "clock" | "signal">,
): Promise<Stalls> {
  const stalls: Stalls = { observers: 0, peers: 0 };
  const standStill = async (agent: string, ms: number): Promise<void> => {
    const pid = pids.get(agent);
    if (pid === undefined) throw new RunError("BENCH_RUN_FAILED", `${agent} never said that it was ready`);
    process.kill(pid, "SIGSTOP");
    try {
      await clock.sleep(ms, signal);
    } finally {
      process.kill(pid, "SIGCONT");
    }
  };
  const inTurn = async (agents: readonly string[], ms: number, count: () => void): Promise<void> => {
    for (let turn = 0; clock.now() + ms < until; turn++) {
      if (turn % agents.length === 0) agents = prng.shuffle(agents);
      await standStill(agents[turn % agents.length] as string, ms);
      count();
      await clock.sleep(PAUSE_MS, signal);
    }
  };
  const others = [...pids.keys()].filter((agent) => !OBSERVERS.includes(agent));
  await Promise.all([
    inTurn(OBSERVERS, OBSERVER_STALL_MS, () => stalls.observers++),
    inTurn(others, PEER_STALL_MS, () => stalls.peers++),
  ]);
  return stalls;
}

interface Trial extends Stalls {
  readonly linkHours: number;
  /** Verdicts on agents that never stood still for longer than must be borne. */
  readonly wrong: number;
  /** Verdicts on observers while they stood still for longer than the timeout, or just after. */
  readonly onObservers: number;
  readonly busy: number | null;
}

function judge({ record, metrics }: ProductRun, stalls: Stalls): Trial {
  const dead = record.events.filter((event): event is RunEventOf<"detect.dead"> => event.ev === "detect.dead");
  const onObservers = dead.filter(({ peer }) => OBSERVERS.includes(peer)).length;
  const linkHours = metrics.detector_accuracy.link_hours;
  return { ...stalls, linkHours, wrong: dead.length - onObservers, onObservers, busy: metrics.load.machine_busy };
}

async function trial(context: BenchContext, seed: number): Promise<Trial> {
  const { workDir, clock, prng } = context;
  const former = new Set(foldersIn(path.join(workDir, "fail-storm", "simple_json")));
  const stop = new AbortController();
  const signal = AbortSignal.any([context.signal, stop.signal]);
  const burners = Array.from({ length: availableParallelism() }, burn);
  try {
    const run = runProduct([...ARGS, "--seed", String(seed)], { ...context, signal });
    const stalling = async (): Promise<Stalls> => {
      const events = await loadBegun(workDir, former, clock, signal);
      const ready = events.filter((event): event is RunEventOf<"agent.ready"> => event.ev === "agent.ready");
      const until = clock.now() + RUNTIME_S * 1000 - MARGIN_MS;
      await clock.sleep(MARGIN_MS, signal);
      return stall(new Map(ready.map(({ agent, pid }) => [agent, pid])), until, prng.fork(`stalls/${seed}`), { clock, signal });
    };
    const [finished, stalls] = await Promise.all([run, stalling()]).catch((error: unknown) => {
      stop.abort();
      throw error;
    });
    const judged = judge(finished, stalls);
    finished.discard();
    return judged;
  } finally {
    for (const burner of burners) burner.kill("SIGKILL");
  }
}

async function run(context: BenchContext): Promise<BenchOutcome> {
  const { repeats, prng, progress } = context;
  const seeds = prng.fork("seeds");
  const trials: Trial[] = [];
  for (let repeat = 1; repeat <= repeats; repeat++) {
    const one = await trial(context, seeds.int(1_000_000));
    trials.push(one);
    progress(
      `${repeat}/${repeats}: ${one.linkHours.toFixed(1)} link-hours, ${one.peers + one.observers} stalls, ${one.wrong} wrong verdicts`,
    );
  }
  const sum = (of: (one: Trial) => number): number => trials.reduce((total, one) => total + of(one), 0);
  const [linkHours, wrong] = [sum((one) => one.linkHours), sum((one) => one.wrong)];
  const row = (measure: string, goal: string, unit: string, value: number, met: boolean | null): Check => ({
    measure,
    goal,
    unit,
    n: trials.length,
    median: value,
    interval: null,
    met,
  });
  return {
    checks: [
      row("false positives, all runs", "0", "verdicts", wrong, wrong === 0),
      row("monitored time, all runs", `≥ ${MIN_LINK_HOURS}`, "link-hours", linkHours, linkHours >= MIN_LINK_HOURS),
      row(
        "stalls of 0.5 × timeout",
        "",
        "stalls",
        sum((one) => one.peers),
        null,
      ),
      row(
        "stalls of 1.5 × timeout",
        "",
        "stalls",
        sum((one) => one.observers),
        null,
      ),
      row(
        "verdicts on who stood still for 1.5 × timeout",
        "",
        "verdicts",
        sum((one) => one.onObservers),
        null,
      ),
    ],
    details: [],
    notes: [
      `${ARGS.join(" ")}, default heartbeats (timeout ${TIMEOUT_MS / 1000} s), one busy process a core beside it at the same priority. ${OBSERVERS.join(" and ")} are stopped (SIGSTOP, SIGCONT) in turn for ${OBSERVER_STALL_MS / 1000} s, the others in turn for ${PEER_STALL_MS / 1000} s, with ${PAUSE_MS} ms in between.`,
      "A false positive is a verdict on one that stood still for half of the timeout at most. Who stands still for longer than the timeout is rightly declared dead by the others, and is refuted when it goes on.",
    ],
    doubt: null,
    data: { trials },
  };
}

export const stalls: Bench = {
  name: "stalls",
  what: `${AGENTS} agents on a loaded machine, stopped now and then: some for 1.5 × the timeout, the others for half of it; nobody dies`,
  goal: `no false positive in ${MIN_LINK_HOURS} link-hours or more (3 a repeat)`,
  run,
};
