import { createHash } from "node:crypto";
import { agentId, type Clock, type PlannedFault, type Roster, RunError, type RunPlan, type ScheduledTask } from "@failstorm/core";
import { encodeMessage } from "./control/messages.ts";
import { AGENT_HOST } from "./ports.ts";
import type { Recorder } from "./recorder.ts";
import type { Storm } from "./storm.ts";
import type { SupervisedAgent, Supervisor } from "./supervisor.ts";
import { type Moment, planMoments, runMoments } from "./timeline.ts";

export interface FlowContext {
  readonly plan: RunPlan;
  readonly supervisor: Supervisor;
  readonly storm: Storm;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly startTimeoutMs: number;
  /** Aborts when the run has to end early; its reason says why. */
  readonly signal: AbortSignal;
  readonly onFatal: (error: unknown) => void;
}

/** What agents have to be told again when they are restarted. */
interface Briefing {
  readonly roster: string;
  readonly t0: number;
  readonly loadFromMs: number;
  readonly tasks: readonly ScheduledTask[];
}

/** From `start` to the first intended task: time for the message to reach every agent. */
const LOAD_LEAD_MS = 200;
/** The load starts on a multiple of this. */
const LOAD_GRID_MS = 100;
/** So many agents prepare themselves within the time that one may take to start; all do it at the same time. */
const PREPARED_AT_ONCE = 8;
/**
 * Beyond the last deadline, what agents get to say that they are done; no longer than they need. Generous: on a machine that has too much
 * to do, an outcome that is not logged yet would be a lost task.
 */
const DRAIN_EXTRA_MS = 10_000;

/** The run from the first spawn to the end of the drain. Throws RunError, or the signal's reason. */
export async function runFlow(context: FlowContext): Promise<void> {
  const { supervisor, recorder, signal, plan, clock, storm } = context;
  recorder.write({ ev: "run.phase", phase: "spawn" });
  await supervisor.startAll(context.startTimeoutMs, signal);
  const sha256 = createHash("sha256").update(plan.document).digest("hex");
  const roster = encodeMessage({ type: "roster", roster: rosterOf(context, sha256) });
  await prepare(context, roster);
  const t0 = await broadcast(context, sha256);
  const briefing = startLoad(context, roster, t0);
  const { runtimeMs } = plan.config.scenario;
  const moments = planMoments(plan.schedule.faults, briefing.loadFromMs, plan.config.scenario);
  await runMoments({ moments, t0, runtimeMs, clock, signal, act: (moment) => act(context, briefing, moment) });
  storm.clear();
  await drain(context);
}

function rosterOf({ supervisor, plan }: FlowContext, sha256: string): Roster {
  return {
    agents: supervisor.live.map(({ id, life, spec }) => ({
      agentId: id,
      host: AGENT_HOST,
      port: spec.port,
      incarnation: life.link.incarnation,
      homeTool: spec.homeTool,
      shard: spec.shard,
    })),
    document: { sha256, bytes: plan.document.byteLength, shards: supervisor.agents.length, source: agentId(0) },
  };
}

/** The agents load what the work needs. Before t=0: how long a process takes to get going is no part of a protocol. */
async function prepare({ supervisor, clock, startTimeoutMs, signal }: FlowContext, roster: string): Promise<void> {
  for (const { life } of supervisor.live) life.link.send(roster);
  const unprepared = (): string[] => supervisor.agents.filter((agent) => !agent.prepared).map(({ id }) => id);
  const limitMs = startTimeoutMs * Math.max(1, supervisor.agents.length / PREPARED_AT_ONCE);
  const inTime = await supervisor.waiting.until(() => unprepared().length === 0, clock.now() + limitMs, signal);
  if (!inTime)
    throw new RunError(
      "START_TIMEOUT",
      `${unprepared().join(", ")}: not prepared ${limitMs} ms after the roster; use fewer agents`,
    );
}

/** t=0: the agents spread the document among themselves. Resolves with t0 when all have indexed the right one. */
async function broadcast(context: FlowContext, sha256: string): Promise<number> {
  const { supervisor, recorder, clock, plan, signal } = context;
  recorder.write({ ev: "run.phase", phase: "broadcast" });
  const t0 = clock.now();
  const start = encodeMessage({ type: "broadcast", t0 });
  for (const { life } of supervisor.live) life.link.send(start);
  const wrong = (agent: SupervisedAgent): boolean => agent.indexedSha256 !== null && agent.indexedSha256 !== sha256;
  const settled = (): boolean =>
    supervisor.agents.every((agent) => agent.indexedSha256 !== null) || supervisor.agents.some(wrong);
  // A load that starts after the first fault measures nothing.
  const limitMs = firstFaultMs(plan) - LOAD_LEAD_MS - LOAD_GRID_MS;
  const inTime = await supervisor.waiting.until(settled, t0 + limitMs, signal);
  const damaged = supervisor.agents.find(wrong);
  if (damaged !== undefined) {
    throw new RunError(
      "BROADCAST_INVALID",
      `invalid run: ${damaged.id} has indexed a document with SHA-256 ${damaged.indexedSha256}, not ${sha256}`,
    );
  }
  if (!inTime) {
    const missing = supervisor.agents.filter((agent) => agent.indexedSha256 === null).map((agent) => agent.id);
    throw new RunError(
      "BROADCAST_INVALID",
      `invalid run: ${limitMs} ms after t=0 the document was not indexed by ${missing.join(", ")}; ` +
        "raise scenario.fault_time, or use fewer passages or agents",
    );
  }
  return t0;
}

const firstFaultMs = ({ schedule, config }: RunPlan): number =>
  Math.min(config.scenario.runtimeMs, ...schedule.faults.map((fault) => fault.atMs));

function startLoad({ supervisor, recorder, clock, plan }: FlowContext, roster: string, t0: number): Briefing {
  const loadFromMs = Math.ceil((clock.now() - t0) / LOAD_GRID_MS) * LOAD_GRID_MS + LOAD_LEAD_MS;
  // Gold answers stay here: an agent must not be able to grade itself.
  const tasks = plan.schedule.tasks
    .filter((task) => task.atMs >= loadFromMs)
    .map(({ task, atMs, homeOwner, question }) => ({ task, atMs, homeOwner, question }));
  recorder.write({ ev: "run.load", t0, loadFromMs });
  const line = encodeMessage({ type: "start", t0, loadFromMs, tasks, rejoin: false });
  supervisor.loadStarted();
  for (const { life } of supervisor.live) life.link.send(line);
  return { roster, t0, loadFromMs, tasks };
}

function act(context: FlowContext, briefing: Briefing, moment: Moment): void {
  const { recorder, storm } = context;
  if (moment.kind === "phase") recorder.write({ ev: "run.phase", phase: moment.phase });
  else if (moment.kind === "strike") {
    recorder.write({ ev: "run.phase", phase: "fault" });
    storm.inject(moment.fault);
    recorder.write({ ev: "run.phase", phase: "recovery" });
  } else restore(context, briefing, moment.fault);
}

function restore(context: FlowContext, briefing: Briefing, fault: PlannedFault): void {
  const { storm, signal, onFatal } = context;
  storm.clear(fault);
  for (const agent of storm.victimsToRestart(fault)) {
    restart(context, briefing, agent).catch((error: unknown) => {
      if (!signal.aborted) onFatal(error);
    });
  }
}

/** The orchestrator's whole help to a victim: it is started again, and handed the first roster and the schedule. */
async function restart(context: FlowContext, briefing: Briefing, agent: SupervisedAgent): Promise<void> {
  const { supervisor, plan, signal } = context;
  const { roster, t0, loadFromMs, tasks } = briefing;
  const gone = await supervisor.waiting.until(() => agent.life.kind === "down", t0 + plan.config.scenario.runtimeMs, signal);
  if (!gone) {
    supervisor.warn(`${agent.id} did not exit after the fault and was not restarted`);
    return;
  }
  await supervisor.start(agent, context.startTimeoutMs, signal);
  if (agent.life.kind !== "live") return;
  agent.life.link.send(roster + encodeMessage({ type: "start", t0, loadFromMs, tasks, rejoin: true }));
}

/** No task is intended any more: every live agent finishes what is open. */
async function drain({ supervisor, recorder, clock, plan, signal }: FlowContext): Promise<void> {
  recorder.write({ ev: "run.phase", phase: "drain" });
  const asked = supervisor.live;
  const line = encodeMessage({ type: "drain" });
  for (const { life } of asked) life.link.send(line);
  const done = (): boolean => asked.every((agent) => agent.drained || agent.life.kind !== "live");
  const inTime = await supervisor.waiting.until(done, clock.now() + plan.config.tasks.deadlineMs + DRAIN_EXTRA_MS, signal);
  if (inTime) return;
  const late = asked.filter((agent) => !agent.drained && agent.life.kind === "live").map((agent) => agent.id);
  supervisor.warn(`not drained in time: ${late.join(", ")}`);
}
