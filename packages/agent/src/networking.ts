import {
  type AgentDescription,
  type AgentId,
  type AgentSpec,
  type Clock,
  type CommBackend,
  type DirectRequest,
  type Prng,
  type Roster,
  type Sender,
  withTimeout,
} from "@failstorm/core";
import {
  createAgentRegistry,
  createFailureDetector,
  type HomeTools,
  isCloserSuccessor,
  isNews,
  type MembershipView,
  neighbours,
  nextHops,
  roundsLeftOut,
  shardOwner,
  toolAdoptions,
} from "@failstorm/network";
import type { OwnMeteredClient } from "@failstorm/protocols";
import type { ClosedPeers } from "./closedPeers.ts";
import { CompilerPause } from "./compilerPause.ts";
import { Links } from "./links.ts";
import { measured } from "./measured.ts";
import { Membership, type ViewListener } from "./membership.ts";
import { Messenger } from "./messenger.ts";
import type { Recorder } from "./recorder.ts";
import { createSignals } from "./signals.ts";
import { Standby } from "./standby.ts";
import { createTopology } from "./topology.ts";
import { Watch } from "./watch.ts";

export interface NetworkingOptions {
  readonly spec: AgentSpec;
  readonly roster: Roster;
  readonly self: Sender;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly recorder: Recorder;
  readonly client: OwnMeteredClient;
  readonly backend: CommBackend;
  readonly homeTools: HomeTools;
  readonly serve: (request: DirectRequest, from: Sender) => Promise<unknown>;
}

/** The agent's place in the network: links, detector, streams, messages, kept in step with one view of who lives. */
export interface Networking {
  readonly membership: Membership;
  readonly links: Links;
  readonly messenger: Messenger;
  readonly neighbours: () => readonly AgentId[];
  /** Holds the streams to those who will be monitored, before anybody watches; resolves when they stand, or have failed to. */
  hold(): Promise<void>;
  /** A peer holds a stream to this agent; what is returned is to be called when that is ended in order. */
  heldBy(peer: AgentId, incarnation: number): () => void;
  start(): void;
  stop(): void;
  onChange(listener: ViewListener): void;
  /** What this agent tells of the others. */
  members(): { peer: AgentId; incarnation: number; refutation: number; state: "alive" | "dead" }[];
}

function createRegistry({ roster, self, clock }: NetworkingOptions) {
  const registry = createAgentRegistry();
  for (const { agentId, incarnation, host, port, homeTool, shard } of roster.agents)
    registry.registerNode(
      {
        agentId,
        incarnation: agentId === self.agentId ? self.incarnation : incarnation,
        address: host,
        port,
        capabilities: [`tool:${homeTool}`, `shard:${shard}`],
      },
      clock.now(),
    );
  return registry;
}

/** Whose shard and tool goes where, with the capability that shows it in the new holder's description. */
function replacements(homeTools: HomeTools, roster: Roster) {
  return (dead: AgentId, view: MembershipView): { agentId: AgentId; capability: string }[] => {
    const entry = roster.agents.find(({ agentId }) => agentId === dead);
    if (entry === undefined) return [];
    const owner = shardOwner(entry.shard, view);
    const adopter = toolAdoptions(entry.homeTool, view, homeTools).find(({ from }) => from === dead)?.by;
    return [
      ...(owner === null ? [] : [{ agentId: owner, capability: `shard:${entry.shard}` }]),
      ...(adopter === undefined ? [] : [{ agentId: adopter, capability: `tool:${entry.homeTool}` }]),
    ];
  };
}

/**
 * When in an interval a peer is probed. Ring successors are few, and all probed at once: one wake-up an interval instead of one each, and those next
 * to each other, found dead together, are told of together. A victim's monitors are different agents, with different moments.
 */
const probePhases =
  ({ spec, self, prng }: NetworkingOptions, topology: ReturnType<typeof createTopology>) =>
  (peer: AgentId): number => {
    const whom = topology.isSuccessive && peer !== self.agentId ? "" : `/${peer}`;
    return prng.fork(`probe/${self.agentId}/${self.incarnation}${whom}`).next() * spec.config.network.heartbeatIntervalMs;
  };

/**
 * So many timeouts of the detector a message with news is waited for. Who is dead, if it is sent to directly, is found out sooner, which ends the
 * waiting; who is only late gets it none the sooner for being sent it again, and all that is sent in vain makes all later.
 */
const GOSSIP_TIMEOUTS = 3;

interface MembershipListeners {
  readonly onDoubt: Membership["options"]["onDoubt"];
  readonly onLoss: () => void;
  readonly onPredicted: (peer: AgentId) => void;
}

function createMembership(
  options: NetworkingOptions,
  registry: ReturnType<typeof createRegistry>,
  topology: ReturnType<typeof createTopology>,
  messenger: () => Messenger,
  { closed, ...listeners }: MembershipListeners & { readonly closed: ClosedPeers },
): Membership {
  const { spec, self, clock, recorder, backend } = options;
  const { heartbeatIntervalMs, heartbeatTimeoutMs, transportSignals, detector, connectionTimeoutMs } = spec.config.network;
  const register = (from: Sender): void => backend.registerEndpoint(from.agentId, from);
  const identify = async (peer: AgentId): Promise<void> => {
    const signal = AbortSignal.timeout(connectionTimeoutMs);
    // Whoever cannot be identified now is probed again by the detector.
    const answer = await backend.connect(self.agentId, peer, { signal, cause: "handshake" }).catch(() => null);
    if (answer !== null) membership.feed({ kind: "heard", peer, incarnation: answer.peer.incarnation });
  };
  const ask = (peer: AgentId, live: boolean): Promise<{ incarnation: number | null }> => {
    const how = { kind: "probe", cause: live ? "heartbeat" : "excess_heartbeat" } as const;
    return withTimeout(clock, heartbeatTimeoutMs, (signal) =>
      measured(options, { to: peer, ...how }, () => backend.healthCheck(peer, { signal, ...how })),
    );
  };
  const membership = new Membership({
    self: self.agentId,
    clock,
    recorder,
    registry,
    register,
    ...listeners,
    identify: (peer) => void identify(peer),
    createDetector: () => {
      const view = registry.view();
      const monitored = topology.monitored(view);
      return createFailureDetector(detector, {
        self: self.agentId,
        incarnation: self.incarnation,
        peers: view.live.filter(({ id }) => id !== self.agentId).map(({ id, incarnation }) => ({ agentId: id, incarnation })),
        monitored,
        intervalMs: heartbeatIntervalMs,
        timeoutMs: heartbeatTimeoutMs,
        transportSignals,
        adaptive: spec.config.network.adaptive ?? false,
        predictive: spec.config.network.predictive ?? false,
        // Where everybody probes everybody, each finds out by itself.
        gossip: detector === "swim" || monitored.length < topology.ids.length - 1,
        fullyLinked: spec.config.network.topology === "mesh" || topology.isOverlay,
        fixedMembers: true,
        allSignalled: topology.isAllSignalled,
        linked: () => neighbours(topology.linksIn(registry.view()), self.agentId),
        turns: () => topology.turns(registry.view()),
        phase: probePhases(options, topology),
        startAt: clock.now(),
      });
    },
    probe: async (peer, live) => ((await closed.isGone(peer)) ? "refused" : ask(peer, live)),
    gossip: (agentId, entries) =>
      withTimeout(clock, heartbeatTimeoutMs * GOSSIP_TIMEOUTS, (signal) =>
        messenger().ask(
          { agentId, request: { op: "gossip", entries: [...entries] } },
          // Indirect probes are asked for when a peer's life is in doubt. Where others than the links are monitored, probes keep to no link, and news
          // do neither.
          { kind: "gossip", cause: entries.every(isNews) ? "ledger" : "excess_heartbeat", signal, direct: topology.isOverlay },
        ),
      ),
  });
  return membership;
}

/** Chord's stabilise: a new neighbour may know somebody alive who sits between us; then that one is the neighbour to dial. */
function stabiliser({ spec, self, backend }: NetworkingOptions, membership: Membership, messenger: Messenger) {
  return async (peer: AgentId): Promise<void> => {
    const signal = AbortSignal.timeout(spec.config.network.connectionTimeoutMs);
    const request = { op: "hello", rejoin: false } as const;
    const answer = await messenger
      // Straight to whom the handshake was with: the link may not be in this view yet.
      .ask({ agentId: peer, request }, { kind: "hello", cause: "handshake", signal, direct: true })
      // A neighbour that cannot answer will be dialled again when the view changes.
      .catch(() => null);
    const closer = (answer as { closer?: unknown } | null)?.closer;
    if (typeof closer !== "string" || membership.view.isLive(closer) || !isCloserSuccessor(self.agentId, closer, peer)) return;
    const met = await backend.connect(self.agentId, closer, { signal, cause: "handshake" }).catch(() => null);
    if (met !== null) membership.feed({ kind: "heard", peer: closer, incarnation: met.peer.incarnation });
  };
}

function createMessenger(
  options: NetworkingOptions,
  topology: ReturnType<typeof createTopology>,
  membership: Membership,
): Messenger {
  const { spec, self, backend, recorder, clock } = options;
  return new Messenger({
    self: () => self,
    backend,
    recorder,
    ttl: spec.config.tasks.ttl,
    serve: options.serve,
    now: () => clock.now(),
    watchDeath: (peer) => membership.watchDeath(peer),
    routing: {
      hops: (targets, path) => nextHops(topology.linksIn(membership.view), self.agentId, targets, new Set(path)).hops,
    },
  });
}

function membersOf(registry: ReturnType<typeof createRegistry>, membership: Membership): ReturnType<Networking["members"]> {
  const refutations = new Map(membership.peers.map(({ peer, refutation }) => [peer, refutation]));
  return registry.nodes().map(({ agentId, incarnation, status }) => ({
    peer: agentId,
    incarnation,
    refutation: refutations.get(agentId) ?? 0,
    state: status === "Active" ? "alive" : "dead",
  }));
}

export function createNetworking(options: NetworkingOptions): Networking {
  const { spec, roster, self, backend, homeTools } = options;
  const topology = createTopology(options);
  const registry = createRegistry(options);
  for (const { agentId, host, port } of roster.agents) backend.registerEndpoint(agentId, { host, port });
  const { heartbeatIntervalMs, heartbeatTimeoutMs } = spec.config.network;
  const stormMs = heartbeatIntervalMs * roundsLeftOut(roster.agents.length, heartbeatIntervalMs, heartbeatTimeoutMs);
  const compilerPause = new CompilerPause(options.clock, roster.agents.length);
  const { closed, closings, streams } = createSignals(options, registry, topology, {
    onSign: () => compilerPause.extend(),
    feed: (input) => membership.feed(input),
    isAlive: (peer, incarnation) => membership.view.isLive(peer) && membership.view.incarnationOf(peer) === incarnation,
  });
  let messenger: Messenger;
  const membership: Membership = createMembership(options, registry, topology, () => messenger, {
    closed,
    // Where all are told of deaths nobody else is watched in the stead of one whose stream was closed while it is being asked, unless that takes too long.
    onDoubt: (how) => watch.updateWithin(how === "transport" && topology.isAllSignalled ? stormMs : 0),
    onLoss: () => compilerPause.extend(),
    onPredicted: (peer) => standby.prepare(peer, membership.view),
  });
  messenger = createMessenger(options, topology, membership);
  const stabiliseWith = stabiliser(options, membership, messenger);
  const watch = new Watch({ clock: options.clock, membership, topology, streams });
  const neighboursIn = (view: MembershipView): readonly AgentId[] => neighbours(topology.linksIn(view), self.agentId);
  const dialling = {
    ...options,
    self: self.agentId,
    connectTimeoutMs: spec.config.network.connectionTimeoutMs,
    neighboursIn,
    replacementsOf: replacements(homeTools, roster),
  };
  const standby = new Standby(dialling);
  const links = new Links({
    ...dialling,
    timeScale: spec.config.scenario.timeScale,
    rejoining: self.incarnation > 1,
    onDescription: ({ agentId, incarnation, capabilities }: AgentDescription) => {
      membership.feed({ kind: "heard", peer: agentId, incarnation });
      registry.updateNode(agentId, { incarnation, capabilities });
      if (spec.config.network.topology === "ring") void stabiliseWith(agentId);
    },
  });
  membership.onChange((view, changes) => {
    watch.update();
    links.follow(view, changes);
  });
  return {
    membership,
    links,
    messenger,
    neighbours: () => neighboursIn(membership.view),
    hold: () => watch.hold(),
    // Anybody can claim to be somebody.
    heldBy: (peer, incarnation) => (registry.node(peer) === null ? () => {} : closings.heldBy(peer, incarnation)),
    start: () => {
      membership.start();
      watch.update();
    },
    stop: () => {
      watch.stop();
      membership.stop();
      links.stop();
      standby.stop();
      streams.closeAll();
    },
    onChange: (listener) => membership.onChange(listener),
    members: () => membersOf(registry, membership),
  };
}
