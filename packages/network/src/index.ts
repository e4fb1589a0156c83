export { type Backoff, createBackoff } from "./backoff.ts";
export { createFailureDetector } from "./detector/create.ts";
export { decodeGossip, isNews } from "./detector/gossip.ts";
export { GossipLanes } from "./detector/gossipLanes.ts";
export { createHeartbeatDetector } from "./detector/heartbeat.ts";
export { roundsLeftOut } from "./detector/reprieve.ts";
export type {
  DetectedHow,
  DetectorEffect,
  DetectorInput,
  DetectorOptions,
  FailureDetector,
  GossipEntry,
  GossipItem,
  IndirectProbe,
  PeerStatus,
} from "./detector/types.ts";
export type { MessagePayload } from "./json.ts";
export { decodeDigest, type LedgerDigest } from "./ledger/digest.ts";
export { decodeEntry, type LedgerEntry, type OutcomeEntry, type OutcomeStatus, type StartedEntry } from "./ledger/entry.ts";
export { compareHlc, createHlc, type HlcStamp, type HybridLogicalClock } from "./ledger/hlc.ts";
export { createTaskLedger, type LedgerDelta, type MergeResult, type TaskLedger } from "./ledger/ledger.ts";
export type { NetworkLogger } from "./logger.ts";
export type { AgentNetworkManager, NetworkStatistics } from "./manager/agentNetwork.ts";
export { createAgentNetworkManager } from "./manager/networkManager.ts";
export type { NetworkOptions, NetworkTiming } from "./manager/options.ts";
export {
  type AgentMessage,
  MESSAGE_PRIORITIES,
  MESSAGE_TYPES,
  type MessagePriority,
  type MessageType,
  nodeIdOf,
  type Packet,
} from "./messaging/message.ts";
export type {
  LinkedMessagePassing,
  MessageOptions,
  MessagePassing,
  MessagePassingOptions,
  MessagingLimits,
  MessagingStatistics,
  QueryOptions,
} from "./messaging/messagePassing.ts";
export { createMessagePassing } from "./messaging/messaging.ts";
export { type OfflineQueue, openOfflineQueue } from "./messaging/offlineQueue.ts";
export type { Delivery } from "./messaging/outbox.ts";
export { QueryError, type QueryErrorCode } from "./messaging/queries.ts";
export type { MessageHandler } from "./messaging/receiver.ts";
export {
  chooseHolder,
  type HomeTools,
  rendezvous,
  rendezvousFirst,
  shardOwner,
  shardReplicas,
  taskOwner,
  type ToolAdoption,
  toolAdoptions,
  toolHolders,
} from "./ownership.ts";
export {
  type AgentNode,
  type AgentRegistry,
  createAgentRegistry,
  NODE_STATUSES,
  type NodeRegistration,
  type NodeStatus,
  type NodeUpdate,
  recordDetection,
  type RegistryChange,
  type SelectionPolicy,
} from "./registry.ts";
export { isCloserSuccessor, ringPredecessor, ringSuccessor, stabilise } from "./ring.ts";
export { diameter, nextHops, type Routes } from "./routing.ts";
export { type ConflictResolver, resolveConflict } from "./state/resolve.ts";
export { type ConsistencyLevel, type DistributedState, sealState } from "./state/state.ts";
export { createStateManager } from "./state/stateManager.ts";
export type {
  DistributedStateManager,
  DrivenStateManager,
  StateManagerOptions,
  StoreOptions,
  StoreResult,
} from "./state/states.ts";
export type { StateMessages, SyncResult } from "./state/stateSync.ts";
export { type ClockOrder, compareClocks, mergeClocks, type VectorClock } from "./state/vectorClock.ts";
export {
  buildLinks,
  type Link,
  monitoredBy,
  monitorsSuccessors,
  neighbours,
  repairedLinks,
  starCentre,
  turnsAPeriod,
} from "./topology.ts";
export { DEFAULT_POLICY, type Policy, type RoleRights, type Scope } from "./transport/authorization.ts";
export type { PeerCertificate, Security, SharedKey } from "./transport/handshake.ts";
export { createTcpTransport, type TcpOptions, type TlsOptions } from "./transport/tcp.ts";
export type {
  Link as TransportLink,
  PeerIdentity,
  Transport,
  TransportEvents,
  TransportStatistics,
} from "./transport/transport.ts";
export { createWebSocketTransport, type WebSocketOptions } from "./transport/webSocket.ts";
export { createView, type Member, type MembershipView } from "./view.ts";
