import type { AgentId } from "@failstorm/core";
import type { MessagePayload } from "../json.ts";

export const MESSAGE_TYPES = [
  "StateSync",
  "Command",
  "Query",
  "Response",
  "Heartbeat",
  "Broadcast",
  "Registration",
  "Deregistration",
] as const;
export type MessageType = (typeof MESSAGE_TYPES)[number];

/** From the least urgent up. */
export const MESSAGE_PRIORITIES = ["Low", "Normal", "High", "Critical"] as const;
export type MessagePriority = (typeof MESSAGE_PRIORITIES)[number];

/** One message as the receiver's handler sees it. */
export interface AgentMessage {
  /** `<sending node>:<number>`, unique for ever: a node id names one incarnation. */
  readonly id: string;
  /** Of an answer: the id of what it answers. */
  readonly correlationId: string | null;
  /** Whom to answer; null when no answer is expected. */
  readonly replyTo: AgentId | null;
  readonly from: AgentId;
  /** null: to everybody. */
  readonly to: AgentId | null;
  readonly type: MessageType;
  readonly priority: MessagePriority;
  /** When it was sent: ms since the Unix epoch by the sender's clock. */
  readonly timestamp: number;
  /** From `timestamp`; later it is neither sent nor handed over. */
  readonly ttlMs: number;
  readonly payload: MessagePayload;
}

/** One process of an agent; what follows in a message id is a number of its own. */
export const nodeIdOf = (agentId: AgentId, incarnation: number): string => `${agentId}#${incarnation}`;

/**
 * What crosses a link. A message id is `namespace:sequence`. `low`: the sender will never again send this receiver a message of the
 * namespace with a smaller sequence, so that the receiver may forget which of those it has seen (Birrell and Nelson, 1984). `ageMs`:
 * how old the message was when it was put on the link, by the sender's clock: clocks of hosts are never compared.
 */
export type Packet =
  | {
      readonly kind: "message";
      readonly message: AgentMessage;
      readonly namespace: string;
      readonly sequence: number;
      readonly low: number;
      readonly ageMs: number;
    }
  /** Handed over. */
  | { readonly kind: "ack"; readonly namespace: string; readonly sequences: readonly number[] }
  /** Will never be handed over: sending it again is of no use. */
  | { readonly kind: "refused"; readonly namespace: string; readonly sequence: number; readonly reason: string };
