import type { Readable } from "node:stream";
import {
  type AgentId,
  hostedById,
  type PlannedFault,
  type QueueNode,
  type QueuePlan,
  type QueueSpec,
  RunError,
} from "@failstorm/core";
import { encodeMessage } from "./control/messages.ts";
import { carryOut, type ExecuteOptions, type Outcome } from "./execute.ts";
import { type Flow, type FlowParts, prepareAll, restart, startAll, strike } from "./flow.ts";
import { AGENT_HOST } from "./ports.ts";
import { openSpool, type QuestionSpool } from "./questionSpool.ts";
import type { SupervisedAgent } from "./supervisor.ts";
import { sleepUntil } from "./waiting.ts";

/** What a queue needs from outside the orchestrator. */
export interface QueuePorts {
  /** Sends the coordinator the command to dispatch, in the protocol under test. Rejects when it is not taken. */
  dispatch(coordinator: QueueNode, signal: AbortSignal): Promise<void>;
  /** Questions that come while the queue runs; null = they are in the plan's file. */
  readonly input: Readable | null;
}

/** Processes that nobody kills and that end all the same are started again so often, each. */
const MAX_CRASHES = 5;
/**
 * MB. What a question needs lives as long as its message. Told of a limit and to prefer size, the engine collects sooner: over 100 000
 * questions a coordinator grows to 132 … 142 MB (two runs; 143 … 145 without the preference, 146 … 166 with twice the young space, 240 with the
 * engine's own choice), at the same pace.
 */
const COORDINATOR_HEAP = ["--max-semi-space-size=2", "--max-old-space-size=512", "--optimize-for-size"];
/** Timers take no longer time; who waits longer waits again. */
const DAY_MS = 86_400_000;

/** Carries out a queue (see `carryOut`), until every question has its result. */
export const executeQueue = (plan: QueuePlan, ports: QueuePorts, options: ExecuteOptions): Promise<Outcome> =>
  carryOut(queueFlow(plan, ports, options.runDir), options);

/** A queue as a flow: network, dispatch, faults at their times; whoever ends is started again, until the coordinator is done. */
const queueFlow = (plan: QueuePlan, ports: QueuePorts, runDir: string): Flow => ({
  config: plan.config,
  agents: plan.processes.map(({ agentId }) => agentId),
  fullRecording: plan.fullRecording,
  specOf: (base): QueueSpec => {
    const { role = "worker" } = plan.processes[base.index] ?? {};
    const coordinates = role === "coordinator";
    return {
      ...base,
      role,
      ...(coordinates ? { nodeOptions: COORDINATOR_HEAP } : {}),
      documentPath: role === "worker" ? plan.documentPath : null,
      questionsPath: coordinates ? plan.questionsPath : null,
      resultsDir: coordinates ? runDir : null,
    };
  },
  run: (parts) => run({ ...parts, plan, ports }),
});

interface QueueContext extends FlowParts {
  readonly plan: QueuePlan;
  readonly ports: QueuePorts;
}

async function run(context: QueueContext): Promise<void> {
  const { supervisor, recorder, clock, plan, ports, signal } = context;
  await startAll(context);
  const nodes = nodesOf(context);
  const network = encodeMessage({ type: "network", nodes });
  await prepareAll(context, network);
  const coordinator = supervisor.agent(plan.processes[0]?.agentId ?? "");
  const { input } = ports;
  const { questionsPath: path } = plan;
  const spool = input === null ? null : await openSpool({ input, path, supervisor, now: () => clock.now() });
  const t0 = clock.now();
  recorder.write({ ev: "run.load", t0, loadFromMs: 0 });
  supervisor.loadStarted();
  const feed = (resumed: boolean): string => encodeMessage({ type: "feed", t0, resumed });
  supervisor.tellAll(feed(false));
  const [first] = nodes;
  if (first !== undefined) await ports.dispatch(first, signal);
  recorder.write({ ev: "run.phase", phase: "normal" });
  await work(context, {
    coordinator,
    spool,
    t0,
    briefing: (agent) => network + (agent === coordinator && spool !== null ? spool.state() : "") + feed(true),
  });
  recorder.write({ ev: "run.phase", phase: "drain" });
}

interface Shift {
  readonly coordinator: SupervisedAgent;
  readonly spool: QuestionSpool | null;
  readonly t0: number;
  readonly briefing: (agent: SupervisedAgent) => string;
}

/** Everything from the command to dispatch until the coordinator has closed the queue. */
async function work(context: QueueContext, shift: Shift): Promise<void> {
  const { supervisor, clock, plan, signal, onFatal } = context;
  const closed = new AbortController();
  const both = AbortSignal.any([signal, closed.signal]);
  const beside = async (task: Promise<void>): Promise<void> => {
    try {
      await task;
    } catch (error) {
      if (!both.aborted) onFatal(error);
    }
  };
  const tasks = [
    beside(storms(context, shift.t0, both)),
    beside(keepUp(context, shift, both)),
    ...(shift.spool === null ? [] : [beside(shift.spool.run(shift.coordinator, both))]),
  ];
  try {
    const done = (): boolean => shift.coordinator.said.has("drained");
    while (!(await supervisor.waiting.until(done, clock.now() + DAY_MS, signal)));
  } finally {
    closed.abort(new Error("the queue is closed"));
    await Promise.all(tasks);
  }
  const early = plan.faults.filter(({ atMs }) => shift.t0 + atMs > clock.now());
  for (const { atMs } of early)
    supervisor.warn(
      `the queue was done before ${atMs / 1000} s: nobody was killed; ask more questions, or use an earlier --fault-time`,
    );
}

async function storms(context: QueueContext, t0: number, signal: AbortSignal): Promise<void> {
  const { clock, plan } = context;
  for (const fault of plan.faults.toSorted((a: PlannedFault, b: PlannedFault) => a.atMs - b.atMs)) {
    await sleepUntil(clock, t0 + fault.atMs, signal);
    strike(context, fault);
  }
}

/** Starts again whoever has ended, killed or not: a queue does not go on without its processes. */
async function keepUp(context: QueueContext, { briefing }: Shift, signal: AbortSignal): Promise<void> {
  const { supervisor, clock, plan } = context;
  const busy = new Set<AgentId>();
  const crashes = new Map<AgentId, number>();
  const planned = (id: AgentId): number => plan.faults.filter(({ victims }) => victims.includes(id)).length;
  const down = (): SupervisedAgent[] => supervisor.agents.filter(({ id, life }) => life.kind === "down" && !busy.has(id));
  const bringBack = async (agent: SupervisedAgent): Promise<void> => {
    await clock.sleep(plan.config.queue.restartAfterMs, signal);
    await restart({ ...context, signal }, agent, { briefing, latestExit: clock.now() });
    busy.delete(agent.id);
    supervisor.waiting.changed();
  };
  for (;;) {
    if (!(await supervisor.waiting.until(() => down().length > 0, clock.now() + DAY_MS, signal))) continue;
    for (const agent of down()) {
      const ends = (crashes.get(agent.id) ?? 0) + 1;
      crashes.set(agent.id, ends);
      if (ends > MAX_CRASHES + planned(agent.id))
        throw new RunError("CRASHES", `${agent.id} has ended ${ends} times by itself; its log is ${agent.spec.logFile}`);
      busy.add(agent.id);
      bringBack(agent).catch((error: unknown) => {
        if (!signal.aborted) context.onFatal(error);
      });
    }
  }
}

/** Ours with the ports they got, then the others. */
function nodesOf({ supervisor, plan }: QueueContext): QueueNode[] {
  const { protocol: common } = plan.config.scenario;
  const hosted = hostedById(plan.config.scenario);
  const own = plan.processes.map(({ agentId, role, fedBy }): QueueNode => {
    const { port } = supervisor.agent(agentId).spec;
    const protocol = hosted?.get(agentId)?.join("+") ?? common;
    return { agentId, role, fedBy, protocol, endpoint: `http://${AGENT_HOST}:${port}`, external: false };
  });
  return [...own, ...plan.external];
}
