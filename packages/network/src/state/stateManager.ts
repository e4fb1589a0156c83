import type { AgentId } from "@failstorm/core";
import { type MessagePayload, objectionToPayload, withoutUndefined } from "../json.ts";
import { createHlc, type HybridLogicalClock } from "../ledger/hlc.ts";
import { DEFAULT_POLICY } from "../transport/authorization.ts";
import { gather, greatest, majorityOf } from "./majority.ts";
import { createPlacement, type Placement } from "./placement.ts";
import { type ConflictResolver, resolveConflict } from "./resolve.ts";
import {
  compareStamps,
  type ConsistencyLevel,
  type DistributedState,
  isStateId,
  MAX_DEPENDENCIES,
  referenceTo,
  sealState,
  type StateReference,
} from "./state.ts";
import type { DrivenStateManager, StateManagerOptions, StateStatistics, StoreOptions, StoreResult } from "./states.ts";
import { createStateStore, type StateStore } from "./stateStore.ts";
import { sizeOf } from "./stateSize.ts";
import { StateSync, type SyncResult } from "./stateSync.ts";
import { tickClock } from "./vectorClock.ts";

export const createStateManager = (options: StateManagerOptions): DrivenStateManager => new StateManager(options);

const BATCH_BYTES = 128 * 1024;
/** States of which is remembered what was seen of them; the one not seen for longest is forgotten first. */
const MAX_REQUIRED = 10_000;

/** Keeps the greater version, as the latest noted. */
function note(references: Map<string, StateReference>, reference: StateReference): void {
  const known = references.get(reference.stateId);
  references.delete(reference.stateId);
  references.set(reference.stateId, known !== undefined && compareStamps(known, reference) > 0 ? known : reference);
}

class StateManager implements DrivenStateManager {
  private readonly options: Required<Omit<StateManagerOptions, "resolver">>;
  private readonly resolver: ConflictResolver | undefined;
  private readonly store: StateStore;
  private readonly hlc: HybridLogicalClock = createHlc();
  private readonly sync: StateSync;
  /** What this process has read or written since its last causal write. */
  private context = new Map<string, StateReference>();
  /** The least version of each state that this process may be shown from now on: seen, or needed by what was seen. */
  private readonly required = new Map<string, StateReference>();
  private readonly writing = new Map<string, Promise<StoreResult>>();
  private placed: { readonly members: readonly AgentId[]; readonly placement: Placement } | null = null;

  constructor(options: StateManagerOptions) {
    this.options = {
      policy: DEFAULT_POLICY,
      replicationFactor: 3,
      maxAgeMs: null,
      maxDriftMs: 60_000,
      maxStateBytes: 512 * 1024,
      timeoutMs: 3_000,
      ...options,
    };
    this.resolver = options.resolver;
    this.store = createStateStore(options.resolver);
    const { store, hlc } = this;
    const { agentId: self } = options.self;
    const isMerging = options.resolver !== undefined;
    this.sync = new StateSync({
      ...this.options,
      isMerging,
      self,
      store,
      hlc,
      placement: () => this.placement(),
      batchBytes: BATCH_BYTES,
    });
  }

  storeState(stateId: string, data: MessagePayload, options: StoreOptions = {}): Promise<StoreResult> {
    // One after the other: two writes upon the same version would have the same vector clock.
    const before = this.writing.get(stateId) ?? Promise.resolve(null);
    const turn = this.writeAfter(before, stateId, data, options).finally(() => {
      // Whoever came meanwhile waits for this one, and the next for that.
      if (this.writing.get(stateId) === turn) this.writing.delete(stateId);
    });
    this.writing.set(stateId, turn);
    return turn;
  }

  async getState(stateId: string, consistency: ConsistencyLevel = "eventual"): Promise<DistributedState | null> {
    const replicas = this.replicasOf(stateId);
    let state = consistency === "strong" ? null : await this.readWeak(stateId, replicas);
    if (consistency === "strong" || state?.consistency === "strong") {
      const newest = await this.readMajority(stateId, replicas);
      if (typeof newest === "string") throw new Error(newest);
      state = newest;
    }
    if (state !== null) this.remember(state, false);
    return state;
  }

  peekState(stateId: string): DistributedState | null {
    return this.store.visible(stateId);
  }

  syncState(peer: AgentId): Promise<SyncResult> {
    return this.sync.sync(peer);
  }

  resolveConflict(a: DistributedState, b: DistributedState): DistributedState {
    return resolveConflict(a, b, this.resolver);
  }

  cleanupOldStates(): number {
    const { maxAgeMs, clock } = this.options;
    if (maxAgeMs === null) return 0;
    const oldest = clock.wall() - maxAgeMs;
    const old = [...this.store.all()].filter(({ updatedAt }) => updatedAt.ms < oldest);
    for (const { stateId } of old) this.store.remove(stateId);
    // Nobody has it any more: what depends on it would wait for ever.
    for (const reference of this.store.missing()) if (reference.updatedAt.ms < oldest) this.store.confirm(reference);
    return old.length;
  }

  statistics(): StateStatistics {
    return { states: this.store.size, pending: this.store.pending, ...this.sync.statistics };
  }

  answer(payload: MessagePayload, sender: { readonly agentId: AgentId; readonly role: string }): MessagePayload {
    return this.sync.answer(payload, sender);
  }

  async maintain(): Promise<void> {
    this.store.showCircles();
    await this.askForDependencies();
    await this.handOver();
  }

  private async writeAfter(
    before: Promise<unknown>,
    stateId: string,
    data: MessagePayload,
    options: StoreOptions,
  ): Promise<StoreResult> {
    try {
      await before;
    } catch {
      // Its own caller hears of that.
    }
    return this.write(stateId, data, options);
  }

  private async write(stateId: string, data: MessagePayload, options: StoreOptions): Promise<StoreResult> {
    const { consistency = "eventual" } = options;
    if (!isStateId(stateId)) return { status: "refused", reason: "a state id has 1 to 512 characters, of Unicode" };
    if (consistency === "causal" && this.resolver !== undefined)
      return { status: "refused", reason: "states that are merged by a resolver cannot be causal" };
    // Else no replica would ever take it in: what arrives would not have its checksum, or nothing would arrive, with all that travels beside it.
    const objection = objectionToPayload(data);
    if (objection !== null) return { status: "refused", reason: objection };
    const replicas = this.replicasOf(stateId);
    const dependencies = consistency === "causal" ? this.dependenciesOf(stateId, options.dependsOn) : [];
    if (dependencies.length > MAX_DEPENDENCIES)
      return {
        status: "refused",
        reason: `it depends on more than ${MAX_DEPENDENCIES} states: name those that matter in dependsOn`,
      };
    const base = consistency === "strong" ? await this.readMajority(stateId, replicas) : await this.newest(stateId, replicas);
    if (typeof base === "string") return { status: "refused", reason: base };
    const state = this.compose(stateId, withoutUndefined(data), { consistency, replicas, dependencies, base });
    const { maxStateBytes } = this.options;
    if (sizeOf(state) > maxStateBytes)
      return {
        status: "refused",
        reason: `it has ${sizeOf(state)} bytes; a state may have ${maxStateBytes} (maxStateBytes), so that it fits a frame: cut it up`,
      };
    const result = consistency === "strong" ? await this.writeStrong(state) : await this.writeWeak(state);
    if (result.status === "stored") this.remember(result.state, consistency === "causal");
    return result;
  }

  private placement(): Placement {
    const members = this.options.members();
    if (this.placed?.members !== members) {
      this.placed = { members, placement: createPlacement(members, this.options.replicationFactor) };
    }
    return this.placed.placement;
  }

  private replicasOf(stateId: string): readonly AgentId[] {
    return this.placement().replicasOf(this.store.bucketOf(stateId));
  }

  private compose(
    stateId: string,
    data: MessagePayload,
    made: {
      readonly consistency: ConsistencyLevel;
      readonly replicas: readonly AgentId[];
      readonly dependencies: readonly StateReference[];
      readonly base: DistributedState | null;
    },
  ): DistributedState {
    const { base, ...rest } = made;
    const { agentId, nodeId } = this.options.self;
    const now = this.options.clock.wall();
    // Later than what it is written upon, though that was only read here, and its writer's clock is ahead: resolve.ts relies on it.
    if (base !== null) this.hlc.observe(base.updatedAt, now);
    const updatedAt = this.hlc.tick(now);
    return sealState({ stateId, agentId, vectorClock: tickClock(base?.vectorClock ?? {}, nodeId), data, updatedAt, ...rest });
  }

  private dependenciesOf(stateId: string, named: readonly DistributedState[] | undefined): readonly StateReference[] {
    const references = named === undefined ? [...this.context.values()] : named.map(referenceTo);
    // Earlier versions of the same state are in its own vector clock.
    return references.filter((reference) => reference.stateId !== stateId);
  }

  private remember(state: DistributedState, startsAnew: boolean): void {
    if (startsAnew) this.context = new Map();
    // Two more than may be depended upon, one of which may be the state itself, tell that there are too many.
    const hasRoom = this.context.size < MAX_DEPENDENCIES + 2 || this.context.has(state.stateId);
    if (hasRoom) note(this.context, referenceTo(state));
    note(this.required, referenceTo(state));
    for (const reference of state.dependencies) note(this.required, reference);
    while (this.required.size > MAX_REQUIRED) this.required.delete(this.required.keys().next().value as string);
  }

  /** The newest version to write upon: known here, or told by a replica; a text: why nobody knows. */
  private async newest(stateId: string, replicas: readonly AgentId[]): Promise<DistributedState | null | string> {
    if (replicas.includes(this.options.self.agentId)) return this.store.latest(stateId);
    const answers = await Promise.allSettled(replicas.map((replica) => this.sync.read(replica, stateId, "newest")));
    const states = answers.filter((answer) => answer.status === "fulfilled").map(({ value }) => value);
    return states.length === 0 ? "none of its replicas can be reached" : greatest(states);
  }

  private async readWeak(stateId: string, replicas: readonly AgentId[]): Promise<DistributedState | null> {
    const wanted = this.required.get(stateId) ?? null;
    if (replicas.includes(this.options.self.agentId)) {
      const isEnough = wanted === null || this.store.covers(wanted);
      if (isEnough) return this.store.visible(stateId);
      if (this.store.holds(wanted)) return this.store.latest(stateId);
    }
    const others = replicas.filter((replica) => replica !== this.options.self.agentId);
    const answers = await Promise.allSettled(others.map((replica) => this.sync.read(replica, stateId, wanted)));
    const states = answers.filter((answer) => answer.status === "fulfilled").map(({ value }) => value);
    const best = greatest(states);
    // What was seen once is not unseen by asking somebody else.
    const isBehind = wanted !== null && (best === null || compareStamps(best, wanted) < 0);
    const failed = answers.find((answer) => answer.status === "rejected");
    if (failed !== undefined && (states.length === 0 || isBehind)) throw failed.reason;
    return best;
  }

  /**
   * The newest version that a majority of the replicas knows of, and that a majority has by the time this returns: the reading half of
   * the register of Attiya, Bar-Noy and Dolev (1995) for many writers (Lynch and Shvartsman 1997). A text: there is no majority.
   */
  private async readMajority(stateId: string, replicas: readonly AgentId[]): Promise<DistributedState | null | string> {
    const needed = majorityOf(replicas.length);
    const answers = await gather(replicas, needed, async (replica) =>
      replica === this.options.self.agentId ? this.store.latest(stateId) : this.sync.read(replica, stateId, "newest"),
    );
    if (answers.length < needed) return `${answers.length} of ${replicas.length} replicas can be reached, not a majority`;
    const newest = greatest(answers);
    if (newest === null || answers.every((answer) => answer?.checksum === newest.checksum)) return newest;
    const holders = await this.writeTo(newest, replicas, needed);
    return holders < needed ? `${holders} of ${replicas.length} replicas can be reached, not a majority` : newest;
  }

  private async writeStrong(state: DistributedState): Promise<StoreResult> {
    const needed = majorityOf(state.replicas.length);
    const acknowledged = await this.writeTo(state, state.replicas, needed);
    return acknowledged < needed ? { status: "uncertain", state, acknowledged } : { status: "stored", state };
  }

  /** How many of `replicas` have the version, or a newer one; returns when `needed` have. */
  private async writeTo(state: DistributedState, replicas: readonly AgentId[], needed: number): Promise<number> {
    const written = await gather(replicas, needed, async (replica) => {
      if (replica === this.options.self.agentId) this.store.offer(state);
      else if (!(await this.sync.write(replica, state))) throw new Error(`${replica} did not take it`);
      return replica;
    });
    return written.length;
  }

  /** Here first, then to the others without waiting; when it is not kept here, until one of them has it. */
  private async writeWeak(state: DistributedState): Promise<StoreResult> {
    const { agentId } = this.options.self;
    const others = state.replicas.filter((replica) => replica !== agentId);
    if (state.replicas.includes(agentId)) {
      this.store.offer(state);
      // What does not arrive is made up for by anti-entropy.
      for (const replica of others) void this.sync.tell(replica, state);
      return { status: "stored", state };
    }
    const written = await this.writeTo(state, others, 1);
    return written > 0 ? { status: "stored", state } : { status: "refused", reason: "none of its replicas can be reached" };
  }

  /**
   * A state waits for one that is kept elsewhere: when one of its replicas has that, what waits can be shown here. Whoever sees it and then asks for
   * the other one says which version it needs, and gets it even from a replica that does not show it to all yet.
   */
  private async askForDependencies(): Promise<void> {
    const byReplicas = new Map<string, { replicas: readonly AgentId[]; references: StateReference[] }>();
    for (const reference of this.store.missing()) {
      const replicas = this.replicasOf(reference.stateId);
      if (replicas.includes(this.options.self.agentId)) continue;
      const key = replicas.join(" ");
      const known = byReplicas.get(key);
      if (known === undefined) byReplicas.set(key, { replicas, references: [reference] });
      else known.references.push(reference);
    }
    await Promise.all([...byReplicas.values()].map((group) => this.askReplicas(group)));
  }

  private async askReplicas({
    replicas,
    references,
  }: {
    replicas: readonly AgentId[];
    references: StateReference[];
  }): Promise<void> {
    for (const replica of replicas) {
      // Whoever cannot be asked now is asked next time.
      const held = await this.sync.holds(replica, references).catch(() => []);
      for (const [index, reference] of references.entries()) if (held[index] === true) this.store.confirm(reference);
      if (held.length > 0 && held.every(Boolean)) return;
    }
  }

  /** What is not kept here (any more) goes to an agent that keeps it, and then is forgotten here. */
  private async handOver(): Promise<void> {
    const byReplica = new Map<AgentId, DistributedState[]>();
    for (const state of this.store.all()) {
      const replicas = this.replicasOf(state.stateId);
      const first = replicas[0];
      if (first === undefined || replicas.includes(this.options.self.agentId)) continue;
      const known = byReplica.get(first);
      if (known === undefined) byReplica.set(first, [state]);
      else known.push(state);
    }
    for (const [replica, states] of byReplica) {
      const ids = states.map(({ stateId }) => stateId);
      const given = await this.sync.give(replica, ids).catch(() => 0);
      if (given !== ids.length) continue;
      // What came meanwhile is handed over next time.
      for (const state of states) if (this.store.latest(state.stateId) === state) this.store.remove(state.stateId);
    }
  }
}
