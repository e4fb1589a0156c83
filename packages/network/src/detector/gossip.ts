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

/** What detectors send each other, as it came over the network; what is none of it is left out. */
export const decodeGossip = (values: readonly unknown[]): GossipItem[] =>
  values.map(decodeItem).filter((item): item is GossipItem => item !== null);

/** News waiting to be sent. The first goes at once; what follows within `spacingMs` travels together, at the end of it. */
export interface GossipOutbox {
  /** To go at `dueAt`, or sooner, with other news for the same target. */
  add(entry: GossipEntry, to: AgentId, dueAt: number): void;
  /** When `flush` has something to do; null = nothing waits. */
  dueAt(): number | null;
  /** What is due: one effect for all targets that get the same entries. Targets not `reachable` any more are left out. */
  flush(now: number, reachable: (id: AgentId) => boolean): DetectorEffect[];
  /** What waits for this target, taken out: it travels with something else. */
  take(target: AgentId): readonly GossipEntry[];
}

interface Waiting {
  dueAt: number;
  news: readonly GossipEntry[];
}

/** The news with `entry` among them, without what it makes obsolete; suspicions by different agents stand side by side. */
function withEntry(news: readonly GossipEntry[], entry: GossipEntry): readonly GossipEntry[] {
  const obsolete = (other: GossipEntry): boolean => other.peer === entry.peer && compareNews(other, entry) < 0;
  const covers = (other: GossipEntry): boolean => {
    const order = compareNews(other, entry);
    return other.peer === entry.peer && (order > 0 || (order === 0 && other.by === entry.by));
  };
  return news.some(covers) ? news : [...news.filter((other) => !obsolete(other)), entry];
}

export function createGossipOutbox(spacingMs: number): GossipOutbox {
  let notBefore = Number.NEGATIVE_INFINITY;
  const waiting = new Map<AgentId, Waiting>();
  return {
    add(entry, to, dueAt) {
      const present = waiting.get(to) ?? { dueAt, news: [] };
      waiting.set(to, { dueAt: Math.min(dueAt, present.dueAt), news: withEntry(present.news, entry) });
    },
    dueAt() {
      if (waiting.size === 0) return null;
      let dueAt = Number.POSITIVE_INFINITY;
      for (const target of waiting.values()) dueAt = Math.min(dueAt, target.dueAt);
      return Math.max(dueAt, notBefore);
    },
    flush(now, reachable) {
      if (waiting.size === 0 || now < notBefore) return [];
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
      if (batches.size > 0) notBefore = now + spacingMs;
      return [...batches.values()].map(({ to, entries }) => ({ kind: "gossip", to, entries }));
    },
    take(target) {
      const news = waiting.get(target)?.news ?? [];
      waiting.delete(target);
      return news;
    },
  };
}

/** Up to so many, an agent tells everybody it could tell. */
export const MAX_FLOOD = 8;

/** Ids in the order of the ring: agent-2 before agent-10. */
const byRing = (a: AgentId, b: AgentId): number => a.length - b.length || (a < b ? -1 : Number(a > b));

/** `others` in the order in which they follow `self` on the ring of ids. */
export function ringFrom(self: AgentId, others: readonly AgentId[]): readonly AgentId[] {
  const sorted = others.toSorted(byRing);
  const start = sorted.findIndex((id) => byRing(id, self) > 0);
  return start <= 0 ? sorted : [...sorted.slice(start), ...sorted.slice(0, start)];
}

/**
 * Whom to tell, of `linked`, those an agent can send to directly. Where these are everybody, and many, the ones 1, 2, 4, 8, … places further
 * on the ring of ids: news passed on once by each reach all in log2 N hops with N log2 N messages. In a dead one's place comes the next
 * that lives, beside a suspect too. Else all, as no other path may exist.
 */
export function gossipTargets(
  self: AgentId,
  linked: readonly AgentId[],
  standing: (id: AgentId) => PhaseName,
  isEverybody: boolean,
): readonly AgentId[] {
  if (!isEverybody || linked.length <= MAX_FLOOD) return linked.filter((id) => standing(id) !== "dead");
  const ring = ringFrom(self, linked);
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
