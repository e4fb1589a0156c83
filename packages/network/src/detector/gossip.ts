import type { AgentId } from "@failstorm/core";
import type { DetectorEffect, GossipEntry } from "./types.ts";

type News = Pick<GossipEntry, "incarnation" | "refutation" | "state">;

/** Positive when `a` is later news of a peer than `b`: by incarnation, then refutation, then dead after alive. */
export const compareNews = (a: News, b: News): number =>
  a.incarnation - b.incarnation || a.refutation - b.refutation || Number(a.state === "dead") - Number(b.state === "dead");

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Gossip entries as they came over the network; what is none is left out. */
export function decodeGossip(values: readonly unknown[]): GossipEntry[] {
  return values.flatMap((value) => {
    if (typeof value !== "object" || value === null) return [];
    const { peer, incarnation, refutation, state } = value as Record<string, unknown>;
    const isEntry =
      typeof peer === "string" && isCount(incarnation) && isCount(refutation) && (state === "alive" || state === "dead");
    return isEntry ? [{ peer, incarnation, refutation, state }] : [];
  });
}

/** News waiting to be sent. The first goes at once; what follows within `spacingMs` travels together, at the end of it. */
export interface GossipOutbox {
  add(entry: GossipEntry, to: readonly AgentId[], now: number): void;
  /** When `flush` has something to do; null = nothing waits. */
  dueAt(): number | null;
  /** What is due: one effect for all targets that get the same entries. Targets not `reachable` any more are left out. */
  flush(now: number, reachable: (id: AgentId) => boolean): DetectorEffect[];
}

export function createGossipOutbox(spacingMs: number): GossipOutbox {
  let notBefore = Number.NEGATIVE_INFINITY;
  /** Target → peer → its latest news. */
  const waiting = new Map<AgentId, Map<AgentId, GossipEntry>>();
  return {
    add(entry, to, now) {
      if (waiting.size === 0) notBefore = Math.max(notBefore, now);
      for (const target of to) {
        const news = waiting.get(target) ?? new Map<AgentId, GossipEntry>();
        const known = news.get(entry.peer);
        if (known === undefined || compareNews(entry, known) > 0) news.set(entry.peer, entry);
        waiting.set(target, news);
      }
    },
    dueAt: () => (waiting.size === 0 ? null : notBefore),
    flush(now, reachable) {
      if (waiting.size === 0 || now < notBefore) return [];
      const batches = new Map<string, { to: AgentId[]; entries: GossipEntry[] }>();
      for (const [target, news] of waiting) {
        if (!reachable(target)) continue;
        const entries = [...news.values()];
        const key = JSON.stringify(entries);
        const batch = batches.get(key);
        if (batch === undefined) batches.set(key, { to: [target], entries });
        else batch.to.push(target);
      }
      waiting.clear();
      if (batches.size > 0) notBefore = now + spacingMs;
      return [...batches.values()].map(({ to, entries }) => ({ kind: "gossip", to, entries }));
    },
  };
}

/** Above so many monitored peers, an agent that monitors everybody gossips to some of them only. */
const MAX_FLOOD = 8;

/**
 * Whom to tell. Where agents monitor some others, all of those, as no other path may exist. Where everybody monitors everybody, the
 * ones 1, 2, 4, 8, … places further on the ring of live ids: news passed on once by each reach all in log2 N hops with N log2 N messages.
 */
export function gossipTargets(self: AgentId, monitoredLive: readonly AgentId[], monitorsEverybody: boolean): readonly AgentId[] {
  if (!monitorsEverybody || monitoredLive.length <= MAX_FLOOD) return monitoredLive;
  const ring = [...monitoredLive, self].sort();
  const start = ring.indexOf(self);
  const fingers: AgentId[] = [];
  for (let step = 1; step < ring.length; step *= 2) fingers.push(ring[(start + step) % ring.length] as AgentId);
  return fingers;
}
