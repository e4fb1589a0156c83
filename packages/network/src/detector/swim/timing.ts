import type { Peer } from "../peer.ts";
import type { DetectorOptions } from "../types.ts";

/** Of the period: how long an answer is waited for before others are asked, who have as long, and as long again to tell; … */
const DIRECT_SHARE = 1 / 5;
/** … or so many times what the peer's answers take, or anybody's, where that is longer: among agents that are late nobody is dead for it; … */
const DIRECT_ROUND_TRIPS = 2;
/** … but no longer than this share of the timeout. */
const MAX_DIRECT_SHARE = 1 / 3;

/** How long an answer of `peer` is waited for when an agent's own health is no reason to wait longer; ms. `answersTakeMs`: anybody's answers of late. */
export function directMs({ intervalMs, timeoutMs }: DetectorOptions, peer: Peer, answersTakeMs: number): number {
  const slowMs = Math.min(DIRECT_ROUND_TRIPS * Math.max(peer.answersTakeMs, answersTakeMs), timeoutMs * MAX_DIRECT_SHARE);
  return Math.max(intervalMs * DIRECT_SHARE, slowMs);
}

/** The first instant after `at` at which a period begins: periods are counted by the clock, from each agent's own moment. */
export function periodAfter({ self, intervalMs, phase }: DetectorOptions, at: number): number {
  const offset = phase(self);
  return (Math.floor((at - offset) / intervalMs) + 1) * intervalMs + offset;
}
