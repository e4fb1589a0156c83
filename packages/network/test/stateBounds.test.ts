import { type AgentId, FakeClock } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { compareHlc, createStateManager, type MessagePayload, sealState, type StoreResult } from "../src/index.ts";
import { objectionToPayload, toJson } from "../src/json.ts";
import { createPlacement } from "../src/state/placement.ts";
import { type DistributedState, referenceTo, type StateReference, stateFromWire, stateToWire } from "../src/state/state.ts";
import { createStateStore } from "../src/state/stateStore.ts";
import { CODEC_NAMES, loadCodecs } from "../src/transport/codec.ts";
import { StateWorld } from "./stateWorld.ts";

/** What a frame of the transports may hold by default. */
const FRAME_BYTES = 1024 * 1024;

/** Bytes of the largest payload that travels from now on. */
function watchPayloads({ network }: StateWorld): { largest: number } {
  const watched = { largest: 0 };
  const deliver = network.deliver.bind(network);
  network.deliver = (from, packet) => {
    if (packet.kind === "message") watched.largest = Math.max(watched.largest, toJson(packet.message.payload).length);
    deliver(from, packet);
  };
  return watched;
}

const versionOf = (result: StoreResult): number => ("state" in result ? result.state.version : -1);

const nested = (depth: number): MessagePayload => (depth === 0 ? 1 : [nested(depth - 1)]);

describe("what a state holds", () => {
  const WHOLE: readonly MessagePayload[] = [
    { a: 1, b: undefined, c: [{ d: undefined }], e: new Uint8Array([1, 2]) },
    { text: "\u{1F600} é", big: 2 ** 53, less: -0.5, no: Number.NaN, $bytes: "x" },
    nested(48),
    null,
  ];

  it.each(CODEC_NAMES)("arrives with its checksum as %s", async (name) => {
    const world = new StateWorld(["a"]);
    const codec = (await loadCodecs(CODEC_NAMES)).get(name);
    for (const data of WHOLE) {
      const result = await world.of("a").storeState("x", data);
      if (result.status !== "stored") throw new Error(JSON.stringify(result));
      const frame = [[0, null, 1, 0, 0, 0, 0, 0, 0, 0, null, 0, { result: { states: [stateToWire(result.state)] } }]];
      const arrived = codec?.decode(codec.encode(frame, 0)) as [[...unknown[], { result: { states: unknown[] } }]];
      const state = stateFromWire((arrived[0].at(-1) as { result: { states: unknown[] } }).result.states[0]);
      expect(state, JSON.stringify(data)).toMatchObject({ checksum: result.state.checksum });
    }
  });

  it("is refused where it would not arrive", async () => {
    const endless: unknown[] = [];
    endless.push(endless);
    const bad: readonly unknown[] = [
      undefined,
      { at: new Date(0) },
      [() => 1],
      10n,
      { half: "\ud800" },
      JSON.parse('{"__proto__":1}'),
      nested(49),
      endless,
      [undefined],
    ];
    const world = new StateWorld(["a"]);
    for (const data of bad) {
      const result = await world.of("a").storeState("x", data as MessagePayload);
      expect(result).toEqual({ status: "refused", reason: objectionToPayload(data) });
    }
    expect(await world.of("a").storeState("\udc00", 1)).toMatchObject({ status: "refused" });
    expect(world.of("a").statistics().states).toBe(0);
    const sealed = sealState({
      stateId: "x",
      agentId: "b",
      vectorClock: { "b#1": 1 },
      consistency: "eventual",
      data: nested(49),
      updatedAt: { ms: 0, counter: 0 },
      replicas: [],
      dependencies: [],
    });
    expect(stateFromWire(stateToWire(sealed))).toBe("it is nested deeper than 48, or without end");
  });
});

describe("writes to one state by one agent", () => {
  it("happen one after the other, also those that come when the first is done and the second is not", async () => {
    const world = new StateWorld(["a", "b", "c"]);
    await world.linkAll();
    const store = (data: number): Promise<StoreResult> => world.of("a").storeState("x", data, { consistency: "strong" });
    const first = store(1);
    const second = store(2);
    const third = first.then(() => store(3));
    const results = await world.settle(Promise.all([first, second, third]));
    expect(results.map(versionOf)).toEqual([1, 2, 3]);
  });
});

describe("a write upon a version that is kept elsewhere", () => {
  it("is later than that, though the clock of who wrote that is ahead", async () => {
    const clock = new FakeClock();
    const updatedAt = { ms: clock.wall() + 30_000, counter: 5 };
    const base = (stateId: string) =>
      sealState({
        stateId,
        agentId: "a",
        vectorClock: { "a#1": 1 },
        consistency: "eventual",
        data: 1,
        updatedAt,
        replicas: ["a"],
        dependencies: [],
      });
    const manager = createStateManager({
      self: { agentId: "b", nodeId: "b#1" },
      clock,
      log: () => {},
      members: () => ["a", "b"],
      replicationFactor: 1,
      messages: {
        ask: (_to, payload) => {
          const { op, stateId } = payload as { readonly op: string; readonly stateId: string };
          const have = op === "push" ? (payload as { readonly states: string[][] }).states.map(([id]) => id ?? "") : [];
          return Promise.resolve(op === "read" ? { state: stateToWire(base(stateId)) } : { have });
        },
        tell: () => Promise.resolve({ status: "queued" }),
        roleOf: () => "member",
      },
    });
    const results = await Promise.all(["1", "2", "3", "4", "5", "6"].map((id) => manager.storeState(id, 2)));
    const upon = results.flatMap((result) => ("state" in result && result.state.version === 2 ? [result.state] : []));
    expect(upon.length).toBeGreaterThan(0);
    for (const state of upon) expect(compareHlc(state.updatedAt, updatedAt)).toBeGreaterThan(0);
  });
});

describe("messages between replicas", () => {
  it("fit a frame when one of them has everything and the other nothing, and when both have", async () => {
    const world = new StateWorld(["a", "b"]);
    const a = world.of("a");
    const tail = "-".repeat(350);
    const ids = Array.from({ length: 3_500 }, (_, number) => `${number}${tail}`);
    await Promise.all(ids.map((id) => a.storeState(id, 1)));
    await world.linkAll();
    const watched = watchPayloads(world);
    await world.settle(world.of("b").syncState("a"));
    expect(world.of("b").statistics().states).toBe(ids.length);
    world.network.cut("a", "b");
    await Promise.all(ids.map((id) => a.storeState(id, 2)));
    await world.linkAll();
    await world.settle(world.of("b").syncState("a"));
    expect(ids.filter((id) => world.of("b").peekState(id)?.data !== 2)).toEqual([]);
    expect(watched.largest).toBeLessThan(FRAME_BYTES);
  });

  it("fit a frame when the states in them depend on many others", async () => {
    const world = new StateWorld(["a", "b"]);
    const a = world.of("a");
    const tail = "-".repeat(150);
    const stored = await Promise.all(Array.from({ length: 250 }, (_, number) => a.storeState(`${number}${tail}`, 1)));
    const dependsOn = stored.flatMap((result) => ("state" in result ? [result.state] : []));
    const many = Array.from({ length: 30 }, (_, number) => `many-${number}`);
    await Promise.all(many.map((id) => a.storeState(id, 1, { consistency: "causal", dependsOn })));
    await world.linkAll();
    const watched = watchPayloads(world);
    await world.settle(world.of("b").syncState("a"));
    expect(many.filter((id) => world.of("b").peekState(id) === null)).toEqual([]);
    expect(watched.largest).toBeLessThan(FRAME_BYTES);
  });

  it("fit a frame when very many states wait for what others keep", async () => {
    const world = new StateWorld(["a", "b"], { replicationFactor: 1 });
    await world.linkAll();
    const [store, placement] = [createStateStore(), createPlacement(["a", "b"], 1)];
    const keeperOf = (id: string) => placement.replicasOf(store.bucketOf(id))[0];
    const sealed = (stateId: string, dependencies: readonly StateReference[]) =>
      sealState({
        stateId,
        agentId: "b",
        vectorClock: { "b#1": 1 },
        consistency: "causal",
        data: 1,
        updatedAt: { ms: 1, counter: 0 },
        replicas: [],
        dependencies,
      });
    const bring = (to: AgentId, states: readonly DistributedState[]) =>
      world.of(to).answer({ op: "push", states: states.map(stateToWire) }, { agentId: "b", role: "member" });
    const ids = Array.from({ length: 24_000 }, (_, number) => `${number}${"-".repeat(150)}`);
    const needed = ids.filter((id) => keeperOf(id) === "b").map((id) => sealed(id, []));
    bring("b", needed);
    const waiting = Array.from({ length: Math.floor(needed.length / 250) }, (_, number) =>
      sealed(`waits-${number}`, needed.slice(250 * number, 250 * (number + 1)).map(referenceTo)),
    );
    bring("a", waiting);
    expect(world.of("a").statistics().pending).toBe(waiting.length);
    const watched = watchPayloads(world);
    await world.settle(world.of("a").maintain());
    expect(world.of("a").statistics().pending).toBe(0);
    expect(watched.largest).toBeLessThan(FRAME_BYTES);

    const tooMany = sealed("x", needed.slice(0, 257).map(referenceTo));
    expect(stateFromWire(stateToWire(tooMany))).toBe("it depends on more than 256 states");
  });

  it("are refused where a state could not travel at all, with the bound", async () => {
    const { states } = new StateWorld(["a"]);
    const a = states.get("a");
    expect(await a?.storeState("big", "x".repeat(600_000))).toMatchObject({
      status: "refused",
      reason: expect.stringMatching(/maxStateBytes/),
    });
    expect(await a?.storeState("x".repeat(513), 1)).toMatchObject({
      status: "refused",
      reason: expect.stringMatching(/1 to 512/),
    });
    expect(await a?.storeState("", 1)).toMatchObject({ status: "refused" });
    expect(a?.statistics().states).toBe(0);
  });
});

describe("what a state depends on", () => {
  it("is not waited for when it has outlived its age everywhere", async () => {
    const world = new StateWorld(["a", "b"], { maxAgeMs: 10_000 });
    const a = world.of("a");
    await a.storeState("old", 1);
    await world.clock.advance(9_000);
    await a.storeState("new", 1, { consistency: "causal" });
    await world.clock.advance(2_000);
    expect(a.cleanupOldStates()).toBe(1);
    await world.linkAll();
    await world.settle(world.of("b").syncState("a"));
    expect(world.of("b").peekState("new")).toBeNull();
    world.of("b").cleanupOldStates();
    expect(world.of("b").peekState("new")?.data).toBe(1);
  });
});

describe("a state that is handed over to the agents that keep it now", () => {
  it("is not forgotten when a newer version comes meanwhile", async () => {
    let members: readonly AgentId[] = ["a"];
    const world = new StateWorld(["a", "b"], { members: () => members, replicationFactor: 1 });
    const a = world.of("a");
    const ids = Array.from({ length: 20 }, (_, number) => `state-${number}`);
    const stored = await Promise.all(ids.map((id) => a.storeState(id, "first")));
    members = ["a", "b"];
    await world.linkAll();
    const handingOver = a.maintain();
    for (const result of stored) {
      if (!("state" in result)) continue;
      const { checksum: _checksum, version: _version, ...first } = result.state;
      const second = sealState({ ...first, agentId: "c", vectorClock: { ...first.vectorClock, "c#1": 1 }, data: "second" });
      a.answer({ op: "push", states: [stateToWire(second)] }, { agentId: "c", role: "member" });
    }
    await world.settle(handingOver);
    await world.settle(a.maintain());
    const held = ids.map((id) => a.peekState(id) ?? world.of("b").peekState(id));
    expect(held.map((state) => state?.data)).toEqual(ids.map(() => "second"));
    expect(world.of("b").statistics().states).toBeGreaterThan(0);
  });
});
