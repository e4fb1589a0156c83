import type { AgentId } from "@failstorm/core";
import { createGossipOutbox, gossipTargets } from "./gossip.ts";
import { newsOf, type Peer } from "./peer.ts";
import type { DetectorEffect, GossipEntry } from "./types.ts";

/** Decides what is told to whom; used by every kind of detector. Tells nothing when gossip is off. */
export interface Dissemination {
  /** What is believed of `peer` went one step up in the order of news: passes it on, but not back to where it came from. */
  spread(peer: Peer, now: number, from?: AgentId): void;
  /** Brings a peer up to date that is newly monitored, restarted, or back from the dead: it missed the news that were told once. */
  catchUp(peer: Peer, now: number): void;
  /**
   * News of one's own death are false, as one reads them. The incarnation is this process and stays; the refutation goes one above what
   * was said, which beats it everywhere. About any other incarnation: an older one is indeed dead, a newer one is not this process.
   */
  answerAboutSelf(entry: GossipEntry, now: number): void;
  dueAt(): number | null;
  flush(now: number): DetectorEffect[];
}

export function createDissemination(options: {
  readonly self: AgentId;
  readonly incarnation: number;
  readonly enabled: boolean;
  readonly spacingMs: number;
  readonly peers: ReadonlyMap<AgentId, Peer>;
}): Dissemination {
  const { self, incarnation, enabled, peers } = options;
  const outbox = createGossipOutbox(options.spacingMs);
  let ownRefutation = 0;

  const tell = (entry: GossipEntry, now: number, from?: AgentId): void => {
    if (!enabled) return;
    const monitored = [...peers.values()].filter((peer) => peer.monitored);
    const live = monitored.filter((peer) => peer.phase.name !== "dead").map((peer) => peer.id);
    const targets = gossipTargets(self, live, monitored.length === peers.size);
    outbox.add(
      entry,
      targets.filter((id) => id !== from && id !== entry.peer),
      now,
    );
  };

  return {
    spread(peer, now, from) {
      peer.changed = true;
      tell(newsOf(peer), now, from);
    },
    catchUp(peer, now) {
      if (!enabled || !peer.monitored || peer.phase.name === "dead") return;
      for (const other of peers.values()) {
        if (other.changed && other !== peer) outbox.add(newsOf(other), [peer.id], now);
      }
    },
    answerAboutSelf(entry, now) {
      if (entry.incarnation !== incarnation || entry.refutation < ownRefutation) return;
      ownRefutation = entry.refutation;
      if (entry.state === "alive") return;
      ownRefutation += 1;
      tell({ peer: self, incarnation, refutation: ownRefutation, state: "alive" }, now);
    },
    dueAt: () => outbox.dueAt(),
    flush: (now) => outbox.flush(now, (id) => peers.get(id)?.phase.name !== "dead"),
  };
}
