import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { AgentMessage, MessagePriority } from "../src/index.ts";
import { createPriorityQueue } from "../src/messaging/priorityQueue.ts";
import { createSeenMessages } from "../src/messaging/seenMessages.ts";
import { MessagingWorld, outcomeOf } from "./messagingWorld.ts";

const pair = async (seed?: number) => {
  const world = new MessagingWorld(seed);
  const [a, b] = [world.add("a"), world.add("b")];
  await world.link("a", "b");
  return { world, a, b };
};

const texts = (messages: readonly AgentMessage[]): string[] =>
  messages.map(({ payload }) => (typeof payload === "string" ? payload : JSON.stringify(payload)));

describe("a message", () => {
  it("is delivered with all its fields, and acknowledged", async () => {
    const { world, a, b } = await pair();
    const payload = { words: ["a", "b"], bytes: new Uint8Array([1, 2]), none: null };
    const delivery = outcomeOf(a.messages.sendCommand("b", payload, { priority: "High", ttlMs: 500, correlationId: "x" }));
    await world.clock.advance(1);
    expect(delivery.current).toEqual({ status: "delivered", attempts: 1 });
    expect(b.handedOver).toEqual([
      {
        id: "a#1:1",
        correlationId: "x",
        replyTo: null,
        from: "a",
        to: "b",
        type: "Command",
        priority: "High",
        timestamp: world.clock.wall() - 1,
        ttlMs: 500,
        payload,
      },
    ]);
  });

  it("of a type that nobody handles is refused, and its sender told", async () => {
    const { world, a } = await pair();
    const delivery = outcomeOf(a.messages.sendMessage("b", "StateSync", null));
    await world.clock.advance(1);
    expect(delivery.current).toEqual({ status: "refused", reason: "nobody handles StateSync here" });
  });

  it("to oneself does not need a network", async () => {
    const world = new MessagingWorld();
    const a = world.add("a");
    expect(await a.messages.sendCommand("a", 1)).toMatchObject({ status: "delivered" });
    expect(texts(a.handedOver)).toEqual(["1"]);
  });

  it("is sent again with back-off while it is not acknowledged, and handed over once", async () => {
    const { world, a, b } = await pair();
    world.network.weather = { loss: 1, duplication: 0, maxDelayMs: 0 };
    const delivery = outcomeOf(a.messages.sendCommand("b", "x"));
    await world.clock.advance(20_000);
    const lost = a.messages.statistics().sending.retried;
    expect(lost).toBeGreaterThan(2);
    expect(lost).toBeLessThan(7);
    world.network.weather = { loss: 0, duplication: 1, maxDelayMs: 50 };
    await world.clock.advance(20_000);
    expect(delivery.current).toMatchObject({ status: "delivered", attempts: lost + 2 });
    expect(texts(b.handedOver)).toEqual(["x"]);
    expect(b.messages.statistics().receiving.duplicates).toBeGreaterThan(0);
  });

  it("is handed over with every copy where de-duplication is switched off", async () => {
    const world = new MessagingWorld();
    const a = world.add("a");
    const b = world.add("b", { deduplicate: false });
    await world.link("a", "b");
    world.network.weather = { loss: 0, duplication: 1, maxDelayMs: 0 };
    void a.messages.sendCommand("b", "x");
    await world.clock.advance(1);
    expect(texts(b.handedOver)).toEqual(["x", "x"]);
  });

  it("that is too old is neither sent nor handed over", async () => {
    const { world, a, b } = await pair();
    world.network.weather = { loss: 1, duplication: 0, maxDelayMs: 0 };
    const delivery = outcomeOf(a.messages.sendCommand("b", "x", { ttlMs: 1_500 }));
    await world.clock.advance(2_000);
    world.network.weather = { loss: 0, duplication: 0, maxDelayMs: 0 };
    await world.clock.advance(10_000);
    expect(delivery.current).toEqual({ status: "expired" });
    expect(b.handedOver).toEqual([]);
  });

  it("expires in the receiver's backlog, too", async () => {
    const world = new MessagingWorld();
    const a = world.add("a");
    const b = world.add("b", { limits: { maxHandlers: 1 } });
    await world.link("a", "b");
    const seen: unknown[] = [];
    b.messages.onMessage("Command", async ({ payload }) => {
      seen.push(payload);
      await world.clock.sleep(1_000);
    });
    void a.messages.sendCommand("b", "slow");
    const late = outcomeOf(a.messages.sendCommand("b", "late", { ttlMs: 500 }));
    await world.clock.advance(1_500);
    expect(seen).toEqual(["slow"]);
    expect(late.current).toEqual({ status: "expired" });
    expect(b.messages.statistics().receiving).toMatchObject({ handedOver: 1, expired: 1 });
  });
});

describe("priority", () => {
  it("orders what waits at the sender", async () => {
    const world = new MessagingWorld();
    const a = world.add("a", { connect: () => true });
    const b = world.add("b");
    const priorities: MessagePriority[] = ["Low", "Normal", "Critical", "High", "Normal", "Critical"];
    for (const [index, priority] of priorities.entries()) void a.messages.sendCommand("b", `${priority} ${index}`, { priority });
    await world.link("a", "b");
    expect(texts(b.handedOver)).toEqual(["Critical 2", "Critical 5", "High 3", "Normal 1", "Normal 4", "Low 0"]);
  });

  it("orders what waits at the receiver while its handlers are busy", async () => {
    const world = new MessagingWorld();
    const a = world.add("a");
    const b = world.add("b", { limits: { maxHandlers: 1 } });
    await world.link("a", "b");
    const seen: unknown[] = [];
    b.messages.onMessage("Command", async ({ payload }) => {
      seen.push(payload);
      await world.clock.sleep(10);
    });
    for (const priority of ["Normal", "Low", "High", "Critical", "Low"] as const) {
      void a.messages.sendCommand("b", priority, { priority });
    }
    await world.clock.advance(100);
    expect(seen).toEqual(["Normal", "Critical", "High", "Low", "Low"]);
  });

  it("a more urgent message takes the place of the newest of the least urgent in a full queue", async () => {
    const world = new MessagingWorld();
    const a = world.add("a", { limits: { maxQueued: 3 } });
    const send = (payload: string, priority: MessagePriority) => a.messages.sendCommand("b", payload, { priority });
    for (const [payload, priority] of [
      ["1", "Low"],
      ["2", "High"],
      ["3", "Low"],
    ] as const) {
      expect(await send(payload, priority)).toEqual({ status: "queued" });
    }
    expect(await send("4", "Low")).toMatchObject({ status: "refused" });
    expect(await send("5", "Critical")).toEqual({ status: "queued" });
    expect(texts(a.messages.getQueuedMessages("b"))).toEqual(["5", "2", "1"]);
    expect(a.messages.statistics().sending.evicted).toBe(1);
  });

  it("never breaks the order within a priority", () => {
    const priority = fc.constantFrom("Low", "Normal", "High", "Critical");
    fc.assert(
      fc.property(fc.array(fc.oneof(priority, fc.constant("take"), fc.constant("return"))), (steps) => {
        const queue = createPriorityQueue<{ rank: MessagePriority; index: number }>();
        const model: { rank: MessagePriority; index: number }[] = [];
        const ranks = ["Critical", "High", "Normal", "Low"];
        const next = () => model.toSorted((x, y) => ranks.indexOf(x.rank) - ranks.indexOf(y.rank) || x.index - y.index)[0];
        for (const [index, step] of steps.entries()) {
          if (step !== "take" && step !== "return") {
            const item = { rank: step, index };
            queue.push(item, item.rank);
            model.push(item);
            continue;
          }
          const taken = queue.shift();
          expect(taken).toEqual(next());
          if (taken === undefined) continue;
          if (step === "return") queue.unshift(taken, taken.rank);
          else
            model.splice(
              model.findIndex(({ index: at }) => at === taken.index),
              1,
            );
        }
        expect(queue.size).toBe(model.length);
      }),
    );
  });
});

describe("a query", () => {
  it("is answered by the handler's result, in the other order too", async () => {
    const { world, a, b } = await pair();
    b.messages.onMessage("Query", async ({ payload }) => {
      await world.clock.sleep(payload as number);
      return { waited: payload };
    });
    const slow = a.messages.sendQuery("b", 50, { timeoutMs: 100 });
    const quick = a.messages.sendQuery("b", 10, { timeoutMs: 100 });
    await world.clock.advance(60);
    expect(await Promise.all([slow, quick])).toEqual([{ waited: 50 }, { waited: 10 }]);
  });

  it("fails at its deadline, and with the handler's error, and at once when nobody can be reached", async () => {
    const { world, a, b } = await pair();
    b.messages.onMessage("Query", ({ payload }) => {
      if (payload === "bad") throw new Error("no such thing");
      return new Promise<null>(() => {});
    });
    const silent = expect(a.messages.sendQuery("b", 1, { timeoutMs: 100 })).rejects.toMatchObject({ code: "timeout", peer: "b" });
    const failed = expect(a.messages.sendQuery("b", "bad", { timeoutMs: 100 })).rejects.toThrow("no such thing");
    await world.clock.advance(100);
    await silent;
    await failed;
    await expect(a.messages.sendQuery("c", 1, { timeoutMs: 100 })).rejects.toMatchObject({ code: "unreachable" });
    expect(a.messages.statistics().queries).toEqual({ asked: 3, answered: 0, timedOut: 1, failed: 2 });
  });

  it("takes an answer from nobody but whom it asked", async () => {
    const { world, a, b } = await pair();
    const c = world.add("c");
    await world.link("c", "a");
    b.messages.onMessage("Query", () => world.clock.sleep(50).then(() => "from b"));
    const asked = a.messages.sendQuery("b", 1, { timeoutMs: 100 });
    await world.clock.advance(1);
    const query = a.messages.history().find(({ message }) => message.type === "Query");
    void c.messages.sendMessage("a", "Response", { result: "from c" }, { correlationId: query?.message.id ?? "" });
    await world.clock.advance(60);
    expect(await asked).toBe("from b");
  });
});

describe("broadcasts", () => {
  it("go once to who is named twice", async () => {
    const world = new MessagingWorld();
    const [a, b] = [world.add("a"), world.add("b")];
    const told: unknown[] = [];
    b.messages.subscribeToBroadcasts(({ payload }) => void told.push(payload));
    await world.link("a", "b");
    const sent = a.messages.broadcastMessage(["b", "b"], "x");
    await world.clock.advance(10);
    expect(a.messages.statistics().outgoing).toBe(0);
    expect([...(await sent)]).toEqual([["b", { status: "delivered", attempts: 1 }]]);
    expect(told).toEqual(["x"]);
  });

  it("reach every subscriber of every receiver, once, with what became of each", async () => {
    const world = new MessagingWorld();
    const a = world.add("a");
    const told: string[] = [];
    for (const id of ["b", "c"]) {
      const node = world.add(id);
      node.messages.subscribeToBroadcasts(() => void told.push(`${id} 1`));
      const end = node.messages.subscribeToBroadcasts(() => void told.push(`${id} 2`));
      node.messages.subscribeToBroadcasts(
        () => void told.push(`${id} 3`),
        ({ payload }) => payload === "other",
      );
      if (id === "c") end();
      await world.link("a", id);
    }
    world.network.weather = { loss: 0, duplication: 1, maxDelayMs: 5 };
    const sent = a.messages.broadcastMessage(["b", "c", "d"], "x");
    await world.clock.advance(10);
    expect(told.toSorted()).toEqual(["b 1", "b 2", "c 1"]);
    expect([...(await sent)].map(([to, { status }]) => `${to} ${status}`)).toEqual(["b delivered", "c delivered", "d queued"]);
  });
});

describe("history and statistics", () => {
  it("history is bounded and in order", async () => {
    const world = new MessagingWorld();
    const a = world.add("a", { limits: { historySize: 3 } });
    for (let i = 0; i < 5; i++) void a.messages.sendCommand("b", i);
    expect(texts(a.messages.history().map(({ message }) => message))).toEqual(["2", "3", "4"]);
  });
});

describe("the memory of messages seen", () => {
  it("knows every copy, and keeps no more than what is under way", () => {
    const seen = createSeenMessages();
    for (let sequence = 1; sequence <= 10_000; sequence++) {
      const low = Math.max(1, sequence - 100);
      expect(seen.take("a#1", sequence, low)).toBe(true);
      if (sequence % 7 === 0) expect(seen.take("a#1", Math.max(1, sequence - 50), low)).toBe(false);
    }
    expect(seen.take("a#1", 1, 1)).toBe(false);
    expect(seen.take("a#2", 1, 1)).toBe(true);
  });
});

describe("any schedule of loss, repetition, delay, partition and lost links", () => {
  const AGENTS = ["a", "b", "c", "d"];

  /** What was sent to and handed over by each agent, after the storm has passed. */
  async function run(seed: number) {
    const world = new MessagingWorld(seed);
    const prng = world.prng.fork("schedule");
    for (const id of AGENTS) world.add(id, { limits: { window: 4, retryMs: 200, maxRetryMs: 2_000, defaultTtlMs: 3_600_000 } });
    world.network.weather = { loss: prng.next() * 0.4, duplication: prng.next() * 0.4, maxDelayMs: prng.int(300) };
    const sent = new Map<string, string[]>(AGENTS.map((id) => [id, []]));
    for (let step = 0; step < 30; step++) {
      const [from, to] = prng.shuffle(AGENTS) as [string, string];
      const what = prng.int(10);
      if (what < 7) {
        const payload = `${from} ${step}`;
        sent.get(to)?.push(payload);
        void world.nodes.get(from)?.messages.sendCommand(to, payload, { priority: prng.pick(["Low", "Normal", "Critical"]) });
      } else if (what === 7) world.network.cut(from, to);
      else if (what === 8) world.network.partition(new Map(AGENTS.map((id) => [id, prng.int(2)])));
      else await world.link(from, to);
      await world.clock.advance(prng.int(150));
    }
    world.network.partition(new Map());
    for (const a of AGENTS) for (const b of AGENTS) if (a < b) await world.link(a, b);
    await world.clock.advance(60_000);
    return { world, sent };
  }

  it("hands every message over exactly once in the end", async () => {
    for (let seed = 0; seed < 60; seed++) {
      const { world, sent } = await run(seed);
      for (const id of AGENTS) {
        const got = texts(world.nodes.get(id)?.handedOver ?? []).toSorted();
        expect({ seed, id, got }).toEqual({ seed, id, got: sent.get(id)?.toSorted() });
      }
      for (const { messages } of world.nodes.values()) expect(messages.statistics().outgoing).toBe(0);
    }
  });

  it("happens the same way again with the same seed", async () => {
    const [one, two] = [await run(7), await run(7)];
    expect(one.world.network.packets).toBe(two.world.network.packets);
    expect(one.world.nodes.get("a")?.handedOver).toEqual(two.world.nodes.get("a")?.handedOver);
  });
});
