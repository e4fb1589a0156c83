import type { Clock } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { MessagingWorld } from "./messagingWorld.ts";

/** A world of two in which `b` has room for one handler at a time. */
async function worldOfTwo(bClock?: (clock: Clock) => Clock) {
  const world = new MessagingWorld();
  const a = world.add("a");
  const b = world.add("b", {
    limits: { maxHandlers: 1, retryMs: 200 },
    ...(bClock === undefined ? {} : { clock: bClock(world.clock) }),
  });
  await world.link("a", "b");
  return { world, a: a.messages, b: b.messages };
}

describe("a receiver whose handlers are all at work", () => {
  it("still gets the answers that they wait for", async () => {
    const { world, a, b } = await worldOfTwo();
    a.onMessage("Query", () => "a's part");
    b.onMessage("Query", async () => `b with ${JSON.stringify(await b.sendQuery("a", null, { timeoutMs: 1_000 }))}`);
    const answer = a.sendQuery("b", null, { timeoutMs: 5_000 });
    await world.clock.advance(100);
    expect(await Promise.race([answer, Promise.resolve("nothing yet")])).toBe('b with "a\'s part"');
  });

  it("still says that it lives", async () => {
    const { world, a, b } = await worldOfTwo();
    b.onMessage("Query", () => new Promise(() => {}));
    b.onMessage("Heartbeat", () => "here");
    void a.sendQuery("b", null, { timeoutMs: 60_000 }).catch(() => {});
    const beat = a.sendQuery("b", null, { type: "Heartbeat", timeoutMs: 1_000 });
    await world.clock.advance(100);
    expect(await Promise.race([beat, Promise.resolve("nothing yet")])).toBe("here");
  });
});

describe("an answer", () => {
  it("lives as long as the asker waits, whatever the clock of the host that gives it says", async () => {
    const hourAhead = (clock: Clock): Clock => ({
      now: () => clock.now(),
      wall: () => clock.wall() + 3_600_000,
      after: (delayMs, fn) => clock.after(delayMs, fn),
      sleep: (delayMs, signal) => clock.sleep(delayMs, signal),
    });
    const { world, a, b } = await worldOfTwo(hourAhead);
    b.onMessage("Query", async () => {
      await world.clock.sleep(50);
      return "late";
    });
    const answer = a.sendQuery("b", null, { timeoutMs: 5_000 });
    await world.clock.advance(20);
    world.network.weather = { loss: 1, duplication: 0, maxDelayMs: 0 };
    await world.clock.advance(100);
    world.network.weather = { loss: 0, duplication: 0, maxDelayMs: 0 };
    await world.clock.advance(2_000);
    expect(await Promise.race([answer, Promise.resolve("nothing yet")])).toBe("late");
  });
});

describe("a message to oneself", () => {
  it("that nobody handles is refused, not delivered", async () => {
    const { a } = await worldOfTwo();
    expect(await a.sendMessage("a", "StateSync", null)).toEqual({ status: "refused", reason: "nobody handles StateSync here" });
    await expect(a.sendQuery("a", null, { timeoutMs: 1_000 })).rejects.toMatchObject({ code: "refused" });
  });

  it("for which there is no room is refused, not delivered", async () => {
    const world = new MessagingWorld();
    const { messages } = world.add("a", { limits: { maxHandlers: 1, maxWaiting: 1 } });
    messages.onMessage("Command", () => new Promise(() => {}));
    const deliveries = await Promise.all([1, 2, 3].map((number) => messages.sendCommand("a", number)));
    expect(deliveries.map(({ status }) => status)).toEqual(["delivered", "delivered", "refused"]);
  });
});

describe("a query after the network was stopped", () => {
  it("says so", async () => {
    const { a } = await worldOfTwo();
    a.stop();
    await expect(a.sendQuery("b", null, { timeoutMs: 1_000 })).rejects.toMatchObject({ code: "stopped" });
  });
});

describe("a message that the receiver would take for a broken packet", () => {
  it("is refused here, and costs no link", async () => {
    const { a } = await worldOfTwo();
    for (const ttlMs of [Number.POSITIVE_INFINITY, Number.NaN, -1]) {
      const reason = `the time to live is ${ttlMs}: it must be a number of ms, from 0 up`;
      expect(await a.sendCommand("b", 1, { ttlMs })).toEqual({ status: "refused", reason });
      await expect(a.sendQuery("b", 1, { timeoutMs: ttlMs })).rejects.toMatchObject({ code: "refused" });
    }
    expect(await a.sendCommand("b", 1, { correlationId: "x".repeat(513) })).toMatchObject({ status: "refused" });
  });
});
