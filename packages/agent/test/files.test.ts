import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { FakeClock } from "@failstorm/core";
import { describe, expect, test } from "vitest";
import { DocumentStore } from "../src/documentStore.ts";
import { nextIncarnation } from "../src/incarnation.ts";
import type { MessageRecord } from "../src/recorder.ts";
import { folder, recording } from "./recorded.ts";

describe("incarnation", () => {
  test("is one more at each start, and on disk before it is told", () => {
    const workspace = folder();
    for (const expected of [1, 2, 3]) {
      expect(nextIncarnation(workspace)).toBe(expected);
      expect(readFileSync(path.join(workspace, "incarnation"), "utf8")).toBe(String(expected));
    }
  });

  test("is not guessed when the file holds something else", () => {
    const workspace = folder();
    writeFileSync(path.join(workspace, "incarnation"), "two");
    expect(() => nextIncarnation(workspace)).toThrow(/holds no incarnation number/);
  });
});

describe("document", () => {
  const bytes = Buffer.from("x".repeat(1_300_000));
  const expected = {
    sha256: createHash("sha256").update(bytes).digest("hex"),
    bytes: bytes.length,
    shards: 1,
    source: "agent-0",
  };
  const source = (): DocumentStore => {
    const file = path.join(folder(), "source");
    writeFileSync(file, bytes);
    const store = new DocumentStore(folder());
    expect(store.load(expected, file)).toBe(true);
    return store;
  };

  test("is pulled in chunks, verified, kept, and found again by the next incarnation", async () => {
    const from = source();
    const workspace = folder();
    const store = new DocumentStore(workspace);
    const offsets: number[] = [];
    await store.pull(expected, async (offset, length) => {
      offsets.push(offset);
      return from.chunk(offset, length);
    });
    expect(offsets.length).toBeGreaterThan(1);
    expect(store.stored?.equals(bytes)).toBe(true);
    expect(new DocumentStore(workspace).load(expected)).toBe(true);
  });

  test("with one wrong byte, or cut short, is refused and not kept", async () => {
    const from = source();
    const store = new DocumentStore(folder());
    const wrong = store.pull(expected, async (offset, length) => {
      const chunk = from.chunk(offset, length);
      return offset === 0 ? { ...chunk, base64: Buffer.from(chunk.base64, "base64").fill("y", 0, 1).toString("base64") } : chunk;
    });
    await expect(wrong).rejects.toMatchObject({ code: "bad_hash" });
    const short = store.pull(expected, async (offset, length) =>
      offset === 0 ? from.chunk(0, length) : { total: 0, base64: "" },
    );
    await expect(short).rejects.toMatchObject({ code: "short" });
    expect(store.stored).toBeNull();
    expect(() => store.chunk(0, 10)).toThrow(/not here yet/);
  });
});

describe("recorder", () => {
  const message = (over: Partial<MessageRecord> = {}): MessageRecord => ({
    kind: "tool",
    cause: "work",
    to: "agent-1",
    task: "t-000001",
    step: "1.search",
    attempt: 1,
    ms: 10,
    bytesSent: 100,
    bytesReceived: 50,
    roundTrips: 1,
    error: null,
    ...over,
  });

  test("adds messages up per second after t=0, kind and cause, and writes them singly inside the full intervals only", async () => {
    const clock = new FakeClock(10_000);
    const { recorder, of } = recording(clock, [[1_000, 2_000]]);
    recorder.setEpoch(10_000);
    recorder.message(message());
    recorder.message(message({ ms: 30, error: "reset" }));
    recorder.message(message({ kind: "lookup", cause: "retry" }));
    await clock.advance(1_500);
    recorder.message(message({ bytesSent: 7 }));
    recorder.residual("tool", "work", 0, 3);
    recorder.close();
    expect(
      of("msg.second").map(({ second, kind, cause, n, failed, bytesSent, bytesReceived, msMax }) => [
        second,
        kind,
        cause,
        n,
        failed,
        bytesSent,
        bytesReceived,
        msMax,
      ]),
    ).toEqual([
      [0, "tool", "work", 2, 1, 200, 100, 30],
      [0, "lookup", "retry", 1, 0, 100, 50, 10],
      [1, "tool", "work", 1, 0, 7, 53, 10],
    ]);
    expect(of("msg").map(({ bytesSent }) => bytesSent)).toEqual([7]);
    expect(recorder.counters).toMatchObject({ messagesSent: 4, bytesSent: 307, bytesReceived: 203 });
  });

  test("a sample comes with the messages of the seconds that are over, and is in the live view at once", async () => {
    const clock = new FakeClock(10_000);
    const { recorder, events, published } = recording(clock);
    recorder.setEpoch(10_000);
    recorder.message(message());
    const sample = (): void => recorder.sample(() => ({ ev: "log", level: "warning", message: "sample" }));
    sample();
    await clock.advance(1_400);
    expect(published.map(({ ev }) => ev)).toEqual(["log"]);
    sample();
    expect(events().map(({ ev, t }) => [ev, t])).toEqual([
      ["log", 10_000],
      ["msg.second", 11_400],
      ["log", 11_400],
    ]);
    expect(published.map(({ ev }) => ev)).toEqual(["log", "msg.second", "log"]);
    await clock.advance(1_000);
    expect(published).toHaveLength(3);
  });

  test("hands events to the live view a little later, without the finest, and writes nothing once closed", async () => {
    const clock = new FakeClock();
    const { recorder, published, events } = recording(clock);
    recorder.event({ ev: "detect.alive", peer: "agent-1", peerInc: 1, how: "probe" });
    recorder.event({ ev: "step.deduplicated", task: "t", step: "s" });
    recorder.event({ ev: "queue.dispatched", message: 1, worker: "agent-1", questions: ["q-1"], attempt: 1 });
    expect(published).toEqual([]);
    await clock.advance(1_000);
    expect(published.map(({ ev }) => ev)).toEqual(["detect.alive"]);
    recorder.close();
    recorder.event({ ev: "detect.alive", peer: "agent-1", peerInc: 1, how: "probe" });
    recorder.close();
    expect(events()).toHaveLength(3);
  });
});
