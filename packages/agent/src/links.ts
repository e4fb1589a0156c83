import {
  type AgentDescription,
  type AgentId,
  type Clock,
  type CommBackend,
  type Prng,
  type RunEventOf,
  type Traffic,
  type TrafficCause,
  toCommError,
} from "@failstorm/core";
import { createBackoff, type MembershipView } from "@failstorm/network";
import type { Recorder } from "./recorder.ts";

type Reason = RunEventOf<"link.up">["reason"];

interface LinksOptions {
  readonly self: AgentId;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly recorder: Recorder;
  readonly backend: CommBackend;
  readonly connectTimeoutMs: number;
  readonly timeScale: number;
  readonly rejoining: boolean;
  /** My neighbours in the (repaired) topology over these live agents. */
  readonly neighboursIn: (view: MembershipView) => readonly AgentId[];
  /** Who takes over a dead agent's shard and tool in this view, with the capability that shows it. */
  readonly replacementsOf: (
    dead: AgentId,
    view: MembershipView,
  ) => readonly { readonly agentId: AgentId; readonly capability: string }[];
  /** What a handshake told of the peer. */
  readonly onDescription: (description: AgentDescription) => void;
}

/** Why a peer is dialled. `key` names a failover handshake, whose peer must describe itself with `capability`. */
interface Intent {
  readonly reason: Reason;
  readonly lost: AgentId | null;
  readonly view: MembershipView;
  readonly key?: string;
  readonly capability?: string;
  readonly signal?: AbortSignal;
}

const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 2_000;
/** A replacement that has not noticed the death yet does not describe itself as one; ask again soon. */
const REPLACEMENT_RETRY_MAX_MS = 500;

/**
 * The links of this agent: protocol-native handshakes with its neighbours when the network forms, and after a death with the
 * replacements of the dead, with new neighbours of the repaired topology, and with the dead agent's next incarnation, which is
 * dialled with seeded back-off and jitter until it answers.
 */
export class Links {
  /** Peer → incarnation of the last completed handshake, while the link stands. */
  private readonly up = new Map<AgentId, number>();
  private readonly dialling = new Map<string, AbortController>();
  private neighbours: ReadonlySet<AgentId> = new Set();
  /** Linked peers declared dead, with the incarnation that died. */
  private readonly lost = new Map<AgentId, number>();
  /** Failover handshakes done. */
  private readonly replaced = new Set<string>();
  private readonly options: LinksOptions;

  constructor(options: LinksOptions) {
    this.options = options;
  }

  /** First handshakes with all neighbours, each tried until it succeeds or `signal` aborts. */
  async setUp(view: MembershipView, signal: AbortSignal): Promise<void> {
    this.neighbours = new Set(this.options.neighboursIn(view));
    const reason: Reason = this.options.rejoining ? "rejoin" : "setup";
    await Promise.all(this.options.neighboursIn(view).map((peer) => this.dial(peer, { reason, lost: null, view, signal })));
  }

  /** Follows a change of view. */
  follow(
    view: MembershipView,
    change: { readonly peer: AgentId; readonly incarnation: number; readonly state: "alive" | "dead" },
  ): void {
    const neighbours = this.options.neighboursIn(view);
    this.neighbours = new Set(neighbours);
    if (change.state === "dead") this.lose(change.peer, change.incarnation, view);
    else this.regain(change.peer, change.incarnation, view);
    for (const known of this.up.keys()) if (!this.neighbours.has(known)) this.drop(known);
    this.followReplacements(view);
    for (const neighbour of neighbours)
      if (!this.up.has(neighbour) && !this.dialling.has(neighbour))
        void this.dial(neighbour, { reason: "repair", lost: null, view });
  }

  stop(): void {
    for (const dial of this.dialling.values()) dial.abort();
  }

  private lose(peer: AgentId, incarnation: number, view: MembershipView): void {
    if (!this.up.delete(peer)) return;
    this.lost.set(peer, incarnation);
    this.options.recorder.event({ ev: "link.down", peer, peerInc: incarnation, reason: "declared dead" });
    void this.dial(peer, { reason: "incarnation", lost: peer, view });
  }

  private regain(peer: AgentId, incarnation: number, view: MembershipView): void {
    const again = this.lost.has(peer);
    if (this.neighbours.has(peer) && this.up.get(peer) !== incarnation)
      void this.dial(peer, { reason: again ? "incarnation" : "repair", lost: again ? peer : null, view });
    else this.dialling.get(peer)?.abort();
  }

  /** Failover handshakes: one with each agent that has taken something over from a dead neighbour. */
  private followReplacements(view: MembershipView): void {
    const wanted = new Map<string, { agentId: AgentId; intent: Intent }>();
    for (const [lost, incarnation] of this.lost) {
      if (view.isLive(lost)) continue;
      for (const { agentId, capability } of this.options.replacementsOf(lost, view)) {
        const key = `${lost}#${incarnation}>${agentId}:${capability}`;
        if (agentId !== this.options.self)
          wanted.set(key, { agentId, intent: { reason: "replacement", lost, view, capability, key } });
      }
    }
    for (const [key, dial] of this.dialling) if (key.includes(">") && !wanted.has(key)) dial.abort();
    for (const [key, { agentId, intent }] of wanted)
      if (!this.replaced.has(key) && !this.dialling.has(key)) void this.dial(agentId, intent);
  }

  /** A link that the present topology does not have: a stand-in between neighbours of one who came back. */
  private drop(peer: AgentId): void {
    const incarnation = this.up.get(peer);
    this.up.delete(peer);
    this.options.recorder.event({ ev: "link.down", peer, peerInc: incarnation ?? 0, reason: "not in the topology" });
  }

  /** Dials until the handshake completes; a newer dial of the same key replaces the older. */
  private async dial(peer: AgentId, intent: Intent): Promise<void> {
    const { clock, prng, timeScale, self } = this.options;
    const key = intent.key ?? peer;
    this.dialling.get(key)?.abort();
    const controller = new AbortController();
    this.dialling.set(key, controller);
    const signal = intent.signal ? AbortSignal.any([controller.signal, intent.signal]) : controller.signal;
    const maxMs = intent.reason === "replacement" ? REPLACEMENT_RETRY_MAX_MS : RETRY_MAX_MS;
    const backoff = createBackoff({
      prng: prng.fork(`dial/${self}/${key}/${intent.view.hash}`),
      baseMs: RETRY_BASE_MS * timeScale,
      maxMs: maxMs * timeScale,
      factor: 3,
    });
    for (let attempt = 1; !signal.aborted; attempt++) {
      if (await this.handshake(peer, intent, attempt, signal)) break;
      await clock.sleep(backoff.next(), signal).catch(() => {});
    }
    if (this.dialling.get(key) === controller) this.dialling.delete(key);
  }

  /** One handshake; true when there is nothing left to dial for. */
  private async handshake(peer: AgentId, intent: Intent, attempt: number, outer: AbortSignal): Promise<boolean> {
    const { backend, recorder, self, connectTimeoutMs, clock } = this.options;
    const cause: TrafficCause = intent.reason === "setup" ? "setup" : "handshake";
    const signal = AbortSignal.any([outer, AbortSignal.timeout(connectTimeoutMs)]);
    const startedAt = clock.now();
    const record = (traffic: Traffic | undefined, error: string | null): void => {
      const { bytesSent = 0, bytesReceived = 0, roundTrips = 0, protocol } = traffic ?? {};
      const ms = clock.now() - startedAt;
      recorder.message({
        kind: "handshake",
        cause,
        to: peer,
        task: null,
        step: null,
        attempt,
        ms,
        bytesSent,
        bytesReceived,
        roundTrips,
        error,
        protocol,
      });
    };
    try {
      const { peer: description, traffic } = await backend.connect(self, peer, { signal, cause, kind: "handshake" });
      record(traffic, null);
      // A dial that the view has overtaken makes no link.
      if (outer.aborted || (intent.key === undefined && !this.neighbours.has(peer) && !this.lost.has(peer))) return true;
      const shows = intent.capability === undefined || description.capabilities.includes(intent.capability);
      if (shows) this.established(peer, description, traffic, intent);
      return shows;
    } catch (error) {
      const failure = toCommError(error, peer, signal);
      record((error as { traffic?: Traffic }).traffic, failure.code);
      if (!outer.aborted) recorder.event({ ev: "link.failed", peer, reason: intent.reason, code: failure.code, attempt });
      return false;
    }
  }

  private established(peer: AgentId, description: AgentDescription, traffic: Traffic, intent: Intent): void {
    const { recorder, clock, onDescription } = this.options;
    const sameAsLost = intent.reason === "incarnation" && this.lost.get(peer) === description.incarnation;
    if (intent.key === undefined) {
      this.up.set(peer, description.incarnation);
      this.lost.delete(peer);
    } else this.replaced.add(intent.key);
    recorder.event({
      ev: "link.up",
      peer,
      peerInc: description.incarnation,
      reason: sameAsLost ? "healed" : intent.reason,
      lost: intent.lost,
      startedAt: traffic.firstByteAt ?? clock.now() - traffic.ms,
      ms: Math.round(traffic.ms * 1000) / 1000,
      bytesSent: traffic.bytesSent,
      bytesReceived: traffic.bytesReceived,
      roundTrips: traffic.roundTrips,
    });
    onDescription(description);
  }
}
