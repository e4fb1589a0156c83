import type { Address, AgentId, ConnectResult, DirectRequest, FaultKind, SendResult } from "@failstorm/core";

/** A stopped process would have to be continued; a dead one is started again. */
export type LethalFault = Exclude<FaultKind, "sigstop">;

/** A handshake of one agent with another. */
export interface DialledLink {
  readonly from: AgentId;
  readonly to: AgentId;
  /** By which protocol, where the other hosts several; null: by the one it hosts. */
  readonly protocol: string | null;
  readonly ms: number;
  readonly roundTrips: number;
}

/** Where the agents of a meta network run: in processes of their own, or in this one. */
export interface AgentHost {
  readonly kind: "processes" | "in-process";
  /** Where it is reached; null while it is down. */
  addressOf(agent: AgentId): Address | null;
  /** Starts one that is down. Throws RunError when it does not come up. */
  start(agent: AgentId): Promise<void>;
  /** Ends one in order; nothing happens to one that is down. */
  stop(agent: AgentId): Promise<void>;
  /** Does the fault to all of them, one right after the other. Throws InputError where agents have no process to strike. */
  strike(agents: readonly AgentId[], kind: LethalFault): void;
  /** With processes only: the handshakes that agents have completed with each other. */
  readonly dialled?: () => readonly DialledLink[];
  /** In this process only: a request of one agent to another, over its own backend. Throws CommError. */
  readonly sendFrom?: (agent: AgentId, to: AgentId, request: DirectRequest, signal: AbortSignal) => Promise<SendResult>;
  /** The same for the handshake. */
  readonly connectFrom?: (agent: AgentId, to: AgentId) => Promise<ConnectResult>;
  /** Ends all. */
  close(): Promise<void>;
}
