import { createDigestTree, type DigestTree, FINEST_BUCKETS } from "../ledger/digest.ts";
import type { HashLanes } from "../hash.ts";
import { type ConflictResolver, resolveConflict } from "./resolve.ts";
import { compareStamps, type DistributedState, type StateReference } from "./state.ts";

export interface Offer {
  /** known: nothing new in it. stored: visible now. pending: waits for what it depends on. */
  readonly outcome: "known" | "stored" | "pending";
  /** What it waits for. */
  readonly missing: readonly StateReference[];
}

/** The states one process holds: at most one version that can be seen and a newer one that waits, each. No clock, no I/O. */
export interface StateStore {
  readonly size: number;
  readonly pending: number;
  /** Takes in a version: resolved with what is known of the state. */
  offer(state: DistributedState): Offer;
  visible(stateId: string): DistributedState | null;
  /** The newest known, seen or not. */
  latest(stateId: string): DistributedState | null;
  /** Whether this version of the state, or what came to replace it, can be seen. */
  covers(reference: StateReference): boolean;
  /** The version is visible where it is kept: nobody need wait for it here. Returns how many states came to be seen by that. */
  confirm(reference: StateReference): number;
  /**
   * Shows together what waits for nothing but each other: of a state that changed on the way from one to the next, only the last version
   * may have come. Returns how many.
   */
  showCircles(): number;
  /** Whether this version of the state, or a newer one, is here, seen or not. */
  holds(reference: StateReference): boolean;
  /** Everything that some state waits for. */
  missing(): readonly StateReference[];
  remove(stateId: string): void;
  bucketOf(stateId: string): number;
  /** Newest known of all states in a bucket. */
  inBucket(bucket: number): readonly DistributedState[];
  hashOf(bucket: number): HashLanes;
  all(): Iterable<DistributedState>;
}

export const BUCKETS = FINEST_BUCKETS;

export const createStateStore = (resolver?: ConflictResolver): StateStore => new Store(resolver);

const stampKey = ({ stateId, version, updatedAt, agentId }: StateReference): string =>
  JSON.stringify([stateId, version, updatedAt.ms, updatedAt.counter, agentId]);

/** Confirmed elsewhere, remembered: the oldest is forgotten, and asked for again when it should matter. */
const MAX_CONFIRMED = 10_000;

class Store implements StateStore {
  private readonly resolver: ConflictResolver | undefined;
  private readonly seen = new Map<string, DistributedState>();
  private readonly waiting = new Map<string, DistributedState>();
  /** State id → those that wait for it. */
  private readonly dependents = new Map<string, Set<string>>();
  private readonly confirmed = new Set<string>();
  private readonly buckets = new Map<number, Set<string>>();
  private readonly tree: DigestTree = createDigestTree();

  constructor(resolver: ConflictResolver | undefined) {
    this.resolver = resolver;
  }

  get size(): number {
    return this.seen.size;
  }

  get pending(): number {
    return this.waiting.size;
  }

  offer(state: DistributedState): Offer {
    const { stateId } = state;
    const before = this.latest(stateId);
    const after = before === null ? state : resolveConflict(before, state, this.resolver);
    if (before?.checksum === after.checksum) return { outcome: "known", missing: [] };
    this.index(before, after);
    const missing = this.unmet(after);
    if (missing.length === 0) {
      this.show(after);
      return { outcome: "stored", missing };
    }
    this.waiting.set(stateId, after);
    for (const reference of missing) {
      let dependents = this.dependents.get(reference.stateId);
      if (dependents === undefined) this.dependents.set(reference.stateId, (dependents = new Set()));
      dependents.add(stateId);
    }
    return { outcome: "pending", missing };
  }

  visible(stateId: string): DistributedState | null {
    return this.seen.get(stateId) ?? null;
  }

  latest(stateId: string): DistributedState | null {
    return this.waiting.get(stateId) ?? this.visible(stateId);
  }

  covers(reference: StateReference): boolean {
    const state = this.visible(reference.stateId);
    return state !== null && compareStamps(state, reference) >= 0;
  }

  confirm(reference: StateReference): number {
    this.confirmed.add(stampKey(reference));
    if (this.confirmed.size > MAX_CONFIRMED) this.confirmed.delete(this.confirmed.values().next().value as string);
    return this.wake([reference.stateId]);
  }

  showCircles(): number {
    const candidates = new Map(this.waiting);
    const isMet = (reference: StateReference): boolean => {
      const other = candidates.get(reference.stateId);
      return other !== undefined && compareStamps(other, reference) >= 0;
    };
    for (let before = -1; before !== candidates.size; ) {
      before = candidates.size;
      for (const [stateId, state] of candidates) if (!this.unmet(state).every(isMet)) candidates.delete(stateId);
    }
    for (const [stateId, state] of candidates) {
      this.seen.set(stateId, state);
      this.waiting.delete(stateId);
    }
    return candidates.size + this.wake([...candidates.keys()]);
  }

  holds(reference: StateReference): boolean {
    const state = this.latest(reference.stateId);
    return state !== null && compareStamps(state, reference) >= 0;
  }

  missing(): readonly StateReference[] {
    const byKey = new Map<string, StateReference>();
    for (const state of this.waiting.values()) {
      for (const reference of this.unmet(state)) byKey.set(stampKey(reference), reference);
    }
    return [...byKey.values()];
  }

  remove(stateId: string): void {
    this.index(this.latest(stateId), null);
    this.seen.delete(stateId);
    this.waiting.delete(stateId);
  }

  bucketOf(stateId: string): number {
    return this.tree.bucketOf(stateId, BUCKETS);
  }

  inBucket(bucket: number): readonly DistributedState[] {
    return [...(this.buckets.get(bucket) ?? [])].map((stateId) => this.latest(stateId)).filter((state) => state !== null);
  }

  hashOf(bucket: number): HashLanes {
    return this.tree.cell(bucket);
  }

  *all(): Iterable<DistributedState> {
    for (const ids of this.buckets.values()) {
      for (const stateId of ids) {
        const state = this.latest(stateId);
        if (state !== null) yield state;
      }
    }
  }

  private unmet(state: DistributedState): readonly StateReference[] {
    return state.dependencies.filter((reference) => !this.covers(reference) && !this.confirmed.has(stampKey(reference)));
  }

  /** Makes it visible, and whatever waited for nothing else. */
  private show(state: DistributedState): void {
    this.seen.set(state.stateId, state);
    this.waiting.delete(state.stateId);
    this.wake([state.stateId]);
  }

  private wake(shown: string[]): number {
    let woken = 0;
    for (const stateId of shown) {
      // `shown` grows as this goes: what comes to be seen may be what others wait for.
      const dependents = this.dependents.get(stateId);
      if (dependents === undefined) continue;
      this.dependents.delete(stateId);
      for (const dependent of dependents) {
        const state = this.waiting.get(dependent);
        if (state === undefined) continue;
        const unmet = this.unmet(state);
        if (unmet.length === 0) {
          this.seen.set(dependent, state);
          this.waiting.delete(dependent);
          woken += 1;
          shown.push(dependent);
        } else if (unmet.some((reference) => reference.stateId === stateId)) {
          const still = this.dependents.get(stateId);
          if (still === undefined) this.dependents.set(stateId, new Set([dependent]));
          else still.add(dependent);
        }
      }
    }
    return woken;
  }

  private index(before: DistributedState | null, after: DistributedState | null): void {
    const stateId = (before ?? after)?.stateId;
    if (stateId === undefined) return;
    const bucket = this.bucketOf(stateId);
    if (before !== null) this.tree.remove(stateId, before.checksum);
    if (after !== null) {
      this.tree.add(stateId, after.checksum);
      const ids = this.buckets.get(bucket);
      if (ids === undefined) this.buckets.set(bucket, new Set([stateId]));
      else ids.add(stateId);
    } else this.buckets.get(bucket)?.delete(stateId);
  }
}
