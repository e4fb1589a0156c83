import type { AgentId, Clock } from "@failstorm/core";
import type { MessagePayload } from "../json.ts";
import type { HybridLogicalClock } from "../ledger/hlc.ts";
import type { NetworkLogger } from "../logger.ts";
import type { Delivery } from "../messaging/outbox.ts";
import { maySendFor, type Policy } from "../transport/authorization.ts";
import { answerGroups, type BucketFilter, compareLists, differingBuckets, groupHashes, listBucket } from "./antiEntropy.ts";
import type { Placement } from "./placement.ts";
import {
  type DistributedState,
  referenceFromWire,
  referenceToWire,
  type StateReference,
  stateFromWire,
  stateToWire,
} from "./state.ts";
import { idBytes, referenceBytes, sizeOf } from "./stateSize.ts";
import type { StateStore } from "./stateStore.ts";

/** How state managers reach each other: messages of type StateSync. */
export interface StateMessages {
  ask(to: AgentId, payload: MessagePayload, timeoutMs: number): Promise<MessagePayload>;
  tell(to: AgentId, payload: MessagePayload): Promise<Delivery>;
  /** In which the peer has proved to be; "" while there is no link to it. */
  roleOf(peer: AgentId): string;
}

export interface SyncOptions {
  readonly self: AgentId;
  readonly clock: Clock;
  readonly log: NetworkLogger;
  readonly policy: Policy;
  readonly messages: StateMessages;
  readonly store: StateStore;
  readonly hlc: HybridLogicalClock;
  readonly placement: () => Placement;
  /** Concurrent versions are merged, instead of the greater winning. */
  readonly isMerging: boolean;
  /** For one request. */
  readonly timeoutMs: number;
  /** Of states in one message, about; it must fit a frame. */
  readonly batchBytes: number;
  /** Of one state. A greater one (resolvers may make such) stays where it is. */
  readonly maxStateBytes: number;
  /** States older than that are not taken in (they would be cleaned up at once); null = no limit. */
  readonly maxAgeMs: number | null;
  /** A state from further in the future than that is not taken in: it would win for so long. */
  readonly maxDriftMs: number;
}

export interface SyncResult {
  readonly received: number;
  readonly sent: number;
}

interface Peer {
  readonly agentId: AgentId;
  readonly role: string;
}

type Fields = Readonly<Record<string, unknown>>;

const idsOf = (value: unknown): readonly string[] => (Array.isArray(value) ? value.filter((id) => typeof id === "string") : []);

/** Of ids in one message, about: beside the states it must fit a frame too. */
const LIST_BYTES = 128 * 1024;
/** Of checksum and version of a state in a list. */
const LISTED_BYTES = 25;

/** The first of `items` that are less than `LIST_BYTES` together; one at least. */
function fitting<T>(items: readonly T[], sizeOfItem: (item: T) => number): readonly T[] {
  let bytes = 0;
  const end = items.findIndex((item) => (bytes += sizeOfItem(item)) > LIST_BYTES);
  return end === -1 ? items : items.slice(0, Math.max(1, end));
}

/** The conversations between replicas: what is asked, and what is answered. */
export class StateSync {
  readonly statistics = { syncs: 0, received: 0, sent: 0, refused: 0 };
  private readonly options: SyncOptions;

  constructor(options: SyncOptions) {
    this.options = options;
  }

  /** Anti-entropy with `peer`: afterwards both have the newest of what both keep. Rejects with QueryError. */
  async sync(peer: AgentId): Promise<SyncResult> {
    const { store } = this.options;
    const keeps = this.keptWith(peer);
    this.statistics.syncs += 1;
    const groups = await this.ask(peer, { op: "groups", hashes: groupHashes(store, keeps) });
    const buckets = differingBuckets(store, keeps, groups["groups"]) ?? [];
    const result = { received: 0, sent: 0 };
    for (let rest: readonly number[] = buckets; rest.length > 0; ) {
      const listed = fitting(rest, (bucket) => this.listBytes(bucket));
      const answer = await this.ask(peer, { op: "lists", lists: listed.map((bucket) => listBucket(store, bucket)) });
      const { done } = answer;
      if (typeof done !== "number" || !Number.isSafeInteger(done) || done < 1) break;
      rest = rest.slice(Math.min(done, listed.length));
      result.received += this.take(answer["states"], this.proved(peer)).length;
      result.received += await this.fetch(peer, idsOf(answer["more"]));
      result.sent += await this.give(peer, idsOf(answer["want"]));
    }
    store.showCircles();
    return result;
  }

  /** Brings states to `peer` and waits until it has taken them. Returns how many it has. */
  async give(peer: AgentId, ids: readonly string[]): Promise<number> {
    let given = 0;
    for (let rest = ids; rest.length > 0; ) {
      const batch = this.batch(rest);
      rest = rest.slice(batch.count);
      if (batch.states.length === 0) continue;
      const answer = await this.ask(peer, { op: "push", states: batch.states });
      given += idsOf(answer["have"]).length;
    }
    this.statistics.sent += given;
    return given;
  }

  /** Brings one version to `peer` and waits until it has it, or something newer. */
  async write(peer: AgentId, state: DistributedState): Promise<boolean> {
    const answer = await this.ask(peer, { op: "push", states: [stateToWire(state)] });
    return idsOf(answer["have"]).includes(state.stateId);
  }

  /** The same, without waiting for more than that it arrived. */
  tell(peer: AgentId, state: DistributedState): Promise<Delivery> {
    return this.options.messages.tell(peer, { op: "push", states: [stateToWire(state)] });
  }

  /**
   * What can be seen of the state at `peer`; what it holds and does not show yet, where that is older than `atLeast`, or `atLeast` is
   * "newest".
   */
  async read(peer: AgentId, stateId: string, atLeast: StateReference | "newest" | null): Promise<DistributedState | null> {
    const wanted = atLeast === null || atLeast === "newest" ? atLeast : referenceToWire(atLeast);
    const answer = await this.ask(peer, { op: "read", stateId, atLeast: wanted });
    if (answer["state"] === null) return null;
    const state = stateFromWire(answer["state"]);
    const isOther = typeof state !== "string" && state.stateId !== stateId;
    const objection = typeof state === "string" ? state : isOther ? "another state" : this.objection(state, this.proved(peer));
    if (typeof state === "string" || objection !== null) throw new Error(`${peer}: ${objection}`);
    return state;
  }

  /** Whether each reference, or something newer, is held by `peer`. */
  async holds(peer: AgentId, references: readonly StateReference[]): Promise<readonly boolean[]> {
    const all: boolean[] = [];
    while (all.length < references.length) {
      const some = fitting(references.slice(all.length), referenceBytes);
      const answer = await this.ask(peer, { op: "holds", references: some.map(referenceToWire) });
      const held: unknown = answer["held"];
      all.push(...some.map((_, index) => Array.isArray(held) && held[index] === true));
    }
    return all;
  }

  /** The answering side. */
  answer(payload: MessagePayload, sender: Peer): MessagePayload {
    const { store } = this.options;
    const fields = (payload ?? {}) as Fields;
    switch (fields["op"]) {
      case "groups":
        return { groups: answerGroups(store, this.keptWith(sender.agentId), fields["hashes"]) ?? [] };
      case "lists": {
        const { give, want, done } = this.compare(fields["lists"], sender.agentId);
        const { states, count } = this.batch(give);
        return { states, more: give.slice(count), want, done };
      }
      case "fetch": {
        const { states, count } = this.batch(idsOf(fields["ids"]));
        return { states, count };
      }
      case "push":
        return { have: this.take(fields["states"], sender) };
      case "read": {
        const wanted = referenceFromWire(fields["atLeast"]);
        const isNewest = fields["atLeast"] === "newest" || (wanted !== null && !store.covers(wanted));
        const stateId = String(fields["stateId"]);
        const state = isNewest ? store.latest(stateId) : store.visible(stateId);
        return { state: state === null ? null : stateToWire(state) };
      }
      case "holds": {
        const references = Array.isArray(fields["references"]) ? fields["references"].map(referenceFromWire) : [];
        return { held: references.map((reference) => reference !== null && store.holds(reference)) };
      }
      default:
        throw new Error("unknown operation");
    }
  }

  private async ask(peer: AgentId, payload: MessagePayload): Promise<Fields> {
    const answer = await this.options.messages.ask(peer, payload, this.options.timeoutMs);
    return (answer ?? {}) as Fields;
  }

  private proved(peer: AgentId): Peer {
    return { agentId: peer, role: this.options.messages.roleOf(peer) };
  }

  private keptWith(peer: AgentId): BucketFilter {
    const placement = this.options.placement();
    return (bucket) => placement.keeps(this.options.self, bucket) && placement.keeps(peer, bucket);
  }

  private listBytes(bucket: number): number {
    const ids = this.options.store.inBucket(bucket).map(({ stateId }) => idBytes(stateId) + LISTED_BYTES);
    return ids.reduce((total, bytes) => total + bytes, 10);
  }

  /** What differs in the first of the lists: in so many, `done`, that the ids of it fit the answer. The other side asks again with the rest. */
  private compare(lists: unknown, peer: AgentId): { give: readonly string[]; want: readonly string[]; done: number } {
    if (!Array.isArray(lists)) throw new Error("malformed lists");
    const keeps = this.keptWith(peer);
    const [give, want]: [string[], string[]] = [[], []];
    let [bytes, done] = [0, 0];
    while (done < lists.length && bytes < LIST_BYTES) {
      const difference = compareLists(this.options.store, keeps, [lists[done]], this.options.isMerging);
      if (difference === null) throw new Error("malformed lists");
      for (const id of difference.give) give.push(id);
      for (const id of difference.want) want.push(id);
      for (const id of [...difference.give, ...difference.want]) bytes += idBytes(id);
      done += 1;
    }
    return { give, want, done };
  }

  private async fetch(peer: AgentId, ids: readonly string[]): Promise<number> {
    let received = 0;
    for (let rest = ids; rest.length > 0; ) {
      const answer = await this.ask(peer, { op: "fetch", ids: fitting(rest, idBytes) });
      const count = answer["count"];
      if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 1) return received;
      received += this.take(answer["states"], this.proved(peer)).length;
      rest = rest.slice(count);
    }
    return received;
  }

  /** The first of `ids` that fit a message; `count` says how many of the ids that covers, those not held included. */
  private batch(ids: readonly string[]): { states: MessagePayload[]; count: number } {
    const states: MessagePayload[] = [];
    let bytes = 0;
    let count = 0;
    for (const id of ids) {
      if (bytes >= this.options.batchBytes) break;
      count += 1;
      const state = this.options.store.latest(id);
      if (state === null || sizeOf(state) > this.options.maxStateBytes) continue;
      states.push(stateToWire(state));
      bytes += sizeOf(state);
    }
    return { states, count };
  }

  /** Takes in states of others; the ids of those that are held now, as they came or newer. */
  private take(values: unknown, sender: Peer): string[] {
    const have: string[] = [];
    if (!Array.isArray(values)) return have;
    for (const value of values as readonly unknown[]) {
      const state = stateFromWire(value);
      const objection = typeof state === "string" ? state : this.objection(state, sender);
      if (typeof state === "string" || objection !== null) {
        this.statistics.refused += 1;
        this.options.log("warning", "a state was refused", { peer: sender.agentId, reason: objection });
        continue;
      }
      const { outcome } = this.options.store.offer(state);
      if (outcome !== "known") this.statistics.received += 1;
      this.options.hlc.observe(state.updatedAt, this.options.clock.wall());
      have.push(state.stateId);
    }
    return have;
  }

  private objection(state: DistributedState, sender: Peer): string | null {
    const { policy, clock, maxAgeMs, maxDriftMs } = this.options;
    if (!maySendFor(policy, sender, "StateSync", state.agentId))
      return `role ${sender.role} may not bring states of ${state.agentId}`;
    const ageMs = clock.wall() - state.updatedAt.ms;
    if (ageMs < -maxDriftMs) return "it is from the future";
    return maxAgeMs !== null && ageMs > maxAgeMs ? "it is too old" : null;
  }
}
