import type { AgentId } from "@failstorm/core";

/** How it was learnt: `probe` stands for all direct contact; `incarnation`: a newer incarnation of the peer made itself known. */
export type DetectedHow = "probe" | "gossip" | "transport" | "incarnation";

/**
 * What one agent tells others about a peer. News are ordered: by incarnation, then `refutation`, then dead after suspect after alive; the
 * greater wins, whatever the order of arrival. `refutation` counts how often a death or a suspicion of this incarnation was found to be
 * false: an incarnation is one process and cannot be raised to contradict (as SWIM does), so this number does it.
 */
export interface GossipEntry {
  readonly peer: AgentId;
  readonly incarnation: number;
  readonly refutation: number;
  readonly state: "alive" | "suspect" | "dead";
  /** Whose finding a suspicion is, so that independent ones can be told apart; with `suspect` only. */
  readonly by?: AgentId;
}

/** SWIM's indirect probe: somebody is asked to probe `peer` (`asked`), and tells what came of it. */
export interface IndirectProbe {
  readonly peer: AgentId;
  readonly incarnation: number;
  readonly probe: "asked" | "answered" | "unanswered";
}

/** All that detectors send each other; news ride along with indirect probes. */
export type GossipItem = GossipEntry | IndirectProbe;

export type DetectorInput =
  /** A probe sent at `sentAt` was answered; incarnation null where the protocol's answer does not tell. */
  | { readonly kind: "answered"; readonly peer: AgentId; readonly incarnation: number | null; readonly sentAt: number }
  /** A probe failed. `refused`: nobody listens there. `sentAt`, when given, lets a failure be told from an outdated one. */
  | { readonly kind: "unanswered"; readonly peer: AgentId; readonly refused: boolean; readonly sentAt?: number }
  /** Any other message from the peer's own process (a request, a handshake, an answer). */
  | { readonly kind: "heard"; readonly peer: AgentId; readonly incarnation: number }
  /** The kernel closed the stream held open to this incarnation. */
  | { readonly kind: "closed"; readonly peer: AgentId; readonly incarnation: number }
  /** The kernel ended the stream held open to this incarnation, and the one that it held to this agent: there is no such process any more. */
  | { readonly kind: "gone"; readonly peer: AgentId; readonly incarnation: number }
  | { readonly kind: "gossip"; readonly from: AgentId; readonly entries: readonly GossipItem[] }
  /** A gossip effect did not reach `to`: what still matters of it is sent again an interval later. */
  | { readonly kind: "undelivered"; readonly to: AgentId; readonly entries: readonly GossipItem[] };

export type DetectorEffect =
  /** Probe the peer now, and report `answered` or `unanswered`. */
  | { readonly kind: "probe"; readonly peer: AgentId }
  | {
      readonly kind: "suspect" | "dead";
      readonly peer: AgentId;
      readonly incarnation: number;
      readonly how: DetectedHow;
      /** When the last answer or message was received; the detector's start when there was none. */
      readonly lastHeard: number;
    }
  | {
      readonly kind: "alive";
      readonly peer: AgentId;
      readonly incarnation: number;
      readonly how: DetectedHow;
      /** What was believed before: `dead` asks for a reconnect, `suspect` only ends the suspicion. */
      readonly was: "dead" | "suspect" | "unknown";
    }
  /**
   * With `predictive` only: the link gives signs that the peer will fail (forecast.ts, which says what `score` is). Whoever would replace it
   * may be shaken hands with beforehand. The peer is believed to live as before.
   */
  | {
      readonly kind: "standby";
      readonly peer: AgentId;
      readonly incarnation: number;
      readonly reason: "phi" | "latency";
      readonly score: number;
    }
  /** Somebody answers for a peer believed dead, without saying which incarnation: shake hands with it, and report `heard`. */
  | { readonly kind: "identify"; readonly peer: AgentId }
  | { readonly kind: "gossip"; readonly to: readonly AgentId[]; readonly entries: readonly GossipItem[] };

export interface PeerStatus {
  readonly peer: AgentId;
  readonly incarnation: number;
  readonly refutation: number;
  readonly state: "alive" | "suspect" | "dead";
  readonly lastHeard: number;
  readonly monitored: boolean;
}

/** What every kind of detector is given. */
export interface DetectorOptions {
  readonly self: AgentId;
  /** This process's own incarnation: lets it refute news of its death. */
  readonly incarnation: number;
  readonly peers: readonly { readonly agentId: AgentId; readonly incarnation: number }[];
  readonly monitored: readonly AgentId[];
  /** Heartbeat, phi-accrual: between two probes of one peer. SWIM: the protocol period, in which one peer is probed. */
  readonly intervalMs: number;
  /** Heartbeat: the silence that means death. The other kinds derive their patience from it, as they say. */
  readonly timeoutMs: number;
  /**
   * Heartbeat: interval and timeout of each link follow its round trips and losses, from a quarter to twice the interval and from half to
   * twice the timeout, so that deaths are still found in about `timeoutMs`. Absent = false. The others have their own ways to adapt.
   */
  readonly adaptive?: boolean;
  /** Foretell failures of monitored peers (`standby` effects). Absent = false. */
  readonly predictive?: boolean;
  /** Act upon closed streams. */
  readonly transportSignals: boolean;
  /** Tell others what was learnt; gossip received is believed either way. SWIM cannot do without. */
  readonly gossip: boolean;
  /** Everybody can be sent to directly, not only the monitored: news then take the short way round. Absent = false. */
  readonly fullyLinked?: boolean;
  /** Besides, `peers` are all there will be and all pass on what they are told: news then take fewer messages yet. Absent = false. */
  readonly fixedMembers?: boolean;
  /**
   * Besides, each holds a stream to every other: of a death that was found by a closed one all others are told in the same way, and need not be
   * told again at once; and the first of many closed streams leaves out a round of probes (`Reprieve`). Absent = false.
   */
  readonly allSignalled?: boolean;
  /** Whom this agent has links with now: news go to them too, beside the monitored. Absent = to the monitored only. */
  readonly linked?: () => readonly AgentId[];
  /**
   * SWIM: how many of the monitored this agent is to probe in a period, for each to be probed by somebody, on average. Absent = 1, as where
   * everybody watches as many as watch it.
   */
  readonly turns?: () => number;
  /** When in the interval the peer is probed (SWIM: `self` for its period), ms in [0, interval): spreads the probes of many. */
  readonly phase: (peer: AgentId) => number;
  readonly startAt: number;
}

/**
 * A failure detector: no clock, no I/O. The driver calls `tick` at `nextWakeAt` (which any other call may have moved, earlier too),
 * hands over what happened with `receive`, and carries out the effects. All instants are ms of the driver's clock, which never goes back.
 */
export interface FailureDetector {
  tick(now: number): DetectorEffect[];
  receive(input: DetectorInput, now: number): DetectorEffect[];
  /** When `tick` has something to do; may lie in the past; null = never, as things are. */
  nextWakeAt(): number | null;
  /** Sorted by peer id as given. */
  status(): readonly PeerStatus[];
  /**
   * Replaces the monitored set. Newly monitored peers are probed at once and get at least half a timeout. An agent's own suspicion about a peer it no longer
   * monitors is dropped without an effect, as nothing could settle it. RangeError for a peer never heard of.
   */
  monitor(peers: readonly AgentId[], now: number): void;
  /** The peer left, or was taken out: nothing is kept of it and nothing announced. Whoever speaks of it again is heard as of a stranger. */
  forget(peer: AgentId): void;
}
