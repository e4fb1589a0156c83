import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { agentId, type AgentSpec, type Roster, RunError, type RunPlan, type ScheduledTask } from "@failstorm/core";
import { encodeMessage } from "./control/messages.ts";
import { carryOut, type ExecuteOptions, type Outcome } from "./execute.ts";
import { type Flow, type FlowParts, prepareAll, restore, startAll, strike, type SupervisedSpec } from "./flow.ts";
import { AGENT_HOST } from "./ports.ts";
import { toRunError } from "./recorder.ts";
import type { SupervisedAgent } from "./supervisor.ts";
import { type Moment, planMoments, runMoments } from "./timeline.ts";

interface FlowContext extends FlowParts {
  readonly plan: RunPlan;
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
/**
 * Beyond the last deadline, what agents get to say that they are done; no longer than they need. Generous: on a machine that has too much
 * to do, an outcome that is not logged yet would be a lost task.
 */
const DRAIN_EXTRA_MS = 10_000;

/** A storm as a flow: broadcast, load, faults at their times, drain. */
const stormFlow = (plan: RunPlan): Flow => ({
  config: plan.config,
  agents: plan.homeTools.map((_, index) => agentId(index)),
  fullRecording: plan.fullRecording,
  specOf: (base) => specOf(plan, base),
  run: (parts) => run({ ...parts, plan }),
});

/** Carries out a storm (see `carryOut`). */
export const execute = (plan: RunPlan, options: ExecuteOptions): Promise<Outcome> => carryOut(stormFlow(plan), options);

/** A shard worker of the storm; the first gets the document, which it broadcasts, into its workspace. */
function specOf({ document, homeTools }: RunPlan, base: SupervisedSpec): AgentSpec {
  const documentPath = base.index === 0 ? path.join(base.workspaceDir, "broadcast-source") : null;
  try {
    if (documentPath !== null) writeFileSync(documentPath, document);
  } catch (error) {
    throw toRunError(error, "the document cannot be written");
  }
  return { ...base, homeTool: homeTools[base.index] ?? "search", shard: base.index, documentPath };
}

async function run(context: FlowContext): Promise<void> {
  const { signal, plan, clock, storm } = context;
  await startAll(context);
  const sha256 = createHash("sha256").update(plan.document).digest("hex");
  const roster = encodeMessage({ type: "roster", roster: rosterOf(context, sha256) });
  await prepareAll(context, roster);
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
    agents: supervisor.live.map(({ id, index, life, spec }) => ({
      agentId: id,
      host: AGENT_HOST,
      port: spec.port,
      incarnation: life.link.incarnation,
      homeTool: plan.homeTools[index] ?? "search",
      shard: index,
    })),
    document: { sha256, bytes: plan.document.byteLength, shards: supervisor.agents.length, source: agentId(0) },
  };
}

/** t=0: the agents spread the document among themselves. Resolves with t0 when all have indexed the right one. */
async function broadcast(context: FlowContext, sha256: string): Promise<number> {
  const { supervisor, recorder, clock, plan, signal } = context;
  recorder.write({ ev: "run.phase", phase: "broadcast" });
  const t0 = clock.now();
  supervisor.tellAll(encodeMessage({ type: "broadcast", t0 }));
  const indexed = (agent: SupervisedAgent): string | undefined => agent.said.get("indexed")?.sha256;
  const wrong = (agent: SupervisedAgent): boolean => indexed(agent) !== undefined && indexed(agent) !== sha256;
  const settled = (): boolean =>
    supervisor.agents.every((agent) => indexed(agent) !== undefined) || supervisor.agents.some(wrong);
  // A load that starts after the first fault measures nothing.
  const limitMs = firstFaultMs(plan) - LOAD_LEAD_MS - LOAD_GRID_MS;
  const inTime = await supervisor.waiting.until(settled, t0 + limitMs, signal);
  const damaged = supervisor.agents.find(wrong);
  if (damaged !== undefined) {
    throw new RunError(
      "BROADCAST_INVALID",
      `invalid run: ${damaged.id} has indexed a document with SHA-256 ${indexed(damaged)}, not ${sha256}`,
    );
  }
  if (!inTime) {
    const missing = supervisor.agents.filter((agent) => indexed(agent) === undefined).map((agent) => agent.id);
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
  supervisor.tellAll(line);
  return { roster, t0, loadFromMs, tasks };
}

function act(context: FlowContext, { roster, t0, loadFromMs, tasks }: Briefing, moment: Moment): void {
  if (moment.kind === "phase") context.recorder.write({ ev: "run.phase", phase: moment.phase });
  else if (moment.kind === "strike") strike(context, moment.fault);
  else {
    const briefing = (): string => roster + encodeMessage({ type: "start", t0, loadFromMs, tasks, rejoin: true });
    restore(context, moment.fault, { briefing, latestExit: t0 + context.plan.config.scenario.runtimeMs });
  }
}

/** No task is intended any more: every live agent finishes what is open. */
async function drain({ supervisor, recorder, clock, plan, signal }: FlowContext): Promise<void> {
  recorder.write({ ev: "run.phase", phase: "drain" });
  const asked = supervisor.live;
  const line = encodeMessage({ type: "drain" });
  for (const { life } of asked) life.link.send(line);
  const done = (): boolean => asked.every((agent) => agent.said.has("drained") || agent.life.kind !== "live");
  const inTime = await supervisor.waiting.until(done, clock.now() + plan.config.tasks.deadlineMs + DRAIN_EXTRA_MS, signal);
  if (inTime) return;
  const late = asked.filter((agent) => !agent.said.has("drained") && agent.life.kind === "live").map((agent) => agent.id);
  supervisor.warn(`not drained in time: ${late.join(", ")}`);
}
