import type { AgentId, RunEvent, RunEventOf } from "@failstorm/core";
import type { RunRecord } from "./run.ts";
import { type Spread, spreadOf, toMicroseconds } from "./spread.ts";
import type { Life, Storm, Timeline, Victim } from "./timeline.ts";
import { expectedMonitors } from "./topology.ts";

/** How a survivor learned of a death. */
export type DetectionHow = RunEventOf<"detect.dead">["how"];

/** One (survivor, victim) pair; `ms` null = never detected within the storm's interval. */
export interface DetectionPair {
  readonly survivor: AgentId;
  readonly victim: AgentId;
  readonly ms: number | null;
  readonly how: DetectionHow | null;
}

export interface Detection extends Spread {
  readonly by_how: Readonly<Partial<Record<DetectionHow, Spread>>>;
  readonly pairs: readonly DetectionPair[];
}

interface News {
  /** Never before the victim's *before* stamp. */
  readonly t: number;
  readonly how: DetectionHow;
}

/** What each agent said of the deaths and returns of others, in order of time. */
export function newsByAgent({ index }: Timeline): Map<AgentId, RunEvent[]> {
  const said = [...index.of("detect.dead"), ...index.of("detect.alive"), ...index.of("link.up")].sort((a, b) => a.t - b.t);
  return Map.groupBy(said, (event) => event.src);
}

/**
 * Detection over all (survivor, victim) pairs, from the victim's *before* stamp to the declaration that the survivor did not take
 * back (or to its news of a newer incarnation, which is the same); 0 where it believed the victim dead already, as Chen, Toueg and
 * Aguilera (2002) define it. A survivor that ended before it detected is left out of the pairs.
 */
export function measureDetection(timeline: Timeline, storm: Storm): Detection {
  const bySurvivor = newsByAgent(timeline);
  const pairs: DetectionPair[] = [];
  for (const survivor of storm.survivors) {
    const said = bySurvivor.get(survivor.agent) ?? [];
    for (const victim of storm.victims) {
      if (victim.agent === survivor.agent) continue;
      const news = lastingNews(said, survivor, victim, storm);
      if (news === null && survivor.goneAt < storm.until) continue;
      const ms = news === null ? null : toMicroseconds(news.t - victim.before);
      pairs.push({ survivor: survivor.agent, victim: victim.agent, ms, how: news?.how ?? null });
    }
  }
  const by_how: Partial<Record<DetectionHow, Spread>> = {};
  for (const [how, group] of Map.groupBy(pairs, (pair) => pair.how)) {
    if (how !== null) by_how[how] = spreadOf(group.map((pair) => pair.ms));
  }
  return { ...spreadOf(pairs.map((pair) => pair.ms)), by_how, pairs };
}

/**
 * `said`: of one survivor, in order of time. A declaration that is taken back before the victim is back was a mistake, or news of one
 * from before the fault that had been under way; in a fake fault each counts as it comes.
 */
export function lastingNews(said: readonly RunEvent[], survivor: Life, victim: Victim, storm: Storm): News | null {
  let news: News | null = null;
  for (const event of said) {
    if (event.t > storm.until) break;
    // What its process before this one believed has died with that.
    if (event.t < victim.before && (storm.fake || event.inc !== survivor.inc)) continue;
    if (!("peer" in event) || !("peerInc" in event) || event.peer !== victim.agent) continue;
    const t = Math.max(event.t, victim.before);
    if (event.ev === "detect.dead") {
      if (event.peerInc === victim.inc) news ??= { t, how: event.how };
    } else if (event.ev === "detect.alive" || event.ev === "link.up") {
      if (event.peerInc > victim.inc) return news ?? { t, how: "incarnation" };
      if (event.ev === "detect.alive" && event.peerInc === victim.inc && event.t < victim.backAt) news = null;
    }
  }
  return news;
}

/**
 * From the *before* stamp to each survivor's notice that the kernel closed its held-open connection to the victim, over the survivors
 * that by the topology monitor the victim, or have noticed all the same. A stopped process and a fake fault close nothing: there only
 * what was noticed counts.
 */
export function measureTransportNotice(run: RunRecord, timeline: Timeline, storm: Storm): Spread {
  const survivors = new Map(storm.survivors.map((life) => [life.agent, life]));
  const first = new Map<string, number | null>();
  for (const notice of timeline.index.of("transport.notice")) {
    const victim = storm.victims.find((victim) => victim.agent === notice.peer && victim.inc === notice.peerInc);
    if (victim === undefined || !survivors.has(notice.src) || notice.t < victim.before || notice.t > storm.until) continue;
    const pair = `${notice.src}/${notice.peer}`;
    if (!first.has(pair)) first.set(pair, notice.t - victim.before);
  }
  if (!storm.fake && storm.kind !== "sigstop") {
    const victims = new Set(storm.victims.map((victim) => victim.agent));
    const { monitors, topology, customEdges } = run.config.network;
    const live = new Set([...survivors.keys(), ...victims]);
    for (const [monitor, peer] of expectedMonitors(monitors, topology, timeline.ids, customEdges, live)) {
      const pair = `${monitor}/${peer}`;
      const lived = (survivors.get(monitor)?.goneAt ?? 0) >= storm.until;
      if (victims.has(peer) && lived && !first.has(pair)) first.set(pair, null);
    }
  }
  return spreadOf([...first.values()]);
}
