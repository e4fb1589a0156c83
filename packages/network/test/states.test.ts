import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  compareClocks,
  type ConflictResolver,
  type DistributedState,
  mergeClocks,
  resolveConflict,
  sealState,
  type VectorClock,
} from "../src/index.ts";
import { referenceTo, stateFromWire, stateToWire } from "../src/state/state.ts";
import { createStateStore } from "../src/state/stateStore.ts";
import { tickClock } from "../src/state/vectorClock.ts";

const NODES = ["a#1", "b#1", "c#1"];
const clock: fc.Arbitrary<VectorClock> = fc.dictionary(fc.constantFrom(...NODES), fc.integer({ min: 1, max: 3 }), {
  noNullPrototype: true,
});

describe("vector clocks", () => {
  it("are a partial order", () => {
    const notAfter = (x: VectorClock, y: VectorClock): boolean => ["before", "equal"].includes(compareClocks(x, y));
    const opposite = { before: "after", after: "before", equal: "equal", concurrent: "concurrent" } as const;
    fc.assert(
      fc.property(clock, clock, clock, (x, y, z) => {
        expect(compareClocks(x, x)).toBe("equal");
        expect(compareClocks(y, x)).toBe(opposite[compareClocks(x, y)]);
        if (notAfter(x, y) && notAfter(y, x)) expect(mergeClocks(x, {})).toEqual(mergeClocks(y, {}));
        if (notAfter(x, y) && notAfter(y, z)) expect(notAfter(x, z)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it("merge to their least upper bound", () => {
    fc.assert(
      fc.property(clock, clock, clock, (x, y, bound) => {
        const merged = mergeClocks(x, y);
        for (const part of [x, y]) expect(["after", "equal"]).toContain(compareClocks(merged, part));
        const isAbove = [x, y].every((part) => ["after", "equal"].includes(compareClocks(bound, part)));
        if (isAbove) expect(["after", "equal"]).toContain(compareClocks(bound, merged));
      }),
      { numRuns: 500 },
    );
  });

  it("grow with each write", () => {
    fc.assert(
      fc.property(clock, fc.constantFrom(...NODES), (x, node) => {
        expect(compareClocks(tickClock(x, node), x)).toBe("after");
      }),
    );
  });
});

const state = (fields: Partial<DistributedState>): DistributedState =>
  sealState({
    stateId: "s",
    agentId: "a",
    vectorClock: { "a#1": 1 },
    consistency: "eventual",
    replicas: [],
    data: null,
    updatedAt: { ms: 1, counter: 0 },
    dependencies: [],
    ...fields,
  });

const anyState: fc.Arbitrary<DistributedState> = fc
  .record({
    agentId: fc.constantFrom("a", "b", "c"),
    vectorClock: clock,
    data: fc.constantFrom("x", "y"),
    updatedAt: fc.record({ ms: fc.integer({ min: 0, max: 2 }), counter: fc.integer({ min: 0, max: 1 }) }),
  })
  .map(state);

/** Versions as honest writers make them: each upon what it has seen, data that only grow. */
const history: fc.Arbitrary<DistributedState[]> = fc
  .array(
    fc.record({
      writer: fc.nat({ max: 2 }),
      reads: fc.array(fc.nat(), { maxLength: 3 }),
      adds: fc.constantFrom("p", "q", "r", "s"),
    }),
    { minLength: 3, maxLength: 8 },
  )
  .map((writes) => {
    const states: DistributedState[] = [];
    const views: (DistributedState | null)[] = [null, null, null];
    for (const [index, { writer, reads, adds }] of writes.entries()) {
      let seen = views[writer] ?? null;
      for (const read of reads) {
        const other = states[read % Math.max(1, states.length)];
        if (other !== undefined) seen = seen === null ? other : resolveConflict(seen, other, union);
      }
      const node = NODES[writer] ?? "";
      const data = [...new Set([...((seen?.data ?? []) as string[]), adds])].sort();
      const written = state({
        agentId: node,
        vectorClock: tickClock(seen?.vectorClock ?? {}, node),
        data,
        updatedAt: { ms: index, counter: 0 },
      });
      views[writer] = written;
      states.push(written);
    }
    return states;
  });

const union: ConflictResolver = (a, b) => [...new Set([...(a.data as string[]), ...(b.data as string[])])].sort();

describe("resolving conflicts", () => {
  it("is commutative, associative and idempotent", () => {
    fc.assert(
      fc.property(anyState, anyState, anyState, (x, y, z) => {
        expect(resolveConflict(x, y)).toEqual(resolveConflict(y, x));
        expect(resolveConflict(resolveConflict(x, y), z)).toEqual(resolveConflict(x, resolveConflict(y, z)));
        expect(resolveConflict(x, x)).toEqual(x);
      }),
      { numRuns: 1_000 },
    );
  });

  it("is so with a resolver of the caller's, for all that honest writers write", () => {
    fc.assert(
      fc.property(history, fc.nat(), fc.nat(), fc.nat(), (states, i, j, k) => {
        const [x, y, z] = [i, j, k].map((index) => states[index % states.length]) as [
          DistributedState,
          DistributedState,
          DistributedState,
        ];
        const resolve = (a: DistributedState, b: DistributedState) => resolveConflict(a, b, union).checksum;
        const both = (a: DistributedState, b: DistributedState) => resolveConflict(a, b, union);
        expect(resolve(x, y)).toBe(resolve(y, x));
        expect(resolve(both(x, y), z)).toBe(resolve(x, both(y, z)));
        expect(resolve(x, x)).toBe(x.checksum);
        expect(resolve(both(x, y), y)).toBe(resolve(x, y));
      }),
      { numRuns: 1_000 },
    );
  });

  it("takes the later one, whatever the clocks on the walls say", () => {
    const early = state({ vectorClock: { "a#1": 1 }, updatedAt: { ms: 99, counter: 0 } });
    const late = state({ vectorClock: { "a#1": 1, "b#1": 1 }, updatedAt: { ms: 1, counter: 0 } });
    expect(resolveConflict(early, late)).toBe(late);
    expect(resolveConflict(late, early)).toBe(late);
  });

  it("of concurrent ones: by version, then hybrid logical clock, then id", () => {
    const base = { vectorClock: { "a#1": 1 }, updatedAt: { ms: 5, counter: 0 } };
    const byVersion = state({ ...base, agentId: "z", vectorClock: { "b#1": 2 }, updatedAt: { ms: 1, counter: 0 } });
    const byTime = state({ ...base, vectorClock: { "c#1": 1 }, updatedAt: { ms: 5, counter: 1 } });
    const byId = state({ ...base, agentId: "b", vectorClock: { "b#1": 1 } });
    expect(resolveConflict(state(base), byVersion)).toBe(byVersion);
    expect(resolveConflict(byTime, state(base))).toBe(byTime);
    expect(resolveConflict(state(base), byId)).toBe(byId);
  });
});

describe("a state on the wire", () => {
  it("comes back as it was", () => {
    fc.assert(
      fc.property(anyState, (original) => {
        expect(stateFromWire(structuredClone(stateToWire(original)))).toEqual(original);
      }),
    );
  });

  it("is refused when anything in it was changed", () => {
    const dependencies = [referenceTo(state({ stateId: "other" }))];
    const wire = stateToWire(state({ dependencies, data: { deep: ["x"] }, replicas: ["a"] })) as unknown[];
    const replicasAt = 6;
    for (const index of wire.keys()) {
      const changed = structuredClone(wire);
      const field = changed[index];
      changed[index] = typeof field === "number" ? field + 1 : typeof field === "string" ? `${field}x` : [];
      const result = stateFromWire(changed);
      // Who keeps it is not part of what was written.
      if (index === replicasAt) expect(result).toMatchObject({ replicas: [] });
      else expect(result).toEqual(expect.any(String));
    }
  });

  it("any value at all is taken for a state or refused, and nothing throws", () => {
    fc.assert(
      fc.property(fc.oneof(fc.anything(), fc.array(fc.anything(), { minLength: 11, maxLength: 11 })), (value) => {
        const result = stateFromWire(value);
        expect(typeof result).toBe("string");
      }),
    );
  });
});

describe("the store", () => {
  const first = state({ stateId: "first" });
  const second = state({ stateId: "second", consistency: "causal", dependencies: [referenceTo(first)] });
  const third = state({ stateId: "third", consistency: "causal", dependencies: [referenceTo(second)] });

  it("shows nothing before what it depends on, in any order of arrival", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([first, second, third], { minLength: 3 }), (arrivals) => {
        const store = createStateStore();
        for (const arrived of arrivals) {
          store.offer(arrived);
          const visible = [first, second, third].map(({ stateId }) => store.visible(stateId) !== null);
          expect([
            [false, false, false],
            [true, false, false],
            [true, true, false],
            [true, true, true],
          ]).toContainEqual(visible);
        }
        expect(store.pending).toBe(0);
      }),
    );
  });

  it("shows the old version while the new one waits, and serves the new one to others", () => {
    const store = createStateStore();
    const old = state({ stateId: "second", vectorClock: { "b#1": 1 } });
    const newer = state({ ...second, vectorClock: { "a#1": 1, "b#1": 1 } });
    store.offer(old);
    expect(store.offer(newer).outcome).toBe("pending");
    expect(store.visible("second")).toBe(old);
    expect(store.latest("second")?.checksum).toBe(newer.checksum);
    store.confirm(referenceTo(first));
    expect(store.visible("second")?.checksum).toBe(newer.checksum);
  });

  it("what replaced a version satisfies those who wait for it", () => {
    const store = createStateStore();
    store.offer(second);
    store.offer(state({ stateId: "first", agentId: "z", vectorClock: { "z#1": 2 } }));
    expect(store.visible("second")).toBe(second);
  });

  it("has the same hashes for the same states, whatever the order and the way there", () => {
    fc.assert(
      fc.property(fc.array(anyState, { minLength: 1, maxLength: 8 }), fc.infiniteStream(fc.nat()), (states, picks) => {
        const [one, two] = [createStateStore(), createStateStore()];
        const shuffled = states.map((item, index) => ({ item, at: picks.next().value ?? index })).sort((x, y) => x.at - y.at);
        for (const offered of states) one.offer(offered);
        for (const { item } of [...shuffled, ...shuffled]) two.offer(item);
        const bucket = one.bucketOf("s");
        expect(one.hashOf(bucket)).toEqual(two.hashOf(bucket));
        expect(one.visible("s")).toEqual(two.visible("s"));
        one.remove("s");
        expect(one.hashOf(bucket)).toEqual(createStateStore().hashOf(bucket));
      }),
    );
  });
});
