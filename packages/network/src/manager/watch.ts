import type { AgentId, Cancel, Clock, DetectorKind, Prng } from "@failstorm/core";
import { createFailureDetector } from "../detector/create.ts";
import { isNews, ringFrom } from "../detector/gossip.ts";
import { GossipLanes } from "../detector/gossipLanes.ts";
import type { DetectorEffect, DetectorInput, FailureDetector, GossipItem } from "../detector/types.ts";
import type { NetworkLogger } from "../logger.ts";
import type { Sender } from "../messaging/receiver.ts";
import { type AgentRegistry, recordDetection } from "../registry.ts";
import { maySendFor, type Policy } from "../transport/authorization.ts";

export interface WatchOptions {
  readonly self: { readonly agentId: AgentId; readonly incarnation: number };
  readonly clock: Clock;
  readonly prng: Prng;
  readonly registry: AgentRegistry;
  readonly kind: DetectorKind;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly adaptive: boolean;
  readonly transportSignals: boolean;
  /** Resolves with the incarnation that answered; rejects with an error whose code is `refused` when nobody listens there. */
  readonly probe: (peer: AgentId) => Promise<number>;
  /** Rejects when it did not arrive. */
  readonly tell: (peer: AgentId, items: readonly GossipItem[]) => Promise<void>;
  readonly onDead: (peer: AgentId, incarnation: number) => void;
  /** It lives, after it was believed dead or was not known. */
  readonly onAlive: (peer: AgentId, incarnation: number) => void;
}

/** Without the news that the sender may not bring: who may not announce an agent may not declare it dead either. */
export function permittedGossip(
  items: readonly GossipItem[],
  sender: Sender,
  { policy, log }: { readonly policy: Policy; readonly log: NetworkLogger },
): readonly GossipItem[] {
  const permitted = items.filter((item) => !isNews(item) || maySendFor(policy, sender, "Registration", item.peer));
  if (permitted.length < items.length) log("warning", "gossip was refused", { peer: sender.agentId, role: sender.role });
  return permitted;
}

/** Up to so many agents everybody watches everybody; above, each watches so many that follow it on the ring of ids. */
const MAX_ALL = 32;
const SUCCESSORS = 3;

/** Drives the failure detector, which has no clock and no I/O of its own, and writes what it declares into the registry. */
export class Watch {
  private readonly options: WatchOptions;
  private detector: FailureDetector | null = null;
  private wake: Cancel | null = null;
  private readonly known = new Set<AgentId>();
  private monitored: readonly AgentId[] = [];
  private isMonitorQueued = false;
  private readonly lanes: GossipLanes;

  constructor(options: WatchOptions) {
    this.options = options;
    this.lanes = new GossipLanes(options.tell, (to, entries) => this.feed({ kind: "undelivered", to, entries }));
  }

  start(): void {
    const { self, kind, intervalMs, timeoutMs, adaptive, transportSignals, clock, prng, registry } = this.options;
    const peers = registry.nodes().filter(({ agentId }) => agentId !== self.agentId);
    for (const { agentId } of peers) this.known.add(agentId);
    this.monitored = this.chooseMonitored();
    this.detector = createFailureDetector(kind, {
      self: self.agentId,
      incarnation: self.incarnation,
      peers: peers.map(({ agentId, incarnation }) => ({ agentId, incarnation })),
      monitored: this.monitored,
      intervalMs,
      timeoutMs,
      adaptive,
      transportSignals,
      // Views of who there is may differ while agents come and go, so that "all watch all" is never sure.
      gossip: true,
      fullyLinked: true,
      phase: (peer) => prng.fork(`probe/${self.agentId}/${self.incarnation}/${peer}`).next() * intervalMs,
      startAt: clock.now(),
    });
    this.arm();
  }

  stop(): void {
    this.lanes.stop();
    this.wake?.();
    this.wake = null;
    this.detector = null;
  }

  /** The registry has changed: somebody came or went. Many changes of one turn are one change of what is monitored. */
  membersChanged(): void {
    if (this.isMonitorQueued || this.detector === null) return;
    this.isMonitorQueued = true;
    queueMicrotask(() => {
      this.isMonitorQueued = false;
      this.monitor();
    });
  }

  /** It left, or was taken out. Should it return, it is watched like somebody new. */
  forget(peer: AgentId): void {
    this.known.delete(peer);
    // Else one that comes back in the same turn would be taken for one that is monitored already.
    this.monitored = this.monitored.filter((id) => id !== peer);
    this.detector?.forget(peer);
  }

  /** Whether this agent itself asks the peer if it lives. */
  watches(peer: AgentId): boolean {
    return this.monitored.includes(peer);
  }

  /** A sign of life of this very process: a link to it came up, or it sent a message. Of who is not a member (yet, or any more), nothing is kept. */
  heard(peer: AgentId, incarnation: number): void {
    if (!this.isMember(peer)) return;
    this.known.add(peer);
    this.feed({ kind: "heard", peer, incarnation });
  }

  /** The last link to this process was closed, and not by us. */
  closed(peer: AgentId, incarnation: number): void {
    this.feed({ kind: "closed", peer, incarnation });
  }

  /** News of who left may still be under way, and of who joined they may come before its record: that one is asked itself. */
  gossip(from: AgentId, entries: readonly GossipItem[]): void {
    this.feed({ kind: "gossip", from, entries: entries.filter(({ peer }) => this.isMember(peer)) });
  }

  private isMember(peer: AgentId): boolean {
    return this.options.registry.node(peer) !== null;
  }

  private monitor(): void {
    if (this.detector === null) return;
    const { registry, clock, self } = this.options;
    for (const { agentId, incarnation } of registry.nodes()) {
      if (agentId !== self.agentId && !this.known.has(agentId)) this.heard(agentId, incarnation);
    }
    const monitored = this.chooseMonitored();
    if (monitored.length === this.monitored.length && monitored.every((id, index) => id === this.monitored[index])) return;
    this.monitored = monitored;
    this.detector.monitor(monitored, clock.now());
    this.arm();
  }

  private chooseMonitored(): readonly AgentId[] {
    const { registry, self } = this.options;
    const others = registry.nodes().filter(({ agentId }) => agentId !== self.agentId);
    const ring = ringFrom(
      self.agentId,
      others.map(({ agentId }) => agentId),
    );
    if (ring.length < MAX_ALL) return ring;
    // The dead that are passed on the way, too: that is how one that came back is found.
    const isLive = new Set(registry.view().liveIds);
    let live = 0;
    const end = ring.findIndex((id) => {
      if (isLive.has(id)) live += 1;
      return live === SUCCESSORS;
    });
    return end === -1 ? ring : ring.slice(0, end + 1);
  }

  private feed(input: DetectorInput): void {
    if (this.detector === null) return;
    this.carryOut(this.detector.receive(input, this.options.clock.now()));
    this.arm();
  }

  private arm(): void {
    this.wake?.();
    const at = this.detector?.nextWakeAt() ?? null;
    if (at === null) return;
    const { clock } = this.options;
    this.wake = clock.after(Math.ceil(at - clock.now()), () => {
      if (this.detector === null) return;
      this.carryOut(this.detector.tick(clock.now()));
      this.arm();
    });
  }

  private carryOut(effects: readonly DetectorEffect[]): void {
    for (const effect of effects) this.carryOutOne(effect);
  }

  private carryOutOne(effect: DetectorEffect): void {
    const { registry, clock, onDead } = this.options;
    switch (effect.kind) {
      case "probe":
      case "identify":
        void this.probe(effect.peer);
        return;
      case "gossip":
        for (const peer of effect.to) this.lanes.carry(peer, effect.entries);
        return;
      case "suspect":
      case "standby":
        return;
      case "alive":
        // Who was only suspected never stopped being what it was (in maintenance, for instance).
        if (effect.was === "suspect") return;
        recordDetection(registry, effect, clock.now());
        this.options.onAlive(effect.peer, effect.incarnation);
        return;
      case "dead":
        recordDetection(registry, effect, clock.now());
        onDead(effect.peer, effect.incarnation);
        return;
      default:
        effect satisfies never;
    }
  }

  private async probe(peer: AgentId): Promise<void> {
    const { clock, registry, probe } = this.options;
    const sentAt = clock.now();
    try {
      const incarnation = await probe(peer);
      if (!this.isMember(peer)) return;
      registry.updateHeartbeat(peer, incarnation, clock.now());
      this.feed({ kind: "answered", peer, incarnation, sentAt });
    } catch (error) {
      this.feed({ kind: "unanswered", peer, refused: (error as { code?: unknown }).code === "refused", sentAt });
    }
  }
}
