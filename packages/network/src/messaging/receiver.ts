import type { AgentId, Clock } from "@failstorm/core";
import type { MessagePayload } from "../json.ts";
import type { NetworkLogger } from "../logger.ts";
import { maySendTo, type Policy } from "../transport/authorization.ts";
import type { Link } from "../transport/transport.ts";
import type { AgentMessage, MessageType, Packet } from "./message.ts";
import { createPriorityQueue, type PriorityQueue } from "./priorityQueue.ts";
import { createSeenMessages, type SeenMessages } from "./seenMessages.ts";

/** Who sent a message, as proved by the link it came over. */
export interface Sender {
  readonly agentId: AgentId;
  readonly incarnation: number;
  readonly role: string;
}

/**
 * Called with each message of its type, once. What it returns (or resolves to) is the answer when one is asked for; a thrown error is
 * the error answer. While it works it counts against `maxHandlers`.
 */
export type MessageHandler = (
  message: AgentMessage,
  sender: Sender,
) => MessagePayload | undefined | void | Promise<MessagePayload | undefined | void>;

export interface ReceiverLimits {
  /**
   * Handlers of Command, Query and Broadcast at work at the same time; what comes of these meanwhile waits, ordered by priority. The other types do not
   * wait: handlers that wait for a Response would keep it from coming, and who is busy still answers a Heartbeat.
   */
  readonly maxHandlers: number;
  /** Messages that wait for a handler; what comes beyond is not acknowledged, and sent again later. */
  readonly maxWaiting: number;
}

export interface ReceiverStatistics {
  received: number;
  handedOver: number;
  duplicates: number;
  expired: number;
  refused: number;
  dropped: number;
  handlerErrors: number;
}

interface ReceiverOptions {
  readonly self: AgentId;
  readonly clock: Clock;
  readonly log: NetworkLogger;
  readonly policy: Policy;
  readonly limits: ReceiverLimits;
  /** False: copies are handed over like first ones. */
  readonly deduplicate: boolean;
  readonly onHandedOver: (message: AgentMessage) => void;
  /** Sends the answer to a message that asked for one, and is of use for so long. */
  readonly answer: (to: AgentMessage, answer: Answer, ttlMs: number) => void;
}

export type Answer = { readonly result: MessagePayload } | { readonly error: string };

/** Messages for the program, which may take its time; see `maxHandlers`. */
const WAITING_TYPES: ReadonlySet<MessageType> = new Set(["Command", "Query", "Broadcast"]);

type MessagePacket = Extract<Packet, { kind: "message" }>;

interface Waiting {
  readonly packet: MessagePacket;
  readonly sender: Sender;
  /** null: sent by this very process. */
  readonly link: Link | null;
  /** By this process's clock; infinite for what is handed over at once and wants no answer. */
  readonly expiresAt: number;
}

/** The receiving half: what comes in is checked, de-duplicated, ordered by priority, handed over, and then acknowledged. */
export class Receiver {
  readonly statistics: ReceiverStatistics = {
    received: 0,
    handedOver: 0,
    duplicates: 0,
    expired: 0,
    refused: 0,
    dropped: 0,
    handlerErrors: 0,
  };
  private readonly options: ReceiverOptions;
  private readonly handlers = new Map<MessageType, MessageHandler>();
  private readonly subscriptions = new Set<MessageHandler>();
  private readonly seen: SeenMessages = createSeenMessages();
  /** Taken in and not handed over yet: a copy of these is not acknowledged. */
  private readonly pending = new Set<string>();
  private readonly waiting: PriorityQueue<Waiting> = createPriorityQueue();
  private readonly acks = new Map<Link, Map<string, number[]>>();
  private working = 0;

  constructor(options: ReceiverOptions) {
    this.options = options;
  }

  handle(type: MessageType, handler: MessageHandler): () => void {
    this.handlers.set(type, handler);
    return () => {
      if (this.handlers.get(type) === handler) this.handlers.delete(type);
    };
  }

  subscribe(handler: MessageHandler): () => void {
    this.subscriptions.add(handler);
    return () => void this.subscriptions.delete(handler);
  }

  get backlog(): number {
    return this.waiting.size;
  }

  receive(link: Link, packet: MessagePacket): void {
    this.statistics.received += 1;
    const reason = this.objection(link, packet);
    if (reason !== null) {
      this.statistics.refused += 1;
      this.options.log("warning", "a message was refused", {
        peer: link.peer.agentId,
        role: link.peer.role,
        type: packet.message.type,
        reason,
      });
      link.send({ kind: "refused", namespace: packet.namespace, sequence: packet.sequence, reason });
      return;
    }
    if (this.options.deduplicate && !this.seen.take(packet.namespace, packet.sequence, packet.low)) {
      this.statistics.duplicates += 1;
      if (!this.pending.has(packet.message.id)) this.acknowledge(link, packet);
      return;
    }
    this.take(packet, link.peer, link);
  }

  /** From this very process. Null when it was taken in; a text: why not. */
  receiveOwn(message: AgentMessage, sender: Sender): string | null {
    if (!this.hasReader(message.type)) return `nobody handles ${message.type} here`;
    const packet: MessagePacket = { kind: "message", message, namespace: "", sequence: 0, low: 0, ageMs: 0 };
    return this.take(packet, sender, null) ? null : `${this.waiting.size} messages wait already`;
  }

  /** False when there is no room. */
  private take(packet: MessagePacket, sender: Sender, link: Link | null): boolean {
    const { clock, limits } = this.options;
    const { id, type, priority, ttlMs, replyTo } = packet.message;
    const isAtOnce = !WAITING_TYPES.has(type) || (this.working < limits.maxHandlers && this.waiting.size === 0);
    const expiresAt = isAtOnce && replyTo === null ? Number.POSITIVE_INFINITY : clock.now() + ttlMs - packet.ageMs;
    if (isAtOnce) {
      this.handOver({ packet, sender, link, expiresAt });
      return true;
    }
    if (this.waiting.size >= limits.maxWaiting) {
      this.statistics.dropped += 1;
      this.seen.release(packet.namespace, packet.sequence);
      return false;
    }
    this.pending.add(id);
    this.waiting.push({ packet, sender, link, expiresAt }, priority);
    return true;
  }

  private hasReader(type: MessageType): boolean {
    return this.handlers.has(type) || (type === "Broadcast" && this.subscriptions.size > 0);
  }

  private objection(link: Link, { message, ageMs }: MessagePacket): string | null {
    if (!maySendTo(this.options.policy, link.peer, message.type, this.options.self))
      return `role ${link.peer.role} may not send ${message.type}`;
    if (ageMs > message.ttlMs) return "expired";
    return this.hasReader(message.type) ? null : `nobody handles ${message.type} here`;
  }

  private handOver(taken: Waiting): void {
    const { packet, link } = taken;
    const { message } = packet;
    this.statistics.handedOver += 1;
    this.options.onHandedOver(message);
    // Acknowledged when handed over, not when done: a handler may take as long as it likes. It travels at the end of this turn.
    if (link !== null) this.acknowledge(link, packet);
    const handler = this.handlers.get(message.type);
    if (message.type === "Broadcast") for (const subscriber of this.subscriptions) this.run(subscriber, taken, false);
    if (handler !== undefined) this.run(handler, taken, message.replyTo !== null);
  }

  private run(handler: MessageHandler, taken: Waiting, answers: boolean): void {
    let result: ReturnType<MessageHandler>;
    try {
      result = handler(taken.packet.message, taken.sender);
    } catch (error) {
      this.failed(taken, error, answers);
      return;
    }
    if (!(result instanceof Promise)) {
      if (answers) this.answer(taken, { result: result ?? null });
      return;
    }
    void this.await(result, taken, answers);
  }

  /** An answer that comes too late still goes out, should the asker have more patience than it said. */
  private answer({ packet, expiresAt }: Waiting, answer: Answer): void {
    this.options.answer(packet.message, answer, Math.max(1, expiresAt - this.options.clock.now()));
  }

  /** Never rejects. */
  private async await(result: Promise<MessagePayload | undefined | void>, taken: Waiting, answers: boolean): Promise<void> {
    const counts = WAITING_TYPES.has(taken.packet.message.type);
    if (counts) this.working += 1;
    try {
      const value = await result;
      if (answers) this.answer(taken, { result: value ?? null });
    } catch (error) {
      this.failed(taken, error, answers);
    }
    if (counts) this.working -= 1;
    this.pump();
  }

  private failed(taken: Waiting, error: unknown, answers: boolean): void {
    const { message } = taken.packet;
    this.statistics.handlerErrors += 1;
    const reason = error instanceof Error ? error.message : String(error);
    this.options.log("error", "a message handler failed", { peer: message.from, type: message.type, reason });
    if (answers) this.answer(taken, { error: reason });
  }

  private pump(): void {
    while (this.working < this.options.limits.maxHandlers) {
      const next = this.waiting.shift();
      if (next === undefined) return;
      const { namespace, sequence, message } = next.packet;
      this.pending.delete(message.id);
      if (next.expiresAt > this.options.clock.now()) {
        this.handOver(next);
        continue;
      }
      this.statistics.expired += 1;
      next.link?.send({ kind: "refused", namespace, sequence, reason: "expired" });
    }
  }

  /** The end of this turn carries all acknowledgements of it to one peer in one packet. */
  private acknowledge(link: Link, { namespace, sequence }: MessagePacket): void {
    let byNamespace = this.acks.get(link);
    if (byNamespace === undefined) {
      if (this.acks.size === 0) queueMicrotask(() => this.flushAcks());
      this.acks.set(link, (byNamespace = new Map()));
    }
    const sequences = byNamespace.get(namespace);
    if (sequences === undefined) byNamespace.set(namespace, [sequence]);
    else sequences.push(sequence);
  }

  private flushAcks(): void {
    for (const [link, byNamespace] of this.acks) {
      for (const [namespace, sequences] of byNamespace) link.send({ kind: "ack", namespace, sequences });
    }
    this.acks.clear();
  }
}
