import type { AgentId, Cancel, Clock, Sender } from "@failstorm/core";
import {
  type AgentRegistry,
  type DetectedHow,
  type DetectorEffect,
  type FailureDetector,
  type GossipItem,
  GossipLanes,
  type MembershipView,
  type PeerStatus,
  recordDetection,
} from "@failstorm/network";
import { Lull } from "./lull.ts";
import type { Recorder } from "./recorder.ts";

/** What became of one agent. */
export interface Change {
  readonly peer: AgentId;
  readonly incarnation: number;
  readonly state: "alive" | "dead";
}

/** Told of the whole change at once: several deaths, or one who is back. */
export type ViewListener = (view: MembershipView, changes: readonly Change[]) => void;

/**
 * Deaths come in a bunch. What follows one (new links, takeovers, retries) waits until this long nothing was heard of another, ms: it costs
 * far more than finding out does, and on few cores everybody's aftermath would delay everybody's detections.
 */
const GATHER_MS = 10;
/** … but no longer than this after the first of them. */
const GATHER_MAX_MS = 30;
/**
 * Where more than so many are live, both are longer, and out of proportion: that many more die in one storm, and everything that is done
 * meanwhile holds up who is finding out.
 */
const GATHER_AGENTS = 8;
const GATHER_EXPONENT = 1.5;

/**
 * Who is believed live, as this agent's failure detector says: drives the detector (which has no clock and no I/O of its own),
 * carries out its effects, records each declaration before it takes effect, and tells the listeners of every new view.
 */
export class Membership {
  private readonly listeners: ViewListener[] = [];
  private readonly deathWatches = new Map<AgentId, Set<AbortController>>();
  private changeWaiters = new Set<() => void>();
  private wake: Cancel | null = null;
  private wakeAt: number | null = null;
  /** Declared dead, recorded, and not yet acted upon. */
  private gathered: Change[] = [];
  private gatherTimes = 1;
  private readonly gathering: Lull;
  private readonly lanes: GossipLanes;
  private detector: FailureDetector | null = null;
  private readonly options: {
    readonly self: AgentId;
    readonly clock: Clock;
    readonly recorder: Recorder;
    readonly registry: AgentRegistry;
    /** Makes the detector, when watching begins: silence before that means nothing. */
    readonly createDetector: () => FailureDetector;
    readonly probe: (peer: AgentId, live: boolean) => Promise<{ incarnation: number | null } | "refused">;
    /** Shakes hands with somebody who answers for a dead peer, to learn which incarnation it is; reports it as heard. */
    readonly identify: (peer: AgentId) => void;
    /** Rejects when it did not arrive. */
    readonly gossip: (to: AgentId, entries: readonly GossipItem[]) => Promise<unknown>;
    /** A newer incarnation says where it can be reached. */
    readonly register: (from: Sender) => void;
    /** Signs that this peer will fail; the view is the same. */
    readonly onPredicted: (peer: AgentId) => void;
    /** Somebody has become suspect, or is so no longer; the view is the same. */
    readonly onDoubt: (how: DetectedHow) => void;
    /** Somebody has become suspect or dead, and there is news to spread. */
    readonly onLoss: () => void;
  };

  constructor(options: Membership["options"]) {
    this.options = options;
    this.gathering = new Lull(options.clock, () => this.followDeaths());
    this.lanes = new GossipLanes(options.gossip, (to, entries) => this.feed({ kind: "undelivered", to, entries }));
  }

  get view(): MembershipView {
    return this.options.registry.view();
  }

  /** What the detector believes of each peer; nothing before watching begins. */
  get peers(): readonly PeerStatus[] {
    return this.detector?.status() ?? [];
  }

  start(): void {
    this.detector = this.options.createDetector();
    this.options.recorder.event({ ev: "view.changed", view: this.view.hash, live: [...this.view.liveIds] });
    this.advance();
  }

  stop(): void {
    this.lanes.stop();
    this.detector = null;
    this.wake?.();
    this.wakeAt = null;
    this.gathering.cancel();
  }

  onChange(listener: ViewListener): void {
    this.listeners.push(listener);
  }

  /** A message came straight from this process: a sign of life, and perhaps of a new incarnation. */
  heard(from: Sender): void {
    if (from.agentId === this.options.self) return;
    const known = this.view.incarnationOf(from.agentId);
    if (known === null || from.incarnation > known) this.options.register(from);
    this.feed({ kind: "heard", peer: from.agentId, incarnation: from.incarnation });
  }

  /** Heard through others: counts only as news of a newer incarnation. */
  heardOf(origin: Sender): void {
    const known = this.view.incarnationOf(origin.agentId);
    if (known === null || origin.incarnation > known) this.heard(origin);
  }

  feed(input: Parameters<FailureDetector["receive"]>[0]): void {
    if (this.detector === null) return;
    if (input.kind === "closed" && this.gathering.isAwaited) this.gatherOn();
    this.carryOut(this.detector.receive(input, this.options.clock.now()));
    this.arm();
  }

  /** Replaces the monitored set. */
  monitor(peers: readonly AgentId[]): void {
    this.detector?.monitor(peers, this.options.clock.now());
    this.arm();
  }

  /** A signal that aborts when the peer is declared dead. */
  watchDeath(peer: AgentId): { readonly signal: AbortSignal; release(): void } {
    const controller = new AbortController();
    let watches = this.deathWatches.get(peer);
    if (watches === undefined) this.deathWatches.set(peer, (watches = new Set()));
    watches.add(controller);
    return { signal: controller.signal, release: () => watches.delete(controller) };
  }

  /** Resolves with the next change of view; rejects when `signal` aborts. */
  nextChange(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      };
      const onAbort = (): void => {
        this.changeWaiters.delete(done);
        reject(signal.reason);
      };
      if (signal.aborted) return reject(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      this.changeWaiters.add(done);
    });
  }

  private advance(): void {
    this.wakeAt = null;
    if (this.detector === null) return;
    this.carryOut(this.detector.tick(this.options.clock.now()));
    this.arm();
  }

  private arm(): void {
    const at = this.detector?.nextWakeAt() ?? null;
    if (at === this.wakeAt) return;
    this.wake?.();
    this.wakeAt = at;
    if (at === null) return;
    this.wake = this.options.clock.after(Math.ceil(at - this.options.clock.now()), () => this.advance());
  }

  private carryOut(effects: readonly DetectorEffect[]): void {
    for (const effect of effects) this.carryOutOne(effect);
  }

  private carryOutOne(effect: DetectorEffect): void {
    const { recorder, identify } = this.options;
    switch (effect.kind) {
      case "probe":
        void this.probe(effect.peer);
        return;
      case "identify":
        identify(effect.peer);
        return;
      case "gossip":
        // Each by itself: who does not answer keeps nobody from learning that another could not be reached.
        for (const to of effect.to) this.lanes.carry(to, effect.entries);
        return;
      case "standby": {
        const { peer, incarnation: peerInc, reason, score } = effect;
        recorder.event({ ev: "link.predicted", peer, peerInc, reason, score: Math.round(score * 1000) / 1000 });
        this.options.onPredicted(peer);
        return;
      }
      case "alive":
        recorder.event({ ev: "detect.alive", peer: effect.peer, peerInc: effect.incarnation, how: effect.how });
        if (effect.was !== "suspect") this.apply(effect, "alive");
        else this.options.onDoubt(effect.how);
        return;
      case "suspect":
      case "dead": {
        const { kind, peer, incarnation: peerInc, how, lastHeard } = effect;
        this.options.onLoss();
        recorder.event({ ev: `detect.${kind}`, peer, peerInc, how, lastHeard });
        if (kind === "dead") this.apply(effect, "dead");
        else this.options.onDoubt(how);
      }
    }
  }

  private apply(effect: Extract<DetectorEffect, { how: unknown }>, state: "alive" | "dead"): void {
    const { peer, incarnation } = effect;
    // In the order in which it was learnt: whoever comes back was gone first.
    if (state === "alive") this.followDeaths();
    recordDetection(this.options.registry, effect, this.options.clock.now());
    if (state === "alive") return this.announce([{ peer, incarnation, state }]);
    if (this.gathered.length === 0) this.gatherTimes = Math.max(1, this.view.live.length / GATHER_AGENTS);
    this.gathered.push({ peer, incarnation, state });
    this.gatherOn();
  }

  /** Waits (on) for what else there is to hear. */
  private gatherOn(): void {
    const times = this.gatherTimes ** GATHER_EXPONENT;
    this.gathering.sign(GATHER_MS * times, GATHER_MAX_MS * times);
  }

  private followDeaths(): void {
    this.gathering.cancel();
    const deaths = this.gathered;
    if (deaths.length === 0) return;
    this.gathered = [];
    this.announce(deaths);
  }

  private announce(changes: readonly Change[]): void {
    this.options.recorder.event({ ev: "view.changed", view: this.view.hash, live: [...this.view.liveIds] });
    for (const { peer, state } of changes) {
      if (state === "alive") continue;
      for (const watch of this.deathWatches.get(peer) ?? []) watch.abort(new Error(`${peer} was declared dead`));
      this.deathWatches.delete(peer);
    }
    for (const listener of this.listeners) listener(this.view, changes);
    const waiters = this.changeWaiters;
    this.changeWaiters = new Set();
    for (const waiter of waiters) waiter();
  }

  private async probe(peer: AgentId): Promise<void> {
    const sentAt = this.options.clock.now();
    this.options.recorder.counters.heartbeats += 1;
    try {
      const answer = await this.options.probe(peer, this.view.isLive(peer));
      if (answer === "refused") this.feed({ kind: "unanswered", peer, refused: true, sentAt });
      else this.feed({ kind: "answered", peer, incarnation: answer.incarnation, sentAt });
    } catch (error) {
      this.feed({ kind: "unanswered", peer, refused: (error as { code?: unknown }).code === "refused", sentAt });
    }
  }
}
