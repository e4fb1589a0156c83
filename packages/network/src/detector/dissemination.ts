import type { AgentId } from "@failstorm/core";
import {
  compareNews,
  createGossipOutbox,
  fingersOf,
  type GossipOutbox,
  isNews,
  MAX_FLOOD,
  nextAlive,
  ringFrom,
  type Spacing,
} from "./gossip.ts";
import { followPeaks } from "./peaks.ts";
import { newsOf, type Peer, type PhaseName } from "./peer.ts";
import { Segments } from "./segments.ts";
import type { DetectorEffect, DetectorOptions, GossipEntry, GossipItem, IndirectProbe } from "./types.ts";

/** Of the interval: gossip that follows other gossip sooner than this travels with the next. */
const SPACING_SHARE = 1 / 10;
/** The same where news take several hops, each of which may hold them up: so much for each message just sent, at least as follows, at most the above. */
const SPACING_SHARE_EACH = 1 / 200;
const MIN_SPACING_SHARE = 1 / 50;
/**
 * Where news go through speakers each wave of them takes a message to everybody. It waits until nothing was added for this share of the
 * interval, times the agents; …
 */
const QUIET_SHARE_EACH = 1 / 750;
/**
 * … and where a probe's answer takes longer than this share of the interval, so many times what it takes longer: then what limits is the work of
 * passing on, and many small waves make answers slower still, until nothing is passed on in time; …
 */
const FAST_SHARE = 1 / 20;
const QUIET_ROUND_TRIPS = 2;
/** … but not longer than this share of the interval, … */
const MAX_QUIET_SHARE = 1 / 4;
/** … nor, in all, than so many times that after the first. */
const GATHER_QUIETS = 3;
/** Where suspicions are told, who does not speak has few messages to save: of the least wait only so much, for what is found out at the same moment. */
const UNSPOKEN_SHARE = 1 / 4;
/** Of a round trip that took less than those before it: what it has to say in what they take now. */
const ROUND_TRIP_GAIN = 1 / 4;
/** Of the interval: so long a suspicion waits for other news to ride with. */
const SUSPICION_HOLD_SHARE = 1 / 5;
/** Of the intervals: what is told only in case somebody died who was to pass it on waits so long, for the rush of a storm to be over. */
const AFTER_RUSH_INTERVALS = 2;
/**
 * Deaths of which all others were signalled, too, are told only for whoever held no stream: one interval later for each so many agents, at least one, when
 * what follows deaths is over that they all have to do; and so is what a dead one may have kept to itself. Told in the middle of that to 200 on two
 * cores, they made agents so late that the living were taken for dead, and news of these kept the cores full for good.
 */
const SIGNALLED_AGENTS_AN_INTERVAL = 16;
/** Of that wait: with the first go those that were found so long after it; what was found later may be a storm that has only begun. */
const TOGETHER_SHARE = 1 / 2;
const RECONCILE_INTERVALS = 10;
const MAX_PAUSE_INTERVALS = 8;

function spacingOf(options: DetectorOptions, roundTripMs: () => number, speaks: () => boolean): Spacing {
  const { fullyLinked = false, fixedMembers = false, linked, intervalMs, peers } = options;
  const maxMs = intervalMs * SPACING_SHARE;
  const atOnce = { quietMs: () => 0, gatherQuiets: 0 };
  if (!fullyLinked && linked === undefined) return { ...atOnce, eachMs: 0, minMs: maxMs, maxMs };
  if (!fullyLinked || !fixedMembers || peers.length <= MAX_FLOOD)
    return { ...atOnce, eachMs: intervalMs * SPACING_SHARE_EACH, minMs: intervalMs * MIN_SPACING_SHARE, maxMs };
  const quietMs = intervalMs * peers.length * QUIET_SHARE_EACH;
  const fastMs = intervalMs * FAST_SHARE;
  const mostMs = Math.max(quietMs, intervalMs * MAX_QUIET_SHARE);
  return {
    eachMs: 0,
    minMs: 0,
    maxMs: 0,
    quietMs: () =>
      speaks() ? Math.min(quietMs + QUIET_ROUND_TRIPS * Math.max(0, roundTripMs() - fastMs), mostMs) : quietMs * UNSPOKEN_SHARE,
    gatherQuiets: GATHER_QUIETS,
  };
}

/**
 * Decides what is told to whom; used by every kind of detector. Tells nothing when gossip is off. News are told once to each target; whoever
 * missed them, being cut off or taken for dead at that moment, gets them when it is met again, and from the reconciliations: once anything
 * has changed, each agent now and then tells another one all that did, and is corrected where it is behind.
 */
export class Dissemination {
  private readonly options: DetectorOptions;
  private readonly peers: ReadonlyMap<AgentId, Peer>;
  private readonly outbox: GossipOutbox;
  private ownRefutation = 0;
  private roundTripMs = 0;
  /** null until something changes. */
  private reconcileAt: number | null = null;
  private reconciliations = 0;
  /** Deaths that the others have been signalled, too. Whom to tell is looked up once the storm has been found out: that takes time. */
  private signalled: { readonly peer: Peer; readonly from: AgentId | undefined; readonly dueAt: number }[] = [];
  private segmented: { readonly size: number; readonly segments: Segments } | null = null;
  /** Who could not be reached, and until when nothing is sent there, but to who makes itself heard. */
  private readonly failures = new Map<AgentId, { readonly count: number; readonly at: number; readonly until: number }>();

  /** `tellsSuspicions`: deaths are news that come one after another, rather than all at once. */
  constructor(options: DetectorOptions, peers: ReadonlyMap<AgentId, Peer>, tellsSuspicions: boolean) {
    this.options = options;
    this.peers = peers;
    const speaks = (): boolean => !tellsSuspicions || (this.segments()?.speaks() ?? false);
    this.outbox = createGossipOutbox(spacingOf(options, () => this.roundTripMs, speaks));
  }

  /** A peer answered after so long: how busy those are who pass news on. */
  noteRoundTrip(ms: number): void {
    this.roundTripMs = followPeaks(this.roundTripMs, ms, ROUND_TRIP_GAIN);
  }

  /** Once all peers are there: what the first news would have to wait for. */
  prepare(): void {
    this.segments();
  }

  /**
   * What is believed of `peer` went one step up in the order of news: passes it on, but not back to where it came from. `bySignal`: found by a closed
   * stream, which the others have had too: then it waits, and what the storm goes on to close is told with it.
   */
  spread(
    peer: Peer,
    now: number,
    { from, bySignal = false }: { readonly from?: AgentId | undefined; readonly bySignal?: boolean } = {},
  ): void {
    this.noteChange(peer, now);
    if (bySignal && this.options.allSignalled === true) this.signalled.push({ peer, from, dueAt: now + this.signalledHoldMs });
    else this.pass(peer, from, now);
  }

  /**
   * A suspicion, heard of or this agent's own: passes it on; its own to the suspect too, who can refute it. With the first of it whoever speaks in the
   * suspect's place is told all there is: what the suspect was told, and nobody else, may be known to nobody.
   */
  spreadSuspicion(
    peer: Peer,
    by: AgentId,
    now: number,
    { from, isFirst }: { readonly from: AgentId | undefined; readonly isFirst: boolean },
  ): void {
    this.noteChange(peer, now);
    const news: GossipEntry = { ...newsOf(peer), state: "suspect", by };
    if (from === undefined) this.tell(news, [peer.id], now);
    this.tell(news, this.targets(peer.id, from), now, { from, holdMs: this.options.intervalMs * SUSPICION_HOLD_SHARE });
    if (isFirst) this.tellHeirs(peer, now);
  }

  /** Brings a peer up to date that is restarted, or back from the dead: it missed the news that were told once. */
  catchUp(peer: Peer, now: number): void {
    if (peer.phase.name !== "dead") this.tellAll(peer.id, now);
  }

  /**
   * The same for one that comes to be monitored. Where news go through speakers it is told as others are, and this is for what may have been lost on
   * the way: it waits until the rush is over that made it monitored.
   */
  catchUpMonitored(peer: Peer, now: number): void {
    const holdMs = this.segments() === null ? 0 : this.options.intervalMs * AFTER_RUSH_INTERVALS;
    if (peer.phase.name !== "dead") this.tellAll(peer.id, now, holdMs);
  }

  /**
   * News of one's own death, or suspicion, are false, as one reads them. The incarnation is this process and stays; the refutation goes
   * one above what was said, which beats it everywhere. About any other incarnation: an older one is indeed dead, a newer one is not this
   * process. Answers whether there was something to refute.
   */
  answerAboutSelf(entry: GossipEntry, from: AgentId, now: number): boolean {
    if (entry.incarnation !== this.options.incarnation) return false;
    if (entry.state === "alive") {
      this.ownRefutation = Math.max(this.ownRefutation, entry.refutation);
      return false;
    }
    if (entry.refutation < this.ownRefutation) {
      this.correct(entry.peer, from, now); // refuted before
      return false;
    }
    this.ownRefutation = entry.refutation + 1;
    const doubters = entry.by === undefined ? [from] : [from, entry.by];
    this.tell(this.ownNews(), [...new Set([...this.targets(), ...doubters.filter((id) => this.peers.has(id))])], now);
    return true;
  }

  /** Somebody is behind with the news of `about`: told what is believed now. */
  correct(about: AgentId, to: AgentId, now: number): void {
    const news = this.currentNews(about);
    if (news !== null && this.peers.has(to)) this.tell(news, [to], now);
  }

  /**
   * These did not arrive: what still holds is told again after a pause, that doubles with each failure in a row, and in the meantime to
   * another in its place. So a network in which nothing gets through is not flooded with attempts.
   */
  undelivered(to: AgentId, entries: readonly GossipItem[], now: number): void {
    if (!this.peers.has(to)) return;
    const former = this.pausedUntil(to) === null ? undefined : this.failures.get(to);
    // What was on its way when another failed has failed with it.
    const isSame = former !== undefined && now < former.until;
    const count = (former?.count ?? 0) + (isSame ? 0 : 1);
    const pauseMs = this.options.intervalMs * Math.min(2 ** (count - 1), MAX_PAUSE_INTERVALS);
    this.failures.set(to, { count, at: now, until: isSame ? former.until : now + pauseMs });
    const standIns = this.standInsFor(to);
    for (const entry of entries) {
      const current = isNews(entry) ? this.currentNews(entry.peer) : null;
      if (!isNews(entry) || current === null) continue;
      const news = compareNews(entry, current) < 0 ? current : entry;
      this.tell(news, [to], now);
      const others = standIns.filter((id) => id !== news.peer);
      this.tell(news, others, now);
    }
  }

  /** The peer is dead: what was withheld from it is not told. */
  drop(id: AgentId): void {
    this.outbox.takeWithheld(id);
  }

  /** The peer is no suspect any more: it is told what was withheld from it. */
  release(id: AgentId, now: number): void {
    const dueAt = Math.max(now, this.pausedUntil(id) ?? now);
    for (const entry of this.outbox.takeWithheld(id)) this.outbox.add(entry, id, dueAt, now);
  }

  /** Nobody knows the peer any more: what still waits to be told to it is not. */
  forget(id: AgentId): void {
    this.outbox.take(id);
    this.failures.delete(id);
    this.segmented = null;
  }

  /** An indirect probe, with what waits to be told to the same agent; goes at once. */
  withNews(to: AgentId, item: IndirectProbe): DetectorEffect {
    return { kind: "gossip", to: [to], entries: [item, ...this.outbox.take(to)] };
  }

  dueAt(): number | null {
    const reconcileAt = this.reconcileAt ?? Number.POSITIVE_INFINITY;
    const dueAt = Math.min(this.outbox.dueAt() ?? Number.POSITIVE_INFINITY, reconcileAt, this.signalledDueAt());
    return dueAt === Number.POSITIVE_INFINITY ? null : dueAt;
  }

  flush(now: number): DetectorEffect[] {
    if (this.reconcileAt !== null && now >= this.reconcileAt) this.reconcile(now);
    if (now >= this.signalledDueAt()) this.passSignalled(now);
    return this.outbox.flush(now, (id) => this.standing(id) !== "dead");
  }

  private pass(peer: Peer, from: AgentId | undefined, now: number): void {
    this.tell(newsOf(peer), this.targets(peer.id, from), now, { from });
    if (peer.phase.name === "dead") this.tellHeirs(peer, now);
  }

  private tellHeirs(peer: Peer, now: number): void {
    for (const heir of this.segments()?.heirsOf(peer.id) ?? []) this.tellAll(heir, now);
  }

  private signalledDueAt(): number {
    return this.signalled[0]?.dueAt ?? Number.POSITIVE_INFINITY;
  }

  /** Those of one storm together: that takes one message each. Who was found alive meanwhile is left out; that was told. */
  private passSignalled(now: number): void {
    const isDue = ({ dueAt }: { readonly dueAt: number }): boolean => dueAt <= now + this.signalledHoldMs * TOGETHER_SHARE;
    const due = this.signalled.filter(isDue);
    this.signalled = this.signalled.filter((one) => !isDue(one));
    for (const { peer, from } of due)
      if (peer.phase.name === "dead" && this.peers.get(peer.id) === peer) this.pass(peer, from, now);
  }

  private get signalledHoldMs(): number {
    return this.options.intervalMs * Math.max(1, (this.peers.size + 1) / SIGNALLED_AGENTS_AN_INTERVAL);
  }

  private tell(
    entry: GossipEntry,
    to: readonly AgentId[],
    now: number,
    { from, holdMs = 0 }: { readonly from?: AgentId | undefined; readonly holdMs?: number } = {},
  ): void {
    if (!this.options.gossip) return;
    const segments = this.segments();
    for (const id of to) {
      if (id === from || id === this.options.self) continue;
      const insuranceMs = segments?.isInsurance(id, from) === true ? this.options.intervalMs * AFTER_RUSH_INTERVALS : 0;
      const dueAt = Math.max(now + Math.max(holdMs, insuranceMs), this.pausedUntil(id) ?? now);
      this.outbox.add(entry, id, this.isSuspect(id) && entry.peer !== id ? Number.POSITIVE_INFINITY : dueAt, now);
    }
  }

  /** Where suspicions are told: probably dead, and told what there is once it is found not to be. */
  private isSuspect(id: AgentId): boolean {
    const phase = this.peers.get(id)?.phase;
    return phase?.name === "suspect" && phase.by !== null;
  }

  /** null for who can be sent to: nothing failed to arrive, or it was heard since. */
  private pausedUntil(id: AgentId): number | null {
    const failure = this.failures.get(id);
    const heard = this.peers.get(id)?.lastHeard ?? Number.NEGATIVE_INFINITY;
    return failure === undefined || heard > failure.at ? null : failure.until;
  }

  private tellAll(to: AgentId, now: number, holdMs = 0): void {
    for (const peer of this.peers.values()) if (peer.changed && peer.id !== to) this.tell(newsOf(peer), [to], now, { holdMs });
  }

  private reconcile(now: number): void {
    this.reconcileAt = now + this.options.intervalMs * RECONCILE_INTERVALS;
    const ring = ringFrom(this.options.self, this.linked());
    const to = nextAlive(ring, this.reconciliations++ % Math.max(1, ring.length), (id) => this.standing(id));
    if (to !== null) this.tellAll(to, now);
  }

  private noteChange(peer: Peer, now: number): void {
    const { self, intervalMs, phase, gossip } = this.options;
    peer.changed = true;
    if (gossip) this.reconcileAt ??= now + intervalMs * RECONCILE_INTERVALS + phase(self);
  }

  private ownNews(): GossipEntry {
    const { self, incarnation } = this.options;
    return { peer: self, incarnation, refutation: this.ownRefutation, state: "alive" };
  }

  private currentNews(id: AgentId): GossipEntry | null {
    if (id === this.options.self) return this.ownNews();
    const peer = this.peers.get(id);
    return peer === undefined ? null : newsOf(peer);
  }

  /** Who could not be reached is as doubtful as a suspect. */
  private standing(id: AgentId): PhaseName {
    const standing = this.peers.get(id)?.phase.name ?? "dead";
    return standing === "alive" && this.pausedUntil(id) !== null ? "suspect" : standing;
  }

  /** Whom this agent can send to without going through others. */
  private linked(): AgentId[] {
    if (this.options.fullyLinked === true) return [...this.peers.keys()];
    const linked = new Set(this.options.linked?.());
    const isLinked = ({ id, monitored }: Peer): boolean => monitored || linked.has(id);
    return [...this.peers.values()].filter(isLinked).map(({ id }) => id);
  }

  /** Who is told what was learnt of `about` from `from`; where others cannot send on, all who can be told, as no other path may exist. */
  private targets(about?: AgentId, from?: AgentId): readonly AgentId[] {
    return this.passers(about, from).filter((id) => id !== about && this.standing(id) !== "dead");
  }

  private passers(about: AgentId | undefined, from: AgentId | undefined): readonly AgentId[] {
    const segments = this.segments();
    if (segments !== null) return segments.targets({ ...(about === undefined ? {} : { about }), from });
    const linked = this.linked();
    return this.isOpen() ? fingersOf(this.options.self, linked, (id) => this.standing(id)) : linked;
  }

  /** Who takes the part of one that cannot be reached in passing on, as it may have died unnoticed. */
  private standInsFor(id: AgentId): readonly AgentId[] {
    if (!this.isOpen()) return [];
    const segments = this.segments();
    if (segments !== null) return segments.standInsFor(id);
    const ring = ringFrom(this.options.self, [...this.peers.keys()]);
    const next = nextAlive(ring, ring.indexOf(id) + 1, (other) => (other === id ? "dead" : this.standing(other)));
    return next === null ? [] : [next];
  }

  /** Many, and everybody can be sent to: not all need be told by each. */
  private isOpen(): boolean {
    return this.options.fullyLinked === true && this.peers.size > MAX_FLOOD;
  }

  private segments(): Segments | null {
    if (!this.isOpen() || this.options.fixedMembers !== true) return null;
    const { size } = this.peers;
    if (this.segmented?.size !== size)
      this.segmented = { size, segments: new Segments(this.options.self, [...this.peers.keys()], (id) => this.standing(id)) };
    return this.segmented.segments;
  }
}
