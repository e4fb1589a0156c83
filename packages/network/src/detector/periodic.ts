import type { AgentId } from "@failstorm/core";
import { Beliefs } from "./beliefs.ts";
import { askClosedAgain, confirmClosed, isSignal, makeContact, saysNothing } from "./contact.ts";
import { isNews } from "./gossip.ts";
import { askAgainAt, NEVER, type Peer } from "./peer.ts";
import { Reprieve } from "./reprieve.ts";
import { createSilenceRule, type SilenceRule } from "./silence.ts";
import type { DetectorEffect, DetectorInput, DetectorOptions, FailureDetector, PeerStatus } from "./types.ts";

/*
 * A probe to each monitored peer once an interval; how long a silence means death is a matter of the kind (`Patience`). Invariants, cited
 * below ([2] stands in beliefs.ts, [3] in contact.ts):
 *  [1] A monitored peer is declared dead when its silence exceeds the patience, not a tick sooner, unless a closed stream and a refused
 *      probe agree that it is gone, or both streams between it and this agent (transport signals), gossip says so, or a newer incarnation of
 *      it shows up.
 *  [4] Silence counts only while this agent listens: a tick that comes late finds answers unread behind it, so it asks again and waits.
 */

/** How a kind of detector judges silence. */
export interface Patience {
  /** The silence that means death, ms. */
  deathMs(peer: Peer): number;
  /** The peer answered a probe, `now - sentAt` after it was sent. */
  answered?(peer: Peer, sentAt: number, now: number): void;
  /** A probe was due before anything was heard after the last one. */
  missed?(peer: Peer): void;
  /** Between two probes, ms; absent = as configured. */
  intervalMs?(peer: Peer): number;
  /** Nothing is to be kept of the peer. */
  forget?(peer: AgentId): void;
}

/** Of the interval: a probe not answered for so long makes the peer suspect. */
const OVERDUE_SHARE = 1 / 4;
/** Of the timeout: three quarters of it are left, half as much again as a peer may stall. */
const HEAD_START_SHARE = 1 / 4;

export class PeriodicDetector implements FailureDetector {
  private readonly options: DetectorOptions;
  private readonly patience: Patience;
  private readonly beliefs: Beliefs;
  private readonly silence: SilenceRule;
  private readonly reprieve: Reprieve;
  private stalledAt = NEVER;
  private tickedAt = NEVER;

  constructor(options: DetectorOptions, patience: Patience) {
    this.options = options;
    this.patience = patience;
    this.silence = createSilenceRule(options.intervalMs, options.timeoutMs, (peer) => patience.deathMs(peer));
    this.beliefs = new Beliefs(options);
    this.reprieve = new Reprieve(options);
    this.beliefs.monitor(options.monitored, options.startAt);
  }

  tick(now: number): DetectorEffect[] {
    const lateMs = this.lateness(now);
    this.tickedAt = now;
    const listened = !this.silence.isLate(lateMs);
    if (this.silence.isStall(lateMs)) this.stalledAt = now;
    for (const peer of this.beliefs.monitored) {
      if (peer.phase.name === "dead") this.beliefs.probeDead(peer, now);
      else this.watch(peer, lateMs, listened, now);
    }
    return this.beliefs.takeEffects(now);
  }

  receive(input: DetectorInput, now: number): DetectorEffect[] {
    switch (input.kind) {
      case "gossip":
        for (const item of input.entries) if (isNews(item)) this.beliefs.hearNews(item, input.from, now);
        break;
      case "undelivered":
        this.beliefs.news.undelivered(input.to, input.entries, now);
        break;
      case "unanswered": {
        const peer = this.beliefs.peers.get(input.peer);
        if (peer !== undefined) this.onUnanswered(peer, input.refused, input.sentAt ?? peer.probedAt, now);
        break;
      }
      default:
        if (input.kind === "answered") this.onAnswered(input.peer, input.sentAt, now);
        makeContact(this.beliefs, input, now);
        if (isSignal(input) && this.reprieve.begins(this.beliefs.peers.get(input.peer), now)) this.leaveRoundsOut(now);
    }
    return this.beliefs.takeEffects(now);
  }

  nextWakeAt(): number | null {
    let wakeAt = this.beliefs.news.dueAt() ?? Number.POSITIVE_INFINITY;
    for (const peer of this.beliefs.monitored) {
      wakeAt = Math.min(wakeAt, peer.nextProbeAt, askAgainAt(peer));
      if (peer.phase.name === "dead") continue;
      wakeAt = Math.min(wakeAt, this.silence.watchAt(peer, this.tickedAt));
      const overdueAt = this.overdueAt(peer);
      // What a late tick found overdue waits for the next one: answers may be unread.
      if (peer.phase.name === "alive" && peer.awaited && overdueAt > this.tickedAt) wakeAt = Math.min(wakeAt, overdueAt);
    }
    return wakeAt === Number.POSITIVE_INFINITY ? null : wakeAt;
  }

  status(): readonly PeerStatus[] {
    return this.beliefs.status();
  }

  /**
   * Who comes to be monitored is asked at once, and its silence counts from a bit earlier: one that has been monitored for long has not been
   * asked either since it was last heard, for up to an interval.
   */
  monitor(monitored: readonly AgentId[], now: number): void {
    const { intervalMs, timeoutMs } = this.options;
    for (const peer of this.beliefs.monitor(monitored, now)) {
      peer.nextProbeAt = now;
      if (peer.phase.name !== "alive") continue;
      peer.silentSince = Math.max(peer.lastHeard, now - Math.min(intervalMs, timeoutMs * HEAD_START_SHARE));
    }
  }

  forget(peer: AgentId): void {
    this.beliefs.forget(peer);
    this.patience.forget?.(peer);
  }

  /** How late a tick at `now` would be. */
  private lateness(now: number): number {
    return now - (this.nextWakeAt() ?? now);
  }

  private watch(peer: Peer, lateMs: number, listened: boolean, now: number): void {
    const askAgain = !listened && this.silence.forgive(peer, lateMs, now); // [4]
    if (now >= this.silence.deadline(peer))
      this.beliefs.declareDead(peer, "probe", now); // [1]
    else if (listened && peer.awaited && now >= this.overdueAt(peer)) this.suspect(peer);
    if (now >= peer.nextProbeAt && listened && peer.awaited) this.patience.missed?.(peer);
    if (now >= peer.nextProbeAt || askAgain) this.beliefs.probe(peer, now);
    else askClosedAgain(this.beliefs, peer, now);
    if (now < peer.nextProbeAt) return;
    const intervalMs = this.patience.intervalMs?.(peer) ?? this.options.intervalMs;
    const skipped = Math.floor((now - peer.nextProbeAt) / intervalMs);
    peer.nextProbeAt += (skipped + 1) * intervalMs;
  }

  private onAnswered(id: AgentId, sentAt: number, now: number): void {
    const peer = this.beliefs.peers.get(id);
    if (peer === undefined || peer.phase.name === "dead") return;
    if (sentAt >= this.stalledAt && !this.silence.isLate(this.lateness(now))) this.patience.answered?.(peer, sentAt, now);
  }

  private onUnanswered(peer: Peer, refused: boolean, sentAt: number, now: number): void {
    if (confirmClosed(this.beliefs, peer, refused, sentAt, now)) return; // [1]
    const stalledAt = this.silence.isStall(this.lateness(now)) ? now : this.stalledAt;
    if (!saysNothing(peer, refused, sentAt, stalledAt)) this.suspect(peer); // [4]
  }

  /**
   * Who is awaited, or should have been asked by now, is asked as ever. The others get as long to answer after their next probe as if it came when
   * it was due.
   */
  private leaveRoundsOut(now: number): void {
    for (const peer of this.beliefs.monitored) {
      if (peer.phase.name !== "alive" || peer.awaited || peer.nextProbeAt <= now) continue;
      const intervalMs = this.patience.intervalMs?.(peer) ?? this.options.intervalMs;
      const patienceMs = this.patience.deathMs(peer);
      peer.nextProbeAt += this.reprieve.rounds(intervalMs, patienceMs) * intervalMs;
      peer.leftOutAt = now;
      peer.reprievedUntil = peer.nextProbeAt + Math.max(0, patienceMs - intervalMs);
    }
  }

  private overdueAt(peer: Peer): number {
    return peer.probedAt + this.options.intervalMs * OVERDUE_SHARE;
  }

  private suspect(peer: Peer): void {
    if (peer.phase.name !== "alive" || !peer.monitored) return;
    this.beliefs.announce(peer, "suspect", "probe");
    peer.phase = { name: "suspect", closedAt: null, asked: 0, askAt: null, by: null };
  }
}
