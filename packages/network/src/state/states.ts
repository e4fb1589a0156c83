import type { AgentId, Clock } from "@failstorm/core";
import type { MessagePayload } from "../json.ts";
import type { NetworkLogger } from "../logger.ts";
import type { Policy } from "../transport/authorization.ts";
import type { ConflictResolver } from "./resolve.ts";
import type { ConsistencyLevel, DistributedState } from "./state.ts";
import type { StateMessages, SyncResult } from "./stateSync.ts";

export type StoreResult =
  | { readonly status: "stored"; readonly state: DistributedState }
  /** Nothing was written anywhere. */
  | { readonly status: "refused"; readonly reason: string }
  /** A strong write that reached some replicas, and no majority in time: it may yet win, or be overwritten. */
  | { readonly status: "uncertain"; readonly state: DistributedState; readonly acknowledged: number };

export interface StoreOptions {
  /** Default eventual. */
  readonly consistency?: ConsistencyLevel;
  /** For causal: the states it depends on, instead of all that was read or written here since the last causal write. */
  readonly dependsOn?: readonly DistributedState[];
}

export interface StateStatistics {
  readonly states: number;
  readonly pending: number;
  readonly syncs: number;
  readonly received: number;
  readonly sent: number;
  readonly refused: number;
}

export interface DistributedStateManager {
  /** Writes a new version on top of the newest known one. */
  storeState(stateId: string, data: MessagePayload, options?: StoreOptions): Promise<StoreResult>;
  /**
   * The state as it can be seen: here when this agent keeps it, else at one of its replicas; never older than what this agent has seen, or than
   * what that depends on. Null when there is none. A state known to be strong, and any when `strong` is asked for, is what a majority of
   * its replicas says. Rejects with QueryError when it is kept elsewhere and nobody answers, with Error when no majority does.
   */
  getState(stateId: string, consistency?: ConsistencyLevel): Promise<DistributedState | null>;
  /** What is visible here, without asking anybody, and without being remembered as read. */
  peekState(stateId: string): DistributedState | null;
  /** Anti-entropy with one peer. Rejects with QueryError. */
  syncState(peer: AgentId): Promise<SyncResult>;
  resolveConflict(a: DistributedState, b: DistributedState): DistributedState;
  /** Removes what was last written longer than `maxAgeMs` ago; others do the same by the same stamp. How many that were. */
  cleanupOldStates(): number;
  statistics(): StateStatistics;
}

export interface StateManagerOptions {
  readonly self: { readonly agentId: AgentId; readonly nodeId: string };
  readonly clock: Clock;
  readonly log: NetworkLogger;
  readonly messages: StateMessages;
  /** All agents of the network, this one included, dead ones too: a majority is one of those, not of those in sight. */
  readonly members: () => readonly AgentId[];
  readonly policy?: Policy;
  /** Replicas of each state. Default 3. */
  readonly replicationFactor?: number;
  /** Default: the greater wins. Excludes causal states: a merged version cannot say what it depends on. */
  readonly resolver?: ConflictResolver;
  /** Default null: for ever. */
  readonly maxAgeMs?: number | null;
  /** Default 60 s. */
  readonly maxDriftMs?: number;
  /** Of one state with its dependencies, about: it must fit a frame of the transport, beside others. Default 512 KiB. */
  readonly maxStateBytes?: number;
  /** For one request to one peer. Default 3 s. */
  readonly timeoutMs?: number;
}

/** A state manager, and what its owner drives it with. */
export interface DrivenStateManager extends DistributedStateManager {
  /** Answers a message of type StateSync. */
  answer(payload: MessagePayload, sender: { readonly agentId: AgentId; readonly role: string }): MessagePayload;
  /** Asks after what pending states wait for and is not kept here; brings what is kept elsewhere by now to where it is kept. */
  maintain(): Promise<void>;
}
