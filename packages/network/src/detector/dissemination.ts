import type { AgentId } from "@failstorm/core";
import { compareNews, createGossipOutbox, type GossipOutbox, gossipTargets, MAX_FLOOD, nextAlive, ringFrom } from "./gossip.ts";
import { newsOf, type Peer, type PhaseName } from "./peer.ts";
import type { DetectorEffect, DetectorOptions, GossipEntry, GossipItem, IndirectProbe } from "./types.ts";

/** Of the interval: gossip that follows other gossip sooner than this travels with the next. */
const SPACING_SHARE = 1 / 10;
/** The same where news take many hops, each of which may hold them up so long. */
const HOP_SPACING_SHARE = 1 / 50;
/** Of the interval: so long a suspicion waits for other news to ride with. */
const SUSPICION_HOLD_SHARE = 1 / 5;
const RECONCILE_INTERVALS = 10;
const MAX_PAUSE_INTERVALS = 8;

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
  /** null until something changes. */
  private reconcileAt: number | null = null;
  private reconciliations = 0;
  /** Who could not be reached, and until when nothing is sent there, but to who makes itself heard. */
  private readonly failures = new Map<AgentId, { readonly count: number; readonly at: number; readonly until: number }>();

  constructor(options: DetectorOptions, peers: ReadonlyMap<AgentId, Peer>) {
    this.options = options;
    this.peers = peers;
    const share = options.linked === undefined || options.fullyLinked === true ? SPACING_SHARE : HOP_SPACING_SHARE;
    this.outbox = createGossipOutbox(options.intervalMs * share);
  }

  /** What is believed of `peer` went one step up in the order of news: passes it on, but not back to where it came from. */
  spread(peer: Peer, now: number, from?: AgentId): void {
    this.noteChange(peer, now);
    this.tell(newsOf(peer), this.targets(peer.id), now, { from });
  }

  /** A suspicion, heard of or this agent's own: passes it on; its own to the suspect too, who can refute it. */
  spreadSuspicion(peer: Peer, by: AgentId, now: number, from?: AgentId): void {
    this.noteChange(peer, now);
    const news: GossipEntry = { ...newsOf(peer), state: "suspect", by };
    if (from === undefined) this.tell(news, [peer.id], now);
    this.tell(news, this.targets(peer.id), now, { from, holdMs: this.options.intervalMs * SUSPICION_HOLD_SHARE });
  }

  /** Brings a peer up to date that is newly monitored, restarted, or back from the dead: it missed the news that were told once. */
  catchUp(peer: Peer, now: number): void {
    if (peer.phase.name !== "dead") this.tellAll(peer.id, now);
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
    const count = (this.pausedUntil(to) === null ? 0 : (this.failures.get(to)?.count ?? 0)) + 1;
    const pauseMs = this.options.intervalMs * Math.min(2 ** (count - 1), MAX_PAUSE_INTERVALS);
    this.failures.set(to, { count, at: now, until: now + pauseMs });
    const standIn = count === 1 ? this.standInFor(to) : null;
    for (const entry of entries) {
      const current = "probe" in entry ? null : this.currentNews(entry.peer);
      if ("probe" in entry || current === null) continue;
      const news = compareNews(entry, current) < 0 ? current : entry;
      this.tell(news, [to], now);
      if (standIn !== null && standIn !== news.peer) this.tell(news, [standIn], now);
    }
  }

  /** What still waits to be told to the peer is left out by the next flush, since nobody knows it any more. */
  forget(id: AgentId): void {
    this.failures.delete(id);
  }

  /** An indirect probe, with what waits to be told to the same agent; goes at once. */
  withNews(to: AgentId, item: IndirectProbe): DetectorEffect {
    return { kind: "gossip", to: [to], entries: [item, ...this.outbox.take(to)] };
  }

  dueAt(): number | null {
    const dueAt = Math.min(this.outbox.dueAt() ?? Number.POSITIVE_INFINITY, this.reconcileAt ?? Number.POSITIVE_INFINITY);
    return dueAt === Number.POSITIVE_INFINITY ? null : dueAt;
  }

  flush(now: number): DetectorEffect[] {
    if (this.reconcileAt !== null && now >= this.reconcileAt) this.reconcile(now);
    return this.outbox.flush(now, (id) => this.standing(id) !== "dead");
  }

  private tell(
    entry: GossipEntry,
    to: readonly AgentId[],
    now: number,
    { from, holdMs = 0 }: { readonly from?: AgentId | undefined; readonly holdMs?: number } = {},
  ): void {
    if (!this.options.gossip) return;
    for (const id of to) {
      if (id !== from && id !== this.options.self)
        this.outbox.add(entry, id, Math.max(now + holdMs, this.pausedUntil(id) ?? now));
    }
  }

  /** null for who can be sent to: nothing failed to arrive, or it was heard since. */
  private pausedUntil(id: AgentId): number | null {
    const failure = this.failures.get(id);
    const heard = this.peers.get(id)?.lastHeard ?? Number.NEGATIVE_INFINITY;
    return failure === undefined || heard > failure.at ? null : failure.until;
  }

  private tellAll(to: AgentId, now: number): void {
    for (const peer of this.peers.values()) if (peer.changed && peer.id !== to) this.tell(newsOf(peer), [to], now);
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
    const { fullyLinked = false } = this.options;
    const linked = new Set(this.options.linked?.());
    const isLinked = ({ id, monitored }: Peer): boolean => fullyLinked || monitored || linked.has(id);
    return [...this.peers.values()].filter(isLinked).map(({ id }) => id);
  }

  private targets(except?: AgentId): readonly AgentId[] {
    const linked = this.linked();
    const targets = gossipTargets(this.options.self, linked, (id) => this.standing(id), linked.length === this.peers.size);
    return targets.filter((id) => id !== except);
  }

  /** Who comes after `id` on the ring: takes its part in passing on, if it has died unnoticed. */
  private standInFor(id: AgentId): AgentId | null {
    const linked = this.linked();
    if (linked.length < this.peers.size || linked.length <= MAX_FLOOD) return null;
    const ring = ringFrom(this.options.self, linked);
    return nextAlive(ring, ring.indexOf(id) + 1, (other) => (other === id ? "dead" : this.standing(other)));
  }
}
