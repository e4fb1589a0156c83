import type * as Fs from "node:fs";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type AgentMessage, openOfflineQueue } from "../src/index.ts";
import { MessagingWorld } from "./messagingWorld.ts";

/** Bytes the disk still takes. */
const disk = vi.hoisted(() => ({ room: Number.POSITIVE_INFINITY }));

vi.mock("node:fs", async (importOriginal) => {
  const fs = await importOriginal<typeof Fs>();
  const writeSync = (fd: number, bytes: Uint8Array, at = 0): number => {
    if (disk.room <= 0) throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    const written = fs.writeSync(fd, bytes, at, Math.min(bytes.length - at, disk.room));
    disk.room -= written;
    return written;
  };
  return { ...fs, writeSync };
});

let dir: string;
let file: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "queue-"));
  file = path.join(dir, "queue.ndjson");
});
afterEach(() => {
  disk.room = Number.POSITIVE_INFINITY;
  rmSync(dir, { recursive: true, force: true });
});

const message = (id: string, priority: AgentMessage["priority"] = "Normal"): AgentMessage => ({
  id,
  correlationId: null,
  replyTo: null,
  from: "a",
  to: "b",
  type: "Command",
  priority,
  timestamp: 1_000,
  ttlMs: 60_000,
  payload: null,
});

const recovered = (): string[] => {
  const queue = openOfflineQueue(file);
  queue.close();
  return queue.recovered.map(({ message: { id } }) => id);
};

describe("an offline queue on a disk that is full", () => {
  it("loses only what it said it could not take", () => {
    const queue = openOfflineQueue(file);
    queue.add({ receiver: "b", message: message("a#1:1") });
    disk.room = 20;
    expect(() => queue.add({ receiver: "b", message: message("a#1:2") })).toThrow("ENOSPC");
    disk.room = Number.POSITIVE_INFINITY;
    queue.add({ receiver: "b", message: message("a#1:3") });
    queue.remove("b", "a#1:1");
    queue.close();
    expect(recovered()).toEqual(["a#1:3"]);
  });

  it("goes on with the old file when there is no room for a new one", () => {
    const queue = openOfflineQueue(file);
    queue.add({ receiver: "b", message: message("a#1:0") });
    for (let number = 1; number <= 512; number++) {
      queue.add({ receiver: "b", message: message(`a#1:${number}`) });
      queue.remove("b", `a#1:${number}`);
    }
    queue.add({ receiver: "b", message: message("a#1:513") });
    // Enough for the line that says it is over, too little for what lives.
    disk.room = 60;
    expect(() => queue.remove("b", "a#1:513")).toThrow("ENOSPC");
    disk.room = Number.POSITIVE_INFINITY;
    queue.add({ receiver: "b", message: message("a#1:514") });
    queue.close();
    expect(recovered()).toEqual(["a#1:0", "a#1:514"]);
  });
});

describe("a full offline queue", () => {
  it("has its bytes taken by what is more urgent", async () => {
    const world = new MessagingWorld();
    const { messages } = world.add("a", { limits: { maxQueuedBytes: 600 } });
    const low = await Promise.all([1, 2, 3, 4, 5].map((number) => messages.sendCommand("b", number, { priority: "Low" })));
    expect(low.at(-1)?.status).toBe("refused");
    expect(await messages.sendCommand("b", "urgent", { priority: "High" })).toEqual({ status: "queued" });
    expect(await messages.sendCommand("b", "as urgent as that", { priority: "Low" })).toMatchObject({ status: "refused" });
    expect(messages.getQueuedMessages("b")[0]?.payload).toBe("urgent");
  });

  it("of another agent is not sent in its name", async () => {
    const queue = openOfflineQueue(file);
    queue.add({ receiver: "b", message: message("a#1:1") });
    queue.close();
    const world = new MessagingWorld();
    const c = world.add("c", { queue: openOfflineQueue(file) });
    const b = world.add("b");
    await world.link("c", "b");
    await world.clock.advance(10);
    expect([c.messages.getQueuedMessages(), b.handedOver]).toEqual([[], []]);
    expect(world.log.lines.at(-1)?.message).toMatch(/of another agent/);
  });
});
