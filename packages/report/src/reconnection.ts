import { type AgentId, type RunEventOf, WORK_STATES } from "@failstorm/core";
import { lastingNews, newsByAgent } from "./detection.ts";
import type { RunRecord } from "./run.ts";
import type { StormMetrics } from "./schema.ts";
import { type Spread, spreadOf, toMicroseconds } from "./spread.ts";
import { type Life, livesAt, type Storm, type Timeline, type Victim } from "./timeline.ts";
import { expectedLinks } from "./topology.ts";

/**
 * A number, or why there is none. `censored`: there was something to reach, and the observation ended before it was; else there was
 * nothing to measure.
 */
export type Measured =
  | { readonly value: number; readonly reason: null }
  | { readonly value: null; readonly reason: string; readonly censored: boolean };

const missing = (reason: string): Measured => ({ value: null, reason, censored: false });
const unreached = (reason: string): Measured => ({ value: null, reason, censored: true });

const RECONNECT_REASONS: ReadonlySet<RunEventOf<"link.up">["reason"]> = new Set([
  "incarnation",
  "replacement",
  "repair",
  "healed",
]);

/**
 * From the *before* stamp of the victim concerned to the first byte of the earliest reconnect handshake (by a survivor, because
 * of a link lost to a victim) that completed. A repair with a new neighbour that names no victim counts from the first stamp, where the
 * survivor knew of one that had died: else it repaired what an earlier storm had left, or made room for somebody who came back.
 * With `run`, a storm that left nothing to repair is told from one that was not recovered from.
 */
export function measureRecovery(timeline: Timeline, storm: Storm, run: RunRecord | null = null): Measured {
  const survivors = new Set(storm.survivors.map((life) => life.agent));
  const victims = new Map(storm.victims.map((victim) => [victim.agent, victim]));
  const knownFrom = firstLossKnown(timeline, storm);
  let first: number | null = null;
  for (const up of timeline.index.of("link.up")) {
    if (up.startedAt < storm.at || up.t > storm.until || !survivors.has(up.src) || !RECONNECT_REASONS.has(up.reason)) continue;
    const isRepair = up.reason === "repair" && up.lost === null && up.startedAt >= (knownFrom.get(up.src) ?? Infinity);
    const since = victimConcerned(up, victims)?.before ?? (isRepair ? storm.at : null);
    if (since === null || up.startedAt < since) continue;
    if (first === null || up.startedAt - since < first) first = up.startedAt - since;
  }
  if (first !== null) return { value: toMicroseconds(first), reason: null };
  if (storm.victims.every((victim) => returnedAt(timeline, storm, victim) >= storm.until)) {
    if (survivors.size < 2) return missing("nothing to repair: the one survivor had nobody left to shake hands with");
    if (run !== null && isWhole(run, timeline, storm)) return missing(WHOLE);
  }
  return unreached("no survivor completed a handshake because of a lost link");
}

const WHOLE = "nothing to repair: no link had to be added, and each victim's only neighbour took over from it itself";

/**
 * Whether the links among the survivors are those of the repaired topology by themselves, and every victim had at most one neighbour, who has
 * taken over himself (a leaf of a star whose centre does).
 */
function isWhole(run: RunRecord, timeline: Timeline, storm: Storm): boolean {
  const { topology, customEdges } = run.config.network;
  const left = new Set(storm.survivors.map((life) => life.agent));
  const before = new Set(linksAtFault(run, timeline, storm));
  const claims = standingClaims(timeline, storm.until);
  return (
    expectedLinks(topology, timeline.ids, left, customEdges).every(([a, b]) => before.has(`${a}-${b}`)) &&
    storm.victims.every(({ agent, inc }) => {
      const [one, ...others] = [...left].filter((survivor) => before.has(`${survivor}-${agent}`));
      const own = claims.filter((claim) => claim.from === agent && claim.fromInc === inc);
      return one === undefined || (others.length === 0 && own.length > 0 && own.every(({ src }) => src === one));
    })
  );
}

/** From when on each survivor knew of a victim's death. */
function firstLossKnown(timeline: Timeline, storm: Storm): Map<AgentId, number> {
  const said = newsByAgent(timeline);
  return new Map(
    storm.survivors.map((life) => {
      const known = storm.victims.map((victim) => lastingNews(said.get(life.agent) ?? [], life, victim, storm)?.t ?? Infinity);
      return [life.agent, Math.min(...known)];
    }),
  );
}

function victimConcerned(up: RunEventOf<"link.up">, victims: ReadonlyMap<AgentId, Victim>): Victim | undefined {
  return victims.get(up.lost ?? "") ?? victims.get(up.peer);
}

/**
 * What the victims' next incarnations (or, after SIGCONT, the same ones) told survivors of the work they had been doing for them, asked in
 * the protocol's own way while reconnecting (A2A: GetTask; ACP: the run's state). null: no answer of that kind, since the protocol cannot ask,
 * or nobody reconnected.
 */
export function measureRecoveredWork(timeline: Timeline, storm: Storm): StormMetrics["recovered_work"] {
  const victims = new Set(storm.victims.map(({ agent }) => agent));
  const answers = timeline.index
    .of("link.up")
    .filter(({ t, peer, src }) => t > storm.at && t < storm.until && victims.has(peer) && !victims.has(src))
    .flatMap(({ recovered }) => (recovered === undefined ? [] : [recovered]));
  if (answers.length === 0) return null;
  const states = answers.flat();
  const by_state = Object.fromEntries(
    WORK_STATES.map((state) => [state, states.filter((other) => other === state).length] as const).filter(([, n]) => n > 0),
  );
  return { asked: states.length, by_state };
}

/**
 * Between the first stamp and the instant at which the links equal the repaired topology, computed from who lived: both ends
 * of every link have greeted the other's present incarnation, no other link is left, and every survivor that had a link to a victim
 * has greeted those that took over that victim's shard or tool.
 * `withRestarted` false: among the survivors, before the first victim is back; true: with the restarted victims.
 */
export function measureReconnected(run: RunRecord, timeline: Timeline, storm: Storm, withRestarted: boolean): Measured {
  const returns = returnsOf(timeline, storm);
  if (withRestarted && returns.length === 0) return missing("no victim came back within the interval");
  const from = withRestarted ? Math.max(...returns) : storm.at;
  const until = withRestarted ? storm.until : Math.min(storm.until, ...returns);
  const lives = (withRestarted ? livesAt(timeline, from) : storm.survivors).filter((life) => life.goneAt >= until);
  const wanted = wantedLinks(run, timeline, storm, lives, withRestarted ? null : until);
  const measured = firstEquality(timeline, { from, until, since: storm.at, lives, wanted });
  if (withRestarted || returns.length === 0 || measured.reason === null || !measured.censored) return measured;
  const back = ((until - storm.at) / 1000).toFixed(1);
  return unreached(`a victim was back ${back} s after the fault, and until then ${measured.reason}`);
}

const returnsOf = (timeline: Timeline, storm: Storm): number[] =>
  storm.victims.map((victim) => returnedAt(timeline, storm, victim)).filter((at) => at < storm.until);

/** How long the survivors' links can become those of the repaired topology, ms: until the first victim is back. */
export const repairWatchedMs = (timeline: Timeline, storm: Storm): number =>
  toMicroseconds(Math.min(storm.until, ...returnsOf(timeline, storm)) - storm.at);

/** When a victim was up again: its next incarnation, or the same after SIGCONT; Infinity = never, and after a fake fault. */
function returnedAt(timeline: Timeline, storm: Storm, victim: Victim): number {
  if (storm.fake) return Number.POSITIVE_INFINITY;
  return storm.kind === "sigstop" ? victim.backAt : (nextLife(timeline, victim)?.upAt ?? Number.POSITIVE_INFINITY);
}

const nextLife = (timeline: Timeline, victim: Victim): Life | undefined =>
  timeline.lives.find((life) => life.agent === victim.agent && life.inc > victim.inc);

interface Wanted {
  /** `src>peer#peerInc` of every directed link. */
  readonly links: ReadonlySet<string>;
  /** `src>peer#peerInc<lost` of every failover handshake with a replacement. */
  readonly failovers: ReadonlySet<string>;
}

const direction = (src: AgentId, peer: AgentId, peerInc: number): string => `${src}>${peer}#${peerInc}`;

function wantedLinks(
  run: RunRecord,
  timeline: Timeline,
  storm: Storm,
  lives: readonly Life[],
  claimsUntil: number | null,
): Wanted {
  const { topology, customEdges } = run.config.network;
  const inc = new Map(lives.map((life) => [life.agent, life.inc]));
  const links = new Set<string>();
  for (const [a, b] of expectedLinks(topology, timeline.ids, new Set(inc.keys()), customEdges)) {
    links.add(direction(a, b, inc.get(b) ?? 0));
    links.add(direction(b, a, inc.get(a) ?? 0));
  }
  const failovers = new Set<string>();
  if (claimsUntil !== null) {
    const neighboursBefore = new Set(linksAtFault(run, timeline, storm));
    for (const claim of standingClaims(timeline, claimsUntil)) {
      const victim = storm.victims.find((victim) => victim.agent === claim.from && victim.inc === claim.fromInc);
      if (victim === undefined || inc.get(claim.src) !== claim.inc) continue;
      for (const survivor of inc.keys()) {
        if (survivor === claim.src || !neighboursBefore.has(`${survivor}-${victim.agent}`)) continue;
        failovers.add(`${direction(survivor, claim.src, claim.inc)}<${victim.agent}`);
      }
    }
  }
  return { links, failovers };
}

/** Claims of shards and tools made by then and not given up again (a claim in a view that was still changing is). */
export function standingClaims(timeline: Timeline, until: number): RunEventOf<"takeover.claimed">[] {
  const released = timeline.index.of("takeover.released").filter((event) => event.t <= until);
  return timeline.index
    .of("takeover.claimed")
    .filter((claim) => claim.kind !== "task" && claim.t <= until)
    .filter(
      (claim) =>
        !released.some(
          (event) => event.src === claim.src && event.kind === claim.kind && event.id === claim.id && event.t >= claim.t,
        ),
    );
}

/** `a-b` and `b-a` for every link there was when the fault came. */
function linksAtFault(run: RunRecord, timeline: Timeline, storm: Storm): string[] {
  const { topology, customEdges } = run.config.network;
  const live = new Set([...storm.survivors, ...storm.victims].map((member) => member.agent));
  return expectedLinks(topology, timeline.ids, live, customEdges).flatMap(([a, b]) => [`${a}-${b}`, `${b}-${a}`]);
}

/** Replays the link events and finds the first instant in [from, until] at which exactly the wanted links stand. */
function firstEquality(
  timeline: Timeline,
  options: { from: number; until: number; since: number; lives: readonly Life[]; wanted: Wanted },
): Measured {
  const { from, until, since, lives, wanted } = options;
  const incOf = new Map(lives.map((life) => [life.agent, life.inc]));
  const standing = new Map<string, string>();
  const absent = new Set(wanted.links);
  const surplus = new Set<string>();
  const awaited = new Set(wanted.failovers);
  const changes = [...timeline.index.of("link.up"), ...timeline.index.of("link.down")].sort((a, b) => a.t - b.t);
  const drop = (pair: string): void => {
    const link = standing.get(pair);
    if (link === undefined) return;
    standing.delete(pair);
    surplus.delete(link);
    if (wanted.links.has(link)) absent.add(link);
  };
  const equal = (): boolean => absent.size === 0 && surplus.size === 0 && awaited.size === 0;
  let settledAtFrom: boolean | null = null;
  for (const change of changes) {
    if (change.t > until) break;
    if (change.t >= from && settledAtFrom === null) settledAtFrom = equal();
    if (incOf.get(change.src) !== change.inc) continue;
    const pair = `${change.src}>${change.peer}`;
    const link = direction(change.src, change.peer, change.peerInc);
    if (change.ev === "link.down") {
      if (standing.get(pair) === link) drop(pair);
    } else {
      if (change.reason === "replacement" && change.t >= since) awaited.delete(`${link}<${change.lost ?? ""}`);
      // A greeting of a replacement that is no neighbour makes no link.
      if (change.reason !== "replacement" || wanted.links.has(link)) {
        drop(pair);
        standing.set(pair, link);
        absent.delete(link);
        if (!wanted.links.has(link)) surplus.add(link);
      }
    }
    if (change.t >= from && settledAtFrom !== true && equal()) return { value: toMicroseconds(change.t - since), reason: null };
  }
  if (settledAtFrom ?? equal()) return missing("nothing to repair: no link was lost and no link had to be added");
  return unreached(`the links did not become those of the repaired topology: ${describeGap(absent, surplus, awaited)}`);
}

function describeGap(absent: ReadonlySet<string>, surplus: ReadonlySet<string>, awaited: ReadonlySet<string>): string {
  const part = (what: string, set: ReadonlySet<string>): string[] =>
    set.size === 0 ? [] : [`${set.size} ${what} (${[...set].slice(0, 3).join(", ")})`];
  return [...part("missing", absent), ...part("too many", surplus), ...part("replacements not greeted", awaited)].join(", ");
}

export interface Rejoin extends Spread {
  readonly victims: readonly (readonly [AgentId, number | null])[];
  /** The longest that one which never got there was watched for, ms from its spawn; null when all did. */
  readonly watched_ms: number | null;
}

/** Restarted victims: from the orchestrator's spawn to the last handshake, at either end, that completed all of its links. */
export function measureRejoin(run: RunRecord, timeline: Timeline, storm: Storm): Rejoin {
  const victims = storm.victims.flatMap((victim) => rejoinOf(run, timeline, storm, victim));
  const watched = victims.flatMap(({ ms, spawnedAt }) => (ms === null ? [storm.until - spawnedAt] : []));
  return {
    ...spreadOf(victims.map(({ ms }) => ms)),
    victims: victims.map(({ agent, ms }) => [agent, ms]),
    watched_ms: watched.length === 0 ? null : toMicroseconds(Math.max(...watched)),
  };
}

interface Return {
  readonly agent: AgentId;
  readonly ms: number | null;
  readonly spawnedAt: number;
}

function rejoinOf(run: RunRecord, timeline: Timeline, storm: Storm, victim: Victim): Return[] {
  const spawned = timeline.index
    .of("agent.spawned")
    .find((event) => event.agent === victim.agent && event.t > victim.before && event.t < storm.until);
  if (spawned === undefined) return [];
  const returned = (ms: number | null): Return[] => [{ agent: victim.agent, ms, spawnedAt: spawned.t }];
  const life = nextLife(timeline, victim);
  if (life === undefined || life.upAt > storm.until) return returned(null);
  const { topology, customEdges } = run.config.network;
  const atEnd = livesAt(timeline, Math.min(storm.until, life.goneAt) - 0.001);
  const edges = expectedLinks(topology, timeline.ids, new Set(atEnd.map((other) => other.agent)), customEdges);
  const peers = edges.filter((edge) => edge.includes(victim.agent)).map(([a, b]) => (a === victim.agent ? b : a));
  const open = new Set<string>();
  for (const peer of peers) {
    open.add(direction(victim.agent, peer, atEnd.find((other) => other.agent === peer)?.inc ?? 0));
    open.add(direction(peer, victim.agent, life.inc));
  }
  let last = life.upAt;
  for (const up of timeline.index.of("link.up")) {
    if (up.t < spawned.t || up.t > storm.until) continue;
    if (open.delete(direction(up.src, up.peer, up.peerInc))) last = Math.max(last, up.t);
  }
  return returned(open.size === 0 ? toMicroseconds(last - spawned.t) : null);
}
