import type { AgentId } from "@failstorm/core";
import type { Peer } from "../peer.ts";

/** A probe whose answer is waited for. */
export interface OpenProbe {
  readonly peer: Peer;
  readonly incarnation: number;
  readonly sentAt: number;
  /** `confirm`: others suspect the peer already, and need not be asked. */
  stage: "direct" | "indirect" | "confirm";
  until: number;
  /** Was given more time once, as this agent was late. */
  extended: boolean;
  readonly asked: Set<AgentId>;
  readonly denied: Set<AgentId>;
}

export const openProbe = (peer: Peer, stage: "direct" | "confirm", sentAt: number, until: number): OpenProbe => ({
  peer,
  incarnation: peer.incarnation,
  sentAt,
  stage,
  until,
  extended: false,
  asked: new Set(),
  denied: new Set(),
});

/** Suspected in a way that others know of. */
export const isSuspicion = (peer: Peer): peer is Peer & { phase: { readonly by: Set<AgentId> } } =>
  peer.phase.name === "suspect" && peer.phase.by !== null;
