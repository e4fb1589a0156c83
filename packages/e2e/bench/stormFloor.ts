import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { type AgentId, agentIndex, type Clock, RunError } from "@failstorm/core";
import type { BenchContext } from "./bench.ts";
import { type AgentLoad, LOOK_BACK_MS, type StormProfile } from "./loadProfile.ts";
import { median } from "./statistics.ts";
import { shown } from "./table.ts";

export type FloorOrder =
  | {
      readonly type: "begin";
      readonly index: number;
      readonly load: AgentLoad;
      readonly ports: readonly number[];
      /** Where streams are held to. */
      readonly heldPorts: readonly number[];
      /** How many ring successors it holds a stream to; all others when null. */
      readonly successors: number | null;
      readonly seed: number;
    }
  | { readonly type: "sample" };

export type FloorAnswer =
  | { readonly type: "listening"; readonly port: number; readonly heldPort: number }
  | { readonly type: "holding" }
  | { readonly type: "sample"; readonly at: number; readonly cpuMs: number; readonly rssBytes: number }
  /** The kernel closed the streams to these peers. */
  | { readonly type: "closed"; readonly closings: readonly { readonly peer: number; readonly at: number }[] };

/** Of one process; CPU time as a share of a core. */
export interface Load {
  readonly rssBytes: number;
  readonly cpuShare: number;
}

/** One storm of the floor; times in ms from the victim's stamp before kill(2). */
export interface FloorStorm {
  readonly first: number;
  /** null: some stream was not closed in time. */
  readonly last: number | null;
  readonly closedMs: readonly number[];
  /** What the processes really were, just before the kill. */
  readonly agents: readonly Load[];
}

const ENTRY = fileURLToPath(new URL("./stormFloorProcess.ts", import.meta.url));
/** Load before the look at it: code gets warm, memory is filled. */
const SETTLE_MS = 2000;
const START_TIMEOUT_MS = 30_000;
const CLOSE_TIMEOUT_MS = 5000;

/** A process of the floor as its controller sees it. */
class FloorProcess {
  readonly child: ChildProcess;
  readonly closed = new Map<number, number>();
  private readonly answers = new Map<FloorAnswer["type"], (answer: FloorAnswer) => void>();

  constructor() {
    this.child = fork(ENTRY, { stdio: ["ignore", "ignore", "inherit", "ipc"], env: { ...process.env, NODE_ENV: "production" } });
    this.child.on("message", (answer: FloorAnswer) => {
      if (answer.type === "closed") for (const { peer, at } of answer.closings) this.closed.set(peer, at);
      this.answers.get(answer.type)?.(answer);
    });
  }

  next<Type extends FloorAnswer["type"]>(type: Type): Promise<Extract<FloorAnswer, { type: Type }>> {
    return new Promise((resolve, reject) => {
      this.answers.set(type, (answer) => resolve(answer as Extract<FloorAnswer, { type: Type }>));
      AbortSignal.timeout(START_TIMEOUT_MS).addEventListener("abort", () =>
        reject(new RunError("BENCH_FLOOR_FAILED", `a floor process did not say "${type}" in time`)),
      );
    });
  }

  order(order: FloorOrder): void {
    this.child.send(order);
  }
}

async function sampleAll(processes: readonly FloorProcess[]): Promise<Extract<FloorAnswer, { type: "sample" }>[]> {
  return Promise.all(
    processes.map((one) => {
      const answer = one.next("sample");
      one.order({ type: "sample" });
      return answer;
    }),
  );
}

async function startAll(
  processes: readonly FloorProcess[],
  profile: StormProfile,
  seed: number,
  successors: number | null,
): Promise<void> {
  const listening = await Promise.all(processes.map((one) => one.next("listening")));
  const [ports, heldPorts] = [listening.map(({ port }) => port), listening.map(({ heldPort }) => heldPort)];
  await Promise.all(
    processes.map((one, index) => {
      const holding = one.next("holding");
      one.order({ type: "begin", index, load: profile.agents[index] as AgentLoad, ports, heldPorts, successors, seed });
      return holding;
    }),
  );
}

/** Whether process `from` holds a stream to process `to`. */
const holds = (from: number, to: number, count: number, successors: number | null): boolean =>
  from !== to && (successors === null || (to - from + count) % count <= successors);

/** SIGKILL to the victims back to back; what the survivors' streams said of it. */
async function strike(
  processes: readonly FloorProcess[],
  victims: readonly AgentId[],
  clock: Clock,
  successors: number | null,
): Promise<Pick<FloorStorm, "first" | "last" | "closedMs">> {
  const indices = victims.map(agentIndex);
  const before = indices.map((index) => {
    const stamp = clock.now();
    processes[index]?.child.kill("SIGKILL");
    return { index, stamp };
  });
  const pairs = processes.flatMap((survivor, from) =>
    indices.includes(from)
      ? []
      : before
          .filter(({ index }) => holds(from, index, processes.length, successors))
          .map(({ index, stamp }) => ({ survivor, index, stamp })),
  );
  const deadline = clock.now() + CLOSE_TIMEOUT_MS;
  while (clock.now() < deadline && !pairs.every(({ survivor, index }) => survivor.closed.has(index))) await clock.sleep(20);
  const closedMs = pairs.flatMap(({ survivor, index, stamp }) => {
    const at = survivor.closed.get(index);
    return at === undefined ? [] : [at - stamp];
  });
  return { first: Math.min(...closedMs), last: closedMs.length === pairs.length ? Math.max(...closedMs) : null, closedMs };
}

/** The same storm over bare processes of the same memory and load; `successors`: see FloorOrder. */
export async function stormOverFloor(
  profile: StormProfile,
  seed: number,
  { clock, signal }: BenchContext,
  successors: number | null = null,
): Promise<FloorStorm> {
  const processes = profile.agents.map(() => new FloorProcess());
  try {
    await startAll(processes, profile, seed, successors);
    await clock.sleep(SETTLE_MS, signal);
    const from = await sampleAll(processes);
    await clock.sleep(LOOK_BACK_MS, signal);
    const to = await sampleAll(processes);
    const agents = to.map(({ at, cpuMs, rssBytes }, index) => {
      const start = from[index];
      return { rssBytes, cpuShare: start === undefined ? 0 : (cpuMs - start.cpuMs) / (at - start.at) };
    });
    return { ...(await strike(processes, profile.victims, clock, successors)), agents };
  } finally {
    await Promise.all(processes.map((one) => end(one.child)));
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

/** Memory and CPU time of the floor may differ from the agents' by so much. */
const SAME_LOAD = 0.15;

/** How alike agents and floor were; a floor that was not is no floor. */
export function compareLoad(pairs: readonly { readonly agents: Load; readonly floorAgents: Load }[]): {
  readonly note: string;
  readonly doubt: string | null;
} {
  const of = (pick: (pair: (typeof pairs)[number]) => number): number => median(pairs.map(pick));
  const [rss, floorRss] = [of((pair) => pair.agents.rssBytes), of((pair) => pair.floorAgents.rssBytes)];
  const [cpu, floorCpu] = [of((pair) => pair.agents.cpuShare), of((pair) => pair.floorAgents.cpuShare)];
  const words = `agents ${shown(rss / 1e6)} MB and ${shown(cpu * 100)} % of a core each, floor ${shown(floorRss / 1e6)} MB and ${shown(floorCpu * 100)} % (medians before the kill)`;
  const isAlike = Math.abs(floorRss / rss - 1) <= SAME_LOAD && Math.abs(floorCpu / cpu - 1) <= SAME_LOAD;
  return { note: words, doubt: isAlike ? null : `the floor's load was not the agents': ${words}` };
}
