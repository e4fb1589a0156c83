import { type AgentId, agentId, type FaultKind, type RunEventOf, type Tool } from "@failstorm/core";
import { type EventIndex, indexEvents, type RunRecord } from "./run.ts";

/** One incarnation of an agent, from its ready event to its end (fatal signal, orderly stop, or an exit nobody asked for). */
export interface Life {
  readonly agent: AgentId;
  readonly inc: number;
  readonly upAt: number;
  /** CLOCK_MONOTONIC; Infinity while it lived to the last event. For a victim: the *before* stamp of its kill. */
  readonly goneAt: number;
  readonly goneBy: "fault" | "stop" | "unexpected" | null;
  readonly homeTool: Tool | null;
  readonly shard: number | null;
}

export interface Victim {
  readonly agent: AgentId;
  readonly inc: number;
  /** CLOCK_MONOTONIC before and after its kill(2). */
  readonly before: number;
  readonly after: number;
  /** When the agent served again: rejoined with a new incarnation, or continued; Infinity = never. */
  readonly backAt: number;
}

/** One cycle of the fault with the interval that its measures look at. */
export interface Storm {
  readonly cycle: number;
  readonly kind: FaultKind;
  readonly fake: boolean;
  readonly victims: readonly Victim[];
  /** The first victim's *before* stamp. */
  readonly at: number;
  /** The earliest of: the next storm, `recovery_duration`, the end of the run. */
  readonly until: number;
  /** Agents alive at the fault that are no victims of this cycle, and do not stand still (SIGSTOP) since an earlier one. */
  readonly survivors: readonly Life[];
}

export interface Timeline {
  readonly index: EventIndex;
  readonly ids: readonly AgentId[];
  readonly t0: number;
  readonly loadFromMs: number;
  readonly lives: readonly Life[];
  readonly storms: readonly Storm[];
  /** t0 + runtime, or where the record ends or breaks off before that. */
  readonly endAt: number;
  /** Of a record that broke off: the last moment before the agents were ended. */
  readonly lastEventAt: number;
  /** Null, or why the record is not of a whole run. */
  readonly partial: string | null;
}

/** The life of `agent` at the instant `at`, or null while it had none. A stopped process (SIGSTOP) has one. */
export function lifeAt(timeline: Timeline, agent: AgentId, at: number): Life | null {
  return timeline.lives.findLast((life) => life.agent === agent && life.upAt <= at && at < life.goneAt) ?? null;
}

/** All lives at the instant `at`, by agent index. */
export function livesAt(timeline: Timeline, at: number): Life[] {
  return timeline.ids.map((id) => lifeAt(timeline, id, at)).filter((life) => life !== null);
}

/** Reads the course of the run out of its events. */
export function readTimeline(run: RunRecord): Timeline {
  const index = indexEvents(run.events);
  const load = index.of("run.load").at(0);
  const t0 = load?.t0 ?? run.events[0]?.t ?? 0;
  const finished = index.of("run.finished").at(-1);
  const lastEvent = run.events.at(-1)?.t ?? 0;
  const lastEventAt = finished?.status === "done" ? lastEvent : Math.min(lastEvent, brokenOffAt(index));
  const endAt = Math.min(t0 + run.config.scenario.runtimeMs, lastEventAt);
  const ids = Array.from({ length: run.config.scenario.agentCount }, (_, i) => agentId(i));
  const lives = readLives(index);
  const partial =
    finished === undefined
      ? "the events end without run.finished: the orchestrator died or is still running"
      : finished.status === "done"
        ? null
        : `the run was ${finished.status}${finished.reason === null ? "" : `: ${finished.reason}`}`;
  const timeline = {
    index,
    ids,
    t0,
    loadFromMs: load?.loadFromMs ?? Number.POSITIVE_INFINITY,
    lives,
    endAt,
    lastEventAt,
    partial,
  };
  return { ...timeline, storms: readStorms(run, { ...timeline, storms: [] }) };
}

const key = (agent: AgentId, inc: number): string => `${agent}/${inc}`;

/**
 * From when on a record that broke off only shows how the agents were ended, so that what did not happen means nothing: the
 * orchestrator's order to stop, or, where it had died, the first agent that left for that.
 */
function brokenOffAt(index: EventIndex): number {
  const ordered = index.of("run.phase").find(({ phase }) => phase === "end");
  if (ordered !== undefined) return ordered.t;
  const struck = new Set(index.of("fault.injected").map(({ agent, agentInc }) => key(agent, agentInc)));
  // An exit that the orchestrator saw was before its own.
  const seen = (stop: RunEventOf<"agent.stopping">): boolean =>
    index.of("agent.exited").some((exit) => exit.agent === stop.src && exit.t >= stop.t);
  const left = index.of("agent.stopping").find((stop) => !struck.has(key(stop.src, stop.inc)) && !seen(stop));
  return left?.t ?? Number.POSITIVE_INFINITY;
}

type Ending = { readonly at: number; readonly by: "fault" | "stop" | "unexpected" };

function readLives(index: EventIndex): Life[] {
  const endings = readEndings(index);
  const ups = new Map<string, { agent: AgentId; inc: number; at: number; up: RunEventOf<"agent.up"> | null }>();
  for (const up of index.of("agent.up")) ups.set(key(up.src, up.inc), { agent: up.src, inc: up.inc, at: up.t, up });
  for (const ready of index.of("agent.ready")) {
    const id = key(ready.agent, ready.agentInc);
    if (!ups.has(id)) ups.set(id, { agent: ready.agent, inc: ready.agentInc, at: ready.t, up: null });
  }
  return [...ups.values()]
    .map(({ agent, inc, at, up }) => {
      const end = endings.get(key(agent, inc));
      return {
        agent,
        inc,
        upAt: at,
        goneAt: end?.at ?? Number.POSITIVE_INFINITY,
        goneBy: end?.by ?? null,
        homeTool: up?.homeTool ?? null,
        shard: up?.shard ?? null,
      };
    })
    .sort((a, b) => a.upAt - b.upAt);
}

function readEndings(index: EventIndex): Map<string, Ending> {
  const endings = new Map<string, Ending>();
  const note = (id: string, ending: Ending): void => {
    const known = endings.get(id);
    if (known === undefined || ending.at < known.at) endings.set(id, ending);
  };
  const incByPid = new Map<number, number>();
  for (const up of index.of("agent.up")) incByPid.set(up.pid, up.inc);
  for (const ready of index.of("agent.ready")) incByPid.set(ready.pid, ready.agentInc);
  for (const fault of index.of("fault.injected")) {
    if (!fault.fake && fault.kind !== "sigstop") note(key(fault.agent, fault.agentInc), { at: fault.before, by: "fault" });
  }
  for (const stop of index.of("agent.stopping")) note(key(stop.src, stop.inc), { at: stop.t, by: "stop" });
  for (const exit of index.of("agent.exited")) {
    const inc = exit.agentInc ?? incByPid.get(exit.pid);
    if (inc !== undefined) note(key(exit.agent, inc), { at: exit.t, by: exit.cause });
  }
  return endings;
}

function readStorms(run: RunRecord, timeline: Timeline): Storm[] {
  const { index } = timeline;
  const cycles = Map.groupBy(index.of("fault.injected"), (fault) => fault.cycle);
  const started = [...cycles.entries()]
    .map(([cycle, faults]) => ({ cycle, faults, at: Math.min(...faults.map((fault) => fault.before)) }))
    .sort((a, b) => a.at - b.at);
  const { recoveryDurationMs } = run.config.scenario;
  return started.map(({ cycle, faults, at }, i) => {
    const victims = faults.map((fault) => ({
      agent: fault.agent,
      inc: fault.agentInc,
      before: fault.before,
      after: fault.after,
      backAt: fault.fake ? fault.before : backAt(timeline, fault),
    }));
    const struck = new Set(faults.map((fault) => fault.agent));
    const recoveredBy = recoveryDurationMs === null ? Number.POSITIVE_INFINITY : at + recoveryDurationMs;
    const first = faults[0];
    return {
      cycle,
      kind: first?.kind ?? "sigkill",
      fake: first?.fake ?? false,
      victims,
      at,
      // Never before it began, though the orchestrator may have come late for a fault just before the end.
      until: Math.max(at, Math.min(started[i + 1]?.at ?? Number.POSITIVE_INFINITY, recoveredBy, timeline.endAt)),
      survivors: livesAt(timeline, at).filter(
        (life) => (first?.fake === true || !struck.has(life.agent)) && !isStopped(timeline, life, at),
      ),
    };
  });
}

/** Whether this process stands still at the instant `at` (SIGSTOP). */
export const isStopped = (timeline: Timeline, { agent, inc }: Life, at: number): boolean =>
  timeline.index
    .of("fault.injected")
    .some(
      (fault) =>
        fault.kind === "sigstop" &&
        !fault.fake &&
        fault.agent === agent &&
        fault.agentInc === inc &&
        fault.before < at &&
        backAt(timeline, fault) > at,
    );

/** When a victim served again: continued after a stop, or with a newer incarnation after its anti-entropy. */
function backAt(timeline: Timeline, fault: RunEventOf<"fault.injected">): number {
  const { index } = timeline;
  if (fault.kind === "sigstop") {
    const cleared = index.of("fault.cleared").find((clear) => clear.agent === fault.agent && clear.before > fault.before);
    return cleared?.after ?? Number.POSITIVE_INFINITY;
  }
  const rejoined = index.of("agent.rejoined").find((event) => event.src === fault.agent && event.inc > fault.agentInc);
  return rejoined?.t ?? Number.POSITIVE_INFINITY;
}
