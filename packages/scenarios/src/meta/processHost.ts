import { writeFileSync } from "node:fs";
import path from "node:path";
import { type AgentId, agentId, type Clock, type PlannedFault, RunError, type RunEvent, type RunPlan } from "@failstorm/core";
import { encodeMessage } from "@failstorm/orchestrator/control/messages.ts";
import { carryOut, type Outcome } from "@failstorm/orchestrator/execute.ts";
import { type Flow, type FlowParts, restart, strike } from "@failstorm/orchestrator/flow.ts";
import { AGENT_HOST } from "@failstorm/orchestrator/ports.ts";
import { openShardNetwork, shardWorkerSpec } from "@failstorm/orchestrator/shardNetwork.ts";
import { isLive } from "@failstorm/orchestrator/supervisor.ts";
import type { AgentHost, DialledLink, LethalFault } from "./agentHost.ts";
import { Turns } from "./turns.ts";

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
/** So long a process that was told to end may take. */
const EXIT_TIMEOUT_MS = 10_000;
const BROADCAST_TIMEOUT_MS = 60_000;

/** For who reads the run later: no task was planned, and the faults are those the program has done. */
function writeSchedule({ plan, runDir }: ProcessHostOptions, faults: readonly PlannedFault[]): void {
  writeFileSync(path.join(runDir, "schedule.json"), `${JSON.stringify({ ...plan.schedule, tasks: [], faults })}\n`);
}

/** The last handshake of each agent with each other while both live, as the live view shows them: up to a second late. */
export class LinkLog {
  private readonly routes = new Map<string, string>();
  private readonly links = new Map<string, DialledLink>();
  private readonly ended = new Map<AgentId, number>();

  add(event: RunEvent): void {
    if (event.ev === "route.chosen") this.routes.set(`${event.src} ${event.peer}`, event.protocol);
    if (event.ev === "link.down") this.links.delete(`${event.src} ${event.peer}`);
    if (event.ev === "agent.exited") this.end(event.agent, event.t);
    if (event.ev !== "link.up") return;
    const { src: from, peer: to, ms, roundTrips, t } = event;
    // What comes in after the end of one of the two was before it.
    if (t <= Math.max(this.ended.get(from) ?? 0, this.ended.get(to) ?? 0)) return;
    const key = `${from} ${to}`;
    // By the route as it is now: later ones may be for messages of some kind only.
    this.links.set(key, { from, to, protocol: this.routes.get(key) ?? null, ms, roundTrips });
  }

  all(): DialledLink[] {
    return [...this.links.values()];
  }

  private end(agent: AgentId, at: number): void {
    this.ended.set(agent, at);
    for (const [key, { from, to }] of this.links) if (from === agent || to === agent) this.links.delete(key);
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
  try {
    writeSchedule(options, []);
  } catch (error) {
    closing.resolve();
    await outcome.catch(() => undefined);
    throw error;
  }
  return hostOf(options, { open, links, outcome, close: () => closing.resolve() });
}

interface Held {
  readonly open: Open;
  readonly links: LinkLog;
  /** How the run has ended. */
  readonly outcome: Promise<Outcome>;
  /** Lets it end. */
  readonly close: () => void;
}

/** What may be done with a network that stands. */
function hostOf(options: ProcessHostOptions, { open, links, outcome, close }: Held): AgentHost {
  const { clock } = options;
  const turns = new Turns();
  const { supervisor } = open.parts;
  const down = (agent: AgentId): boolean => supervisor.agent(agent).life.kind === "down";
  const gone = (agent: AgentId): Promise<boolean> => supervisor.waiting.until(() => down(agent), clock.now() + EXIT_TIMEOUT_MS);
  const faults: PlannedFault[] = [];
  /** Struck, and not started again: whether its exit has been seen yet or not. */
  const struck = new Set<AgentId>();
  // Each is a cycle of its own for who reads the events.
  const strikeNow = (victims: readonly AgentId[], kind: LethalFault): void => {
    turns.check();
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
    start: (agent) =>
      turns.take(agent, async () => {
        const found = supervisor.agent(agent);
        if (isLive(found) && !struck.has(agent)) return;
        if (!(await gone(agent)))
          throw new RunError(
            "START_FAILED",
            `${agent} is not started again: it has not ended yet, its log is ${found.spec.logFile}`,
          );
        turns.check();
        await restart(open.parts, found, { briefing: () => open.briefing, latestExit: clock.now() });
        if (!isLive(found))
          throw new RunError("START_FAILED", `${agent} did not come up again; its log is ${found.spec.logFile}`);
        struck.delete(agent);
      }),
    stop: (agent) =>
      turns.take(agent, async () => {
        if (down(agent)) return;
        if (!struck.has(agent)) strikeNow([agent], "sigterm");
        if (await gone(agent)) return;
        // One that does not end in order ends all the same.
        strikeNow([agent], "sigkill");
        if (!(await gone(agent))) throw new RunError("STOP_FAILED", `${agent} has not ended, neither by SIGTERM nor by SIGKILL`);
      }),
    strike: strikeNow,
    dialled: () => links.all(),
    async close() {
      await turns.close();
      close();
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
