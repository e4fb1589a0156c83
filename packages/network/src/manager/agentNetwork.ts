import type { Address, AgentId } from "@failstorm/core";
import type { MessagePayload } from "../json.ts";
import type { MessageType } from "../messaging/message.ts";
import type { MessageOptions, MessagePassing, MessagingStatistics } from "../messaging/messagePassing.ts";
import type { Delivery } from "../messaging/outbox.ts";
import type { AgentRegistry } from "../registry.ts";
import type { DistributedStateManager, StateStatistics } from "../state/states.ts";
import type { SyncResult } from "../state/stateSync.ts";
import type { TransportStatistics } from "../transport/transport.ts";
import type { SelfUpdate } from "./membership.ts";

export interface NetworkStatistics {
  readonly state: "new" | "started" | "joined" | "left" | "stopped";
  readonly registry: ReturnType<AgentRegistry["statistics"]>;
  readonly messages: MessagingStatistics;
  readonly states: StateStatistics;
  readonly transport: TransportStatistics;
}

/** An agent's place in a decentralised network: all parts, joined. */
export interface AgentNetworkManager {
  readonly registry: AgentRegistry;
  /** Types Registration, Deregistration, Heartbeat and StateSync are handled by the network itself. */
  readonly messages: MessagePassing;
  readonly states: DistributedStateManager;
  /** Begins to listen; resolves with where. The network has one member then: this one. */
  start(): Promise<Address>;
  /**
   * Joins the network of whoever answers at one of `bootstrap` (its own address is passed over), gets the states it is to keep, and goes on
   * trying the others, so that two halves of a network find each other. Resolves with how many others it knows; 0 when nobody answered: then this
   * is the first.
   */
  joinNetwork(bootstrap: readonly Address[]): Promise<number>;
  /** Says goodbye, so that nobody takes it for a crash; waits for what is under way, at most `graceMs`. */
  leaveNetwork(graceMs?: number): Promise<void>;
  /** Tells all what this agent can do now, or that it is in maintenance. */
  updateSelf(update: SelfUpdate): Promise<void>;
  sendMessage(to: AgentId, type: MessageType, payload: MessagePayload, options?: MessageOptions): Promise<Delivery>;
  /** To all active agents but this one. */
  broadcast(payload: MessagePayload, options?: MessageOptions): Promise<ReadonlyMap<AgentId, Delivery>>;
  /** With `peer`, or with an active agent drawn by lot; null when there is none. Rejects with QueryError. */
  syncState(peer?: AgentId): Promise<SyncResult | null>;
  statistics(): NetworkStatistics;
  /** Stops the services and closes all links, without a goodbye: what others see is a crash, unless leaveNetwork came first. */
  stop(): Promise<void>;
}
