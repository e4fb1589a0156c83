import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type AgentMessage, openOfflineQueue } from "../src/index.ts";
import { canonicalJson, fromJson, toJson } from "../src/json.ts";
import { MessagingWorld, outcomeOf } from "./messagingWorld.ts";

let dir: string;
let file: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "queue-"));
  file = path.join(dir, "queue.ndjson");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const message = (number: number, payload: AgentMessage["payload"] = number): AgentMessage => ({
  id: `a#1:${number}`,
  correlationId: null,
  replyTo: null,
  from: "a",
  to: "b",
  type: "Command",
  priority: "Normal",
  timestamp: 1_000,
  ttlMs: 60_000,
  payload,
});

const numbers = (messages: readonly AgentMessage[]): number[] => messages.map(({ payload }) => Number(payload));

describe("the file of an offline queue", () => {
  it("gives back what was added and not removed, in order, bytes included", () => {
    const queue = openOfflineQueue(file);
    const messages = [message(1), message(2), message(3, { deep: [new Uint8Array([1, 2, 3])] })];
    for (const added of messages) queue.add({ receiver: "b", message: added });
    queue.add({ receiver: "c", message: message(1) });
    queue.remove("b", "a#1:1");
    queue.close();
    const again = openOfflineQueue(file);
    expect(again.recovered.map(({ receiver, message: { id } }) => `${receiver} ${id}`)).toEqual([
      "b a#1:2",
      "b a#1:3",
      "c a#1:1",
    ]);
    expect(again.recovered[1]?.message.payload).toEqual({ deep: [Buffer.from([1, 2, 3])] });
    again.close();
  });

  it("survives a writer that was killed in the middle of a line, and lines that are none", () => {
    const queue = openOfflineQueue(file);
    queue.add({ receiver: "b", message: message(1) });
    queue.close();
    appendFileSync(
      file,
      `{}\n[1]\nnot json\n{"add":"b","message":{"id":"x"}}\n${toJson({ add: "b", message: message(2) }).slice(0, -9)}`,
    );
    const again = openOfflineQueue(file);
    expect(again.recovered.map(({ message: { id } }) => id)).toEqual(["a#1:1"]);
    again.add({ receiver: "b", message: message(3) });
    again.close();
    expect(openOfflineQueue(file).recovered.map(({ message: { id } }) => id)).toEqual(["a#1:1", "a#1:3"]);
  });

  it("does not grow for ever", () => {
    const queue = openOfflineQueue(file);
    for (let number = 1; number <= 5_000; number++) {
      queue.add({ receiver: "b", message: message(number) });
      if (number > 3) queue.remove("b", `a#1:${number - 3}`);
    }
    queue.close();
    expect(readFileSync(file, "utf8").split("\n").length).toBeLessThan(1_200);
    expect(openOfflineQueue(file).recovered.map(({ message: { payload } }) => payload)).toEqual([4_998, 4_999, 5_000]);
  });

  it("says what is wrong when it cannot be written", () => {
    writeFileSync(path.join(dir, "not-a-folder"), "");
    expect(() => openOfflineQueue(path.join(dir, "not-a-folder", "queue"))).toThrow(/ENOTDIR|EEXIST/);
  });
});

describe("messages for a receiver that is offline", () => {
  it("wait, and are drained in order when it returns", async () => {
    const world = new MessagingWorld();
    const a = world.add("a", { queue: openOfflineQueue(file) });
    for (let number = 0; number < 50; number++) expect(await a.messages.sendCommand("b", number)).toEqual({ status: "queued" });
    expect(numbers(a.messages.getQueuedMessages("b"))).toEqual(Array.from({ length: 50 }, (_, number) => number));
    const b = world.add("b");
    await world.link("b", "a");
    await world.clock.advance(1);
    expect(numbers(b.handedOver)).toEqual(Array.from({ length: 50 }, (_, number) => number));
    expect(a.messages.getQueuedMessages()).toEqual([]);
    a.messages.stop();
    expect(openOfflineQueue(file).recovered).toEqual([]);
  });

  it("what was under way when the link broke comes first, and not twice", async () => {
    const world = new MessagingWorld();
    const a = world.add("a", { queue: openOfflineQueue(file) });
    const b = world.add("b");
    await world.link("a", "b");
    world.network.weather = { loss: 0, duplication: 0, maxDelayMs: 100 };
    const deliveries = [1, 2, 3].map((number) => outcomeOf(a.messages.sendCommand("b", number)));
    await world.clock.advance(40);
    world.network.cut("a", "b");
    await world.clock.advance(1);
    expect(deliveries.map(({ current }) => current?.status)).toContain("queued");
    await a.messages.sendCommand("b", 4);
    world.network.weather = { loss: 0, duplication: 0, maxDelayMs: 0 };
    await world.link("a", "b");
    await world.clock.advance(1);
    expect(numbers(b.handedOver).toSorted((x, y) => x - y)).toEqual([1, 2, 3, 4]);
    expect(numbers(b.handedOver).at(-1)).toBe(4);
  });

  it("expire there, and free their place", async () => {
    const world = new MessagingWorld();
    const a = world.add("a", { queue: openOfflineQueue(file), limits: { maxQueued: 2 } });
    await a.messages.sendCommand("b", 1, { ttlMs: 100 });
    await a.messages.sendCommand("b", 2, { ttlMs: 1_000 });
    expect(await a.messages.sendCommand("b", 3)).toMatchObject({ status: "refused" });
    await world.clock.advance(100);
    expect(a.messages.cleanupExpiredMessages()).toBe(1);
    expect(await a.messages.sendCommand("b", 4)).toEqual({ status: "queued" });
    a.messages.stop();
    expect(openOfflineQueue(file).recovered.map(({ message: { payload } }) => payload)).toEqual([2, 4]);
  });

  it("are bounded in bytes for each receiver", async () => {
    const world = new MessagingWorld();
    const a = world.add("a", { limits: { maxQueuedBytes: 2_500 } });
    const send = (to: string) => a.messages.sendCommand(to, "x".repeat(1_000));
    const results = [await send("b"), await send("b"), await send("b"), await send("c")];
    expect(results.map(({ status }) => status)).toEqual(["queued", "queued", "queued", "queued"]);
    expect(await send("b")).toEqual({ status: "refused", reason: "the offline queue for b is full" });
  });

  it("that the next process of the sender finds are handed over once, even if the first had delivered them", async () => {
    const world = new MessagingWorld();
    const a = world.add("a", { queue: openOfflineQueue(file) });
    const b = world.add("b");
    for (const number of [1, 2, 3]) await a.messages.sendCommand("b", number);
    await world.link("a", "b");
    // Delivered, but no acknowledgement comes back before the sender dies.
    const before = readFileSync(file);
    await world.clock.advance(1);
    world.network.crash("a");
    writeFileSync(file, before);
    expect(numbers(b.handedOver)).toEqual([1, 2, 3]);
    const again = world.add("a", { incarnation: 2, queue: openOfflineQueue(file) });
    void again.messages.sendCommand("b", 4);
    await world.link("a", "b");
    await world.clock.advance(1);
    expect(numbers(b.handedOver)).toEqual([1, 2, 3, 4]);
    expect(again.messages.statistics().outgoing).toBe(0);
  });
});

describe("the sender's SIGKILL", () => {
  it("loses no message that was said to be queued", async () => {
    const program = fileURLToPath(new URL("./programs/offlineSender.ts", import.meta.url));
    const child = spawn(process.execPath, [program, file, "1"], { stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (text: string) => {
      said += text;
      if (said.split("\n").length > 300) child.kill("SIGKILL");
    });
    await once(child, "close");
    expect(child.signalCode).toBe("SIGKILL");
    const announced = Number(said.trim().split("\n").at(-1));
    expect(announced).toBeGreaterThanOrEqual(300);

    const world = new MessagingWorld();
    const sender = world.add("sender", { incarnation: 2, queue: openOfflineQueue(file) });
    const receiver = world.add("receiver");
    await world.clock.advance(0);
    await world.link("sender", "receiver");
    await world.clock.advance(1);
    const got = receiver.handedOver.map(({ payload }) => (payload as { number: number }).number);
    // One more may have been written than was announced.
    expect(got.slice(0, announced)).toEqual(Array.from({ length: announced }, (_, index) => index + 1));
    expect(got.length - announced).toBeLessThanOrEqual(2);
    expect(sender.messages.getQueuedMessages()).toEqual([]);
  });
});

describe("JSON with bytes", () => {
  const value = fc.letrec<{ any: unknown }>((tie) => ({
    any: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom<unknown>(null, true, 0.5, "x", ""),
      fc.uint8Array({ maxLength: 4 }).map((bytes) => Buffer.from(bytes)),
      fc.array(tie("any"), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom("$bytes", "$object", "a"), tie("any"), { maxKeys: 2, noNullPrototype: true }),
    ),
  })).any;

  it("gives back every value as it was", () => {
    fc.assert(
      fc.property(value, (original) => {
        expect(fromJson(toJson(original))).toEqual(original);
      }),
    );
  });

  it("has one text for a value, whatever the order of its fields", () => {
    expect(canonicalJson({ b: 1, a: { d: [2], c: undefined } })).toBe(canonicalJson({ a: { d: [2] }, b: 1 }));
    expect(canonicalJson({ a: new Uint8Array([1]) })).not.toBe(canonicalJson({ a: [1] }));
  });
});
