import type { AgentId } from "@failstorm/core";
import type { MessagePayload } from "../json.ts";
import { DEFAULT_POLICY } from "../transport/authorization.ts";
import type { Link } from "../transport/transport.ts";
import { createHistory, type History, type HistoryEntry } from "./history.ts";
import type { AgentMessage, MessageType, Packet } from "./message.ts";
import {
  DEFAULT_MESSAGING_LIMITS,
  type LinkedMessagePassing,
  type MessageOptions,
  type MessagePassingOptions,
  type MessagingLimits,
  type MessagingStatistics,
  type QueryOptions,
} from "./messagePassing.ts";
import { createVolatileQueue } from "./offlineQueue.ts";
import type { Delivery } from "./outbox.ts";
import { createOpenQueries, type OpenQueries, QueryError, type QueryErrorCode } from "./queries.ts";
import { type Answer, type MessageHandler, Receiver } from "./receiver.ts";
import { Sender } from "./sender.ts";
import { objectionTo } from "./wire.ts";

export const createMessagePassing = (options: MessagePassingOptions): LinkedMessagePassing => new Messaging(options);

const delivered: Delivery = { status: "delivered", attempts: 1 };

class Messaging implements LinkedMessagePassing {
  private readonly options: MessagePassingOptions;
  private readonly limits: MessagingLimits;
  private readonly sender: Sender;
  private readonly receiver: Receiver;
  private readonly past: History;
  private readonly queries: OpenQueries;
  private readonly responseHandlers = new Set<MessageHandler>();
  private sequence = 0;
  private stopped = false;

  constructor(options: MessagePassingOptions) {
    this.options = options;
    this.limits = { ...DEFAULT_MESSAGING_LIMITS, ...options.limits };
    const { self, clock, log, policy = DEFAULT_POLICY, queue = createVolatileQueue(), deduplicate = true } = options;
    this.queries = createOpenQueries(clock);
    this.past = createHistory(this.limits.historySize);
    const connect = options.connect ?? (() => false);
    this.sender = new Sender({ nodeId: self.nodeId, clock, log, limits: this.limits, queue, connect });
    this.receiver = new Receiver({
      self: self.agentId,
      clock,
      log,
      policy,
      limits: this.limits,
      deduplicate,
      onHandedOver: (message) => this.past.add("received", message, clock.wall()),
      answer: (to, answer, ttlMs) => void this.answer(to, answer, ttlMs),
    });
    this.receiver.handle("Response", (message, sender) => this.onResponse(message, sender));
  }

  sendMessage(to: AgentId, type: MessageType, payload: MessagePayload, options: MessageOptions = {}): Promise<Delivery> {
    const sequence = ++this.sequence;
    return this.dispatch(to, this.compose(sequence, to, type, payload, options), sequence, options.queueOffline ?? true);
  }

  sendCommand(to: AgentId, payload: MessagePayload, options: MessageOptions = {}): Promise<Delivery> {
    return this.sendMessage(to, "Command", payload, options);
  }

  async broadcastMessage(
    to: readonly AgentId[],
    payload: MessagePayload,
    options: MessageOptions = {},
  ): Promise<ReadonlyMap<AgentId, Delivery>> {
    const sequence = ++this.sequence;
    const message = this.compose(sequence, null, "Broadcast", payload, options);
    const queueOffline = options.queueOffline ?? true;
    // Who is named twice is told once: a copy would take the place of the first, which nobody would ever hear the end of.
    const receivers = [...new Set(to)];
    const deliveries = await Promise.all(receivers.map((receiver) => this.dispatch(receiver, message, sequence, queueOffline)));
    return new Map(receivers.map((receiver, index) => [receiver, deliveries[index] as Delivery]));
  }

  sendQuery(to: AgentId, payload: MessagePayload, options: QueryOptions): Promise<MessagePayload> {
    const { timeoutMs, type = "Query", priority = "Normal" } = options;
    const sequence = ++this.sequence;
    const replyTo = this.options.self.agentId;
    const message = this.compose(sequence, to, type, payload, { priority, ttlMs: timeoutMs, replyTo });
    const objection = objectionTo(message);
    if (objection !== null) return Promise.reject(new QueryError("refused", to, objection));
    const answer = this.queries.open(message.id, to, timeoutMs);
    this.put(to, message, sequence, {
      isQueueable: false,
      settle: (delivery) => {
        if (delivery.status === "expired") this.queries.fail(message.id, "timeout", "expired");
        if (delivery.status !== "refused") return;
        this.queries.fail(message.id, this.codeOfRefusal(to), delivery.reason);
      },
    });
    return answer;
  }

  onMessage(type: MessageType, handler: MessageHandler): () => void {
    if (type !== "Response") return this.receiver.handle(type, handler);
    this.responseHandlers.add(handler);
    return () => void this.responseHandlers.delete(handler);
  }

  subscribeToBroadcasts(listener: MessageHandler, filter?: (message: AgentMessage) => boolean): () => void {
    const filtered: MessageHandler = (message, sender) => (filter?.(message) === false ? undefined : listener(message, sender));
    return this.receiver.subscribe(filtered);
  }

  getQueuedMessages(receiver?: AgentId): readonly AgentMessage[] {
    return this.sender.queued(receiver);
  }

  cleanupExpiredMessages(): number {
    return this.sender.expire();
  }

  history(): readonly HistoryEntry[] {
    return this.past.entries();
  }

  statistics(): MessagingStatistics {
    return {
      sending: { ...this.sender.statistics },
      receiving: { ...this.receiver.statistics },
      queries: { ...this.queries.statistics },
      outgoing: this.sender.open,
      backlog: this.receiver.backlog,
    };
  }

  attach(link: Link): void {
    this.sender.attach(link);
  }

  detach(link: Link): void {
    this.sender.detach(link);
  }

  drained(link: Link): void {
    this.sender.drained(link);
  }

  unreachable(receiver: AgentId): void {
    this.sender.unreachable(receiver);
  }

  reconnect(): void {
    this.sender.reconnect();
  }

  receive(link: Link, packet: Packet): void {
    if (packet.kind === "message") this.receiver.receive(link, packet);
    else if (packet.kind === "ack") this.sender.acknowledged(link.peer.agentId, packet.namespace, packet.sequences);
    else this.sender.refused(link.peer.agentId, packet.namespace, packet.sequence, packet.reason);
  }

  stop(): void {
    this.stopped = true;
    this.queries.failAll("stopped", "the network was stopped");
    this.sender.stop();
  }

  private codeOfRefusal(to: AgentId): QueryErrorCode {
    if (this.stopped) return "stopped";
    return to === this.options.self.agentId || this.sender.isLinked(to) ? "refused" : "unreachable";
  }

  private compose(
    sequence: number,
    to: AgentId | null,
    type: MessageType,
    payload: MessagePayload,
    options: MessageOptions,
  ): AgentMessage {
    const { self, clock } = this.options;
    return {
      id: `${self.nodeId}:${sequence}`,
      correlationId: options.correlationId ?? null,
      replyTo: options.replyTo ?? null,
      from: self.agentId,
      to,
      type,
      priority: options.priority ?? "Normal",
      timestamp: clock.wall(),
      ttlMs: options.ttlMs ?? this.limits.defaultTtlMs,
      payload,
    };
  }

  private dispatch(to: AgentId, message: AgentMessage, sequence: number, isQueueable: boolean): Promise<Delivery> {
    const reason = objectionTo(message);
    if (reason !== null) return Promise.resolve({ status: "refused", reason });
    return new Promise((settle) => this.put(to, message, sequence, { isQueueable, settle }));
  }

  private put(
    to: AgentId,
    message: AgentMessage,
    sequence: number,
    options: { readonly isQueueable: boolean; readonly settle: (delivery: Delivery) => void },
  ): void {
    if (this.stopped) {
      options.settle({ status: "refused", reason: "the network was stopped" });
      return;
    }
    this.past.add("sent", message, message.timestamp);
    if (to !== this.options.self.agentId) {
      this.sender.send(to, message, sequence, options);
      return;
    }
    // Not in the caller's turn, as with any other receiver.
    queueMicrotask(() => {
      const reason = this.receiver.receiveOwn(message, this.options.self);
      options.settle(reason === null ? delivered : { status: "refused", reason });
    });
  }

  private answer(to: AgentMessage, answer: Answer, ttlMs: number): Promise<Delivery> {
    return this.sendMessage(to.replyTo ?? to.from, "Response", answer, {
      correlationId: to.id,
      priority: to.priority,
      // An answer nobody waits for any more is of no use.
      ttlMs,
      queueOffline: false,
    });
  }

  private onResponse(message: AgentMessage, sender: Parameters<MessageHandler>[1]): void {
    for (const handler of this.responseHandlers) void handler(message, sender);
    this.queries.answer(message);
  }
}
