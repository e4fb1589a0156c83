import type { AgentId } from "@failstorm/core";
import type { ContactInput } from "../contact.ts";
import { followPeaks } from "../peaks.ts";
import type { Peer } from "../peer.ts";
import type { DetectorOptions } from "../types.ts";

/** Of the period: how long an answer is waited for before others are asked, and twice as long then; … */
const DIRECT_SHARE = 1 / 5;
/** … or so many times what the peer's answers take of late, or all, where that is longer: among agents that are late nobody is dead for it; … */
const DIRECT_ROUND_TRIPS = 2;
/** … but no longer than this share of the timeout. */
const MAX_DIRECT_SHARE = 2 / 3;

/** Of the period: who was heard so lately is not probed out of turn when another does not answer … */
export const HASTE_SHARE = 1 / 2;
/** … nor when others suspect one, which they do long after it fell silent. */
export const HEARSAY_HASTE_SHARE = 1;
/** So many are probed out of turn at once. */
export const HASTE_STEPS = 3;

/** Of an answer that took less than those before it: what it has to say in what they take now, for all peers and for one, which is asked more rarely. */
const QUICKER_SHARE = 1 / 4;
const OWN_QUICKER_SHARE = 1 / 2;

/** What answers take of late, rather too much than too little. */
export class AnswerTimes {
  private readonly options: DetectorOptions;
  private readonly maxMs: number;
  private readonly ofPeers = new Map<AgentId, number>();
  private ofAllMs = 0;

  constructor(options: DetectorOptions) {
    this.options = options;
    this.maxMs = (options.timeoutMs * MAX_DIRECT_SHARE) / DIRECT_ROUND_TRIPS;
  }

  /** `peer`, as it was known before that, has been heard. An answer of one that was suspect says more about it than about all, one of a dead one nothing. */
  note({ id, incarnation, phase }: Peer, input: ContactInput, now: number): void {
    if (input.incarnation !== null && input.incarnation !== incarnation) this.forget(id);
    if (input.kind !== "answered" || phase.name === "dead") return;
    const ms = Math.min(now - input.sentAt, this.maxMs);
    this.ofPeers.set(id, followPeaks(this.ofPeers.get(id) ?? 0, ms, OWN_QUICKER_SHARE));
    if (phase.name === "alive") this.ofAllMs = followPeaks(this.ofAllMs, ms, QUICKER_SHARE);
  }

  forget(peer: AgentId): void {
    this.ofPeers.delete(peer);
  }

  /** How long an answer is waited for, of this peer or of any; ms. `multiplier`: local health, 1 when all is well. */
  waitMs(multiplier: number, peer?: AgentId): number {
    const answersTakeMs = Math.max(this.ofAllMs, peer === undefined ? 0 : (this.ofPeers.get(peer) ?? 0));
    return Math.max(this.options.intervalMs * DIRECT_SHARE * multiplier, DIRECT_ROUND_TRIPS * answersTakeMs);
  }
}

/** The first instant after `at` at which a period begins: periods are counted by the clock, from each agent's own moment. */
export function periodAfter({ self, intervalMs, phase }: DetectorOptions, at: number): number {
  const offset = phase(self);
  return (Math.floor((at - offset) / intervalMs) + 1) * intervalMs + offset;
}
