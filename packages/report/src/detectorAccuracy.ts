import type { RunEventOf } from "@failstorm/core";
import type { RunRecord } from "./run.ts";
import { toMicroseconds } from "./spread.ts";
import type { Timeline } from "./timeline.ts";
import { expectedMonitors } from "./topology.ts";

type Dead = RunEventOf<"detect.dead">;

/** How often the detectors were wrong about the living (Chen, Toueg and Aguilera, 2002). */
export interface DetectorAccuracy {
  /** Own wrong verdicts (probe, transport, or news of an incarnation that never was struck). */
  readonly false_positives: number;
  /** Wrong verdicts taken over from others. */
  readonly gossip_adoptions: number;
  readonly by_how: Readonly<Record<Dead["how"], number>>;
  /** Σ over monitored (monitor, peer) pairs of the time both lived, in hours. */
  readonly link_hours: number;
  readonly per_link_hour: number | null;
  /** Mistake recurrence time: monitored time per own mistake, ms. Null without a mistake. */
  readonly t_mr_ms: number | null;
  /** Mistake duration: from a wrong verdict to its revision (or to the end), mean, ms. Null without a mistake. */
  readonly t_m_ms: number | null;
  /** Query accuracy probability: share of the monitored time in which the monitor's verdict on the living was right. */
  readonly p_a: number | null;
}

/**
 * False positives: a (peer, incarnation) declared dead that by then had received no fatal signal and no SIGSTOP. A process
 * that had stopped by order or exited by itself was dead indeed, and is no false positive either.
 */
export function measureAccuracy(run: RunRecord, timeline: Timeline): DetectorAccuracy {
  const struckAt = strikes(run, timeline);
  const wrong = timeline.index
    .of("detect.dead")
    .filter((dead) => dead.t < (struckAt.get(`${dead.peer}/${dead.peerInc}`) ?? Infinity));
  const by_how = { probe: 0, gossip: 0, transport: 0, incarnation: 0 };
  for (const dead of wrong) by_how[dead.how] += 1;
  const own = wrong.filter((dead) => dead.how !== "gossip");
  const durations = own.map((dead) => revisedAt(timeline, dead) - dead.t);
  const mistakenMs = durations.reduce((sum, ms) => sum + ms, 0);
  const monitoredMs = monitoredTime(run, timeline, struckAt);
  const link_hours = monitoredMs / 3_600_000;
  return {
    false_positives: own.length,
    gossip_adoptions: by_how.gossip,
    by_how,
    link_hours,
    per_link_hour: link_hours === 0 ? null : own.length / link_hours,
    t_mr_ms: own.length === 0 ? null : toMicroseconds(monitoredMs / own.length),
    t_m_ms: own.length === 0 ? null : toMicroseconds(mistakenMs / own.length),
    p_a: monitoredMs === 0 ? null : Math.max(0, 1 - mistakenMs / monitoredMs),
  };
}

/** By `agent/incarnation`: the instant from which declaring it dead is no mistake. */
function strikes(run: RunRecord, timeline: Timeline): Map<string, number> {
  const at = new Map<string, number>();
  const note = (id: string, t: number): void => {
    at.set(id, Math.min(at.get(id) ?? Number.POSITIVE_INFINITY, t));
  };
  for (const life of timeline.lives) {
    if (Number.isFinite(life.goneAt)) note(`${life.agent}/${life.inc}`, life.goneAt);
    if (life.goneBy !== "unexpected") continue;
    // Others may hear of it before the orchestrator does: all that is known is that it lived when it wrote its last event.
    const last = run.events.findLast((event) => event.src === life.agent && event.inc === life.inc);
    if (last !== undefined) note(`${life.agent}/${life.inc}`, last.t);
  }
  for (const fault of timeline.index.of("fault.injected"))
    if (!fault.fake) note(`${fault.agent}/${fault.agentInc}`, fault.before);
  return at;
}

function revisedAt(timeline: Timeline, dead: Dead): number {
  const revision = [...timeline.index.of("detect.alive"), ...timeline.index.of("link.up")]
    .filter((event) => event.src === dead.src && event.inc === dead.inc && event.peer === dead.peer && event.t > dead.t)
    .reduce((first, event) => Math.min(first, event.t), Number.POSITIVE_INFINITY);
  const ended = timeline.lives
    .filter(
      (life) => (life.agent === dead.src && life.inc === dead.inc) || (life.agent === dead.peer && life.inc === dead.peerInc),
    )
    .reduce((first, life) => Math.min(first, life.goneAt), timeline.endAt);
  return Math.max(dead.t, Math.min(revision, ended));
}

/** Monitored time in ms from the start of load to the end of the run, over the monitoring that the topology asks for. */
function monitoredTime(run: RunRecord, timeline: Timeline, struckAt: ReadonlyMap<string, number>): number {
  const { monitors, topology, customEdges } = run.config.network;
  const from = timeline.t0 + timeline.loadFromMs;
  const byAgent = Map.groupBy(timeline.lives, (life) => life.agent);
  let total = 0;
  for (const [monitor, peer] of expectedMonitors(monitors, topology, timeline.ids, customEdges)) {
    for (const one of byAgent.get(monitor) ?? []) {
      for (const other of byAgent.get(peer) ?? []) {
        const start = Math.max(from, one.upAt, other.upAt);
        // One that stands still (SIGSTOP) monitors nobody.
        const ends = [`${monitor}/${one.inc}`, `${peer}/${other.inc}`].map((id) => struckAt.get(id) ?? Number.POSITIVE_INFINITY);
        const end = Math.min(timeline.endAt, one.goneAt, ...ends);
        total += Math.max(0, end - start);
      }
    }
  }
  return total;
}
