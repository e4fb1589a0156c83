import { describe, expect, it } from "vitest";
import type { DistributedState, StoreResult } from "../src/index.ts";
import { StateWorld } from "./stateWorld.ts";

const five = ["a", "b", "c", "d", "e"];

const stored = (result: StoreResult): DistributedState => {
  if (result.status !== "stored") throw new Error(JSON.stringify(result));
  return result.state;
};

async function linkedWorld(...args: ConstructorParameters<typeof StateWorld>): Promise<StateWorld> {
  const world = new StateWorld(...args);
  await world.linkAll();
  return world;
}

describe("storing and reading", () => {
  it("a state is at its replicas and nowhere else, and everybody can read it", async () => {
    const world = await linkedWorld(five);
    const state = stored(await world.settle(world.of("a").storeState("s", { n: 1 })));
    await world.clock.advance(10);
    expect(state.replicas).toHaveLength(3);
    for (const id of five) {
      expect(world.of(id).peekState("s") !== null).toBe(state.replicas.includes(id));
      expect((await world.settle(world.of(id).getState("s")))?.data).toEqual({ n: 1 });
    }
    expect(await world.settle(world.of("a").getState("none"))).toBeNull();
  });

  it("each write comes after what its writer knew, also when two begin at once", async () => {
    const world = await linkedWorld(["a"]);
    const results = await Promise.all([1, 2, 3].map((n) => world.of("a").storeState("s", n)));
    expect(results.map((result) => stored(result).version)).toEqual([1, 2, 3]);
    expect(world.of("a").peekState("s")?.data).toBe(3);
  });

  it("a writer that does not keep the state writes upon the replicas' version, and is refused when there are none", async () => {
    const world = await linkedWorld(five);
    const { replicas } = stored(await world.settle(world.of("a").storeState("s", 1)));
    const outsider = five.find((id) => !replicas.includes(id)) ?? "";
    await world.clock.advance(10);
    expect(stored(await world.settle(world.of(outsider).storeState("s", 2)))).toMatchObject({ version: 2, agentId: outsider });
    expect(world.of(outsider).peekState("s")).toBeNull();
    for (const replica of replicas) world.network.cut(outsider, replica);
    expect(await world.settle(world.of(outsider).storeState("s", 3))).toMatchObject({ status: "refused" });
    await expect(world.settle(world.of(outsider).getState("s"))).rejects.toMatchObject({ code: "unreachable" });
  });

  it("a state brought by somebody whose role may not is refused, and its checksum is verified", async () => {
    const world = await linkedWorld(["a", "b"], {}, 1, { b: "observer" });
    stored(await world.settle(world.of("b").storeState("s", 1)));
    await world.clock.advance(10);
    expect(world.of("a").peekState("s")).toBeNull();
    expect(world.log.lines.at(-1)?.fields).toMatchObject({ reason: "role observer may not send StateSync" });
  });

  it("states too old are removed, and not brought back by those who have them", async () => {
    const world = await linkedWorld(["a", "b"], { maxAgeMs: 1_000 });
    stored(await world.settle(world.of("a").storeState("old", 1)));
    await world.clock.advance(900);
    stored(await world.settle(world.of("a").storeState("new", 1)));
    await world.clock.advance(500);
    expect(world.of("a").cleanupOldStates()).toBe(1);
    await world.syncAll();
    expect(world.of("a").peekState("old")).toBeNull();
    expect(world.of("a").peekState("new")).not.toBeNull();
    expect(world.of("b").cleanupOldStates()).toBe(1);
  });

  it("states move to who keeps them when members come and go", async () => {
    const world = await linkedWorld(five);
    for (let n = 0; n < 40; n++) stored(await world.settle(world.of("a").storeState(`s${n}`, n)));
    await world.clock.advance(100);
    const gone = "e";
    world.network.crash(gone);
    world.members.splice(0, world.members.length, ...five.filter((id) => id !== gone));
    // Another array: whoever remembers the old placement has to notice.
    const members = [...world.members];
    (world as { members: string[] }).members = members;
    await world.syncAll();
    await world.syncAll();
    for (let n = 0; n < 40; n++) {
      const holders = members.filter((id) => world.of(id).peekState(`s${n}`) !== null);
      expect(holders).toHaveLength(3);
    }
  });
});

describe("strong", () => {
  it("is refused without a majority, and writes nothing", async () => {
    const world = await linkedWorld(["a", "b", "c"]);
    stored(await world.settle(world.of("a").storeState("s", 1, { consistency: "strong" })));
    world.network.crash("b");
    stored(await world.settle(world.of("a").storeState("s", 2, { consistency: "strong" })));
    world.network.crash("c");
    const result = await world.settle(world.of("a").storeState("s", 3, { consistency: "strong" }));
    expect(result).toEqual({ status: "refused", reason: "1 of 3 replicas can be reached, not a majority" });
    expect(world.of("a").peekState("s")?.data).toBe(2);
    // Known to be strong, so that nothing less will do.
    await expect(world.settle(world.of("a").getState("s"))).rejects.toThrow("not a majority");
  });

  it("every read sees the last write that returned, whoever wrote and whoever died since", async () => {
    for (let seed = 0; seed < 8; seed++) {
      const world = await linkedWorld(five, { replicationFactor: 5 }, seed);
      world.network.weather = { loss: 0.1, duplication: 0.1, maxDelayMs: 40 };
      const prng = world.prng.fork("strong");
      const [dead1, dead2, ...alive] = prng.shuffle(five) as [string, string, ...string[]];
      let last: unknown = null;
      for (let n = 0; n < 12; n++) {
        if (n === 4) world.network.crash(dead1);
        if (n === 8) world.network.crash(dead2);
        const writer = prng.pick(alive);
        const result = await world.settle(world.of(writer).storeState("s", n, { consistency: "strong" }));
        if (result.status === "stored") last = n;
        else if (result.status === "uncertain") last = undefined;
        const read = await world.settle(world.of(prng.pick(alive)).getState("s", "strong"));
        if (last !== undefined && last !== null) expect({ seed, n, data: read?.data }).toEqual({ seed, n, data: last });
        else last = read?.data;
      }
    }
  });
});

describe("causal", () => {
  it("an answer is not seen before the question, also when they are kept by different agents", async () => {
    let checks = 0;
    for (let seed = 0; seed < 8; seed++) {
      const world = await linkedWorld(five, { replicationFactor: 2, timeoutMs: 500 }, seed);
      const prng = world.prng.fork("causal");
      const pairs: [DistributedState, DistributedState][] = [];
      for (let n = 0; n < 6; n++) {
        const [asker, replier] = prng.shuffle(five) as [string, string];
        world.network.weather = { loss: 0.4, duplication: 0.2, maxDelayMs: prng.int(200) };
        const written = await world.settle(world.of(asker).storeState(`question-${seed}-${n}`, n, { consistency: "causal" }));
        // Lost on the way to all of its replicas: nobody can answer it.
        if (written.status !== "stored") continue;
        const question = written.state;
        // The replier can see it now; whoever keeps the answer may not.
        const seen = await world.settle(world.of(replier).getState(question.stateId)).catch(() => null);
        const result = await world.settle(world.of(replier).storeState(`answer-${seed}-${n}`, n, { consistency: "causal" }));
        if (seen !== null && result.status === "stored") pairs.push([question, result.state]);
        for (let step = 0; step < 4; step++) {
          await world.clock.advance(50);
          for (const id of five) await world.settle(world.of(id).maintain());
          for (const pair of pairs) checks += await check(world, pair, prng.pick(five));
        }
        world.network.weather = { loss: 0, duplication: 0, maxDelayMs: 0 };
      }
      await world.syncAll();
      await world.syncAll();
      for (const id of five) expect(world.of(id).statistics().pending).toBe(0);
      for (const [question, answer] of pairs) {
        for (const { replicas, stateId } of [question, answer]) {
          for (const id of replicas) expect(world.of(id).peekState(stateId)).not.toBeNull();
        }
      }
    }
    expect(checks).toBeGreaterThan(100);
  });

  /** Who keeps both shows both; who reads an answer can read its question. Returns how much of it could be checked. */
  async function check(world: StateWorld, [question, answer]: readonly DistributedState[], reader: string): Promise<number> {
    if (question === undefined || answer === undefined) return 0;
    const isShown = (id: string, { stateId }: DistributedState): boolean => world.of(id).peekState(stateId) !== null;
    const both = five.filter((id) => question.replicas.includes(id) && answer.replicas.includes(id));
    for (const id of both) if (isShown(id, answer)) expect(isShown(id, question)).toBe(true);
    const read = (stateId: string) => world.settle(world.of(reader).getState(stateId)).catch(() => "unreachable" as const);
    const first = await read(answer.stateId);
    if (first === null || first === "unreachable") return both.length;
    expect(await read(question.stateId)).not.toBeNull();
    return both.length + 1;
  }

  it("who has read an answer is not told that there is no question, not even by itself", async () => {
    const world = await linkedWorld(["a", "b", "c"], { replicationFactor: 2 });
    /** An id that is kept by these two. */
    const keptBy = async (...ids: string[]): Promise<string> => {
      for (let n = 0; ; n++) {
        const { replicas } = stored(await world.settle(world.of("a").storeState(`probe-${n}`, n)));
        if (ids.every((id) => replicas.includes(id))) return `probe-${n}`;
      }
    };
    const [question, answer] = [await keptBy("b", "c"), await keptBy("a", "b")];
    world.network.cut("b", "c");
    const asked = stored(await world.settle(world.of("b").storeState(question, "why?")));
    stored(await world.settle(world.of("b").storeState(answer, "because", { consistency: "causal", dependsOn: [asked] })));
    await world.clock.advance(10);
    await world.settle(world.of("a").maintain());
    expect(world.of("c").peekState(question)?.data).not.toBe("why?");
    expect((await world.settle(world.of("c").getState(answer)))?.data).toBe("because");
    await expect(world.settle(world.of("c").getState(question))).rejects.toMatchObject({ code: "unreachable" });
    await world.link("b", "c");
    expect((await world.settle(world.of("c").getState(question)))?.data).toBe("why?");
  });

  it("waits for what it names, and no more than that is allowed", async () => {
    const world = new StateWorld(["a", "b"]);
    const first = stored(await world.of("a").storeState("first", 1));
    stored(await world.of("a").storeState("other", 1));
    await world.link("a", "b");
    const second = stored(await world.of("a").storeState("second", 2, { consistency: "causal", dependsOn: [first] }));
    expect(second.dependencies.map(({ stateId }) => stateId)).toEqual(["first"]);
    await world.clock.advance(10);
    expect(world.of("b").peekState("second")).toBeNull();
    expect(world.of("b").statistics().pending).toBe(1);
    await world.settle(world.of("b").syncState("a"));
    expect(world.of("b").peekState("second")?.data).toBe(2);
    for (let n = 0; n < 300; n++) await world.of("a").storeState(`n${n}`, n);
    expect(await world.of("a").storeState("third", 3, { consistency: "causal" })).toMatchObject({ status: "refused" });
  });
});

describe("anti-entropy", () => {
  it("makes any two replicas equal, after any storm of writes, losses and partitions", async () => {
    const union = (a: DistributedState, b: DistributedState) =>
      [...new Set([...(a.data as string[]), ...(b.data as string[])])].toSorted((x, y) => x.localeCompare(y));
    for (let seed = 0; seed < 16; seed++) {
      const resolver = seed % 2 === 0 ? {} : { resolver: union };
      const world = await linkedWorld(["a", "b", "c", "d"], { replicationFactor: 4, ...resolver }, seed);
      const prng = world.prng.fork("storm");
      world.network.weather = { loss: prng.next() * 0.5, duplication: prng.next() * 0.5, maxDelayMs: prng.int(300) };
      for (let step = 0; step < 40; step++) {
        const id = prng.pick(world.members);
        if (prng.int(8) === 0) world.network.partition(new Map(world.members.map((member) => [member, prng.int(2)])));
        const stateId = `s${prng.int(6)}`;
        const before = (world.of(id).peekState(stateId)?.data ?? []) as string[];
        const consistency = "resolver" in resolver ? "eventual" : prng.pick(["eventual", "causal"] as const);
        void world.of(id).storeState(stateId, [...before, `${id}${step}`], { consistency });
        await world.clock.advance(prng.int(100));
      }
      world.network.partition(new Map());
      world.network.weather = { loss: 0, duplication: 0, maxDelayMs: 0 };
      await world.clock.advance(5_000);
      await world.syncAll();
      await world.syncAll();
      const readings = world.members.map((id) => Array.from({ length: 6 }, (_, n) => world.of(id).peekState(`s${n}`)?.checksum));
      for (const reading of readings) expect({ seed, reading }).toEqual({ seed, reading: readings[0] });
      for (const id of world.members) expect({ seed, pending: world.of(id).statistics().pending }).toEqual({ seed, pending: 0 });
    }
  });

  it("moves only what differs, in both directions, however much there is", async () => {
    const world = new StateWorld(["a", "b"]);
    for (let n = 0; n < 3_000; n++) await world.of("a").storeState(`s${n}`, `a ${n}`);
    for (let n = 3_000; n < 3_010; n++) await world.of("b").storeState(`s${n}`, `b ${n}`);
    await world.link("a", "b");
    expect(await world.settle(world.of("b").syncState("a"))).toEqual({ received: 3_000, sent: 10 });
    expect(await world.settle(world.of("a").syncState("b"))).toEqual({ received: 0, sent: 0 });
    expect(world.of("a").statistics().states).toBe(3_010);
  });

  it("a malformed request is refused with an error, and changes nothing", async () => {
    const world = await linkedWorld(["a", "b"]);
    const ask = (payload: Parameters<StateWorld["of"]>[0] | object | null) =>
      world.settle(
        world.nodes.get("b")?.messages.sendQuery("a", payload as null, { type: "StateSync", timeoutMs: 100 }) ??
          Promise.resolve(null),
      );
    await expect(ask({ op: "nonsense" })).rejects.toThrow("unknown operation");
    await expect(ask(null)).rejects.toThrow("unknown operation");
    await expect(ask({ op: "lists", lists: [[1]] })).rejects.toThrow("malformed");
    expect(await ask({ op: "groups", hashes: "x" })).toEqual({ groups: [] });
    expect(await ask({ op: "push", states: [[1], "x", null] })).toEqual({ have: [] });
    expect(world.of("a").statistics()).toMatchObject({ states: 0, refused: 3 });
  });
});
