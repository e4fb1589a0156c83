import type { AgentId, RunEvent, RunEventOf, TaskId } from "@failstorm/core";
import { isRight } from "@failstorm/report/tasks.ts";

/** What the view knows of an agent. */
export type AgentState =
  | { readonly kind: "starting" }
  | { readonly kind: "up"; readonly rejoined: boolean }
  /** Started again after a fault, and not yet serving. */
  | { readonly kind: "restarting" }
  | { readonly kind: "killed"; readonly at: number }
  | { readonly kind: "stopped"; readonly at: number }
  /** It ended though nobody killed it. */
  | { readonly kind: "crashed"; readonly at: number }
  | { readonly kind: "ended" };

export interface AgentView {
  readonly id: AgentId;
  state: AgentState;
  incarnation: number;
  port: number | null;
  inFlight: number;
}

/** A survivor declared a peer dead. `afterMs`: since the kill(2) of that incarnation; null = nobody had touched it. */
export interface Detection {
  readonly by: AgentId;
  readonly of: AgentId;
  readonly at: number;
  readonly how: string;
  readonly afterMs: number | null;
}

export interface ViewOptions {
  readonly runId: string;
  readonly agentCount: number;
  readonly protocol: string;
  readonly seed: number;
  readonly runtimeMs: number;
  readonly deadlineMs: number;
  readonly faultTimesMs: readonly number[];
  /** The schedule, with the answers the pipeline gives without faults. */
  readonly tasks: readonly {
    readonly task: TaskId;
    readonly atMs: number;
    readonly expected: string;
    readonly graded?: "normalised" | undefined;
  }[];
}

/** Everything the terminal shows, kept up to date by `apply`; instants are CLOCK_MONOTONIC ms. */
export interface RunView {
  readonly options: ViewOptions;
  readonly agents: ReadonlyMap<AgentId, AgentView>;
  phase: RunEventOf<"run.phase">["phase"] | "start";
  t0: number | null;
  now: number;
  readonly detections: Detection[];
  falsePositives: number;
  readonly takeovers: Record<"shard" | "tool" | "task", number>;
  rejoins: number;
  crashes: number;
  finished: RunEventOf<"run.finished"> | null;
  apply(event: RunEvent): void;
  /** Tasks settled (an outcome, or the deadline passed) and right in their deadline, up to `now`. */
  goodput(): { settled: number; right: number };
  inFlight(): number;
  /** Started by an agent that died since, and not answered by another yet. */
  orphaned(): number;
}

const incarnationKey = (agent: AgentId, incarnation: number): string => `${agent}#${incarnation}`;

/** Counts right and settled tasks as time goes by; an outcome counts at once, silence at the deadline. */
function createGoodput({ tasks, deadlineMs }: ViewOptions) {
  const byId = new Map(tasks.map((task) => [task.task, task]));
  let byTime = tasks.toSorted((a, b) => a.atMs - b.atMs);
  const outcomes = new Set<TaskId>();
  let passed = 0;
  let right = 0;
  return {
    /** Tasks intended before the load is on are no part of the run. */
    startFrom(loadFromMs: number): void {
      byTime = byTime.filter(({ atMs }) => atMs >= loadFromMs);
    },
    outcome(event: RunEventOf<"task.outcome">): void {
      const wanted = byId.get(event.task);
      if (wanted === undefined || outcomes.has(event.task)) return;
      outcomes.add(event.task);
      if (event.latencyMs <= deadlineMs && isRight(event, wanted)) right += 1;
    },
    at(sinceT0: number): { settled: number; right: number } {
      for (let task = byTime[passed]; task !== undefined && task.atMs + deadlineMs < sinceT0; task = byTime[++passed])
        outcomes.add(task.task);
      return { settled: outcomes.size, right };
    },
  };
}

/** Who works at what: a task is its last starter's until its outcome. */
function createOwners(agents: ReadonlyMap<AgentId, AgentView>) {
  const owners = new Map<TaskId, AgentId>();
  const orphans = new Set<TaskId>();
  const release = (task: TaskId): void => {
    const agent = agents.get(owners.get(task) ?? "");
    if (agent !== undefined) agent.inFlight -= 1;
    owners.delete(task);
    orphans.delete(task);
  };
  return {
    start(task: TaskId, owner: AgentId): void {
      release(task);
      owners.set(task, owner);
      const agent = agents.get(owner);
      if (agent !== undefined) agent.inFlight += 1;
    },
    release,
    died(agent: AgentId): void {
      for (const [task, owner] of owners)
        if (owner === agent) {
          release(task);
          orphans.add(task);
        }
    },
    inFlight: () => owners.size,
    orphaned: () => orphans.size,
  };
}

type Owners = ReturnType<typeof createOwners>;
/** When each incarnation that died was struck, by us or by itself. */
type Struck = Map<string, number>;

function applyToAgent(agent: AgentView, event: RunEvent, view: RunView, owners: Owners): void {
  switch (event.ev) {
    case "agent.spawned":
      agent.state = { kind: agent.incarnation > 0 ? "restarting" : "starting" };
      return;
    case "agent.ready":
      agent.incarnation = event.agentInc;
      agent.port = event.port;
      if (agent.state.kind !== "restarting") agent.state = { kind: "up", rejoined: false };
      return;
    case "agent.exited":
      owners.died(agent.id);
      if (event.cause === "unexpected") {
        view.crashes += 1;
        agent.state = { kind: "crashed", at: event.t };
      } else if (event.cause === "stop") agent.state = { kind: "ended" };
      return;
    case "fault.injected":
      if (event.fake) return;
      agent.state = { kind: event.kind === "sigstop" ? "stopped" : "killed", at: event.before };
      if (event.kind === "sigkill") owners.died(agent.id);
      return;
    case "fault.cleared":
      agent.state = { kind: "up", rejoined: false };
      return;
    case "agent.rejoined":
      view.rejoins += 1;
      agent.state = { kind: "up", rejoined: true };
      return;
    default:
  }
}

function detect(event: RunEventOf<"detect.dead">, view: RunView, struck: Struck): void {
  const strike = struck.get(incarnationKey(event.peer, event.peerInc));
  if (strike === undefined) view.falsePositives += 1;
  const afterMs = strike === undefined ? null : event.t - strike;
  view.detections.push({ by: event.src, of: event.peer, at: event.t, how: event.how, afterMs });
}

/** An empty view, to be fed a run's events in about the order they happened. */
export function createRunView(options: ViewOptions): RunView {
  const agents = new Map<AgentId, AgentView>();
  const owners = createOwners(agents);
  const goodput = createGoodput(options);
  const struck: Struck = new Map();
  for (let index = 0; index < options.agentCount; index++) {
    const id = `agent-${index}`;
    agents.set(id, { id, state: { kind: "starting" }, incarnation: 0, port: null, inFlight: 0 });
  }
  const view: RunView = {
    options,
    agents,
    phase: "start",
    t0: null,
    now: 0,
    detections: [],
    falsePositives: 0,
    takeovers: { shard: 0, tool: 0, task: 0 },
    rejoins: 0,
    crashes: 0,
    finished: null,
    apply(event) {
      view.now = Math.max(view.now, event.t);
      const about = agents.get("agent" in event ? event.agent : event.src);
      if (about !== undefined) applyToAgent(about, event, view, owners);
      if (event.ev === "run.phase") view.phase = event.phase;
      else if (event.ev === "run.load") {
        view.t0 = event.t0;
        goodput.startFrom(event.loadFromMs);
      } else if (event.ev === "run.finished") view.finished = event;
      else if (event.ev === "fault.injected" && !event.fake)
        struck.set(incarnationKey(event.agent, event.agentInc), event.before);
      else if (event.ev === "agent.exited" && event.cause === "unexpected")
        struck.set(incarnationKey(event.agent, event.agentInc ?? 0), event.t);
      // Whoever ends last sees the others end: that is no detection.
      else if (event.ev === "detect.dead" && view.phase !== "end") detect(event, view, struck);
      else if (event.ev === "takeover.claimed") view.takeovers[event.kind] += 1;
      else if (event.ev === "task.started") owners.start(event.task, event.src);
      else if (event.ev === "task.outcome") {
        owners.release(event.task);
        goodput.outcome(event);
      }
    },
    goodput: () => goodput.at(view.t0 === null ? Number.NEGATIVE_INFINITY : view.now - view.t0),
    inFlight: owners.inFlight,
    orphaned: owners.orphaned,
  };
  return view;
}

/** Seconds after t=0 of an instant; null before the run has one. */
export const secondsInto = (view: RunView, at: number): number | null => (view.t0 === null ? null : (at - view.t0) / 1000);
