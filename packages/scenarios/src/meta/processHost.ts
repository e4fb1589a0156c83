import { writeFileSync } from "node:fs";
import path from "node:path";
import { type AgentId, agentId, type Clock, type PlannedFault, RunError, type RunEvent, type RunPlan } from "@failstorm/core";
import { encodeMessage } from "@failstorm/orchestrator/control/messages.ts";
import { carryOut } from "@failstorm/orchestrator/execute.ts";
import { type Flow, type FlowParts, restart, strike } from "@failstorm/orchestrator/flow.ts";
import { AGENT_HOST } from "@failstorm/orchestrator/ports.ts";
import { openShardNetwork, shardWorkerSpec } from "@failstorm/orchestrator/shardNetwork.ts";
import { isLive } from "@failstorm/orchestrator/supervisor.ts";
import type { AgentHost, DialledLink, LethalFault } from "./agentHost.ts";

export interface ProcessHostOptions {
  readonly plan: RunPlan;
  /** The run's folder; made when it is not there. `failstorm report` reads it once the network is closed. */
  readonly runDir: string;
  /** Path of the agent's main.ts. */
  readonly agentEntry: string;
  readonly clock: Clock;
  readonly onEvent: (event: RunEvent) => void;
}

/** Every message of every agent is recorded singly, from t=0 on. */
const FULL_RECORDING = [[0, Number.MAX_SAFE_INTEGER]] as const;
/** So long a process that was told to end may take before it is started again. */
const EXIT_TIMEOUT_MS = 10_000;
const BROADCAST_TIMEOUT_MS = 60_000;

/** For who reads the run later: no task was planned, and the faults are those the program has done. */
function writeSchedule({ plan, runDir }: ProcessHostOptions, faults: readonly PlannedFault[]): void {
  writeFileSync(path.join(runDir, "schedule.json"), `${JSON.stringify({ ...plan.schedule, tasks: [], faults })}\n`);
}

/** The last handshake of each agent with each other, as the live view shows them: up to a quarter of a second late. */
class LinkLog {
  private readonly routes = new Map<string, string>();
  private readonly links = new Map<string, DialledLink>();

  add(event: RunEvent): void {
    if (event.ev === "route.chosen") this.routes.set(`${event.src} ${event.peer}`, event.protocol);
    if (event.ev !== "link.up") return;
    const { src: from, peer: to, ms, roundTrips } = event;
    this.links.set(`${from} ${to}`, { from, to, protocol: null, ms, roundTrips });
  }

  all(): DialledLink[] {
    return [...this.links].map(([key, link]) => Object.assign({}, link, { protocol: this.routes.get(key) ?? null }));
  }
}

/** The network while it stands. */
interface Open {
  readonly parts: FlowParts;
  /** CLOCK_MONOTONIC of the run's t=0. */
  readonly t0: number;
  /** What an agent that is started again is told. */
  readonly briefing: string;
}

/**
 * The agents of a storm, each in a process of its own, without a schedule: they store the document, link up and serve until the
 * host is closed. Started, watched, struck, restarted and ended by the orchestrator, and recorded as in any run.
 * Throws InputError or RunError when the network does not come up.
 */
export async function openProcesses(options: ProcessHostOptions): Promise<AgentHost> {
  const { plan, clock } = options;
  const links = new LinkLog();
  const opened = Promise.withResolvers<Open>();
  const closing = Promise.withResolvers<void>();
  const flow = heldOpen(plan, (open) => opened.resolve(open), closing.promise);
  const outcome = carryOut(flow, {
    runDir: options.runDir,
    agentEntry: options.agentEntry,
    agentWarmUp: null,
    clock,
    signal: new AbortController().signal,
    onEvent: (event) => {
      links.add(event);
      options.onEvent(event);
    },
  });
  outcome.then(
    ({ reason }) => opened.reject(new RunError("NETWORK_DOWN", `the network did not come up: ${reason ?? "it was closed"}`)),
    (error: unknown) => opened.reject(error),
  );
  const open = await opened.promise;
  writeSchedule(options, []);
  const { supervisor } = open.parts;
  const down = (agent: AgentId): boolean => supervisor.agent(agent).life.kind === "down";
  const faults: PlannedFault[] = [];
  /** Struck, and not started again: whether its exit has been seen yet or not. */
  const struck = new Set<AgentId>();
  // Each is a cycle of its own for who reads the events.
  const strikeNow = (victims: readonly AgentId[], kind: LethalFault): void => {
    const fault = { kind, atMs: clock.now() - open.t0, cycle: faults.length, victims, fake: false, restartAtMs: null };
    faults.push(fault);
    for (const victim of victims) struck.add(victim);
    strike(open.parts, fault);
  };
  return {
    kind: "processes",
    addressOf: (agent) => {
      const found = supervisor.agent(agent);
      return isLive(found) && !struck.has(agent) ? { host: AGENT_HOST, port: found.spec.port } : null;
    },
    async start(agent) {
      const found = supervisor.agent(agent);
      if (isLive(found) && !struck.has(agent)) return;
      await restart(open.parts, found, { briefing: () => open.briefing, latestExit: clock.now() + EXIT_TIMEOUT_MS });
      if (!isLive(found)) throw new RunError("START_FAILED", `${agent} did not come up again; its log is ${found.spec.logFile}`);
      struck.delete(agent);
    },
    async stop(agent) {
      if (down(agent)) return;
      strikeNow([agent], "sigterm");
      await supervisor.waiting.until(() => down(agent), clock.now() + EXIT_TIMEOUT_MS);
    },
    strike: strikeNow,
    dialled: () => links.all(),
    async close() {
      closing.resolve();
      const { status, reason } = await outcome;
      writeSchedule(options, faults);
      if (status !== "done") throw new RunError("RUN_FAILED", `the network ended early: ${reason ?? status}`);
    },
  };
}

/** Opens the network, hands it over, and holds it open until `closing`. */
function heldOpen(plan: RunPlan, onOpen: (open: Open) => void, closing: Promise<void>): Flow {
  return {
    config: plan.config,
    agents: plan.homeTools.map((_, index) => agentId(index)),
    fullRecording: FULL_RECORDING,
    specOf: (base) => shardWorkerSpec(plan, base),
    async run(parts) {
      const { t0, roster } = await openShardNetwork(parts, plan, { limitMs: BROADCAST_TIMEOUT_MS, remedy: "use fewer agents" });
      const { supervisor, recorder, clock } = parts;
      const start = { type: "start", t0, loadFromMs: clock.now() - t0, tasks: [] } as const;
      recorder.write({ ev: "run.load", t0, loadFromMs: start.loadFromMs });
      supervisor.loadStarted();
      supervisor.tellAll(encodeMessage({ ...start, rejoin: false }));
      onOpen({ parts, t0, briefing: roster + encodeMessage({ ...start, rejoin: true }) });
      await unlessAborted(closing, parts.signal);
      parts.storm.clear();
    },
  };
}

/** Rejects with the signal's reason when it aborts first. */
function unlessAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  return Promise.race([promise, aborted.promise]).finally(() => signal.removeEventListener("abort", onAbort));
}
