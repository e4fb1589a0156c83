import type { AgentId, Cancel, Clock } from "@failstorm/core";
import type { NetworkLogger } from "../logger.ts";
import type { Link } from "../transport/transport.ts";
import { type AgentMessage, MESSAGE_PRIORITIES } from "./message.ts";
import type { OfflineQueue } from "./offlineQueue.ts";
import { createOutbox, type Delivery, type InFlight, newOutgoing, type Outbox, type Outgoing } from "./outbox.ts";

export interface SenderLimits {
  /** Messages under way to one receiver, sent and not yet acknowledged. */
  readonly window: number;
  /** Messages for one receiver that are not over. */
  readonly maxQueued: number;
  /** Bytes of one receiver's records in the offline queue. */
  readonly maxQueuedBytes: number;
  /** First pause before a message that was not acknowledged is sent again; it doubles up to `maxRetryMs`. */
  readonly retryMs: number;
  readonly maxRetryMs: number;
}

export interface SenderStatistics {
  sent: number;
  delivered: number;
  retried: number;
  expired: number;
  refused: number;
  evicted: number;
}

interface SenderOptions {
  readonly nodeId: string;
  readonly clock: Clock;
  readonly log: NetworkLogger;
  readonly limits: SenderLimits;
  readonly queue: OfflineQueue;
  /** Begins to connect to the receiver, if anybody can; then its messages wait, else they count as for one offline. */
  readonly connect: (receiver: AgentId) => boolean;
}

const DELIVERED_AT_ONCE: Delivery = { status: "delivered", attempts: 1 };
const EXPIRED: Delivery = { status: "expired" };
const QUEUED: Delivery = { status: "queued" };

const isRanked = (outgoing: Outgoing): number => MESSAGE_PRIORITIES.indexOf(outgoing.message.priority);

/** The sending half: a window of unacknowledged messages to each receiver, retries, and what waits for those who are offline. */
export class Sender {
  readonly statistics: SenderStatistics = { sent: 0, delivered: 0, retried: 0, expired: 0, refused: 0, evicted: 0 };
  private readonly options: SenderOptions;
  private readonly outboxes = new Map<AgentId, Outbox>();
  private readonly links = new Map<AgentId, Link[]>();
  private sweeping: Cancel | null = null;
  private launching: InFlight | null = null;

  constructor(options: SenderOptions) {
    this.options = options;
    const ownPrefix = options.nodeId.slice(0, options.nodeId.lastIndexOf("#") + 1);
    for (const { receiver, message, recordBytes } of options.queue.recovered) {
      if (!message.id.startsWith(ownPrefix)) {
        // Receivers take messages in the sender's own name only, and would break the link.
        options.log("error", "the offline queue holds a message of another agent: not sent", { id: message.id, peer: receiver });
        continue;
      }
      const at = message.id.lastIndexOf(":");
      const [namespace, sequence] = [message.id.slice(0, at), Number(message.id.slice(at + 1))];
      const outgoing = newOutgoing(message, namespace, sequence, { isQueueable: true, settle: null });
      const outbox = this.outbox(receiver);
      outbox.add(outgoing);
      outbox.recorded(outgoing, recordBytes);
    }
  }

  outbox(receiver: AgentId): Outbox {
    let outbox = this.outboxes.get(receiver);
    if (outbox === undefined) this.outboxes.set(receiver, (outbox = createOutbox(receiver)));
    return outbox;
  }

  isLinked(receiver: AgentId): boolean {
    return this.links.has(receiver);
  }

  /** Sends, now or when there is a link. `settle` is called once: with the end, or with "queued" when the receiver is offline. */
  send(
    receiver: AgentId,
    message: AgentMessage,
    sequence: number,
    options: { readonly isQueueable: boolean; readonly settle: (delivery: Delivery) => void },
  ): void {
    const outbox = this.outbox(receiver);
    const outgoing = newOutgoing(message, this.options.nodeId, sequence, options);
    if (outbox.size >= this.options.limits.maxQueued && !this.makeRoom(outbox, outgoing)) {
      this.statistics.refused += 1;
      options.settle({ status: "refused", reason: `${outbox.size} messages for ${receiver} wait already` });
      return;
    }
    const link = this.links.get(receiver)?.[0];
    if (link?.isWritable === true && outbox.size === outbox.inFlight && outbox.inFlight < this.options.limits.window) {
      outbox.addInFlight(outgoing, this.launchState());
      this.put(outbox, outgoing, link, message.timestamp);
      this.watch();
      return;
    }
    outbox.add(outgoing);
    if (link !== undefined) this.pump(receiver);
    else if (!this.options.connect(receiver)) this.setAside(outbox, outgoing);
  }

  attach(link: Link): void {
    const { agentId } = link.peer;
    // The newest process first; among links to one process, the one that came up last.
    const links = [link, ...(this.links.get(agentId) ?? [])].sort((a, b) => b.peer.incarnation - a.peer.incarnation);
    this.links.set(agentId, links);
    this.pump(agentId);
  }

  /** What was under way on the link waits again; for the offline queue when there is no other link. */
  detach(link: Link): void {
    const { agentId } = link.peer;
    const left = (this.links.get(agentId) ?? []).filter((other) => other !== link);
    const outbox = this.outbox(agentId);
    outbox.returnAll();
    if (left.length > 0) {
      this.links.set(agentId, left);
      this.pump(agentId);
      return;
    }
    this.links.delete(agentId);
    if (!this.options.connect(agentId)) this.unreachable(agentId);
  }

  /** Nobody will connect to the receiver for now: what is queueable goes to the offline queue, the rest fails. */
  unreachable(receiver: AgentId): void {
    if (this.links.has(receiver)) return;
    const outbox = this.outbox(receiver);
    for (const outgoing of outbox.all()) this.setAside(outbox, outgoing);
    outbox.prune();
  }

  reconnect(): void {
    for (const { receiver, size } of this.outboxes.values()) {
      if (size > 0 && !this.links.has(receiver)) this.options.connect(receiver);
    }
  }

  drained(link: Link): void {
    this.pump(link.peer.agentId);
  }

  acknowledged(receiver: AgentId, namespace: string, sequences: readonly number[]): void {
    const outbox = this.outbox(receiver);
    for (const sequence of sequences) {
      const outgoing = outbox.find(namespace, sequence);
      if (outgoing === null) continue; // over already: an acknowledgement that came twice
      this.statistics.delivered += 1;
      const { attempts } = outgoing;
      this.end(outbox, outgoing, attempts === 1 ? DELIVERED_AT_ONCE : { status: "delivered", attempts });
    }
    this.pump(receiver);
  }

  refused(receiver: AgentId, namespace: string, sequence: number, reason: string): void {
    const outbox = this.outbox(receiver);
    const outgoing = outbox.find(namespace, sequence);
    if (outgoing === null) return;
    this.statistics.refused += 1;
    this.options.log("warning", "a message was refused by its receiver", {
      peer: receiver,
      type: outgoing.message.type,
      id: outgoing.message.id,
      reason,
    });
    this.end(outbox, outgoing, { status: "refused", reason });
    this.pump(receiver);
  }

  /** What waits, in the order in which it will go out. */
  queued(receiver?: AgentId): AgentMessage[] {
    const outboxes = receiver === undefined ? [...this.outboxes.values()] : [this.outbox(receiver)];
    return outboxes.flatMap((outbox) => outbox.waiting().map(({ message }) => message));
  }

  /** Messages not over, for all receivers. */
  get open(): number {
    let open = 0;
    for (const { size } of this.outboxes.values()) open += size;
    return open;
  }

  /** Ends what has outlived its time to live, under way or not. Returns how many. */
  expire(): number {
    const now = this.options.clock.wall();
    let expired = 0;
    for (const outbox of this.outboxes.values()) {
      const over = outbox.all().filter(({ expiresAt }) => expiresAt <= now);
      for (const outgoing of over) this.end(outbox, outgoing, EXPIRED);
      if (over.length > 0) outbox.prune();
      if (outbox.size === 0 && !this.links.has(outbox.receiver)) this.outboxes.delete(outbox.receiver);
      expired += over.length;
    }
    this.statistics.expired += expired;
    return expired;
  }

  stop(): void {
    this.sweeping?.();
    this.sweeping = null;
    for (const outbox of this.outboxes.values()) {
      for (const outgoing of outbox.all()) this.setAside(outbox, outgoing);
    }
    this.links.clear();
  }

  private pump(receiver: AgentId): void {
    const outbox = this.outbox(receiver);
    const link = this.links.get(receiver)?.[0];
    if (link === undefined || outbox.size === outbox.inFlight) return;
    const state = this.launchState();
    const wall = this.options.clock.wall();
    while (link.isWritable && outbox.inFlight < this.options.limits.window) {
      const outgoing = outbox.next(state);
      if (outgoing === null) break;
      this.put(outbox, outgoing, link, wall);
    }
    if (outbox.inFlight > 0) this.watch();
  }

  /** One for all messages of a turn of the loop. */
  private launchState(): InFlight {
    if (this.launching === null) {
      const { retryMs } = this.options.limits;
      this.launching = { name: "inFlight", retryAt: this.options.clock.now() + retryMs, retryMs };
      queueMicrotask(() => {
        this.launching = null;
      });
    }
    return this.launching;
  }

  private put(outbox: Outbox, outgoing: Outgoing, link: Link, wall: number): void {
    const { message, namespace, sequence, expiresAt, attempts } = outgoing;
    if (expiresAt <= wall) {
      this.statistics.expired += 1;
      this.end(outbox, outgoing, EXPIRED);
      return;
    }
    if (attempts > 1) this.statistics.retried += 1;
    else this.statistics.sent += 1;
    const low = outbox.lowest(namespace);
    const ageMs = Math.max(0, wall - message.timestamp);
    link.send({ kind: "message", message, namespace, sequence, low, ageMs });
  }

  private end(outbox: Outbox, outgoing: Outgoing, delivery: Delivery): void {
    if (outgoing.recordBytes > 0) this.onDisk(() => this.options.queue.remove(outbox.receiver, outgoing.message.id));
    outbox.finish(outgoing);
    const { settle } = outgoing;
    outgoing.settle = null;
    settle?.(delivery);
  }

  /** The receiver is offline. */
  private setAside(outbox: Outbox, outgoing: Outgoing): void {
    if (outgoing.recordBytes > 0 || outgoing.state.name === "over") return;
    if (!outgoing.isQueueable) {
      this.statistics.refused += 1;
      this.end(outbox, outgoing, { status: "refused", reason: `${outbox.receiver} cannot be reached` });
      return;
    }
    const { limits, queue } = this.options;
    while (outbox.recordBytes >= limits.maxQueuedBytes) {
      if (this.makeRoom(outbox, outgoing)) continue;
      this.statistics.refused += 1;
      this.end(outbox, outgoing, { status: "refused", reason: `the offline queue for ${outbox.receiver} is full` });
      return;
    }
    const reason = this.onDisk(() =>
      outbox.recorded(outgoing, queue.add({ receiver: outbox.receiver, message: outgoing.message })),
    );
    if (reason !== null) {
      this.statistics.refused += 1;
      this.end(outbox, outgoing, { status: "refused", reason: `the offline queue cannot be written: ${reason}` });
      return;
    }
    const { settle } = outgoing;
    outgoing.settle = null;
    settle?.(QUEUED);
  }

  /** A disk that is full, say, must not take the links down with it: what went wrong is logged and returned. */
  private onDisk(act: () => void): string | null {
    try {
      act();
      return null;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.options.log("error", "the offline queue could not be written", { reason });
      return reason;
    }
  }

  /** Gives up the newest of the least urgent waiting messages, if it is less urgent than `incoming`. */
  private makeRoom(outbox: Outbox, incoming: Outgoing): boolean {
    const least = outbox.waiting().at(-1);
    if (least === undefined || isRanked(least) >= isRanked(incoming)) return false;
    this.statistics.evicted += 1;
    this.options.log("warning", "a queued message gave way to a more urgent one", {
      peer: outbox.receiver,
      id: least.message.id,
    });
    this.end(outbox, least, { status: "refused", reason: "gave way to a more urgent message" });
    outbox.prune();
    return true;
  }

  /** While anything is under way, looks for what was not acknowledged in time. */
  private watch(): void {
    if (this.sweeping !== null) return;
    const { clock, limits } = this.options;
    this.sweeping = clock.after(limits.retryMs / 2, () => {
      this.sweeping = null;
      this.sweep();
    });
  }

  private sweep(): void {
    const { clock, limits } = this.options;
    const [now, wall] = [clock.now(), clock.wall()];
    for (const outbox of this.outboxes.values()) {
      const link = this.links.get(outbox.receiver)?.[0];
      if (link === undefined) continue;
      for (const outgoing of outbox.due(now, limits.maxRetryMs)) {
        if (!link.isWritable) break;
        outgoing.attempts += 1;
        this.put(outbox, outgoing, link, wall);
      }
      if (outbox.inFlight > 0) this.watch();
    }
  }
}
