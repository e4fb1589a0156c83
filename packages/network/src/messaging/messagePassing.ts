import type { AgentId, Clock } from "@failstorm/core";
import type { MessagePayload } from "../json.ts";
import type { NetworkLogger } from "../logger.ts";
import type { Policy } from "../transport/authorization.ts";
import type { Link, PeerIdentity } from "../transport/transport.ts";
import type { HistoryEntry } from "./history.ts";
import type { AgentMessage, MessagePriority, MessageType, Packet } from "./message.ts";
import type { OfflineQueue } from "./offlineQueue.ts";
import type { Delivery } from "./outbox.ts";
import type { QueryStatistics } from "./queries.ts";
import type { MessageHandler, ReceiverLimits, ReceiverStatistics } from "./receiver.ts";
import type { SenderLimits, SenderStatistics } from "./sender.ts";

export interface MessageOptions {
  /** Default Normal. */
  readonly priority?: MessagePriority;
  /** Default `defaultTtlMs`. */
  readonly ttlMs?: number;
  /** Keep it for a receiver that cannot be reached. Default true. */
  readonly queueOffline?: boolean;
  readonly correlationId?: string;
  /** Whom the receiver should answer, with a message of type Response. */
  readonly replyTo?: AgentId;
}

export interface QueryOptions {
  /** The answer is here by then, or the query fails. */
  readonly timeoutMs: number;
  readonly priority?: MessagePriority;
  /** Default Query. */
  readonly type?: MessageType;
}

export interface MessagingStatistics {
  readonly sending: Readonly<SenderStatistics>;
  readonly receiving: Readonly<ReceiverStatistics>;
  readonly queries: Readonly<QueryStatistics>;
  /** Sent and not over, and received and not handed over. */
  readonly outgoing: number;
  readonly backlog: number;
}

export interface MessagePassing {
  /**
   * Delivered at least once while it lives, and handed over once by each process of the receiver. Resolves when that is so, or when it
   * is in the offline queue, or cannot be any more. Never rejects.
   */
  sendMessage(to: AgentId, type: MessageType, payload: MessagePayload, options?: MessageOptions): Promise<Delivery>;
  sendCommand(to: AgentId, payload: MessagePayload, options?: MessageOptions): Promise<Delivery>;
  /** To each of `receivers`; with what became of it, by receiver. */
  broadcastMessage(
    receivers: readonly AgentId[],
    payload: MessagePayload,
    options?: MessageOptions,
  ): Promise<ReadonlyMap<AgentId, Delivery>>;
  /** Resolves with the answer; rejects with QueryError. Not kept for a receiver that is offline. */
  sendQuery(to: AgentId, payload: MessagePayload, options: QueryOptions): Promise<MessagePayload>;
  /** One handler for each type (a later one replaces it); the answer takes it away. A type nobody handles is refused. */
  onMessage(type: MessageType, handler: MessageHandler): () => void;
  /** Broadcasts, for any number of listeners; those for which `filter` is false are not told. */
  subscribeToBroadcasts(listener: MessageHandler, filter?: (message: AgentMessage) => boolean): () => void;
  /** What waits for `receiver` (or for all), in the order in which it will go out. */
  getQueuedMessages(receiver?: AgentId): readonly AgentMessage[];
  /** Ends what has outlived its TTL; how many that were. */
  cleanupExpiredMessages(): number;
  /** The last messages, oldest first. */
  history(): readonly HistoryEntry[];
  statistics(): MessagingStatistics;
}

export interface MessagingLimits extends SenderLimits, ReceiverLimits {
  readonly historySize: number;
  readonly defaultTtlMs: number;
}

export const DEFAULT_MESSAGING_LIMITS: MessagingLimits = {
  window: 1024,
  maxQueued: 10_000,
  maxQueuedBytes: 16 * 1024 * 1024,
  retryMs: 1_000,
  maxRetryMs: 30_000,
  maxHandlers: 256,
  maxWaiting: 10_000,
  historySize: 1_000,
  defaultTtlMs: 60_000,
};

export interface MessagePassingOptions {
  readonly self: PeerIdentity;
  readonly clock: Clock;
  readonly log: NetworkLogger;
  readonly policy?: Policy;
  readonly limits?: Partial<MessagingLimits>;
  /** Where messages for receivers offline are kept; default: nowhere that survives this process. */
  readonly queue?: OfflineQueue;
  /** Hands each message over once by id. Default true. */
  readonly deduplicate?: boolean;
  /** There is something for a receiver without a link: begin to connect to it; false when nobody will. Default: nobody. */
  readonly connect?: (receiver: AgentId) => boolean;
}

/** The messaging of one process, driven by whoever owns its links: they are attached, feed it, and are detached. */
export interface LinkedMessagePassing extends MessagePassing {
  attach(link: Link): void;
  detach(link: Link): void;
  receive(link: Link, packet: Packet): void;
  drained(link: Link): void;
  /** Nobody is connecting to the receiver any more. */
  unreachable(receiver: AgentId): void;
  /** Begins to connect to all without a link for whom something waits: who could not be reached then may be now. */
  reconnect(): void;
  /** Puts what is not delivered into the offline queue and fails open queries. */
  stop(): void;
}
