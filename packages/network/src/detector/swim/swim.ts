import type { AgentId } from "@failstorm/core";
import { Beliefs } from "../beliefs.ts";
import { askClosedAgain, confirmClosed, type ContactInput, isSignal, makeContact, saysNothing } from "../contact.ts";
import { isNews } from "../gossip.ts";
import { askAgainAt, NEVER, type Peer, restartSilence } from "../peer.ts";
import { Reprieve } from "../reprieve.ts";
import { createSilenceRule, type SilenceRule } from "../silence.ts";
import type {
  DetectedHow,
  DetectorEffect,
  DetectorInput,
  DetectorOptions,
  FailureDetector,
  IndirectProbe,
  PeerStatus,
} from "../types.ts";
import { Favours } from "./favours.ts";
import { isSuspicion, type OpenProbe, openProbe } from "./openProbe.ts";
import { chooseHelpers, createRotation } from "./rotation.ts";
import { createLocalHealth, patience, RefutationTimes } from "./suspicion.ts";
import { AnswerTimes, HASTE_SHARE, HASTE_STEPS, HEARSAY_HASTE_SHARE, periodAfter } from "./timing.ts";

/*
 * SWIM (Das, Gupta, Motivala: "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership Protocol", DSN 2002) with
 * Lifeguard's extensions (Dadgar et al., DSN 2018). In each period one monitored peer is probed (several by who alone watches several:
 * `turns`); when it does not answer in time, some others are asked to probe it; when they get nothing either, it is suspect, and others
 * are told; when nobody refutes that in time, it is dead.
 * Invariants, cited below ([2] stands in beliefs.ts, [3] in contact.ts):
 *  [1] Only a suspicion that nobody refuted for its whole time kills, or the kernel's word (contact.ts: a closed stream and a refused
 *      probe, or both streams ended), or gossip of a death, or a newer incarnation.
 *  [4] Neither a probe's nor a suspicion's time runs out in a tick that comes late: answers and refutations may be unread behind it. Where it
 *      is always a little late, that holds for the first such delay (silence.ts), so that the dead are found all the same.
 *
 * What differs from the paper: incarnations are not raised to refute (types.ts); whoever hears a suspect refutes on its behalf; a suspect is
 * told that it is one, nothing else until it answers, and probed by its other watchers; the turn passes at once from a peer that does not
 * answer to the next ones; an answer is waited for in keeping with what answers take; the dead are probed now and then. Probes are the
 * protocol's own, which carry nothing, so that news ride on the indirect ones and travel by gossip.
 */

/** The `swim` failure detector. */
export const createSwimDetector = (options: DetectorOptions): FailureDetector => new SwimDetector(options);

class SwimDetector implements FailureDetector {
  private readonly options: DetectorOptions;
  private readonly beliefs: Beliefs;
  private readonly silence: SilenceRule;
  private readonly reprieve: Reprieve;
  private readonly rotation;
  private readonly turns: () => number;
  private readonly health = createLocalHealth();
  private readonly favours: Favours;
  private readonly answers: AnswerTimes;
  private readonly refutations: RefutationTimes;
  private readonly probes = new Map<AgentId, OpenProbe>();
  private newcomers: Peer[] = [];
  private leavesTurnOut = false;
  private nextPeriodAt: number;
  private asks = 0;
  private stalledAt = NEVER;
  private tickedAt = NEVER;
  /** undefined when something has changed since it was looked for, which is not cheap. */
  private wakeAt: number | null | undefined;
  /** Before this, nothing was due: a deadline that what was received since has brought forward into the past is no lateness. */
  private dueSince = NEVER;

  constructor(options: DetectorOptions) {
    this.options = options;
    const { intervalMs, timeoutMs, startAt } = options;
    this.beliefs = new Beliefs(options, {
      suspected: (peer, by, from, now) => this.onSuspicion(peer, by, from, now),
      selfSuspected: () => this.health.worse(),
      refuted: (afterMs, now) => this.refutations.note(afterMs, now),
    });
    this.refutations = new RefutationTimes(options);
    this.reprieve = new Reprieve(options);
    this.silence = createSilenceRule(intervalMs, timeoutMs, patience(options, this.beliefs, this.refutations));
    this.favours = new Favours(this.beliefs);
    this.answers = new AnswerTimes(options);
    this.rotation = createRotation(options.self, intervalMs);
    this.turns = options.turns ?? (() => 1);
    this.beliefs.monitor(options.monitored, startAt);
    this.nextPeriodAt = periodAfter(this.options, startAt - 1);
  }

  tick(now: number): DetectorEffect[] {
    const lateMs = this.lateness(now);
    this.tickedAt = now;
    if (this.silence.isLate(lateMs)) this.excuse(lateMs, now); // [4]
    for (const peer of this.beliefs.peers.values()) {
      if (peer.phase.name === "dead" && peer.monitored) this.beliefs.probeDead(peer, now);
      else if (isSuspicion(peer) && now >= this.silence.deadline(peer))
        this.condemn(peer, now); // [1]
      else askClosedAgain(this.beliefs, peer, now);
    }
    for (const probe of this.probes.values()) if (now >= probe.until) this.expire(probe, now);
    this.favours.expire(now);
    for (const peer of this.newcomers.splice(0)) {
      if (peer.monitored && peer.phase.name === "alive" && !this.probes.has(peer.id)) this.open(peer, "direct", now);
      else this.lookInto(peer, now);
    }
    if (now >= this.nextPeriodAt) this.beginPeriod(now);
    return this.takeEffects(now);
  }

  receive(input: DetectorInput, now: number): DetectorEffect[] {
    this.noteDue(now);
    switch (input.kind) {
      case "gossip":
        for (const item of input.entries) {
          if (isNews(item)) this.beliefs.hearNews(item, input.from, now);
          else if (item.probe === "asked") this.favours.ask(item.peer, input.from, now + this.answers.waitMs(1), now);
          else this.onTold(item, input.from, now);
        }
        break;
      case "undelivered":
        this.beliefs.news.undelivered(input.to, input.entries, now);
        for (const item of input.entries) if (!isNews(item) && item.probe === "asked") this.onUnasked(item.peer, input.to, now);
        break;
      case "unanswered":
        this.onUnanswered(input, now);
        break;
      default:
        this.onContact(input, now);
        if (isSignal(input)) this.leavesTurnOut ||= this.reprieve.begins(this.beliefs.peers.get(input.peer), now);
    }
    return this.takeEffects(now);
  }

  nextWakeAt(): number | null {
    if (this.wakeAt === undefined) this.wakeAt = this.findWakeAt();
    return this.wakeAt;
  }

  private findWakeAt(): number | null {
    let wakeAt = Math.min(this.beliefs.news.dueAt() ?? Number.POSITIVE_INFINITY, this.favours.dueAt());
    for (const { until } of this.probes.values()) wakeAt = Math.min(wakeAt, until);
    for (const { monitoredSince } of this.newcomers) wakeAt = Math.min(wakeAt, monitoredSince);
    for (const peer of this.beliefs.peers.values()) {
      wakeAt = Math.min(wakeAt, askAgainAt(peer));
      if (isSuspicion(peer)) wakeAt = Math.min(wakeAt, this.silence.watchAt(peer, this.tickedAt));
      if (peer.monitored) wakeAt = Math.min(wakeAt, peer.phase.name === "dead" ? peer.nextProbeAt : this.nextPeriodAt);
    }
    return wakeAt === Number.POSITIVE_INFINITY ? null : wakeAt;
  }

  status(): readonly PeerStatus[] {
    return this.beliefs.status();
  }

  monitor(monitored: readonly AgentId[], now: number): void {
    this.noteDue(now);
    const { peers } = this.beliefs;
    const wasIdle = ![...peers.values()].some((peer) => peer.monitored && peer.phase.name !== "dead");
    this.newcomers.push(...this.beliefs.monitor(monitored, now));
    for (const { peer } of this.probes.values()) if (!peer.monitored) this.probes.delete(peer.id);
    if (wasIdle) this.nextPeriodAt = Math.max(this.nextPeriodAt, periodAfter(this.options, now));
    this.wakeAt = undefined;
  }

  forget(peer: AgentId): void {
    this.beliefs.forget(peer);
    this.probes.delete(peer);
    this.favours.drop(peer);
    this.answers.forget(peer);
    this.newcomers = this.newcomers.filter(({ id }) => id !== peer);
    this.wakeAt = undefined;
  }

  private takeEffects(now: number): DetectorEffect[] {
    this.wakeAt = undefined;
    return this.beliefs.takeEffects(now);
  }

  private noteDue(now: number): void {
    this.dueSince = Math.max(this.dueSince, Math.min(this.nextWakeAt() ?? now, now));
  }

  /** How late a tick at `now` would be. */
  private lateness(now: number): number {
    return now - Math.max(this.nextWakeAt() ?? now, this.dueSince);
  }

  private directMs(peer: Peer): number {
    return this.answers.waitMs(this.health.multiplier, peer.id);
  }

  private beginPeriod(now: number): void {
    for (const peer of this.beliefs.peers.values()) {
      // What this agent has itself found suspect is asked again: an answer refutes the suspicion.
      if (isSuspicion(peer) && peer.phase.by.has(this.options.self) && peer.monitored) this.beliefs.probe(peer, now);
    }
    for (let turn = this.leavesTurnOut ? 0 : this.turns(); turn > 0; turn--) this.openNext(now);
    this.leavesTurnOut = false;
    this.nextPeriodAt = periodAfter(this.options, now) + (this.health.multiplier - 1) * this.options.intervalMs;
  }

  /** Where one has failed, others may have: the rotation turns some steps faster. */
  private hasten(now: number, silentShare: number): void {
    for (let step = 0; step < HASTE_STEPS; step++) this.openNext(now, this.options.intervalMs * silentShare);
  }

  private openNext(now: number, silentMs = 0): void {
    const candidates = [...this.beliefs.peers.values()].filter(
      (peer) => peer.monitored && peer.phase.name === "alive" && now - peer.lastHeard >= silentMs,
    );
    const periodStart = periodAfter(this.options, now) - this.options.intervalMs;
    const peer = this.rotation.next(candidates, periodStart, this.turns(), ({ id }) => this.probes.has(id));
    if (peer !== null) this.open(peer, "direct", now);
  }

  private open(peer: Peer, stage: "direct" | "confirm", now: number): void {
    this.beliefs.probe(peer, now);
    this.await(peer, stage, now);
  }

  private await(peer: Peer, stage: "direct" | "confirm", now: number): void {
    this.probes.set(peer.id, openProbe(peer, stage, now, now + this.directMs(peer)));
  }

  /** [4] After a stall everything is asked again; after a smaller delay an open probe is given as long again, once. */
  private excuse(lateMs: number, now: number): void {
    const stalled = this.silence.isStall(lateMs);
    if (stalled) {
      this.stalledAt = now;
      this.health.worse();
    }
    for (const probe of this.probes.values()) {
      if (stalled && probe.stage === "direct") this.open(probe.peer, "direct", now);
      else if (!probe.extended && probe.until <= now) {
        probe.extended = true;
        probe.until = now + Math.min(lateMs, this.directMs(probe.peer));
      }
    }
    for (const peer of this.beliefs.peers.values()) {
      if (isSuspicion(peer) && this.silence.forgive(peer, lateMs, now)) this.beliefs.probe(peer, now);
    }
  }

  /** Nothing came in time: others are asked, or the peer is suspect. */
  private expire(probe: OpenProbe, now: number): void {
    const { peer, stage, incarnation } = probe;
    if (peer.phase.name === "dead" || peer.incarnation !== incarnation) {
      this.probes.delete(peer.id);
      return;
    }
    const othersKnow = stage === "confirm" && isSuspicion(peer);
    const helpers = stage === "indirect" || othersKnow ? [] : this.chooseHelpers(peer);
    if (helpers.length === 0) return this.conclude(probe, now);
    probe.stage = "indirect";
    probe.until = now + 2 * this.directMs(peer);
    probe.extended = false;
    for (const helper of helpers) {
      probe.asked.add(helper);
      this.beliefs.act(this.beliefs.news.withNews(helper, { peer: peer.id, incarnation: peer.incarnation, probe: "asked" }));
    }
    this.hasten(now, HASTE_SHARE);
  }

  /** Neither the peer answered nor did anybody get an answer from it. Where nobody could even be asked, the trouble may be here. */
  private conclude({ peer, stage, denied }: OpenProbe, now: number): void {
    this.probes.delete(peer.id);
    if (stage === "indirect" && denied.size === 0) this.health.worse();
    this.suspect(peer, [this.options.self, ...denied], "probe", now);
  }

  private chooseHelpers(suspect: Peer): readonly AgentId[] {
    const able = [...this.beliefs.peers.values()].filter(({ id, phase }) => id !== suspect.id && phase.name === "alive");
    return chooseHelpers(this.options.self, able, this.asks++, ({ id }) => this.probes.has(id));
  }

  private suspect(peer: Peer, doubters: readonly AgentId[], how: DetectedHow, now: number, from?: AgentId): void {
    const { phase } = peer;
    if (phase.name === "dead") return;
    if (phase.name === "alive") this.beliefs.announce(peer, "suspect", how);
    const by = (phase.name === "suspect" ? phase.by : null) ?? new Set<AgentId>();
    if (by.size === 0) {
      const { closedAt, asked } = phase.name === "suspect" ? phase : { closedAt: null, asked: 0 };
      peer.phase = { name: "suspect", closedAt, asked, askAt: null, by };
      peer.suspectedAt = now;
      restartSilence(peer, now);
    }
    // Told are the first word of it and this agent's own finding, not what else confirms it: that would be news from everybody to everybody.
    const isOwn = doubters[0] === this.options.self;
    const isFirst = by.size === 0;
    const told = isOwn || isFirst ? doubters[0] : undefined;
    for (const doubter of doubters) by.add(doubter);
    if (told !== undefined) this.beliefs.news.spreadSuspicion(peer, told, now, { from, isFirst });
  }

  private condemn(peer: Peer, now: number): void {
    const isOwnFinding = isSuspicion(peer) && peer.phase.by.has(this.options.self);
    this.beliefs.declareDead(peer, isOwnFinding ? "probe" : "gossip", now);
    this.probes.delete(peer.id);
  }

  /** Others suspect it. Who watches it too looks at once, to refute or to confirm. */
  private onSuspicion(peer: Peer, by: AgentId, from: AgentId, now: number): void {
    const isNew = peer.phase.name === "alive";
    this.suspect(peer, [by], "gossip", now, from);
    if (isNew) this.hasten(now, HEARSAY_HASTE_SHARE);
    this.lookInto(peer, now);
  }

  private lookInto(peer: Peer, now: number): void {
    if (!peer.monitored || !isSuspicion(peer) || peer.phase.by.has(this.options.self) || this.probes.has(peer.id)) return;
    this.open(peer, "confirm", now);
  }

  private onContact(input: ContactInput, now: number): void {
    const peer = this.beliefs.peers.get(input.peer);
    const before = peer?.phase;
    if (peer !== undefined) this.answers.note(peer, input, now);
    makeContact(this.beliefs, input, now);
    if (peer === undefined) return;
    if (isSignal(input) && peer.phase.name === "dead") this.favours.tell(peer.id, "unanswered");
    if (isSignal(input) && peer.phase !== before && peer.phase.name === "suspect") this.await(peer, "direct", now);
    if (isSignal(input)) return;
    if (input.kind === "answered") this.favours.tell(peer.id, "answered");
    const probe = this.probes.get(peer.id);
    if (probe === undefined || peer.phase.name !== "alive") return;
    this.probes.delete(peer.id);
    if (input.kind === "heard") return;
    if (probe.stage === "indirect")
      this.health.worse(); // in time for itself, too late for this agent
    else this.health.better();
  }

  private onUnanswered(input: Extract<DetectorInput, { kind: "unanswered" }>, now: number): void {
    const peer = this.beliefs.peers.get(input.peer);
    if (peer === undefined) return;
    const { refused, sentAt = peer.probedAt } = input;
    if (refused) this.favours.tell(peer.id, "unanswered");
    if (confirmClosed(this.beliefs, peer, refused, sentAt, now)) return;
    const probe = this.probes.get(peer.id);
    const isStalled = this.silence.isStall(this.lateness(now));
    if (probe === undefined || probe.stage === "indirect" || sentAt < probe.sentAt) return;
    if (!saysNothing(peer, refused, sentAt, isStalled ? now : this.stalledAt)) this.expire(probe, now);
  }

  /** What came of an indirect probe. An answer is as good as one to this agent; no answer is a finding independent of its own. */
  private onTold({ peer: id, incarnation, probe: outcome }: IndirectProbe, from: AgentId, now: number): void {
    const probe = this.probes.get(id);
    if (probe === undefined || !probe.asked.has(from) || incarnation !== probe.peer.incarnation) return;
    if (outcome === "answered") {
      this.probes.delete(id);
      if (probe.peer.phase.name === "suspect") this.beliefs.declareAlive(probe.peer, "gossip", now);
      return;
    }
    probe.denied.add(from);
    if (probe.denied.size === probe.asked.size) this.conclude(probe, now);
  }

  /** A helper could not be reached. */
  private onUnasked(id: AgentId, helper: AgentId, now: number): void {
    const probe = this.probes.get(id);
    if (probe === undefined || !probe.asked.delete(helper)) return;
    if (probe.denied.size === probe.asked.size) this.conclude(probe, now);
  }
}
