import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import {
  byAgentIndex,
  CommError,
  createPrng,
  defaultTimeoutMs,
  FakeClock,
  noticedWithinMs,
  openEventLog,
  type RunEvent,
  systemClock,
  toCommError,
} from "../src/index.ts";
import { runEventSchema } from "../src/events.ts";
import { agentRequestSchema } from "../src/requests.ts";

const folders: string[] = [];
const folder = (): string => {
  const made = mkdtempSync(path.join(tmpdir(), "failstorm-core-"));
  folders.push(made);
  return made;
};
afterEach(() => {
  for (const made of folders.splice(0)) rmSync(made, { recursive: true });
});

describe("how long a death takes to be noticed", () => {
  test("a timeout and two intervals; of swim, whose suspicions may last two timeouts, that much more", () => {
    const network = { heartbeatIntervalMs: 500, heartbeatTimeoutMs: 1_500 };
    expect(noticedWithinMs({ ...network, detector: "heartbeat" })).toBe(2_500);
    expect(noticedWithinMs({ ...network, detector: "phi-accrual" })).toBe(2_500);
    expect(noticedWithinMs({ ...network, detector: "swim" })).toBe(4_000);
  });

  test("where no timeout is given: 3 s, and of swim three of its periods", () => {
    expect([defaultTimeoutMs("heartbeat", 500), defaultTimeoutMs("phi-accrual", 500), defaultTimeoutMs("swim", 500)]).toEqual([
      3_000, 3_000, 1_500,
    ]);
  });
});

describe("clock", () => {
  test("the system's is CLOCK_MONOTONIC in ms, as process.hrtime gives it", () => {
    const before = Number(process.hrtime.bigint()) / 1e6;
    const now = systemClock.now();
    const after = Number(process.hrtime.bigint()) / 1e6;
    expect(now).toBeGreaterThanOrEqual(before - 0.001);
    expect(now).toBeLessThanOrEqual(after + 0.001);
  });

  test("the fake one runs timers in order of time, and those set while it moves", async () => {
    const clock = new FakeClock(0);
    const seen: string[] = [];
    clock.after(20, () => seen.push("b"));
    clock.after(10, () => {
      seen.push("a");
      clock.after(5, () => seen.push("a+5"));
    });
    const cancel = clock.after(15, () => seen.push("never"));
    cancel();
    void clock.sleep(30).then(() => seen.push("slept"));
    await clock.advance(30);
    expect(seen).toEqual(["a", "a+5", "b", "slept"]);
    expect(clock.now()).toBe(30);
  });

  test("a sleep ends with its signal's reason, on both", async () => {
    for (const clock of [systemClock, new FakeClock()]) {
      const abort = new AbortController();
      const asleep = clock.sleep(60_000, abort.signal);
      abort.abort(new Error("enough"));
      await expect(asleep).rejects.toThrow("enough");
    }
  });
});

describe("prng", () => {
  const draw = (seed: number, path: string): number[] => {
    const prng = createPrng(seed).fork(path);
    return Array.from({ length: 5 }, () => prng.next());
  };

  test("same seed and path, same values; another seed or path, others", () => {
    expect(draw(7, "a")).toEqual(draw(7, "a"));
    expect(draw(7, "a")).not.toEqual(draw(8, "a"));
    expect(draw(7, "a")).not.toEqual(draw(7, "b"));
  });

  test("a fork does not depend on what was drawn before it", () => {
    const used = createPrng(7);
    for (let i = 0; i < 10; i++) used.next();
    expect(used.fork("a").next()).toBe(draw(7, "a")[0]);
  });

  test("is uniform, and exponential with the mean asked for", () => {
    const prng = createPrng(3);
    const total = Array.from({ length: 20_000 }, () => prng.exponential(300)).reduce((sum, value) => sum + value, 0);
    // Five standard deviations.
    expect(Math.abs(total / 20_000 - 300)).toBeLessThan((5 * 300) / Math.sqrt(20_000));
    expect(prng.exponential(0)).toBe(0);
    const values = Array.from({ length: 20_000 }, () => prng.next());
    for (let decile = 0; decile < 10; decile++) {
      const inside = values.filter((value) => Math.floor(value * 10) === decile).length;
      expect(Math.abs(inside - 2000)).toBeLessThan(5 * Math.sqrt(2000 * 0.9));
    }
  });

  test("shuffles without losing anything", () => {
    const items = Array.from({ length: 50 }, (_, i) => i);
    const shuffled = createPrng(1).shuffle(items);
    expect(shuffled).not.toEqual(items);
    expect(shuffled.toSorted((a, b) => a - b)).toEqual(items);
    expect(() => createPrng(1).pick([])).toThrow(RangeError);
  });
});

describe("event log", () => {
  test("writes each event at once, numbered without gaps, and tells the observer after the write", () => {
    const file = path.join(folder(), "events.ndjson");
    const seen: Array<[RunEvent, number]> = [];
    const log = openEventLog({
      path: file,
      src: "agent-3",
      incarnation: 2,
      clock: new FakeClock(5),
      onEvent: (event) => seen.push([event, readFileSync(file, "utf8").split("\n").length - 1]),
    });
    log.write({ ev: "agent.stopping", reason: "a" });
    log.write({ ev: "agent.stopping", reason: "b" });
    expect(seen.map(([event, lines]) => [event.seq, lines])).toEqual([
      [0, 1],
      [1, 2],
    ]);
    const first = JSON.parse(readFileSync(file, "utf8").split("\n")[0] ?? "");
    expect(first).toEqual({ t: 5, src: "agent-3", inc: 2, seq: 0, ev: "agent.stopping", reason: "a" });
    expect(runEventSchema.parse(first)).toEqual(first);
    log.close();
  });

  test("begins on a line of its own after a writer that died in the middle of one", () => {
    const file = path.join(folder(), "events.ndjson");
    writeFileSync(file, '{"t":1,"src":"agent-3","in');
    const log = openEventLog({ path: file, src: "agent-3", incarnation: 2, clock: new FakeClock(5) });
    log.write({ ev: "agent.stopping", reason: "a" });
    log.close();
    const lines = readFileSync(file, "utf8").trim().split("\n");
    expect(lines).toHaveLength(2);
    expect(JSON.parse(lines[1] ?? "")).toMatchObject({ inc: 2, seq: 0 });
  });
});

describe("errors between agents", () => {
  const classified = (error: unknown, signal?: AbortSignal) => toCommError(error, "agent-1", signal).code;

  test("are told apart by system code, at any depth of causes", () => {
    const refused = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
    expect(classified(new TypeError("fetch failed", { cause: refused }))).toBe("refused");
    expect(classified(Object.assign(new Error("x"), { code: "UND_ERR_SOCKET" }))).toBe("reset");
    expect(classified(new TypeError("terminated"))).toBe("reset");
    expect(classified(new Error("whatever"))).toBe("protocol");
  });

  test("a passed deadline is not the caller's giving up", () => {
    const timeout = new AbortController();
    timeout.abort(new DOMException("late", "TimeoutError"));
    expect(classified(new Error("aborted"), timeout.signal)).toBe("timeout");
    expect(classified(new Error("aborted"), AbortSignal.abort(new Error("dead")))).toBe("aborted");
  });

  test("one that is classified already stays as it is", () => {
    const error = new CommError("remote", "agent-2", "no");
    expect(toCommError(error, "agent-1")).toBe(error);
  });
});

test("requests from the network are checked", () => {
  const from = { agentId: "agent-1", incarnation: 1, host: "127.0.0.1", port: 9001 };
  const hello = { from, body: { op: "hello", rejoin: true } };
  expect(agentRequestSchema.parse(hello)).toEqual(hello);
  const relay = { op: "relay", ttl: 3, path: [], origin: from, targets: [{ agentId: "agent-2", request: hello.body }] };
  expect(agentRequestSchema.safeParse({ from, body: relay }).success).toBe(true);
  for (const body of [{ op: "hello" }, { op: "rm -rf" }, null, { ...relay, targets: [{ agentId: "agent-2", request: relay }] }])
    expect(agentRequestSchema.safeParse({ from, body }).success).toBe(false);
});

test("agents are ordered by number", () => {
  expect(["agent-10", "agent-9", "agent-0"].toSorted(byAgentIndex)).toEqual(["agent-0", "agent-9", "agent-10"]);
});
