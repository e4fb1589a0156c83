import type { Address, AgentId } from "@failstorm/core";
import { decodeGossip } from "../detector/gossip.ts";
import type { MessagePayload } from "../json.ts";
import { nodeIdOf, type MessageType } from "../messaging/message.ts";
import type { LinkedMessagePassing, MessageOptions } from "../messaging/messagePassing.ts";
import { createMessagePassing } from "../messaging/messaging.ts";
import { createVolatileQueue, openOfflineQueue, type OfflineQueue } from "../messaging/offlineQueue.ts";
import type { Delivery } from "../messaging/outbox.ts";
import { type AgentRegistry, createAgentRegistry } from "../registry.ts";
import { createStateManager } from "../state/stateManager.ts";
import type { DrivenStateManager } from "../state/states.ts";
import type { SyncResult } from "../state/stateSync.ts";
import { DEFAULT_POLICY } from "../transport/authorization.ts";
import type { AgentNetworkManager, NetworkStatistics } from "./agentNetwork.ts";
import { Connector } from "./connector.ts";
import { LostAgents } from "./lostAgents.ts";
import { Membership, type SelfUpdate } from "./membership.ts";
import { completeTiming, MAX_DIALS, type NetworkOptions, type NetworkTiming } from "./options.ts";
import { createServices, type Services } from "./services.ts";
import { permittedGossip, Watch } from "./watch.ts";

type NetworkState =
  | { readonly name: "new" }
  | { readonly name: "started"; readonly address: Address }
  | { readonly name: "joined"; readonly address: Address; readonly unreached: readonly Address[] }
  | { readonly name: "left" }
  | { readonly name: "stopped" };

export const createAgentNetworkManager = (options: NetworkOptions): AgentNetworkManager => new NetworkManager(options);

const LEAVE_GRACE_MS = 2_000;
const POLL_MS = 10;

class NetworkManager implements AgentNetworkManager {
  readonly registry: AgentRegistry;
  readonly messages: LinkedMessagePassing;
  readonly states: DrivenStateManager;
  private readonly options: NetworkOptions;
  private readonly timing: NetworkTiming;
  private readonly queue: OfflineQueue;
  private readonly connector: Connector;
  private readonly membership: Membership;
  private readonly watch: Watch;
  private readonly lost: LostAgents;
  private readonly services: Services;
  private state: NetworkState = { name: "new" };
  private members: readonly AgentId[] | null = null;

  constructor(options: NetworkOptions) {
    const { self, clock, log, transport, policy = DEFAULT_POLICY } = options;
    this.options = options;
    this.timing = completeTiming(options.timing, options.detector);
    const { removeAfterMs, connectTimeoutMs, requestTimeoutMs } = this.timing;
    // Silence is the detector's business; the registry only forgets the dead.
    this.registry = createAgentRegistry({ inactiveAfterMs: null, removeAfterMs });
    const file = options.offlineQueueFile ?? null;
    this.queue = file === null ? createVolatileQueue() : openOfflineQueue(file);
    this.connector = new Connector({
      self: self.agentId,
      transport,
      registry: this.registry,
      connectTimeoutMs,
      maxDials: MAX_DIALS,
      onFailed: (agentId) => this.messages.unreachable(agentId),
    });
    const { agentId, incarnation } = self;
    this.messages = createMessagePassing({
      self: { agentId, incarnation, nodeId: nodeIdOf(agentId, incarnation), role: options.role ?? "member" },
      clock,
      log,
      policy,
      queue: this.queue,
      ...(options.messaging === undefined ? {} : { limits: options.messaging }),
      deduplicate: options.deduplicate ?? true,
      connect: (receiver) => this.connectTo(receiver),
    });
    this.services = createServices({ clock, prng: options.prng.fork(`services/${agentId}`), log });
    this.states = this.createStates();
    this.membership = new Membership({
      self,
      registry: this.registry,
      connector: this.connector,
      messages: this.messages,
      policy,
      log,
      now: () => clock.now(),
      requestTimeoutMs,
    });
    this.watch = this.createWatch();
    this.lost = new LostAgents({
      prng: options.prng.fork(`lost/${agentId}`),
      call: (address, expected) => this.membership.joinAt(address, expected),
    });
    this.registry.onChange((change) => {
      if (change.kind !== "updated") this.members = null;
      if (change.kind === "deregistered") this.watch.forget(change.node.agentId);
      if (change.kind === "registered") this.lost.delete(change.node.agentId);
      this.watch.membersChanged();
    });
  }

  async start(): Promise<Address> {
    if (this.state.name !== "new") throw new Error(`the network is ${this.state.name}: it can be started once`);
    const { transport, self } = this.options;
    const address = await transport.start({
      opened: (link) => {
        this.connector.opened(link);
        this.messages.attach(link);
        this.watch.heard(link.peer.agentId, link.peer.incarnation);
      },
      received: (link, packet) => this.messages.receive(link, packet),
      drained: (link) => this.messages.drained(link),
      closed: (link) => {
        const { agentId, incarnation } = link.peer;
        this.connector.closed(link);
        this.messages.detach(link);
        if (!this.connector.isLinkedTo(agentId, incarnation)) this.watch.closed(agentId, incarnation);
      },
    });
    this.state = { name: "started", address };
    this.membership.begin(address, {
      capabilities: self.capabilities ?? [],
      version: self.version ?? "",
      metadata: self.metadata ?? {},
    });
    this.watch.start();
    this.services.every(this.timing.syncIntervalMs, () => this.synchronise());
    this.services.every(this.timing.syncIntervalMs, () => this.seekLost());
    this.services.every(this.timing.cleanupIntervalMs, () => this.cleanUp());
    return address;
  }

  async joinNetwork(bootstrap: readonly Address[]): Promise<number> {
    if (this.state.name !== "started") throw new Error(`cannot join: the network is ${this.state.name}`);
    const { address } = this.state;
    const others = bootstrap.filter(({ host, port }) => host !== address.host || port !== address.port);
    const unreached = await this.membership.joinAll(others);
    const known = this.others();
    if (!this.is("started")) throw new Error("cannot join: the network was left or stopped meanwhile");
    this.state = { name: "joined", address, unreached };
    await this.membership.tellAll(known);
    // What this agent is to keep, before it answers for it.
    await this.catchUp();
    return this.others().length;
  }

  async leaveNetwork(graceMs = LEAVE_GRACE_MS): Promise<void> {
    if (this.state.name !== "joined" && this.state.name !== "started") return;
    this.state = { name: "left" };
    const { clock } = this.options;
    this.stopServices();
    const until = clock.now() + graceMs;
    // What waits for agents offline stays in the queue; what is under way to the others gets there.
    while (this.messages.statistics().outgoing > this.messages.getQueuedMessages().length && clock.now() < until) {
      await clock.sleep(POLL_MS);
    }
    await this.membership.leave(this.activeOthers());
  }

  updateSelf(update: SelfUpdate): Promise<void> {
    return this.membership.update(update);
  }

  sendMessage(to: AgentId, type: MessageType, payload: MessagePayload, options?: MessageOptions): Promise<Delivery> {
    return this.messages.sendMessage(to, type, payload, options);
  }

  broadcast(payload: MessagePayload, options?: MessageOptions): Promise<ReadonlyMap<AgentId, Delivery>> {
    return this.messages.broadcastMessage(this.activeOthers(), payload, options);
  }

  async syncState(peer?: AgentId): Promise<SyncResult | null> {
    const others = this.activeOthers();
    const chosen = peer ?? (others.length === 0 ? null : this.options.prng.pick(others));
    return chosen === null ? null : this.states.syncState(chosen);
  }

  statistics(): NetworkStatistics {
    return {
      state: this.state.name,
      registry: this.registry.statistics(),
      messages: this.messages.statistics(),
      states: this.states.statistics(),
      transport: this.options.transport.statistics(),
    };
  }

  async stop(): Promise<void> {
    if (this.state.name === "stopped") return;
    this.state = { name: "stopped" };
    this.stopServices();
    this.messages.stop();
    await this.options.transport.stop();
    this.queue.close();
  }

  /** As it is now, whatever it was before something was waited for. */
  private is(name: NetworkState["name"]): boolean {
    return this.state.name === name;
  }

  private others(): readonly AgentId[] {
    const { agentId } = this.options.self;
    return this.registry.nodes().flatMap((node) => (node.agentId === agentId ? [] : [node.agentId]));
  }

  private activeOthers(): readonly AgentId[] {
    const { agentId } = this.options.self;
    return this.registry.activeNodes().flatMap((node) => (node.agentId === agentId ? [] : [node.agentId]));
  }

  private createStates(): DrivenStateManager {
    const { self, clock, log, policy = DEFAULT_POLICY } = this.options;
    const { requestTimeoutMs } = this.timing;
    const states = createStateManager({
      self: { agentId: self.agentId, nodeId: nodeIdOf(self.agentId, self.incarnation) },
      clock,
      log,
      policy,
      members: () => (this.members ??= this.registry.nodes().map(({ agentId }) => agentId)),
      timeoutMs: requestTimeoutMs,
      messages: {
        ask: (to, payload, timeoutMs) => this.messages.sendQuery(to, payload, { type: "StateSync", timeoutMs }),
        tell: (to, payload) => this.messages.sendMessage(to, "StateSync", payload, { queueOffline: false }),
        roleOf: (peer) => this.connector.linkTo(peer)?.peer.role ?? "",
      },
      ...this.options.states,
    });
    this.messages.onMessage("StateSync", ({ payload }, sender) => states.answer(payload, sender));
    return states;
  }

  private createWatch(): Watch {
    const { self, clock, prng, log, policy = DEFAULT_POLICY, detector = "heartbeat", transportSignals = true } = this.options;
    const { heartbeatIntervalMs, heartbeatTimeoutMs } = this.timing;
    this.messages.onMessage("Heartbeat", ({ payload, from }, sender) => {
      this.watch.heard(from, sender.incarnation);
      if (Array.isArray(payload)) this.watch.gossip(from, permittedGossip(decodeGossip(payload), sender, { policy, log }));
      return self.incarnation;
    });
    return new Watch({
      self,
      clock,
      prng,
      registry: this.registry,
      kind: detector,
      intervalMs: heartbeatIntervalMs,
      timeoutMs: heartbeatTimeoutMs,
      adaptive: this.options.adaptive ?? false,
      transportSignals,
      probe: async (peer) => {
        await this.connector.reach(peer);
        const options = { type: "Heartbeat", timeoutMs: heartbeatTimeoutMs, priority: "Critical" } as const;
        const incarnation = await this.messages.sendQuery(peer, null, options);
        return typeof incarnation === "number" ? incarnation : (this.registry.node(peer)?.incarnation ?? 0);
      },
      tell: async (peer, items) => {
        const payload = items.map((item) => ({ ...item }));
        const options = { queueOffline: false, priority: "Critical", ttlMs: heartbeatTimeoutMs } as const;
        const { status } = await this.messages.sendMessage(peer, "Heartbeat", payload, options);
        if (status !== "delivered") throw new Error(`${peer}: ${status}`);
      },
      // Links to a dead process would only collect what nobody reads.
      onDead: (peer, incarnation) => this.connector.cut(peer, incarnation, "declared dead"),
      onAlive: (peer, incarnation) => {
        const record = this.membership.directory.records.find(({ agentId }) => agentId === peer);
        if (record?.incarnation === incarnation && record.isInMaintenance)
          this.registry.updateNode(peer, { status: "Maintenance" });
      },
    });
  }

  /** A message waits for this agent: true while somebody is at work to connect to it. */
  private connectTo(receiver: AgentId): boolean {
    if (this.connector.isConnecting(receiver)) return true;
    const status = this.registry.node(receiver)?.status;
    if ((status !== "Active" && status !== "Maintenance") || this.state.name === "stopped") return false;
    // How it ends, onFailed tells the messages.
    this.connector.reach(receiver).catch(() => {});
    return true;
  }

  /** With one who answers, for each agent it shares states with. */
  private async catchUp(): Promise<void> {
    await Promise.all(this.activeOthers().map((peer) => this.states.syncState(peer).catch(() => null)));
    await this.states.maintain();
  }

  private async synchronise(): Promise<void> {
    // Who could not be reached when a message came for it, and is watched by others, is called again here.
    this.messages.reconnect();
    const others = this.activeOthers();
    if (this.state.name === "joined" && this.state.unreached.length > 0) {
      const address = this.options.prng.pick(this.state.unreached);
      const unreached = await this.membership.joinAll([address]);
      if (unreached.length === 0 && this.state.name === "joined") {
        this.state = { ...this.state, unreached: this.state.unreached.filter((other) => other !== address) };
        await this.membership.tellAll(this.others());
      }
    }
    if (others.length === 0) return;
    // A round that fails is made up for by the next.
    await this.membership.compare(this.options.prng.pick(others)).catch(() => {});
    await this.syncState().catch(() => null);
    await this.states.maintain();
  }

  private async seekLost(): Promise<void> {
    // Who joined the other half meanwhile is known now, and does not know this agent.
    if (await this.lost.seek()) await this.membership.tellAll(this.others());
  }

  private cleanUp(): Promise<void> {
    const { clock } = this.options;
    for (const { agentId, incarnation, status } of this.registry.nodes()) {
      // For those it does not ask itself, others vouch, who would have told of a death: `removeAfterMs` counts from there.
      const isUp = status === "Active" || status === "Maintenance";
      if (isUp && !this.watch.watches(agentId)) this.registry.updateHeartbeat(agentId, incarnation, clock.now());
    }
    this.messages.cleanupExpiredMessages();
    this.states.cleanupOldStates();
    for (const agentId of this.registry.cleanupInactiveNodes(clock.now()).removed) {
      const record = this.membership.directory.records.find((known) => known.agentId === agentId);
      if (record === undefined) continue;
      this.membership.directory.forget(agentId, record.incarnation);
      this.lost.add(agentId, { host: record.address, port: record.port });
    }
    return Promise.resolve();
  }

  private stopServices(): void {
    this.services.stop();
    this.watch.stop();
  }
}
