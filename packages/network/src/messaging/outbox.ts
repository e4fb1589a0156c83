import type { AgentId } from "@failstorm/core";
import type { AgentMessage } from "./message.ts";
import { createPriorityQueue, type PriorityQueue } from "./priorityQueue.ts";

/** What became of a message. */
export type Delivery =
  /** The receiver's process has handed it over to its handler. */
  | { readonly status: "delivered"; readonly attempts: number }
  /** The receiver cannot be reached; the message is in the offline queue and goes out when it returns. */
  | { readonly status: "queued" }
  | { readonly status: "expired" }
  /** By the receiver, by the bounds of the queue, or because nobody can be reached and it was not to be queued. */
  | { readonly status: "refused"; readonly reason: string };

/** A message on its way to one receiver. */
export interface Outgoing {
  readonly message: AgentMessage;
  readonly namespace: string;
  readonly sequence: number;
  /** Ms since the Unix epoch by this machine's clock. */
  readonly expiresAt: number;
  /** To be kept when the receiver cannot be reached. */
  readonly isQueueable: boolean;
  state: OutgoingState;
  /** Bytes of its record in the offline queue; 0 when it is not there. */
  recordBytes: number;
  attempts: number;
  /** Called once: with the end, or with "queued". */
  settle: ((delivery: Delivery) => void) | null;
}

export interface InFlight {
  readonly name: "inFlight";
  readonly retryAt: number;
  readonly retryMs: number;
}

type OutgoingState = { readonly name: "waiting" } | InFlight | { readonly name: "over" };

const WAITING: OutgoingState = { name: "waiting" };
const OVER: OutgoingState = { name: "over" };

/** All messages for one receiver that are not over: in the order in which they were sent, and those that wait by priority. */
export interface Outbox {
  readonly receiver: AgentId;
  /** Not over. */
  readonly size: number;
  readonly inFlight: number;
  /** Bytes of their records in the offline queue. */
  readonly recordBytes: number;
  add(outgoing: Outgoing): void;
  /** The same for one that is sent at once; nothing may be waiting. */
  addInFlight(outgoing: Outgoing, state: InFlight): void;
  /** Gives the next one to be sent and counts it as under way, in the state given; null when nothing waits. */
  next(state: InFlight): Outgoing | null;
  find(namespace: string, sequence: number): Outgoing | null;
  /** It is over, however it ended. */
  finish(outgoing: Outgoing): void;
  /** The link is lost: all that was under way waits again, ahead of what was sent later with the same priority. */
  returnAll(): void;
  /** Those under way that should be sent again by now; their next time is put off by back-off. */
  due(now: number, maxRetryMs: number): Outgoing[];
  /** The smallest sequence of the namespace that is not over. */
  lowest(namespace: string): number;
  recorded(outgoing: Outgoing, bytes: number): void;
  /** Everything that is not over, oldest first. */
  all(): Outgoing[];
  waiting(): Outgoing[];
  /** Frees the places in the queue of those that ended while they waited. */
  prune(): void;
}

export const createOutbox = (receiver: AgentId): Outbox => new OutboxOf(receiver);

class OutboxOf implements Outbox {
  readonly receiver: AgentId;
  inFlight = 0;
  recordBytes = 0;
  size = 0;
  private readonly queue: PriorityQueue<Outgoing> = createPriorityQueue();
  private lowestKnown = { namespace: "", sequence: 0 };
  /** By namespace (one, but for what an earlier process left), then in the order sent: Maps keep it. */
  private readonly open = new Map<string, Map<number, Outgoing>>();

  constructor(receiver: AgentId) {
    this.receiver = receiver;
  }

  add(outgoing: Outgoing): void {
    this.note(outgoing);
    this.queue.push(outgoing, outgoing.message.priority);
  }

  addInFlight(outgoing: Outgoing, state: InFlight): void {
    this.note(outgoing);
    this.launch(outgoing, state);
  }

  next(state: InFlight): Outgoing | null {
    for (;;) {
      const outgoing = this.queue.shift();
      if (outgoing === undefined) return null;
      if (outgoing.state.name !== "waiting") continue; // it ended while it waited
      this.launch(outgoing, state);
      return outgoing;
    }
  }

  find(namespace: string, sequence: number): Outgoing | null {
    return this.open.get(namespace)?.get(sequence) ?? null;
  }

  finish(outgoing: Outgoing): void {
    const known = this.open.get(outgoing.namespace);
    if (known === undefined || !known.delete(outgoing.sequence)) return;
    if (outgoing.state.name === "inFlight") this.inFlight -= 1;
    outgoing.state = OVER;
    this.recordBytes -= outgoing.recordBytes;
    this.size -= 1;
  }

  returnAll(): void {
    for (const outgoing of this.all().toReversed()) {
      if (outgoing.state.name !== "inFlight") continue;
      outgoing.state = WAITING;
      this.queue.unshift(outgoing, outgoing.message.priority);
    }
    this.inFlight = 0;
  }

  due(now: number, maxRetryMs: number): Outgoing[] {
    if (this.inFlight === 0) return [];
    const due: Outgoing[] = [];
    for (const known of this.open.values()) {
      for (const outgoing of known.values()) {
        if (outgoing.state.name !== "inFlight" || outgoing.state.retryAt > now) continue;
        const retryMs = Math.min(maxRetryMs, outgoing.state.retryMs * 2);
        outgoing.state = { name: "inFlight", retryAt: now + retryMs, retryMs };
        due.push(outgoing);
      }
    }
    return due;
  }

  lowest(namespace: string): number {
    const known = this.open.get(namespace);
    if (known === undefined || known.size === 0) return 0;
    // The first key of a Map lies behind all that were deleted since it was last laid out anew: not looked for with every message.
    if (this.lowestKnown.namespace !== namespace || !known.has(this.lowestKnown.sequence)) {
      this.lowestKnown = { namespace, sequence: known.keys().next().value ?? 0 };
    }
    return this.lowestKnown.sequence;
  }

  recorded(outgoing: Outgoing, bytes: number): void {
    outgoing.recordBytes = bytes;
    this.recordBytes += bytes;
  }

  all(): Outgoing[] {
    return Array.from(this.open.values(), (known) => [...known.values()]).flat();
  }

  waiting(): Outgoing[] {
    return this.queue.items().filter(({ state }) => state.name === "waiting");
  }

  prune(): void {
    this.queue.remove(({ state }) => state.name === "over");
  }

  private note(outgoing: Outgoing): void {
    let known = this.open.get(outgoing.namespace);
    if (known === undefined) this.open.set(outgoing.namespace, (known = new Map()));
    known.set(outgoing.sequence, outgoing);
    this.size += 1;
  }

  private launch(outgoing: Outgoing, state: InFlight): void {
    outgoing.state = state;
    outgoing.attempts += 1;
    this.inFlight += 1;
  }
}

// Field by field: with every message sent, spreading two objects into a third would be a good part of the work.
export const newOutgoing = (
  message: AgentMessage,
  namespace: string,
  sequence: number,
  options: { readonly isQueueable: boolean; readonly settle: ((delivery: Delivery) => void) | null },
): Outgoing => ({
  message,
  namespace,
  sequence,
  expiresAt: message.timestamp + message.ttlMs,
  isQueueable: options.isQueueable,
  settle: options.settle,
  state: WAITING,
  recordBytes: 0,
  attempts: 0,
});
