import type fs from "node:fs";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, truncateSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Said } from "../src/anp/directMessage.ts";
import { GenerationLog } from "../src/anp/generationLog.ts";
import type { JsonObject } from "../src/anp/json.ts";
import type { OperationKey } from "../src/anp/operationRecord.ts";
import { Records } from "../src/anp/records.ts";
import { type Peer, World } from "./anp/world.ts";

/** Bytes that the disk still takes, and takes at once, and whether files can be opened. */
const disk = vi.hoisted(() => ({ free: Number.POSITIVE_INFINITY, piece: Number.POSITIVE_INFINITY, opens: true }));

vi.mock("node:fs", async (importReal) => {
  const real = await importReal<typeof fs>();
  const refuse = (code: string): never => {
    throw Object.assign(new Error(code), { code });
  };
  return {
    ...real,
    openSync: (...args: Parameters<typeof real.openSync>) => (disk.opens ? real.openSync(...args) : refuse("EMFILE")),
    writeSync: (fd: number, bytes: Buffer, offset: number) => {
      if (disk.free === 0) refuse("ENOSPC");
      const taken = real.writeSync(fd, bytes, offset, Math.min(disk.free, disk.piece, bytes.length - offset));
      disk.free -= taken;
      return taken;
    },
  };
});

function plentiful(): void {
  Object.assign(disk, { free: Number.POSITIVE_INFINITY, piece: Number.POSITIVE_INFINITY, opens: true });
}

let world: World;
let time: number;
beforeEach(() => {
  world = new World();
  time = 0;
});
afterEach(() => {
  plentiful();
  return world.close();
});

const introduce = (a: Peer, b: Peer): void => a.backend.registerEndpoint(b.agentId, b.address);

const now = (): number => time;

const open = (workspaceDir: string, rememberMs = 1000): Records => new Records({ workspaceDir, agentId: "a", rememberMs, now });
const operation = (operationId: string): OperationKey => ({
  senderDid: "s",
  targetDid: "t",
  method: "m",
  devices: "",
  operationId,
  messageId: operationId,
});
const said = (messageId: string): Said => ({ messageId, contentType: "text/plain", text: '{"text":"x"}' });
const textOf = (dir: string, what: "nonces" | "operations"): string => readFileSync(path.join(dir, `anp-${what}-a.log`), "utf8");

test("[anp-nonces] of nonces keep each for as long as its signature could be accepted, then forget", async () => {
  const dir = world.tempDir();
  const records = open(dir);
  const use = async (keyid: string, nonce: string): Promise<boolean> => {
    const isNew = records.nonces.use(keyid, nonce);
    await records.written();
    return isNew;
  };
  expect([await use("k", "1"), await use("k", "1"), await use("l", "1")]).toEqual([true, false, true]);
  time = 419_000;
  expect(await use("k", "2")).toBe(true);
  time = 421_000;
  expect([await use("k", "3"), await use("k", "1"), await use("k", "2")]).toEqual([true, false, false]);
  time = 840_000;
  expect([await use("k", "4"), await use("k", "3"), await use("k", "2")]).toEqual([true, false, false]);
  time = 850_000;
  expect([await use("k", "5"), await use("k", "4"), await use("k", "1")]).toEqual([true, false, true]);
  records.close();
  const reopened = open(dir);
  expect(["4", "5", "6"].map((nonce) => reopened.nonces.use("k", nonce))).toEqual([false, false, true]);
  reopened.close();
});

test("[anp-operation-record] of operations survive being cut anywhere, and forget what failed", async () => {
  const dir = world.tempDir();
  const records = open(dir);
  const { operations } = records;
  operations.add(operation("1"), said("1"), Promise.resolve({ answer: 1 }));
  operations.add(operation("2"), said("2"), Promise.reject(new Error("no")));
  operations.add(operation("3"), said("3"), Promise.resolve({ answer: 3 }));
  await new Promise((resolve) => process.nextTick(resolve));
  expect([operations.find(operation("1"))?.said, operations.find(operation("2"))]).toEqual([said("1"), undefined]);
  expect(operations.find({ ...operation("9"), messageId: "3" })?.said).toEqual(said("3"));
  await records.written();
  const file = path.join(dir, "anp-operations-a.log");
  truncateSync(file, readFileSync(file).length - 10);
  const second = open(dir);
  expect(await second.operations.find(operation("1"))?.result).toEqual({ answer: 1 });
  expect(second.operations.find(operation("1"))?.said).toEqual(said("1"));
  expect(second.operations.find(operation("3"))).toBeUndefined();
  second.operations.add(operation("4"), said("4"), Promise.resolve({ answer: 4 }));
  await new Promise((resolve) => process.nextTick(resolve));
  second.close();
  const third = open(dir);
  expect(await third.operations.find(operation("4"))?.result).toEqual({ answer: 4 });
  for (const each of [third, records]) each.close();
});

test("[anp-nonces] a nonce is written with the operation of its turn, and outlives it", async () => {
  const dir = world.tempDir();
  const records = open(dir);
  expect(records.written()).toBeNull();
  expect(records.nonces.use("k", "1")).toBe(true);
  records.operations.add(operation("1"), said("1"), Promise.resolve({}));
  expect(textOf(dir, "operations")).toBe("");
  await records.written();
  expect(records.written()).toBeNull();
  expect(textOf(dir, "operations")).toMatch(/^\["k","1"\]\n\{.*\}\n$/);
  expect(textOf(dir, "nonces")).toBe("");
  // As after a SIGKILL: the first is not closed.
  const second = open(dir);
  expect(second.nonces.use("k", "1")).toBe(false);
  expect(textOf(dir, "nonces")).toBe('["k","1"]\n');
  expect(second.nonces.use("k", "2")).toBe(true);
  second.operations.add(operation("2"), said("2"), Promise.resolve({}));
  await second.written();
  expect(textOf(dir, "nonces")).not.toContain('["k","2"]');
  // Two generations of operations later.
  for (const id of ["3", "4"]) {
    time += 1000;
    second.operations.add(operation(id), said(id), Promise.resolve({}));
    await Promise.resolve();
    await second.written();
  }
  expect(second.operations.find(operation("2"))).toBeUndefined();
  expect(second.nonces.use("k", "2")).toBe(false);
  const third = open(dir);
  expect(["1", "2"].map((nonce) => third.nonces.use("k", nonce))).toEqual([false, false]);
  for (const each of [third, second, records]) each.close();
});

test("[anp-nonces] many are copied to their own log before an operation of each could forget them", async () => {
  const dir = world.tempDir();
  const records = open(dir);
  for (let i = 0; i < 255; i++) records.nonces.use("k", `${i}`);
  records.operations.add(operation("1"), said("1"), Promise.resolve({}));
  await records.written();
  expect(textOf(dir, "nonces")).toBe("");
  records.nonces.use("k", "255");
  records.operations.add(operation("2"), said("2"), Promise.resolve({}));
  await records.written();
  expect(textOf(dir, "nonces").trimEnd().split("\n")).toHaveLength(256);
  records.close();
});

/** Notes an operation as a message does that is answered at once; resolves when it is written. */
async function answer(records: Records, id: string, result: JsonObject = {}): Promise<void> {
  records.operations.add(operation(id), said(id), Promise.resolve(result));
  await Promise.resolve();
  await records.written();
}

/** Which of these are known to a process that comes after one that was killed now. */
function known(dir: string, ids: readonly string[]): readonly string[] {
  const records = open(dir);
  try {
    return ids.filter((id) => records.operations.find(operation(id)) !== undefined);
  } finally {
    records.close();
  }
}

test("[anp-operation-record] who waits for what can't be written is told; it is written before what comes later", async () => {
  const dir = world.tempDir();
  const records = open(dir);
  rmSync(dir, { recursive: true });
  time += 1000;
  await expect(answer(records, "1")).rejects.toThrow(/ENOENT/);
  await expect(records.overdue()).rejects.toThrow(/ENOENT/);
  await expect(answer(records, "2")).rejects.toThrow(/ENOENT/);
  mkdirSync(dir);
  await records.overdue();
  expect(records.overdue()).toBeNull();
  await answer(records, "3");
  expect(known(dir, ["1", "2", "3"])).toEqual(["1", "2", "3"]);
  records.close();
});

test("[anp-operation-record] a file that can't be opened when another is due is opened later", async () => {
  const dir = world.tempDir();
  const records = open(dir);
  await answer(records, "1");
  time += 1000;
  disk.opens = false;
  await expect(answer(records, "2")).rejects.toThrow("EMFILE");
  await expect(answer(records, "3")).rejects.toThrow("EMFILE");
  disk.opens = true;
  await answer(records, "4");
  expect(known(dir, ["1", "2", "3", "4"])).toEqual(["1", "2", "3", "4"]);
  records.close();
});

test.each([1, 60, 400])(
  "[anp-operation-record] what a full disk took a part of (%i bytes) is written again, alone",
  async (free) => {
    const dir = world.tempDir();
    const records = open(dir);
    await answer(records, "1");
    disk.free = free;
    expect(records.nonces.use("k", "2")).toBe(true);
    await expect(answer(records, "2", { answer: "x".repeat(1000) })).rejects.toThrow("ENOSPC");
    disk.free = Number.POSITIVE_INFINITY;
    await answer(records, "3");
    expect(known(dir, ["1", "2", "3"])).toEqual(["1", "2", "3"]);
    const later = open(dir);
    expect(later.nonces.use("k", "2")).toBe(false);
    for (const each of [later, records]) each.close();
  },
);

test("[anp-operation-record] what the system takes in pieces is written to its end", async () => {
  const dir = world.tempDir();
  const records = open(dir);
  disk.piece = 100;
  await answer(records, "1", { answer: "x".repeat(1000) });
  expect(known(dir, ["1"])).toEqual(["1"]);
  records.close();
});

test("[anp-nonces] a nonce that could not be written while its operation was under way is written with the result", async () => {
  const dir = world.tempDir();
  const records = open(dir);
  const { promise, resolve } = Promise.withResolvers<JsonObject>();
  expect(records.nonces.use("k", "1")).toBe(true);
  records.operations.add(operation("1"), said("1"), promise);
  disk.free = 0;
  await expect(records.written()).rejects.toThrow("ENOSPC");
  disk.free = Number.POSITIVE_INFINITY;
  resolve({});
  await promise;
  await records.written();
  const later = open(dir);
  expect(later.nonces.use("k", "1")).toBe(false);
  expect(later.operations.find(operation("1"))).toBeDefined();
  for (const each of [later, records]) each.close();
});

test("[anp-operation-record] closing tells who waits for what can't be written, and touches no file afterwards", async () => {
  const dir = world.tempDir();
  const records = open(dir);
  records.operations.add(operation("1"), said("1"), Promise.resolve({}));
  await Promise.resolve();
  const written = records.written();
  disk.free = 0;
  expect(() => records.close()).toThrow("ENOSPC");
  disk.free = Number.POSITIVE_INFINITY;
  // These may get the numbers of the files that were closed.
  const others = ["one", "two"].map((name) => openSync(path.join(dir, name), "a"));
  await expect(written).rejects.toThrow("ENOSPC");
  await expect(answer(records, "2")).rejects.toThrow("closed");
  for (const name of ["one", "two"]) expect(readFileSync(path.join(dir, name), "utf8")).toBe("");
  for (const fd of others) closeSync(fd);
});

test("[anp-operation-record] an operation whose result has no JSON form is forgotten", async () => {
  const records = open(world.tempDir());
  const cycle: JsonObject = {};
  cycle["self"] = cycle;
  for (const result of [{ answer: 1n }, cycle]) {
    await answer(records, "1", result);
    expect(records.operations.find(operation("1"))).toBeUndefined();
  }
  expect(records.written()).toBeNull();
  records.close();
});

test.each(["http", "websocket"])("an answer that has no JSON form is an error, and its agent goes on (%s)", async (transport) => {
  const section = { transport };
  const a = await world.peer("agent-0", { section });
  const b = await world.peer("agent-1", {
    section,
    execute: async ({ payload }, queue) => {
      const data = "text" in payload && payload.text === "good" ? { n: 1 } : { n: 1n };
      queue.enqueue({ type: "agent_parts_message", parts: [{ kind: "data", data }] });
    },
  });
  introduce(a, b);
  await expect(a.backend.send("agent-0", "agent-1", { text: "bad" })).rejects.toMatchObject({ name: "CommError" });
  expect((await a.backend.send("agent-0", "agent-1", { text: "good" })).raw).toBeDefined();
});

test("[anp-operation-record] a big question is kept as a digest: no other operation is forgotten for it", async () => {
  const [a, b] = [await world.peer("agent-0"), await world.peer("agent-1")];
  introduce(a, b);
  const send = (text: string, attempt: number) =>
    a.backend.send(
      "agent-0",
      "agent-1",
      { parts: [{ kind: "data", data: { text, body: { attempt } } }] },
      { idempotencyKey: "1" },
    );
  const big = "x".repeat(1_000_000);
  const first = await send(big, 1);
  // Its answer, which is an echo.
  expect(readFileSync(path.join(b.workspaceDir, "anp-operations-agent-1.log")).length).toBeLessThan(1_010_000);
  expect((await send(big, 2)).raw).toEqual(first.raw);
  expect(b.repeats).toHaveLength(1);
  for (const text of [`${big}y`, "small"]) await expect(send(text, 1)).rejects.toThrow("something else");
});

test("[anp-operation-record] what came encrypted is kept as a digest", async () => {
  const section = { e2ee: true };
  const [a, b] = [await world.peer("agent-0", { section }), await world.peer("agent-1", { section, execute: async () => {} })];
  introduce(a, b);
  await a.backend.send("agent-0", "agent-1", { text: "between you and me" }, { idempotencyKey: "1" });
  await a.backend.send("agent-0", "agent-1", { text: "between you and me" }, { idempotencyKey: "1" });
  expect(b.repeats).toHaveLength(1);
  expect(readFileSync(path.join(b.workspaceDir, "anp-operations-agent-1.log"), "utf8")).not.toContain("between you");
  await expect(a.backend.send("agent-0", "agent-1", { text: "other" }, { idempotencyKey: "1" })).rejects.toThrow(
    "something else",
  );
});

test.each(["http", "websocket"])(
  "[anp-operation-record] an answer waits until its operation is written: where it can't be there is none (%s)",
  async (transport) => {
    // Each operation finds the last one's file to be an older generation, and needs another.
    const section = { transport, remember: 1e-6 };
    const a = await world.peer("agent-0", { section });
    let executions = 0;
    const b = await world.peer("agent-1", {
      section,
      execute: async (_context, queue) => {
        executions++;
        queue.enqueue({ type: "agent_text_message", text: "done" });
      },
    });
    introduce(a, b);
    expect((await a.backend.send("agent-0", "agent-1", { text: "1" })).text).toBe("done");
    rmSync(b.workspaceDir, { recursive: true });
    await expect(a.backend.send("agent-0", "agent-1", { text: "2" })).rejects.toMatchObject({
      code: "remote",
      message: "agent-1: internal error",
    });
    mkdirSync(b.workspaceDir);
    expect(executions).toBe(2);
  },
);

test("[anp-operation-record] take a new file when the present one is big enough, and drop the oldest", () => {
  const dir = world.tempDir();
  const lines: string[] = [];
  let rotations = 0;
  const open = () =>
    new GenerationLog({
      file: path.join(dir, "log"),
      generationMs: 1e9,
      maxBytes: 100,
      now,
      onLine: (line) => lines.push(line),
      onRotate: () => void rotations++,
    });
  const log = open();
  for (let i = 0; i < 100; i++) log.append(`line ${i}`.padEnd(19, "."));
  log.close();
  expect(rotations).toBe(19);
  open().close();
  expect(lines).toHaveLength(10);
  expect(lines.at(-1)).toMatch(/^line 99\./);
});

test("[anp-nonces] a body that is no JSON is not answered before the nonce of its signature is written", async () => {
  const [b, stranger] = [await world.peer("agent-1"), await world.stranger()];
  const malformed = () => stranger.request(b, {}, "no JSON");
  expect((await stranger.post(b, malformed())).json.error?.code).toBe(-32_700);
  disk.free = 0;
  expect((await stranger.post(b, malformed())).json.error?.code).toBe(-32_603);
});

test("nothing is done while what was noted of earlier messages can't be written", async () => {
  let executions = 0;
  const a = await world.peer("agent-0");
  const b = await world.peer("agent-1", { execute: async () => void executions++ });
  introduce(a, b);
  await a.backend.connect("agent-0", "agent-1");
  disk.free = 0;
  for (const text of ["1", "2", "3"])
    await expect(a.backend.send("agent-0", "agent-1", { text })).rejects.toMatchObject({ code: "remote" });
  expect(executions).toBe(1);
  disk.free = Number.POSITIVE_INFINITY;
  await a.backend.send("agent-0", "agent-1", { text: "4" });
  expect(executions).toBe(2);
});
