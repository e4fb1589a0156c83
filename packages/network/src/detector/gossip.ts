import type { AgentId } from "@failstorm/core";
import type { PhaseName } from "./peer.ts";
import type { DetectorEffect, GossipEntry, GossipItem } from "./types.ts";

type News = Pick<GossipEntry, "incarnation" | "refutation" | "state">;

const RANKS = { alive: 0, suspect: 1, dead: 2 } as const;

/** Positive when `a` is later news of a peer than `b`: by incarnation, then refutation, then dead after suspect after alive. */
export const compareNews = (a: News, b: News): number =>
  a.incarnation - b.incarnation || a.refutation - b.refutation || RANKS[a.state] - RANKS[b.state];

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function decodeItem(value: unknown): GossipItem | null {
  if (typeof value !== "object" || value === null) return null;
  const { peer, incarnation, refutation, state, by, probe } = value as Record<string, unknown>;
  if (typeof peer !== "string" || !isCount(incarnation)) return null;
  if (probe === "asked" || probe === "answered" || probe === "unanswered") return { peer, incarnation, probe };
  if (!isCount(refutation)) return null;
  if (state === "alive" || state === "dead") return { peer, incarnation, refutation, state };
  return state === "suspect" && typeof by === "string" ? { peer, incarnation, refutation, state, by } : null;
}

export const isNews = (item: GossipItem): item is GossipEntry => !("probe" in item);

/** What detectors send each other, as it came over the network; what is none of it is left out. */
export const decodeGossip = (values: readonly unknown[]): GossipItem[] =>
  values.map(decodeItem).filter((item): item is GossipItem => item !== null);

/** What holds news up, so that more of them travel together; ms. */
export interface Spacing {
  /** After a flush, so much for each message that it sent, within bounds. */
  readonly eachMs: number;
  readonly minMs: number;
  readonly maxMs: number;
  /** Until so long nothing was added, but … */
  readonly quietMs: () => number;
  /** … no longer than so many times that after the first. */
  readonly gatherQuiets: number;
}

/** News waiting to be sent. The first goes at once; what follows soon after travels together. */
export interface GossipOutbox {
  /** To go at `dueAt`, or sooner, with other news for the same target; infinite: withheld, until something else goes there. */
  add(entry: GossipEntry, to: AgentId, dueAt: number, now: number): void;
  /** When `flush` has something to do; null = nothing waits. */
  dueAt(): number | null;
  /** What is due: one effect for all targets that get the same entries. Targets not `reachable` any more are left out. */
  flush(now: number, reachable: (id: AgentId) => boolean): DetectorEffect[];
  /** What waits for this target, taken out: it travels with something else. */
  take(target: AgentId): readonly GossipEntry[];
  /** The same where it is withheld; else none, and left there. */
  takeWithheld(target: AgentId): readonly GossipEntry[];
}

interface Waiting {
  dueAt: number;
  news: readonly GossipEntry[];
}

/** The news with `entry` among them, without what it makes obsolete; suspicions by different agents stand side by side. */
export function addNews(news: readonly GossipEntry[], entry: GossipEntry): readonly GossipEntry[] {
  const obsolete = (other: GossipEntry): boolean => other.peer === entry.peer && compareNews(other, entry) < 0;
  const covers = (other: GossipEntry): boolean => {
    const order = compareNews(other, entry);
    return other.peer === entry.peer && (order > 0 || (order === 0 && other.by === entry.by));
  };
  return news.some(covers) ? news : [...news.filter((other) => !obsolete(other)), entry];
}

export function createGossipOutbox({ eachMs, minMs, maxMs, quietMs, gatherQuiets }: Spacing): GossipOutbox {
  let notBefore = Number.NEGATIVE_INFINITY;
  /** The first and the last addition since the last flush. */
  let gathered: { readonly since: number; last: number } | null = null;
  const waiting = new Map<AgentId, Waiting>();
  const opensAt = (): number => {
    if (gathered === null) return notBefore;
    const quiet = quietMs();
    return Math.max(notBefore, Math.min(gathered.last + quiet, gathered.since + gatherQuiets * quiet));
  };
  const take = (target: AgentId): readonly GossipEntry[] => {
    const news = waiting.get(target)?.news ?? [];
    waiting.delete(target);
    return news;
  };
  return {
    add(entry, to, dueAt, now) {
      if (Number.isFinite(dueAt)) {
        gathered ??= { since: now, last: now };
        gathered.last = now;
      }
      const present = waiting.get(to) ?? { dueAt, news: [] };
      waiting.set(to, { dueAt: Math.min(dueAt, present.dueAt), news: addNews(present.news, entry) });
    },
    dueAt() {
      if (waiting.size === 0) return null;
      let dueAt = Number.POSITIVE_INFINITY;
      for (const target of waiting.values()) dueAt = Math.min(dueAt, target.dueAt);
      return Math.max(dueAt, opensAt());
    },
    flush(now, reachable) {
      if (waiting.size === 0 || now < opensAt()) return [];
      gathered = null;
      const batches = new Map<string, { to: AgentId[]; entries: readonly GossipEntry[] }>();
      for (const [target, { dueAt, news: entries }] of waiting) {
        if (dueAt > now) continue;
        waiting.delete(target);
        if (!reachable(target)) continue;
        const key = JSON.stringify(entries);
        const batch = batches.get(key);
        if (batch === undefined) batches.set(key, { to: [target], entries });
        else batch.to.push(target);
      }
      const messages = [...batches.values()].reduce((sum, { to }) => sum + to.length, 0);
      if (messages > 0) notBefore = now + Math.min(maxMs, Math.max(minMs, messages * eachMs));
      return [...batches.values()].map(({ to, entries }) => ({ kind: "gossip", to, entries }));
    },
    take,
    takeWithheld: (target) => (waiting.get(target)?.dueAt === Number.POSITIVE_INFINITY ? take(target) : []),
  };
}

/** Up to so many, an agent tells everybody it could tell. */
export const MAX_FLOOD = 8;

/** Ids in the order of the ring: agent-2 before agent-10. */
export const byRing = (a: AgentId, b: AgentId): number => a.length - b.length || (a < b ? -1 : Number(a > b));

/** `others` in the order in which they follow `self` on the ring of ids. */
export function ringFrom(self: AgentId, others: readonly AgentId[]): readonly AgentId[] {
  const sorted = others.toSorted(byRing);
  const start = sorted.findIndex((id) => byRing(id, self) > 0);
  return start <= 0 ? sorted : [...sorted.slice(start), ...sorted.slice(0, start)];
}

/**
 * Whom to tell, of many who can all be sent to: the ones 1, 2, 4, 8, … places further on the ring of ids. News passed on once by each reach
 * all in log2 N hops with N log2 N messages. In a dead one's place comes the next that lives, beside a suspect too.
 */
export function fingersOf(self: AgentId, others: readonly AgentId[], standing: (id: AgentId) => PhaseName): readonly AgentId[] {
  const ring = ringFrom(self, others);
  const fingers = new Set<AgentId>();
  for (let step = 1; step <= ring.length; step *= 2) {
    for (const id of [...ring.slice(step - 1), ...ring.slice(0, step - 1)]) {
      if (standing(id) !== "dead") fingers.add(id);
      if (standing(id) === "alive") break;
    }
  }
  return [...fingers];
}

/** The first alive one from `start` on, around the ring. */
export const nextAlive = (ring: readonly AgentId[], start: number, standing: (id: AgentId) => PhaseName): AgentId | null =>
  [...ring.slice(start), ...ring.slice(0, start)].find((id) => standing(id) === "alive") ?? null;
