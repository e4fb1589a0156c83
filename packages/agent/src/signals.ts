import type { AgentId } from "@failstorm/core";
import type { AgentRegistry, DetectorInput } from "@failstorm/network";
import { ClosedPeers } from "./closedPeers.ts";
import { Closings } from "./closings.ts";
import { HeldStreams } from "./heldStreams.ts";
import type { NetworkingOptions } from "./networking.ts";
import type { createTopology } from "./topology.ts";

interface SignalListeners {
  /** A stream was closed. */
  readonly onSign: () => void;
  readonly feed: (input: DetectorInput) => void;
  readonly isAlive: (peer: AgentId, incarnation: number) => boolean;
}

/** What the kernel tells of peers: the streams held to them and by them, and whether anybody listens where one was closed. */
export function createSignals(
  { client, clock, recorder, spec, self }: NetworkingOptions,
  registry: AgentRegistry,
  topology: ReturnType<typeof createTopology>,
  { onSign, feed, isAlive }: SignalListeners,
): { readonly closed: ClosedPeers; readonly closings: Closings; readonly streams: HeldStreams } {
  const closed = new ClosedPeers({ clock, placeOf: (peer) => registry.node(peer) });
  const closings = new Closings({
    clock,
    streams: () => topology.signalled(registry.view()).length,
    onClosed: (peer, incarnation) => {
      closed.add(peer);
      feed({ kind: "closed", peer, incarnation });
    },
    onGone: (peer, incarnation) => feed({ kind: "gone", peer, incarnation }),
  });
  const streams = new HeldStreams({
    client,
    clock,
    recorder,
    self,
    urlOf: (peer) => {
      const node = registry.node(peer);
      return `http://${node?.address ?? spec.host}:${node?.port ?? 0}`;
    },
    onStanding: (peer) => closings.stands(peer),
    onClosed: (peer, incarnation, how) => {
      if (!spec.config.network.transportSignals) return;
      onSign();
      closings.closed(peer, incarnation, how);
    },
    isAlive,
    isAsked: (peer) => closings.isWaiting(peer) || closed.isAsked(peer),
  });
  return { closed, closings, streams };
}
