import { agentId, noticedWithinMs, type RunPlan, type ScheduledTask } from "@failstorm/core";
import { encodeMessage } from "./control/messages.ts";
import { carryOut, type ExecuteOptions, type Outcome } from "./execute.ts";
import { type Flow, type FlowParts, restore, strike } from "./flow.ts";
import { type OpenedNetwork, openShardNetwork, shardWorkerSpec } from "./shardNetwork.ts";
import { type Moment, planMoments, runMoments } from "./timeline.ts";

interface FlowContext extends FlowParts {
  readonly plan: RunPlan;
}

/** What agents have to be told again when they are restarted. */
interface Briefing extends OpenedNetwork {
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
  specOf: (base) => shardWorkerSpec(plan, base),
  run: (parts) => run({ ...parts, plan }),
});

/** Carries out a storm (see `carryOut`). */
export const execute = (plan: RunPlan, options: ExecuteOptions): Promise<Outcome> => carryOut(stormFlow(plan), options);

async function run(context: FlowContext): Promise<void> {
  const { signal, plan, clock, storm } = context;
  const opened = await openShardNetwork(context, plan, {
    // A load that starts after the first fault measures nothing.
    limitMs: firstFaultMs(plan) - LOAD_LEAD_MS - LOAD_GRID_MS,
    remedy: "raise scenario.fault_time, or use fewer passages or agents",
  });
  const { t0 } = opened;
  const briefing = startLoad(context, opened);
  const { runtimeMs } = plan.config.scenario;
  const moments = planMoments(plan.schedule.faults, briefing.loadFromMs, plan.config.scenario);
  await runMoments({ moments, t0, runtimeMs, clock, signal, act: (moment) => act(context, briefing, moment) });
  storm.clear();
  await drain(context);
}

const firstFaultMs = ({ schedule, config }: RunPlan): number =>
  Math.min(config.scenario.runtimeMs, ...schedule.faults.map((fault) => fault.atMs));

function startLoad({ supervisor, recorder, clock, plan }: FlowContext, { roster, t0 }: OpenedNetwork): Briefing {
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
  // Who died shortly before the end has to be noticed first.
  const longestMs = Math.max(plan.config.tasks.deadlineMs, noticedWithinMs(plan.config.network));
  const inTime = await supervisor.waiting.until(done, clock.now() + longestMs + DRAIN_EXTRA_MS, signal);
  if (inTime) return;
  const late = asked.filter((agent) => !agent.said.has("drained") && agent.life.kind === "live").map((agent) => agent.id);
  supervisor.warn(`not drained in time: ${late.join(", ")}`);
}
