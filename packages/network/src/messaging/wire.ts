import type { MessagePayload } from "../json.ts";
import { type AgentMessage, MESSAGE_PRIORITIES, MESSAGE_TYPES, type Packet } from "./message.ts";

/*
 * Packets as arrays: field names would be most of a small message. The names of the two nodes, which the link knows, are left out:
 * null stands for the namespace of the sender (messages) or of the receiver (what answers them).
 */
const MESSAGE = 0;
const ACK = 1;
const REFUSED = 2;

export type WirePacket = readonly unknown[];

const typeIndex = new Map(MESSAGE_TYPES.map((type, index) => [type, index]));
const priorityIndex = new Map(MESSAGE_PRIORITIES.map((priority, index) => [priority, index]));

export interface WireNames {
  /** Node ids at the two ends. */
  readonly sender: string;
  readonly receiver: string;
}

export function toWire(packet: Packet, { sender, receiver }: WireNames): WirePacket {
  if (packet.kind === "message") {
    const { message, namespace, sequence, low, ageMs } = packet;
    return [
      MESSAGE,
      namespace === sender ? null : namespace,
      sequence,
      low,
      ageMs,
      typeIndex.get(message.type),
      priorityIndex.get(message.priority),
      message.timestamp,
      message.ttlMs,
      message.to === null ? 1 : 0,
      message.correlationId,
      message.replyTo === null ? 0 : message.replyTo === message.from ? 1 : message.replyTo,
      message.payload,
    ];
  }
  const namespace = packet.namespace === receiver ? null : packet.namespace;
  return packet.kind === "ack" ? [ACK, namespace, packet.sequences] : [REFUSED, namespace, packet.sequence, packet.reason];
}

/** Longest id, namespace or reason taken from the network, UTF-16 units. */
const MAX_NAME = 512;

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isTime = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value) && value >= 0;
const isName = (value: unknown): value is string => typeof value === "string" && value.length <= MAX_NAME;

/** Why the receiver would take a message for a broken packet, and end the link; null when it would not. */
export function objectionTo({ ttlMs, correlationId, replyTo }: AgentMessage): string | null {
  if (!isTime(ttlMs)) return `the time to live is ${String(ttlMs)}: it must be a number of ms, from 0 up`;
  const isLong = (correlationId !== null && !isName(correlationId)) || (replyTo !== null && !isName(replyTo));
  return isLong ? `correlationId and replyTo have ${MAX_NAME} characters at most` : null;
}

const isNodeOf = (agentId: string, nodeId: string): boolean =>
  nodeId.startsWith(`${agentId}#`) && /^\d+$/.test(nodeId.slice(agentId.length + 1));

/** Who is at the two ends of a link. */
export interface LinkEnds {
  readonly self: { readonly agentId: string; readonly nodeId: string };
  readonly peer: { readonly agentId: string; readonly nodeId: string };
}

/**
 * A packet as it came over a link, checked field by field; null when it is none. Who sent it is what the link says, whatever the
 * packet claims. The payload is whatever the codec gave: its reader checks it.
 */
export function fromWire(value: unknown, ends: LinkEnds): Packet | null {
  if (!Array.isArray(value)) return null;
  const [kind, namespace] = value as readonly unknown[];
  if (namespace !== null && !isName(namespace)) return null;
  if (kind === MESSAGE) return messageFromWire(value, namespace ?? ends.peer.nodeId, ends);
  const answered = namespace ?? ends.self.nodeId;
  const what: unknown = value[2];
  if (kind === ACK) {
    return Array.isArray(what) && what.every(isCount) ? { kind: "ack", namespace: answered, sequences: what } : null;
  }
  const reason: unknown = value[3];
  if (kind !== REFUSED || !isCount(what) || !isName(reason)) return null;
  return { kind: "refused", namespace: answered, sequence: what, reason };
}

function messageFromWire(value: readonly unknown[], namespace: string, { self, peer }: LinkEnds): Packet | null {
  const [, , sequence, low, ageMs, typeAt, priorityAt, timestamp, ttlMs, broadcast, correlationId, replyTo, payload] = value;
  const type = MESSAGE_TYPES[typeAt as number];
  const priority = MESSAGE_PRIORITIES[priorityAt as number];
  if (type === undefined || priority === undefined || payload === undefined) return null;
  if (!isCount(sequence) || !isCount(low) || low > sequence) return null;
  if (!isTime(ageMs) || !isTime(timestamp) || !isTime(ttlMs)) return null;
  if (correlationId !== null && !isName(correlationId)) return null;
  if (replyTo !== 0 && replyTo !== 1 && !isName(replyTo)) return null;
  // A node writes messages in its own name only; those of its earlier incarnations come from its offline queue.
  if (namespace !== peer.nodeId && !isNodeOf(peer.agentId, namespace)) return null;
  const message: AgentMessage = {
    id: `${namespace}:${sequence}`,
    correlationId,
    replyTo: replyTo === 0 ? null : replyTo === 1 ? peer.agentId : replyTo,
    from: peer.agentId,
    to: broadcast === 1 ? null : self.agentId,
    type,
    priority,
    timestamp,
    ttlMs,
    payload: payload as MessagePayload,
  };
  return { kind: "message", message, namespace, sequence, low, ageMs };
}
