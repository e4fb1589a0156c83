import { type Address, type AgentId, InputError } from "@failstorm/core";
import type { MessagePayload } from "../json.ts";
import type { NetworkLogger } from "../logger.ts";
import type { MessagePassing } from "../messaging/messagePassing.ts";
import type { Sender } from "../messaging/receiver.ts";
import type { AgentRegistry } from "../registry.ts";
import { maySendFor, type Policy } from "../transport/authorization.ts";
import type { Connector } from "./connector.ts";
import {
  createDirectory,
  type Directory,
  MAX_CAPABILITIES,
  MAX_TEXT,
  type NodeRecord,
  recordFromWire,
  recordsFromWire,
  recordToWire,
} from "./directory.ts";

interface MembershipOptions {
  readonly self: { readonly agentId: AgentId; readonly incarnation: number };
  readonly registry: AgentRegistry;
  readonly connector: Connector;
  readonly messages: MessagePassing;
  readonly policy: Policy;
  readonly log: NetworkLogger;
  readonly now: () => number;
  readonly requestTimeoutMs: number;
}

/** What this agent may change of its own record while it runs. */
export type SelfUpdate = Partial<Pick<NodeRecord, "capabilities" | "version" | "metadata" | "isInMaintenance">>;

/** Who is in the network: joining it, telling of oneself, learning of the others, leaving. */
export class Membership {
  readonly directory: Directory;
  private readonly options: MembershipOptions;
  private own: NodeRecord | null = null;
  private hasLeft = false;

  constructor(options: MembershipOptions) {
    this.options = options;
    this.directory = createDirectory(options.registry);
    const { messages } = options;
    messages.onMessage("Registration", ({ payload }, sender) => this.onRegistration(payload, sender));
    messages.onMessage("Deregistration", ({ payload }, sender) => this.onDeregistration(payload, sender));
  }

  /** This agent is reached at `address` from now on. */
  begin(address: Address, record: Pick<NodeRecord, "capabilities" | "version" | "metadata">): void {
    const { agentId, incarnation } = this.options.self;
    this.announceSelf({
      agentId,
      incarnation,
      revision: 0,
      address: address.host,
      port: address.port,
      ...record,
      isInMaintenance: false,
    });
  }

  /** Changes what this agent says of itself, and tells all. */
  async update(update: SelfUpdate): Promise<void> {
    const { own } = this;
    if (own === null) throw new Error("the network is not started");
    this.announceSelf({ ...own, ...update, revision: own.revision + 1 });
    await this.tellAll(this.directory.records.map(({ agentId }) => agentId));
  }

  /** Learns from whoever is at `address`, or from nobody but `expected`, who there is. Rejects with CommError or QueryError. */
  async joinAt(address: Address, expected: AgentId | null = null): Promise<void> {
    const link = await this.options.connector.dial(address, expected);
    await this.exchange(link.peer.agentId, true);
  }

  /** Joins at all of them; resolves with those that did not answer. */
  async joinAll(addresses: readonly Address[]): Promise<readonly Address[]> {
    const reached = await Promise.all(
      addresses.map((address) =>
        this.joinAt(address).then(
          () => true,
          () => false,
        ),
      ),
    );
    return addresses.filter((_, index) => reached[index] === false);
  }

  /** Makes this agent known to `agents`, who may not have heard of it. */
  async tellAll(agents: readonly AgentId[]): Promise<void> {
    const others = agents.filter((agentId) => agentId !== this.options.self.agentId);
    await Promise.all(
      others.map(async (agentId) => {
        // Whoever cannot be told now learns it from the others.
        await this.options.connector
          .reach(agentId)
          .then(
            () => this.exchange(agentId, false),
            () => {},
          )
          .catch(() => {});
      }),
    );
  }

  /** Anti-entropy of who there is. Rejects with QueryError. */
  async compare(peer: AgentId): Promise<void> {
    const answer = await this.ask(peer, { hash: this.directory.hash });
    if (answer["same"] === true) return;
    this.learnAll(recordsFromWire(answer["records"]), this.senderOf(peer));
    await this.ask(peer, { records: this.directory.records.map(recordToWire) });
  }

  /** Says goodbye to `agents`; resolves when they know, or cannot be reached. */
  async leave(agents: readonly AgentId[]): Promise<void> {
    this.hasLeft = true;
    const { self, messages, requestTimeoutMs } = this.options;
    const payload = { agentId: self.agentId, incarnation: self.incarnation };
    const options = { queueOffline: false, ttlMs: requestTimeoutMs, priority: "High" } as const;
    await Promise.all(agents.map((agentId) => messages.sendMessage(agentId, "Deregistration", payload, options)));
  }

  private announceSelf(record: NodeRecord): void {
    if (recordFromWire(recordToWire(record)) === null)
      throw new InputError(
        `${record.agentId}: nobody would take in what it says of itself: at most ${MAX_CAPABILITIES} capabilities, of at most ${MAX_TEXT} characters each, like all other texts`,
      );
    this.own = record;
    this.directory.learn(record, true, this.options.now());
  }

  private async exchange(peer: AgentId, wantsAll: boolean): Promise<void> {
    const answer = await this.ask(peer, { record: this.own === null ? null : recordToWire(this.own), wantsAll });
    this.learnAll(recordsFromWire(answer["records"]), this.senderOf(peer));
  }

  private async ask(peer: AgentId, payload: MessagePayload): Promise<Readonly<Record<string, unknown>>> {
    const { messages, requestTimeoutMs } = this.options;
    const answer = await messages.sendQuery(peer, payload, {
      type: "Registration",
      timeoutMs: requestTimeoutMs,
      priority: "High",
    });
    return (answer ?? {}) as Readonly<Record<string, unknown>>;
  }

  private senderOf(peer: AgentId): Sender {
    return this.options.connector.linkTo(peer)?.peer ?? { agentId: peer, incarnation: 0, role: "" };
  }

  private learnAll(records: readonly NodeRecord[], sender: Sender): void {
    const { policy, self, log, now } = this.options;
    for (const record of records) {
      const { agentId, incarnation } = record;
      if (agentId === self.agentId && incarnation <= self.incarnation) continue;
      if (!maySendFor(policy, sender, "Registration", agentId)) {
        log("warning", "a registration was refused", { peer: sender.agentId, role: sender.role, subject: agentId });
        continue;
      }
      this.directory.learn(record, agentId === sender.agentId && incarnation === sender.incarnation, now());
    }
  }

  private onRegistration(payload: MessagePayload, sender: Sender): MessagePayload {
    const { record, wantsAll, hash, records } = (payload ?? {}) as Readonly<Record<string, unknown>>;
    // Its own word that it is there would bring it back to those who have heard the goodbye already.
    if (this.hasLeft && typeof hash !== "string") throw new Error("it has left the network");
    if (typeof hash === "string" && (this.hasLeft || hash === this.directory.hash)) return { same: true };
    const own = recordFromWire(record);
    this.learnAll(own === null ? recordsFromWire(records) : [own], sender);
    const isAsked = wantsAll === true || typeof hash === "string";
    const told = isAsked ? this.directory.records : this.own === null ? [] : [this.own];
    return { records: told.map(recordToWire) };
  }

  private onDeregistration(payload: MessagePayload, sender: Sender): void {
    const { policy, log, connector, self } = this.options;
    const { agentId, incarnation } = (payload ?? {}) as Readonly<Record<string, unknown>>;
    if (typeof agentId !== "string" || !Number.isSafeInteger(incarnation)) return;
    if (agentId === self.agentId || !maySendFor(policy, sender, "Deregistration", agentId)) {
      log("warning", "a deregistration was refused", { peer: sender.agentId, role: sender.role, subject: agentId });
      return;
    }
    this.directory.forget(agentId, incarnation as number);
    // Who leaves by itself closes its links when it is done.
    if (agentId !== sender.agentId) connector.cut(agentId, incarnation as number, "taken out of the network");
  }
}
