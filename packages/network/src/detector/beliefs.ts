import type { AgentId } from "@failstorm/core";
import { Dissemination } from "./dissemination.ts";
import { compareNews } from "./gossip.ts";
import { newPeer, newsOf, type Peer, restartSilence } from "./peer.ts";
import type { DetectedHow, DetectorEffect, DetectorOptions, GossipEntry, PeerStatus } from "./types.ts";

const MAX_BACKOFF_INTERVALS = 5;
/** Who is found to live so soon after it was declared dead was never dead, nor gone. */
const MISTAKE_TIMEOUTS = 2;

/** Others monitor it now. Whether it is there is still being asked, where its stream was closed: a refusal counts as ever. */
function dropSuspicion(peer: Peer): void {
  const { phase } = peer;
  if (phase.name === "suspect" && phase.closedAt !== null && phase.askAt === null)
    peer.closed = { at: phase.closedAt, asked: phase.asked };
  peer.phase = { name: "alive" };
}

/** What a detector that tells suspicions does with those of others, and when it is suspected itself. */
export interface SuspicionHandler {
  /** Somebody suspects what is believed of the peer at this very refutation. */
  suspected(peer: Peer, by: AgentId, from: AgentId, now: number): void;
  selfSuspected(): void;
  /**
   * A suspicion was found false so long after it began. Of a death: infinite, as whoever declared it had not waited for long enough, however that was;
   * not where this agent has known of it for longer than a suspicion lasts: who comes back then was stopped, or cut off. Who was wrong is not asked: what
   * made another late makes this agent late, too. So one that hears late of a death that was true, and then of the return, learns more patience than it needs.
   */
  refuted(afterMs: number, now: number): void;
}

/**
 * What is believed of the peers, whatever kind of detector finds it out: declarations, the news of others, who is told. Invariant, cited
 * elsewhere as [2]: news about a peer only ever go up in the order of `compareNews`: late news of an old incarnation change nothing,
 * alive(i+1) beats dead(i), and each step up is gossiped once.
 */
export class Beliefs {
  readonly peers = new Map<AgentId, Peer>();
  /** Those of them that are monitored: few of many, and looked at with every sign of a storm. */
  monitored: readonly Peer[] = [];
  readonly news: Dissemination;
  readonly options: DetectorOptions;
  private readonly handler: SuspicionHandler | null;
  private effects: DetectorEffect[] = [];

  constructor(options: DetectorOptions, handler: SuspicionHandler | null = null) {
    this.options = options;
    this.handler = handler;
    this.news = new Dissemination(options, this.peers, handler !== null);
    for (const { agentId, incarnation } of options.peers) {
      if (agentId !== options.self) this.addPeer(agentId, incarnation, options.startAt);
    }
    this.news.prepare();
  }

  /** The peers that are newly monitored. RangeError for one never heard of. */
  monitor(monitored: readonly AgentId[], now: number): Peer[] {
    const wanted = new Set(monitored);
    for (const id of wanted) {
      if (id !== this.options.self && !this.peers.has(id)) throw new RangeError(`cannot monitor ${id}: never heard of`);
    }
    const newcomers: Peer[] = [];
    for (const peer of this.peers.values()) {
      const wasMonitored = peer.monitored;
      peer.monitored = wanted.has(peer.id);
      if (peer.monitored && !wasMonitored) {
        // A suspicion heard of runs on: others may be right.
        if (peer.phase.name !== "suspect") restartSilence(peer, now);
        peer.monitoredSince = now;
        peer.nextProbeAt = now + this.options.phase(peer.id);
        this.news.catchUpMonitored(peer, now);
        newcomers.push(peer);
      } else if (!peer.monitored && peer.phase.name === "suspect" && peer.phase.by === null) dropSuspicion(peer);
    }
    this.monitored = [...this.peers.values()].filter((peer) => peer.monitored);
    return newcomers;
  }

  forget(id: AgentId): void {
    this.peers.delete(id);
    this.monitored = this.monitored.filter((peer) => peer.id !== id);
    this.news.forget(id);
  }

  status(): readonly PeerStatus[] {
    return [...this.peers.values()].map(({ id, incarnation, refutation, phase, lastHeard, monitored }) => ({
      peer: id,
      incarnation,
      refutation,
      state: phase.name,
      lastHeard,
      monitored,
    }));
  }

  act(effect: DetectorEffect): void {
    this.effects.push(effect);
  }

  probe(peer: Peer, now: number): void {
    peer.probedAt = now;
    peer.awaited = true;
    this.effects.push({ kind: "probe", peer: peer.id });
  }

  /** A dead peer is probed with back-off up to 5 intervals: it may have been paused, or cut off. */
  probeDead(peer: Peer, now: number): void {
    if (peer.phase.name !== "dead" || now < peer.nextProbeAt) return;
    this.probe(peer, now);
    peer.phase.backoff = Math.min(peer.phase.backoff * 2, MAX_BACKOFF_INTERVALS);
    peer.nextProbeAt = now + peer.phase.backoff * this.options.intervalMs;
  }

  announce(peer: Peer, kind: "suspect" | "dead", how: DetectedHow): void {
    this.effects.push({ kind, peer: peer.id, incarnation: peer.incarnation, how, lastHeard: peer.lastHeard });
  }

  declareDead(peer: Peer, how: DetectedHow, now: number, from?: AgentId): void {
    this.announce(peer, "dead", how);
    peer.phase = { name: "dead", declaredAt: now, backoff: 1, answers: false };
    peer.closed = null;
    peer.nextProbeAt = now + this.options.intervalMs;
    this.news.drop(peer.id);
    this.news.spread(peer, now, { from, bySignal: how === "transport" });
  }

  /**
   * Not dead after all, or no longer suspect. What others may have heard and direct contact, or somebody's indirect probe, has found false
   * is refuted on the peer's behalf.
   */
  declareAlive(peer: Peer, how: "probe" | "gossip", now: number, news?: { readonly from: AgentId }): void {
    const { phase } = peer;
    if (phase.name === "alive") return;
    this.effects.push({ kind: "alive", peer: peer.id, incarnation: peer.incarnation, how, was: phase.name });
    peer.phase = { name: "alive" };
    if (phase.name === "suspect" && phase.by === null) return;
    this.news.release(peer.id, now);
    if (phase.name === "suspect") this.handler?.refuted(now - peer.suspectedAt, now);
    else if (now - phase.declaredAt <= MISTAKE_TIMEOUTS * this.options.timeoutMs)
      this.handler?.refuted(Number.POSITIVE_INFINITY, now);
    restartSilence(peer, now);
    if (phase.name === "dead") peer.nextProbeAt = now + this.options.intervalMs;
    if (news === undefined) peer.refutation += 1;
    this.news.spread(peer, now, { from: news?.from });
    // One who met it brings it up to date, and those who watch it.
    if (phase.name === "dead" && (news === undefined || peer.monitored)) this.news.catchUp(peer, now);
  }

  /** A newer incarnation: the old one is dead, whatever was believed. `hearsay`: others say so, and perhaps that it died already. */
  declareNewIncarnation(
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
    peer.closed = null;
    restartSilence(peer, now);
    peer.phase = { name: "alive" };
    if (hearsay?.entry.state === "dead") {
      this.declareDead(peer, how, now, hearsay.from);
      return;
    }
    this.effects.push({ kind: "alive", peer: peer.id, incarnation, how, was: "dead" });
    this.news.release(peer.id, now);
    this.news.spread(peer, now, { from: hearsay?.from });
    if (hearsay === undefined || peer.monitored) this.news.catchUp(peer, now);
  }

  /** Somebody that was in no roster. */
  welcome(id: AgentId, incarnation: number, how: "probe" | "gossip", now: number): void {
    if (id === this.options.self) return;
    const peer = this.addPeer(id, incarnation, now);
    this.effects.push({ kind: "alive", peer: id, incarnation, how, was: "unknown" });
    this.news.spread(peer, now);
  }

  hearNews(entry: GossipEntry, from: AgentId, now: number): void {
    if (entry.peer === this.options.self) {
      if (this.news.answerAboutSelf(entry, from, now)) this.handler?.selfSuspected();
      return;
    }
    // That somebody suspects it means that nobody there knows it to be dead.
    this.believe(entry, from, now);
    const peer = this.peers.get(entry.peer);
    if (entry.state !== "suspect" || entry.by === undefined || peer === undefined) return;
    const order = compareNews(entry, newsOf(peer)); // [2]
    if (order > 0 || (order === 0 && peer.phase.name === "suspect")) this.handler?.suspected(peer, entry.by, from, now);
  }

  takeEffects(now: number): DetectorEffect[] {
    const effects = [...this.effects, ...this.news.flush(now)];
    this.effects = [];
    return effects;
  }

  private believe(told: GossipEntry, from: AgentId, now: number): void {
    const { state, ...rest } = told;
    const entry: GossipEntry = { ...rest, state: state === "dead" ? "dead" : "alive" };
    const known = this.peers.get(entry.peer);
    if (known === undefined) {
      this.hearOfStranger(entry, from, now);
      return;
    }
    if (compareNews(entry, newsOf(known)) <= 0) {
      if (state !== "alive") this.correct(entry, known, from, now);
      return; // [2]
    }
    if (entry.incarnation > known.incarnation) {
      this.declareNewIncarnation(known, entry.incarnation, "gossip", now, { entry, from });
      return;
    }
    const refuted = entry.refutation > known.refutation;
    known.refutation = entry.refutation;
    if (entry.state === "dead") {
      if (known.phase.name === "dead") this.news.spread(known, now, { from });
      else this.declareDead(known, "gossip", now, from);
    } else if (known.phase.name === "dead" || (refuted && known.phase.name === "suspect" && known.phase.by !== null)) {
      this.declareAlive(known, "gossip", now, { from });
    } else this.news.spread(known, now, { from });
  }

  /** Who tells of a death, or a suspicion, that was found false since has missed that. */
  private correct(entry: GossipEntry, known: Peer, from: AgentId, now: number): void {
    const isRefuted = compareNews({ ...entry, state: "alive" }, { ...newsOf(known), state: "alive" }) < 0;
    if (isRefuted) this.news.correct(known.id, from, now);
  }

  private hearOfStranger(entry: GossipEntry, from: AgentId, now: number): void {
    const peer = this.addPeer(entry.peer, entry.incarnation, now);
    peer.refutation = entry.refutation;
    if (entry.state === "dead") {
      // Nobody here ever believed it alive: nothing to announce.
      peer.phase = { name: "dead", declaredAt: now, backoff: 1, answers: false };
      return;
    }
    this.effects.push({ kind: "alive", peer: peer.id, incarnation: peer.incarnation, how: "gossip", was: "unknown" });
    this.news.spread(peer, now, { from });
  }

  private addPeer(id: AgentId, incarnation: number, now: number): Peer {
    const peer = newPeer(id, incarnation, now);
    this.peers.set(id, peer);
    return peer;
  }
}
