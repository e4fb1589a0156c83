import {
  type AgentDescription,
  type AgentId,
  type Clock,
  type CommBackend,
  type ConnectResult,
  type Prng,
  type RunEventOf,
  type Traffic,
  type TrafficCause,
  toCommError,
} from "@failstorm/core";
import { createBackoff, type MembershipView } from "@failstorm/network";
import { HandshakeGate } from "./handshakeGate.ts";
import type { Change } from "./membership.ts";
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

/** Why a peer is dialled: for a link with it, or, where a capability is named, to see that it has taken that over from `lost`. */
interface Goal {
  readonly reason: Reason;
  readonly lost: AgentId | null;
  readonly capability: string | null;
}

/** All handshakes with one peer until every goal is reached; an answer reaches whatever it shows. */
interface Dial {
  readonly peer: AgentId;
  readonly goals: Map<string, Goal>;
  readonly controller: AbortController;
  readonly signal: AbortSignal;
  /** A handshake is under way, or about to be: its answer will serve goals that are added meanwhile, too. */
  busy: boolean;
}

const LINK = "link";
const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 2_000;
/** A replacement that has not noticed the death yet does not describe itself as one; ask again soon. */
const REPLACEMENT_RETRY_MAX_MS = 500;
const HANDSHAKES_AT_ONCE = 8;
/**
 * After a change of view all survivors turn to the same few replacements, while some still find out. All but the first handshake of each
 * survivor are spread over a time that grows with their number, so that a replacement is greeted about once in so many ms, up to this limit.
 */
const SPREAD_PER_AGENT_MS = 6;
const SPREAD_MAX_MS = 50;

/**
 * The links of this agent: protocol-native handshakes with its neighbours when the network forms, and after deaths with the
 * replacements of the dead, with new neighbours of the repaired topology, and with the dead agents' next incarnations, which are
 * dialled with seeded back-off and jitter until they answer. No peer is dialled twice at the same time, whatever for.
 */
export class Links {
  /** Peer → incarnation of the last completed handshake, while the link stands. */
  private readonly up = new Map<AgentId, number>();
  private readonly dials = new Map<AgentId, Dial>();
  private readonly gate = new HandshakeGate(HANDSHAKES_AT_ONCE);
  private neighbours: ReadonlySet<AgentId> = new Set();
  private view: MembershipView | null = null;
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
    const neighbours = this.options.neighboursIn(view);
    this.neighbours = new Set(neighbours);
    this.view = view;
    const goal: Goal = { reason: this.options.rejoining ? "rejoin" : "setup", lost: null, capability: null };
    await Promise.all(neighbours.map((peer) => this.dial(this.newDial(peer, new Map([[LINK, goal]]), signal), view, 0)));
  }

  /** Follows a change of view: all that was lost and all who came back, at once. */
  follow(view: MembershipView, changes: readonly Change[]): void {
    const neighbours = this.options.neighboursIn(view);
    this.neighbours = new Set(neighbours);
    this.view = view;
    const wanted = new Map<AgentId, Map<string, Goal>>();
    const want = (peer: AgentId, key: string, goal: Goal): void => {
      const goals = wanted.get(peer) ?? new Map<string, Goal>();
      wanted.set(peer, goals.set(key, goal));
    };
    for (const { peer, incarnation, state } of changes) {
      const goal = state === "dead" ? this.lose(peer, incarnation) : this.regain(peer, incarnation);
      if (goal !== null) want(peer, LINK, goal);
    }
    for (const known of this.up.keys()) if (!this.neighbours.has(known)) this.drop(known);
    this.followReplacements(view, want);
    for (const peer of neighbours)
      if (!this.up.has(peer) && this.dials.get(peer)?.goals.has(LINK) !== true && wanted.get(peer)?.has(LINK) !== true)
        want(peer, LINK, { reason: "repair", lost: null, capability: null });
    this.begin(wanted, view, new Set(changes.filter(({ state }) => state === "alive").map(({ peer }) => peer)));
  }

  stop(): void {
    for (const dial of this.dials.values()) dial.controller.abort();
  }

  private lose(peer: AgentId, incarnation: number): Goal | null {
    if (!this.up.delete(peer)) return null;
    this.lost.set(peer, incarnation);
    this.options.recorder.event({ ev: "link.down", peer, peerInc: incarnation, reason: "declared dead" });
    return { reason: "incarnation", lost: peer, capability: null };
  }

  private regain(peer: AgentId, incarnation: number): Goal | null {
    if (this.neighbours.has(peer) && this.up.get(peer) !== incarnation) {
      const again = this.lost.has(peer);
      return { reason: again ? "incarnation" : "repair", lost: again ? peer : null, capability: null };
    }
    const dial = this.dials.get(peer);
    if (dial !== undefined) this.forgo(dial, LINK);
    return null;
  }

  /** Failover handshakes: with each agent that has taken something over from a dead neighbour. */
  private followReplacements(view: MembershipView, want: (peer: AgentId, key: string, goal: Goal) => void): void {
    const wanted = new Set<string>();
    for (const [lost, incarnation] of this.lost) {
      if (view.isLive(lost)) continue;
      for (const { agentId, capability } of this.options.replacementsOf(lost, view)) {
        const key = `${lost}#${incarnation}>${agentId}:${capability}`;
        if (agentId === this.options.self || this.replaced.has(key)) continue;
        wanted.add(key);
        if (this.dials.get(agentId)?.goals.has(key) !== true) want(agentId, key, { reason: "replacement", lost, capability });
      }
    }
    for (const dial of this.dials.values())
      for (const [key, { capability }] of dial.goals) if (capability !== null && !wanted.has(key)) this.forgo(dial, key);
  }

  private forgo(dial: Dial, key: string): void {
    dial.goals.delete(key);
    if (dial.goals.size === 0) dial.controller.abort();
  }

  /** A link that the present topology does not have: a stand-in between neighbours of one who came back. */
  private drop(peer: AgentId): void {
    const incarnation = this.up.get(peer);
    this.up.delete(peer);
    this.options.recorder.event({ ev: "link.down", peer, peerInc: incarnation ?? 0, reason: "not in the topology" });
  }

  /**
   * Dials for what is wanted anew. First, and at once, somebody whose mere answer is a link; then the replacements, in a seeded order that
   * differs from agent to agent; the dead last.
   */
  private begin(
    wanted: ReadonlyMap<AgentId, ReadonlyMap<string, Goal>>,
    view: MembershipView,
    returned: ReadonlySet<AgentId>,
  ): void {
    const { prng, self, timeScale } = this.options;
    const fork = prng.fork(`spread/${self}/${view.hash}`);
    const spreadMs = Math.min(SPREAD_MAX_MS, SPREAD_PER_AGENT_MS * view.live.length) * timeScale;
    const rank = ([peer, goals]: readonly [AgentId, ReadonlyMap<string, Goal>]): number =>
      view.isLive(peer) ? (goals.has(LINK) ? 0 : 1) : 2;
    const order = fork.shuffle([...wanted]).toSorted((a, b) => rank(a) - rank(b));
    let delayMs = 0;
    for (const [peer, goals] of order) {
      const present = this.dials.get(peer);
      const all = new Map([...(present?.goals ?? []), ...goals]);
      // What is under way with one who has come back may still be with the process that died.
      if (present?.busy === true && !returned.has(peer)) for (const [key, goal] of goals) present.goals.set(key, goal);
      else {
        void this.dial(this.newDial(peer, all), view, delayMs);
        delayMs = fork.next() * spreadMs;
      }
    }
  }

  /** Takes the place of a dial with the same peer. */
  private newDial(peer: AgentId, goals: Map<string, Goal>, outer?: AbortSignal): Dial {
    this.dials.get(peer)?.controller.abort();
    const controller = new AbortController();
    const signal = outer === undefined ? controller.signal : AbortSignal.any([controller.signal, outer]);
    const dial: Dial = { peer, goals, controller, signal, busy: false };
    this.dials.set(peer, dial);
    return dial;
  }

  /** Dials until all goals are reached. */
  private async dial(dial: Dial, view: MembershipView, delayMs: number): Promise<void> {
    const { clock, prng, timeScale, self } = this.options;
    const { peer, goals, signal } = dial;
    const isFailover = [...goals.values()].some(({ capability }) => capability !== null);
    const backoff = createBackoff({
      prng: prng.fork(`dial/${self}/${peer}/${view.hash}`),
      baseMs: RETRY_BASE_MS * timeScale,
      maxMs: (isFailover ? REPLACEMENT_RETRY_MAX_MS : RETRY_MAX_MS) * timeScale,
      factor: 3,
    });
    const pause = (ms: number): Promise<void> => clock.sleep(ms, signal).catch(() => {});
    if (delayMs > 0) await pause(delayMs);
    for (let attempt = 1; !signal.aborted; attempt++) {
      dial.busy = true;
      const leave = await this.gate.enter(this.view?.isLive(peer) === false ? "dead" : "live", signal);
      if (leave === null) break;
      await this.handshake(dial, attempt).finally(leave);
      dial.busy = false;
      if (goals.size === 0) break;
      await pause(backoff.next());
    }
    if (this.dials.get(peer) === dial) this.dials.delete(peer);
  }

  private async handshake({ peer, goals, signal: outer }: Dial, attempt: number): Promise<void> {
    const { backend, recorder, self, connectTimeoutMs, clock } = this.options;
    const [first] = goals.values();
    const cause: TrafficCause = [...goals.values()].every(({ reason }) => reason === "setup") ? "setup" : "handshake";
    const signal = AbortSignal.any([outer, AbortSignal.timeout(connectTimeoutMs)]);
    const startedAt = clock.now();
    const record = (traffic: Traffic | undefined, error: string | null): void => {
      const { bytesSent = 0, bytesReceived = 0, roundTrips = 0, protocol } = traffic ?? {};
      const ms = clock.now() - startedAt;
      const bytes = { bytesSent, bytesReceived, roundTrips };
      recorder.message({ kind: "handshake", cause, to: peer, task: null, step: null, attempt, ms, ...bytes, error, protocol });
    };
    try {
      const answer = await backend.connect(self, peer, { signal, cause, kind: "handshake" });
      record(answer.traffic, null);
      // What the view has overtaken makes no link.
      if (!outer.aborted) this.reach(peer, goals, answer);
    } catch (error) {
      const failure = toCommError(error, peer, signal);
      record((error as { traffic?: Traffic }).traffic, failure.code);
      const reason = first?.reason ?? "repair";
      if (!outer.aborted) recorder.event({ ev: "link.failed", peer, reason, code: failure.code, attempt });
    }
  }

  /** Whatever this answer shows is reached. What a handshake that is good for several cost and told stands in the first of its events. */
  private reach(peer: AgentId, goals: Map<string, Goal>, answer: ConnectResult): void {
    const { incarnation, capabilities } = answer.peer;
    const reached: Pick<Goal, "reason" | "lost">[] = [];
    for (const [key, { reason, lost, capability }] of goals) {
      if (capability !== null && !capabilities.includes(capability)) continue;
      goals.delete(key);
      if (capability !== null) this.replaced.add(key);
      else if (!this.neighbours.has(peer) && !this.lost.has(peer)) continue;
      else {
        const isSame = reason === "incarnation" && this.lost.get(peer) === incarnation;
        this.up.set(peer, incarnation);
        this.lost.delete(peer);
        reached.unshift({ reason: isSame ? "healed" : reason, lost });
        continue;
      }
      if (!reached.some((other) => other.reason === reason && other.lost === lost)) reached.push({ reason, lost });
    }
    const [first, ...others] = reached;
    if (first === undefined) return;
    this.recordUp(peer, first, answer);
    const nothing = { ...answer.traffic, bytesSent: 0, bytesReceived: 0, roundTrips: 0 };
    for (const goal of others) this.recordUp(peer, goal, { peer: answer.peer, traffic: nothing });
    this.options.onDescription(answer.peer);
  }

  private recordUp(peer: AgentId, goal: Pick<Goal, "reason" | "lost">, answer: ConnectResult): void {
    const { clock, recorder } = this.options;
    const { bytesSent, bytesReceived, roundTrips, firstByteAt } = answer.traffic;
    const startedAt = firstByteAt ?? clock.now() - answer.traffic.ms;
    const ms = Math.round(answer.traffic.ms * 1000) / 1000;
    recorder.event({
      ev: "link.up",
      peer,
      peerInc: answer.peer.incarnation,
      ...goal,
      startedAt,
      ms,
      bytesSent,
      bytesReceived,
      roundTrips,
      recovered: answer.recovered?.map(({ state }) => state),
    });
  }
}
