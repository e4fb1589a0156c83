import type { AgentId, RunEvent, RunEventOf } from "@failstorm/core";
import { type Spread, spreadOf, toMicroseconds } from "./spread.ts";
import type { Storm, Timeline, Victim } from "./timeline.ts";

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
  readonly t: number;
  readonly how: DetectionHow;
}

/**
 * Detection over all (survivor, victim) pairs, from the victim's *before* stamp to the survivor's declaration (or to its
 * news of a newer incarnation, which is the same). A survivor that ended before it detected is left out of the pairs.
 */
export function measureDetection(timeline: Timeline, storm: Storm): Detection {
  const bySurvivor = Map.groupBy(
    [...timeline.index.of("detect.dead"), ...timeline.index.of("detect.alive"), ...timeline.index.of("link.up")],
    (event) => event.src,
  );
  const pairs: DetectionPair[] = [];
  for (const survivor of storm.survivors) {
    const said = bySurvivor.get(survivor.agent) ?? [];
    for (const victim of storm.victims) {
      if (victim.agent === survivor.agent) continue;
      const news = firstNews(said, victim, storm.until);
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

function firstNews(said: readonly RunEvent[], victim: Victim, until: number): News | null {
  let first: News | null = null;
  for (const event of said) {
    if (event.t < victim.before || event.t > until || (first !== null && event.t >= first.t)) continue;
    if (event.ev === "detect.dead" && event.peer === victim.agent && event.peerInc === victim.inc) {
      first = { t: event.t, how: event.how };
    } else if (
      (event.ev === "detect.alive" || event.ev === "link.up") &&
      event.peer === victim.agent &&
      event.peerInc > victim.inc
    ) {
      first = { t: event.t, how: "incarnation" };
    }
  }
  return first;
}

/** From the *before* stamp to each survivor's notice that the kernel closed its held-open connection to the victim. */
export function measureTransportNotice(timeline: Timeline, storm: Storm): Spread {
  const survivors = new Set(storm.survivors.map((life) => life.agent));
  const first = new Map<string, number>();
  for (const notice of timeline.index.of("transport.notice")) {
    const victim = storm.victims.find((victim) => victim.agent === notice.peer && victim.inc === notice.peerInc);
    if (victim === undefined || !survivors.has(notice.src) || notice.t < victim.before || notice.t > storm.until) continue;
    const pair = `${notice.src}/${notice.peer}`;
    if (!first.has(pair)) first.set(pair, notice.t - victim.before);
  }
  return spreadOf([...first.values()]);
}
