import type { AgentId } from "@failstorm/core";
import { ringFrom } from "../gossip.ts";
import type { Peer } from "../peer.ts";

/** Whose turn it is to be probed. */
export interface Rotation {
  /** The next peer to probe in the period that begins at `startsAt`; null when all of `candidates` are being probed. `turns`: so many have theirs in a period. */
  next(candidates: readonly Peer[], startsAt: number, turns: number, isProbed: (peer: Peer) => boolean): Peer | null;
}

/**
 * SWIM probes each peer once a round, in random order. Here the order is that of the ring, counted by the clock: agents that share one
 * ask those at the same distance in the same period, so that each peer is asked once a period, as long as its watchers live, rather than
 * by several at once and then by none. Without a common clock the distances are as good as random. A peer that changes of the ring have
 * passed over comes first after two rounds, so none waits for ever.
 */
export function createRotation(self: AgentId, periodMs: number): Rotation {
  return {
    next(candidates, startsAt, turns, isProbed) {
      const byId = new Map(candidates.map((peer) => [peer.id, peer]));
      const ring = ringFrom(self, [...byId.keys()]);
      const patienceMs = 2 * Math.ceil(ring.length / turns) * periodMs;
      const neglected = candidates.find(
        (peer) => !isProbed(peer) && startsAt - Math.max(peer.probedAt, peer.monitoredSince) > patienceMs,
      );
      if (neglected !== undefined) return neglected;
      const first = Math.floor(startsAt / periodMs) * turns;
      for (let step = 0; step < ring.length; step++) {
        const peer = byId.get(ring[(first + step) % ring.length] as AgentId);
        if (peer !== undefined && !isProbed(peer)) return peer;
      }
      return null;
    },
  };
}

const HELPERS = 3;

/**
 * Who is asked to probe in this agent's place: spread evenly over the ring of those who are `able`, from another place each `turn`. Who is being probed
 * itself may be as dead; but better one of those than nobody.
 */
export function chooseHelpers(
  self: AgentId,
  able: readonly Peer[],
  turn: number,
  isProbed: (peer: Peer) => boolean,
): readonly AgentId[] {
  const free = able.filter((peer) => !isProbed(peer));
  const ids = (free.length > 0 ? free : able).map(({ id }) => id);
  const ring = ringFrom(self, ids);
  const count = Math.min(HELPERS, ring.length);
  const stride = Math.floor(ring.length / Math.max(1, count));
  return Array.from({ length: count }, (_, i) => ring[(turn + i * stride) % ring.length] as AgentId);
}
