import type { AgentId } from "@failstorm/core";
import { createDissemination, type Dissemination } from "./dissemination.ts";
import { compareNews } from "./gossip.ts";
import { hear, NEVER, newPeer, newsOf, type Peer, type Phase, restartSilence } from "./peer.ts";
import { createSilenceRule, type SilenceRule } from "./silence.ts";
import type { DetectedHow, DetectorEffect, DetectorInput, FailureDetector, GossipEntry, PeerStatus } from "./types.ts";

/*
 * Heartbeats at a fixed interval with a fixed timeout. Invariants, cited below:
 *  [1] A monitored peer is declared dead at silentSince + timeout, not a tick sooner, unless a closed stream and a refused probe agree
 *      that it is gone (transport signals), gossip says so, or a newer incarnation of it shows up.
 *  [2] News about a peer only ever go up in the order of `compareNews`: late news of an old incarnation change nothing, alive(i+1)
 *      beats dead(i), and each step up is gossiped once.
 *  [3] Life after death, or after a closed stream, takes the answer to a probe sent after it. Whatever else arrives may have been under
 *      way when the peer died, so it only prompts a probe.
 *  [4] Silence counts only while this agent listens: a tick that comes late finds answers unread behind it, so it asks again and waits.
 */

export interface HeartbeatOptions {
  readonly self: AgentId;
  /** This process's own incarnation: lets it refute news of its death. */
  readonly incarnation: number;
  readonly peers: readonly { readonly agentId: AgentId; readonly incarnation: number }[];
  readonly monitored: readonly AgentId[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Act upon closed streams. */
  readonly transportSignals: boolean;
  /** Tell others what was learnt; gossip received is believed either way. */
  readonly gossip: boolean;
  /** When in the interval the peer is probed, ms in [0, interval): spreads the probes of many. */
  readonly phase: (peer: AgentId) => number;
  readonly startAt: number;
}

const MAX_BACKOFF_INTERVALS = 5;
/** A dying process may still accept a connection and reset it: so often a failed probe of a closed peer is repeated at once. */
const MAX_CONFIRMATIONS = 3;
/** Of the interval: gossip that follows other gossip sooner than this travels with the next. */
const GOSSIP_SPACING_SHARE = 1 / 20;

/** The `heartbeat` failure detector: a probe to each monitored peer once an interval, to a dead one with back-off up to 5 intervals. */
export const createHeartbeatDetector = (options: HeartbeatOptions): FailureDetector => new HeartbeatDetector(options);

class HeartbeatDetector implements FailureDetector {
  private readonly options: HeartbeatOptions;
  private readonly peers = new Map<AgentId, Peer>();
  private readonly news: Dissemination;
  private readonly silence: SilenceRule;
  private effects: DetectorEffect[] = [];
  private stalledAt = NEVER;
  private tickedAt = NEVER;

  constructor(options: HeartbeatOptions) {
    this.options = options;
    this.silence = createSilenceRule(options.intervalMs, options.timeoutMs);
    this.news = createDissemination({
      self: options.self,
      incarnation: options.incarnation,
      enabled: options.gossip,
      spacingMs: options.intervalMs * GOSSIP_SPACING_SHARE,
      peers: this.peers,
    });
    for (const { agentId, incarnation } of options.peers) {
      if (agentId !== options.self) this.addPeer(agentId, incarnation, options.startAt);
    }
    this.monitor(options.monitored, options.startAt);
  }

  tick(now: number): DetectorEffect[] {
    const lateMs = this.lateness(now);
    this.tickedAt = now;
    const listened = !this.silence.isLate(lateMs);
    if (this.silence.isStall(lateMs)) this.stalledAt = now;
    for (const peer of this.peers.values()) {
      if (!peer.monitored) continue;
      const askAgain = !listened && peer.phase.name !== "dead" && this.silence.forgive(peer, lateMs, now); // [4]
      if (peer.phase.name !== "dead" && now >= this.silence.deadline(peer)) this.declareDead(peer, "probe", now);
      if (now >= peer.nextProbeAt && listened && this.isOverdue(peer, now)) this.suspect(peer);
      if (now >= peer.nextProbeAt || askAgain) this.probe(peer, now);
      if (now < peer.nextProbeAt) continue;
      if (peer.phase.name === "dead") {
        peer.phase.backoff = Math.min(peer.phase.backoff * 2, MAX_BACKOFF_INTERVALS);
        peer.nextProbeAt = now + peer.phase.backoff * this.options.intervalMs;
      } else {
        const missed = Math.floor((now - peer.nextProbeAt) / this.options.intervalMs);
        peer.nextProbeAt += (missed + 1) * this.options.intervalMs;
      }
    }
    return this.takeEffects(now);
  }

  receive(input: DetectorInput, now: number): DetectorEffect[] {
    if (input.kind === "gossip") {
      for (const entry of input.entries) this.onGossip(entry, input.from, now);
      return this.takeEffects(now);
    }
    const peer = this.peers.get(input.peer);
    if (peer === undefined) this.onStranger(input, now);
    else if (input.kind === "unanswered") this.onUnanswered(peer, input.refused, input.sentAt ?? peer.probedAt, now);
    else this.onContact(peer, input, now);
    return this.takeEffects(now);
  }

  nextWakeAt(): number | null {
    let wakeAt = this.news.dueAt() ?? Number.POSITIVE_INFINITY;
    for (const peer of this.peers.values()) {
      if (!peer.monitored) continue;
      wakeAt = Math.min(wakeAt, peer.nextProbeAt);
      if (peer.phase.name !== "dead") wakeAt = Math.min(wakeAt, this.silence.watchAt(peer, this.tickedAt));
    }
    return wakeAt === Number.POSITIVE_INFINITY ? null : wakeAt;
  }

  status(): readonly PeerStatus[] {
    return [...this.peers.values()].map(({ id, incarnation, phase, lastHeard, monitored }) => ({
      peer: id,
      incarnation,
      state: phase.name,
      lastHeard,
      monitored,
    }));
  }

  monitor(monitored: readonly AgentId[], now: number): void {
    const wanted = new Set(monitored);
    for (const id of wanted) {
      if (id !== this.options.self && !this.peers.has(id)) throw new RangeError(`cannot monitor ${id}: never heard of`);
    }
    for (const peer of this.peers.values()) {
      const wasMonitored = peer.monitored;
      peer.monitored = wanted.has(peer.id);
      if (peer.monitored && !wasMonitored) {
        restartSilence(peer, now);
        peer.nextProbeAt = now + this.options.phase(peer.id);
        this.news.catchUp(peer, now);
      } else if (!peer.monitored && peer.phase.name === "suspect") peer.phase = { name: "alive" };
    }
  }

  private addPeer(id: AgentId, incarnation: number, now: number): Peer {
    const peer = newPeer(id, incarnation, now);
    this.peers.set(id, peer);
    return peer;
  }

  /** How late a tick at `now` would be. */
  private lateness(now: number): number {
    return now - (this.nextWakeAt() ?? now);
  }

  private probe(peer: Peer, now: number): void {
    peer.probedAt = now;
    peer.awaited = true;
    this.effects.push({ kind: "probe", peer: peer.id });
  }

  /** An answer, a message or a closed stream: all name a process of the peer, or at least its address. */
  private onContact(peer: Peer, input: Extract<DetectorInput, { kind: "answered" | "heard" | "closed" }>, now: number): void {
    if (input.kind === "closed" && !this.options.transportSignals) return;
    const incarnation = input.incarnation ?? peer.incarnation;
    if (incarnation < peer.incarnation) return; // [2]
    if (incarnation > peer.incarnation) {
      this.declareNewIncarnation(peer, incarnation, "incarnation", now);
      hear(peer, now);
    }
    if (input.kind === "closed") this.onClosed(peer, now);
    else if (peer.phase.name === "dead") this.onLifeAfterDeath(peer, peer.phase, input, now);
    else {
      hear(peer, now);
      const proven =
        peer.phase.name === "suspect" && (input.kind === "answered" ? input.sentAt : NEVER) >= (peer.phase.closedAt ?? NEVER);
      if (proven) this.declareAlive(peer, "probe", now); // [3]
    }
  }

  private onClosed(peer: Peer, now: number): void {
    if (peer.phase.name === "dead" || !peer.monitored) return;
    if (peer.phase.name === "suspect" && peer.phase.closedAt !== null) return;
    if (peer.phase.name === "alive") this.announce(peer, "suspect", "transport");
    peer.phase = { name: "suspect", closedAt: now, asked: 0 };
    this.probe(peer, now);
  }

  private onLifeAfterDeath(
    peer: Peer,
    phase: Extract<Phase, { name: "dead" }>,
    input: Extract<DetectorInput, { kind: "answered" | "heard" }>,
    now: number,
  ): void {
    const { declaredAt } = phase;
    if (input.kind === "answered" && input.sentAt >= declaredAt) {
      if (input.incarnation === null) {
        phase.answers = true;
        this.effects.push({ kind: "identify", peer: peer.id });
        return;
      }
      hear(peer, now);
      this.declareAlive(peer, "probe", now);
      return;
    }
    if (input.kind === "heard" && phase.answers) {
      hear(peer, now); // who answered has said who it is
      this.declareAlive(peer, "probe", now);
      return;
    }
    const asked = peer.probedAt >= declaredAt && now - peer.probedAt < this.options.intervalMs;
    if (!asked) this.probe(peer, now); // [3]
  }

  private onUnanswered(peer: Peer, refused: boolean, sentAt: number, now: number): void {
    const { phase } = peer;
    if (phase.name === "suspect" && phase.closedAt !== null) {
      if (refused)
        this.declareDead(peer, "transport", now); // [1]
      else if (sentAt >= phase.closedAt && phase.asked < MAX_CONFIRMATIONS) {
        phase.asked += 1;
        this.probe(peer, now);
      }
      return;
    }
    const ownStall = sentAt < this.stalledAt || this.silence.isStall(this.lateness(now));
    if (peer.lastHeard > sentAt || (ownStall && !refused)) return; // [4]
    this.suspect(peer);
  }

  /** The probe before the one now due brought nothing, nor did anything else. One sent out of turn a moment ago is given its time. */
  private isOverdue(peer: Peer, now: number): boolean {
    return peer.awaited && now - peer.probedAt > this.options.intervalMs / 2;
  }

  private suspect(peer: Peer): void {
    if (peer.phase.name !== "alive" || !peer.monitored) return;
    this.announce(peer, "suspect", "probe");
    peer.phase = { name: "suspect", closedAt: null, asked: 0 };
  }

  /** Somebody that was in no roster made contact. */
  private onStranger(input: Exclude<DetectorInput, { kind: "gossip" }>, now: number): void {
    const names = input.kind === "answered" || input.kind === "heard" ? input.incarnation : null;
    if (names === null || input.peer === this.options.self) return;
    this.welcome(this.addPeer(input.peer, names, now), "probe", now);
  }

  private onGossip(entry: GossipEntry, from: AgentId, now: number): void {
    if (entry.peer === this.options.self) {
      this.news.answerAboutSelf(entry, now);
      return;
    }
    const known = this.peers.get(entry.peer);
    if (known === undefined) {
      const peer = this.addPeer(entry.peer, entry.incarnation, now);
      peer.refutation = entry.refutation;
      if (entry.state === "alive") this.welcome(peer, "gossip", now, from);
      else peer.phase = { name: "dead", declaredAt: now, backoff: 1, answers: false }; // nobody here ever believed it alive: nothing to announce
      return;
    }
    if (compareNews(entry, newsOf(known)) <= 0) return; // [2]
    if (entry.incarnation > known.incarnation) {
      this.declareNewIncarnation(known, entry.incarnation, "gossip", now, { entry, from });
      return;
    }
    known.refutation = entry.refutation;
    if (entry.state === "dead" && known.phase.name !== "dead") this.declareDead(known, "gossip", now, from);
    else if (entry.state === "alive" && known.phase.name === "dead") this.declareAlive(known, "gossip", now, from);
    else this.news.spread(known, now, from);
  }

  private announce(peer: Peer, kind: "suspect" | "dead", how: DetectedHow): void {
    this.effects.push({ kind, peer: peer.id, incarnation: peer.incarnation, how, lastHeard: peer.lastHeard });
  }

  private declareDead(peer: Peer, how: DetectedHow, now: number, from?: AgentId): void {
    this.announce(peer, "dead", how);
    peer.phase = { name: "dead", declaredAt: now, backoff: 1, answers: false };
    peer.nextProbeAt = now + this.options.intervalMs;
    this.news.spread(peer, now, from);
  }

  /** Not dead after all, or no longer suspect. A death found false by direct contact is refuted on the peer's behalf. */
  private declareAlive(peer: Peer, how: "probe" | "gossip", now: number, from?: AgentId): void {
    const was = peer.phase.name === "dead" ? "dead" : "suspect";
    this.effects.push({ kind: "alive", peer: peer.id, incarnation: peer.incarnation, how, was });
    peer.phase = { name: "alive" };
    if (was === "suspect") return;
    restartSilence(peer, now);
    peer.nextProbeAt = now + this.options.intervalMs;
    if (how === "probe") peer.refutation += 1;
    this.news.spread(peer, now, from);
    this.news.catchUp(peer, now);
  }

  /** A newer incarnation: the old one is dead, whatever was believed. `hearsay`: others say so, and perhaps that it died already. */
  private declareNewIncarnation(
    peer: Peer,
    incarnation: number,
    how: "incarnation" | "gossip",
    now: number,
    hearsay?: { readonly entry: GossipEntry; readonly from: AgentId },
  ): void {
    if (peer.phase.name !== "dead") this.announce(peer, "dead", "incarnation");
    else peer.nextProbeAt = now + this.options.intervalMs;
    peer.incarnation = incarnation;
    peer.refutation = hearsay?.entry.refutation ?? 0;
    restartSilence(peer, now);
    peer.phase = { name: "alive" };
    if (hearsay?.entry.state === "dead") {
      this.declareDead(peer, how, now, hearsay.from);
      return;
    }
    this.effects.push({ kind: "alive", peer: peer.id, incarnation, how, was: "dead" });
    this.news.spread(peer, now, hearsay?.from);
    this.news.catchUp(peer, now);
  }

  private welcome(peer: Peer, how: "probe" | "gossip", now: number, from?: AgentId): void {
    this.effects.push({ kind: "alive", peer: peer.id, incarnation: peer.incarnation, how, was: "unknown" });
    this.news.spread(peer, now, from);
  }

  private takeEffects(now: number): DetectorEffect[] {
    const effects = [...this.effects, ...this.news.flush(now)];
    this.effects = [];
    return effects;
  }
}
