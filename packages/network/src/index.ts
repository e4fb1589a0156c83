export { type Backoff, createBackoff } from "./backoff.ts";
export { createFailureDetector } from "./detector/create.ts";
export { decodeGossip } from "./detector/gossip.ts";
export { createHeartbeatDetector } from "./detector/heartbeat.ts";
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
export { decodeDigest, type LedgerDigest } from "./ledger/digest.ts";
export { decodeEntry, type LedgerEntry, type OutcomeEntry, type OutcomeStatus, type StartedEntry } from "./ledger/entry.ts";
export { compareHlc, createHlc, type HlcStamp, type HybridLogicalClock } from "./ledger/hlc.ts";
export { createTaskLedger, type LedgerDelta, type MergeResult, type TaskLedger } from "./ledger/ledger.ts";
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
export { buildLinks, type Link, monitoredBy, neighbours, repairedLinks, starCentre } from "./topology.ts";
export { createView, type Member, type MembershipView } from "./view.ts";
