import type { AgentId } from "@failstorm/core";
import { createGossipOutbox, gossipTargets } from "./gossip.ts";
import { newsOf, type Peer } from "./peer.ts";
import type { DetectorEffect, DetectorOptions, GossipEntry, GossipItem, IndirectProbe } from "./types.ts";

/** Decides what is told to whom; used by every kind of detector. Tells nothing when gossip is off. */
export interface Dissemination {
  /** What is believed of `peer` went one step up in the order of news: passes it on, but not back to where it came from. */
  spread(peer: Peer, now: number, from?: AgentId): void;
  /** A suspicion, this agent's own or one heard of: passes it on, to the suspect too, who can refute it. */
  spreadSuspicion(peer: Peer, by: AgentId, now: number, from?: AgentId): void;
  /** Brings a peer up to date that is newly monitored, restarted, or back from the dead: it missed the news that were told once. */
  catchUp(peer: Peer, now: number): void;
  /**
   * News of one's own death, or suspicion, are false, as one reads them. The incarnation is this process and stays; the refutation goes
   * one above what was said, which beats it everywhere. About any other incarnation: an older one is indeed dead, a newer one is not this
   * process. Answers whether there was something to refute.
   */
  answerAboutSelf(entry: GossipEntry, from: AgentId, now: number): boolean;
  /** These did not arrive: what still holds is told again, `holdMs` later. */
  again(to: AgentId, entries: readonly GossipItem[], now: number, holdMs: number): void;
  /** An indirect probe, with what waits to be told to the same agent; goes at once. */
  withNews(to: AgentId, item: IndirectProbe): DetectorEffect;
  dueAt(): number | null;
  flush(now: number): DetectorEffect[];
}

/** Of the interval: gossip that follows other gossip sooner than this travels with the next. */
const SPACING_SHARE = 1 / 20;

export function createDissemination(options: DetectorOptions, peers: ReadonlyMap<AgentId, Peer>): Dissemination {
  const { self, incarnation, gossip: enabled, fullyLinked = false } = options;
  const outbox = createGossipOutbox(options.intervalMs * SPACING_SHARE);
  let ownRefutation = 0;

  const targets = (): readonly AgentId[] => {
    const all = [...peers.values()];
    const linked = fullyLinked ? all : all.filter((peer) => peer.monitored);
    const live = linked.filter((peer) => peer.phase.name !== "dead").map((peer) => peer.id);
    return gossipTargets(self, live, linked.length === all.length);
  };
  const tell = (entry: GossipEntry, to: readonly AgentId[], now: number, from?: AgentId): void => {
    if (!enabled) return;
    outbox.add(
      entry,
      to.filter((id) => id !== from && id !== self),
      now,
    );
  };

  return {
    spread(peer, now, from) {
      peer.changed = true;
      tell(
        newsOf(peer),
        targets().filter((id) => id !== peer.id),
        now,
        from,
      );
    },
    spreadSuspicion(peer, by, now, from) {
      peer.changed = true;
      tell({ ...newsOf(peer), state: "suspect", by }, [...new Set([...targets(), peer.id])], now, from);
    },
    catchUp(peer, now) {
      if (!enabled || !peer.monitored || peer.phase.name === "dead") return;
      for (const other of peers.values()) {
        if (other.changed && other !== peer) outbox.add(newsOf(other), [peer.id], now);
      }
    },
    answerAboutSelf(entry, from, now) {
      if (entry.incarnation !== incarnation || entry.refutation < ownRefutation) return false;
      ownRefutation = entry.refutation;
      if (entry.state === "alive") return false;
      ownRefutation += 1;
      const doubters = entry.by === undefined ? [from] : [from, entry.by];
      const known = doubters.filter((id) => peers.has(id));
      tell({ peer: self, incarnation, refutation: ownRefutation, state: "alive" }, [...new Set([...targets(), ...known])], now);
      return true;
    },
    again(to, entries, now, holdMs) {
      if (!enabled || !peers.has(to)) return;
      for (const entry of entries) {
        if (!("probe" in entry)) outbox.add(entry, [to], now, holdMs);
      }
    },
    withNews: (to, item) => ({ kind: "gossip", to: [to], entries: [item, ...outbox.take(to)] }),
    dueAt: () => outbox.dueAt(),
    flush: (now) => outbox.flush(now, (id) => peers.get(id)?.phase.name !== "dead"),
  };
}
