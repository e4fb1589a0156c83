import type { Peer } from "./peer.ts";

/** When a peer has been silent for too long, and what of its silence is this agent's own doing. */
export interface SilenceRule {
  /** When the peer is declared dead, if it stays silent. */
  deadline(peer: Peer): number;
  /** When to look after it next, probes apart: at its deadline, and every now and then in the interval before. */
  watchAt(peer: Peer, tickedAt: number): number;
  /** A tick so late may find answers unread behind it. */
  isLate(lateMs: number): boolean;
  /** This agent stood still: suspicions that come up now are its own trouble. */
  isStall(lateMs: number): boolean;
  /**
   * After a late tick. The time of a stall does not count as silence, and the peer gets as long to answer as it may stall itself (answers
   * that came during the stall may be lost, as requests time out before they are read), at least an interval. A smaller delay does not
   * count either, but no more than an interval in all for one silence, so that an agent that is always a little late still finds the
   * dead; when the time ran out during the first of them, the peer is given as long again. Answers whether to ask it at once.
   */
  forgive(peer: Peer, lateMs: number, now: number): boolean;
}

/** Of the timeout: what a peer may stall without being dead, and what counts as a stall of this agent. */
const STALL_SHARE = 1 / 2;
/**
 * Of the interval. While somebody's last interval runs, there is a tick as often as this too: without one, a stall that ends just when
 * the time runs out would not be seen as lateness.
 */
const LATE_SHARE = 1 / 8;

/** `patienceMs`: the silence of this peer that means death, when none of it is forgiven. */
export function createSilenceRule(intervalMs: number, timeoutMs: number, patienceMs: (peer: Peer) => number): SilenceRule {
  const lateAfterMs = intervalMs * LATE_SHARE;
  const isStall = (lateMs: number): boolean => lateMs > timeoutMs * STALL_SHARE;
  const graceMs = Math.max(intervalMs, timeoutMs * STALL_SHARE + intervalMs / 4);
  const deadline = (peer: Peer): number =>
    Math.max(Math.max(peer.silentSince + patienceMs(peer), peer.reprievedUntil) + peer.forgivenMs, peer.graceUntil);

  return {
    deadline,
    isStall,
    isLate: (lateMs) => lateMs > lateAfterMs,
    watchAt(peer, tickedAt) {
      const at = deadline(peer);
      return Math.min(at, Math.max(at - intervalMs, tickedAt + lateAfterMs));
    },
    forgive(peer, tickLateMs, now) {
      const lateMs = Math.min(tickLateMs, now - peer.silentSince);
      if (isStall(tickLateMs)) {
        peer.forgivenMs += lateMs;
        peer.graceUntil = now + graceMs;
        return true;
      }
      const until = now + Math.min(lateMs, intervalMs);
      const askAgain = peer.smallForgivenMs === 0 && deadline(peer) < until;
      if (askAgain) peer.graceUntil = until;
      const forgivenMs = Math.min(lateMs, intervalMs - peer.smallForgivenMs);
      peer.smallForgivenMs += forgivenMs;
      peer.forgivenMs += forgivenMs;
      return askAgain;
    },
  };
}
