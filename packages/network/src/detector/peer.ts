import type { AgentId } from "@failstorm/core";
import type { GossipEntry } from "./types.ts";

export type Phase =
  | { readonly name: "alive" }
  /**
   * closedAt: when the stream to it was closed; null when only a probe failed. asked: probes that failed since without a refusal.
   * by: whose suspicion it is, where suspicions are told to others (SWIM); else null. askAt: when to ask a closed peer again; else null.
   */
  | {
      readonly name: "suspect";
      readonly closedAt: number | null;
      asked: number;
      askAt: number | null;
      readonly by: Set<AgentId> | null;
    }
  /** backoff: intervals from the last probe to the next. answers: somebody answers at its address, but has not said who it is. */
  | { readonly name: "dead"; readonly declaredAt: number; backoff: number; answers: boolean };

export type PhaseName = Phase["name"];

/** When a peer whose stream was closed is to be asked once more; infinite when it is not. */
export const askAgainAt = ({ phase }: Pick<Peer, "phase">): number =>
  phase.name === "suspect" && phase.askAt !== null ? phase.askAt : Number.POSITIVE_INFINITY;

export const NEVER = Number.NEGATIVE_INFINITY;

/** What the detector knows of one peer. */
export interface Peer {
  readonly id: AgentId;
  incarnation: number;
  refutation: number;
  phase: Phase;
  lastHeard: number;
  /** Since when the last suspicion of it was known, where suspicions are told (SWIM). */
  suspectedAt: number;
  /** From when its silence counts: lastHeard, or later when it came to be monitored, suspected (SWIM), or was said to live, after that. */
  silentSince: number;
  /** Not declared dead before this, because this agent itself had stalled. */
  graceUntil: number;
  /** Nor before this, because a probe of it was left out; what is forgiven comes on top. */
  reprievedUntil: number;
  /** When it was decided to leave out a probe of it. */
  leftOutAt: number;
  /** How much of its silence does not count, because this agent was not listening. */
  forgivenMs: number;
  /** The part of that which small delays took. */
  smallForgivenMs: number;
  monitored: boolean;
  monitoredSince: number;
  nextProbeAt: number;
  probedAt: number;
  /** Not heard since `probedAt`. */
  awaited: boolean;
  /** Others monitor it, the stream to it was closed, and whether it is there has not been found out; asked: probes that failed without a refusal. */
  closed: { readonly at: number; asked: number } | null;
  /** Differs from what was known at the start, so somebody new must be told. */
  changed: boolean;
}

export const newPeer = (id: AgentId, incarnation: number, now: number): Peer => ({
  id,
  incarnation,
  refutation: 0,
  phase: { name: "alive" },
  lastHeard: now,
  suspectedAt: NEVER,
  silentSince: now,
  graceUntil: NEVER,
  reprievedUntil: NEVER,
  leftOutAt: NEVER,
  forgivenMs: 0,
  smallForgivenMs: 0,
  monitored: false,
  monitoredSince: now,
  nextProbeAt: now,
  probedAt: NEVER,
  awaited: false,
  closed: null,
  changed: false,
});

/** Its silence counts from now on, whatever was before. */
export function restartSilence(peer: Peer, now: number): void {
  peer.silentSince = now;
  peer.graceUntil = NEVER;
  peer.forgivenMs = 0;
  peer.smallForgivenMs = 0;
  peer.awaited = false;
}

/** The peer itself was heard at `now`. */
export function hear(peer: Peer, now: number): void {
  peer.lastHeard = now;
  restartSilence(peer, now);
}

/** What is believed of the peer, as it is told to others: a suspicion only where suspicions are told. */
export function newsOf(peer: Peer): GossipEntry {
  const { id, incarnation, refutation, phase } = peer;
  const by = phase.name === "suspect" ? phase.by?.values().next().value : undefined;
  if (by !== undefined) return { peer: id, incarnation, refutation, state: "suspect", by };
  return { peer: id, incarnation, refutation, state: phase.name === "dead" ? "dead" : "alive" };
}
