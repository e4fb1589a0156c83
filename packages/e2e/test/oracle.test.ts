import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startCapture } from "../src/oracle/capture.ts";
import { type Claims, readClaims } from "../src/oracle/claims.ts";
import { compareRun } from "../src/oracle/compare.ts";
import { observeRun } from "../src/oracle/observe.ts";
import type { Outside } from "../src/oracle/outside.ts";
import type { Row } from "../src/oracle/row.ts";
import { formatRows } from "../src/oracle/table.ts";

const results = mkdtempSync(path.join(tmpdir(), "failstorm-oracle-test-"));
const STORM = "--agents 6 --rate 1 --deadline 4 --fault-time 12 --runtime 30 --restart-after 6 --seed 5";
const RUN = [...STORM.split(" "), "--base-port", "0", "--quiet", "--results", results];
/**
 * A machine on which others work too wakes processes late, and their own stamps with them: a run that was saturated, or whose instants
 * disagree, is made again. What was counted is never excused but by saturation, and a stamp that is wrong is so every time.
 */
const TRIES = 3;

let outside: Outside;
let claims: Claims;

beforeAll(async () => {
  for (let attempt = 1; attempt <= TRIES; attempt++) {
    outside = await observeRun(RUN);
    claims = readClaims(outside.runDir);
    if (claims.metrics.saturated) continue;
    const wrong = rowsOf().filter(({ verdict }) => verdict === "DISAGREES");
    if (wrong.length === 0 || wrong.some(({ unit }) => unit !== "ms")) return;
  }
});

afterAll(() => rmSync(results, { recursive: true, force: true, maxRetries: 10 }));

const rowsOf = (altered: Partial<Claims> = {}, seen: Partial<Outside> = {}): Row[] =>
  compareRun({ ...claims, ...altered }, { ...outside, ...seen });

const verdictOn = (figure: string, altered: Partial<Claims> = {}, seen: Partial<Outside> = {}): string | undefined =>
  rowsOf(altered, seen).find((row) => row.figure === figure)?.verdict;

/** What the oracle itself found; the altered figures below are off from this by more or less than is allowed. */
const found = (figure: string): number => Number(rowsOf().find((row) => row.figure === figure)?.oracle ?? Number.NaN);

type Metrics = Claims["metrics"];
const withMetrics = (change: (metrics: Metrics) => Partial<Metrics>): Partial<Claims> => ({
  metrics: { ...claims.metrics, ...change(claims.metrics) },
});

describe("a run watched from outside", () => {
  test("agrees with its own figures within 2 ms and 1 %", () => {
    const rows = rowsOf();
    expect(
      rows.filter(({ verdict }) => verdict === "DISAGREES"),
      `${formatRows(rows)}\n${claims.metrics.saturated ? `the machine was saturated in all of ${TRIES} runs` : ""}`,
    ).toEqual([]);
  });

  test("has every figure on both sides", () => {
    const judged = rowsOf().filter(({ verdict, harness, oracle }) => verdict !== "" && harness !== null && oracle !== null);
    expect(judged.map(({ figure }) => figure)).toEqual(
      expect.arrayContaining([
        "killed: schedule",
        "fault, after t=0",
        "transport_notice_ms.p50",
        "recovery_ms",
        "bytes_reconnect.window.before",
        "bytes_reconnect.window.after",
        "bytes_reconnect.by_cause.handshake",
        "goodput before",
        "goodput after",
        "success_rate_drop",
      ]),
    );
  });
});

describe("a figure that is off is found, one that is off by less is not", () => {
  const times: readonly (readonly [string, (ms: number, metrics: Metrics) => Partial<Metrics>])[] = [
    ["fault, after t=0", (ms) => ({ at_ms: ms })],
    ["recovery_ms", (ms) => ({ recovery_ms: ms })],
  ];
  test.each(times)("%s: 3 ms, 1.9 ms, none at all", (figure, set) => {
    const claimed = (ms: number): Partial<Claims> => withMetrics((metrics) => set(ms, metrics));
    expect(verdictOn(figure, claimed(found(figure) + 3))).toBe("DISAGREES");
    expect(verdictOn(figure, claimed(found(figure) - 3))).toBe("DISAGREES");
    expect(verdictOn(figure, claimed(found(figure) + 1.9))).toBe("agrees");
    expect(verdictOn(figure, claimed(null as unknown as number))).toBe("DISAGREES");
  });

  test.each(["first", "p50"] as const)(
    "transport_notice_ms.%s: before the FIN, 1.9 ms before, long after, none at all",
    (which) => {
      const figure = `transport_notice_ms.${which}`;
      const claimed = (ms: number | null): Partial<Claims> =>
        withMetrics(({ transport_notice_ms: notice }) => ({
          transport_notice_ms: notice && { ...notice, [which]: ms as number },
        }));
      expect(verdictOn(figure, claimed(found(figure) - 3))).toBe("DISAGREES");
      expect(verdictOn(figure, claimed(found(figure) - 1.9))).toBe("agrees");
      expect(verdictOn(figure, claimed(found(figure) + 501))).toBe("DISAGREES");
      expect(verdictOn(figure, claimed(null))).toBe("DISAGREES");
    },
  );

  const sizes: readonly (readonly [string, (bytes: number, of: NonNullable<Metrics["bytes_reconnect"]>) => object])[] = [
    ["bytes_reconnect.window.before", (before, { window }) => ({ window: { ...window, before } })],
    ["bytes_reconnect.window.after", (after, { window }) => ({ window: { ...window, after } })],
    ["bytes_reconnect.by_cause.handshake", (handshake, { by_cause }) => ({ by_cause: { ...by_cause, handshake } })],
  ];
  test.each(sizes)("%s: a fiftieth, nine thousandths", (figure, set) => {
    const claimed = (bytes: number): Partial<Claims> =>
      withMetrics(({ bytes_reconnect: all }) => ({ bytes_reconnect: all && { ...all, ...set(bytes, all) } }));
    expect(verdictOn(figure, claimed(found(figure) * 1.02))).toBe("DISAGREES");
    expect(verdictOn(figure, claimed(found(figure) * 0.98))).toBe("DISAGREES");
    expect(verdictOn(figure, claimed(found(figure) * 1.009))).toBe("agrees");
  });

  test("a kill stamped 3 ms before it happened", () => {
    const figure = `${claims.faults[0]?.agent}: kill`;
    const faults = claims.faults.map((fault) => ({ ...fault, before: fault.before - 3 }));
    expect(verdictOn(figure)).toBe("agrees");
    expect(verdictOn(figure, { faults })).toBe("DISAGREES");
  });

  test("a kill stamped after the victim was gone", () => {
    const figure = `${claims.faults[0]?.agent}: process gone`;
    const faults = claims.faults.map((fault) => ({ ...fault, before: fault.before + 1000, after: fault.after + 1000 }));
    expect(verdictOn(figure)).toBe("agrees");
    expect(verdictOn(figure, { faults })).toBe("DISAGREES");
  });

  test("a victim that the schedule does not name, and one that nobody struck", () => {
    const faults = claims.schedule.faults.map((fault) => ({ ...fault, victims: fault.victims.slice(1) }));
    expect(verdictOn("killed: schedule", { schedule: { ...claims.schedule, faults } })).toBe("DISAGREES");
    const processes = outside.processes.filter(({ pid }) => pid !== claims.faults[1]?.pid);
    const events = claims.faults.slice(0, 1);
    expect(verdictOn("killed: recorded", { faults: events }, { processes })).toBe("agrees");
    expect(verdictOn("killed: recorded", { faults: events })).toBe("DISAGREES");
  });

  test("an outcome that nobody logged, and one too many called good", () => {
    const lost = claims.events.findLast(({ ev }) => ev === "task.outcome")?.["task"];
    const events = claims.events.filter((event) => event.ev !== "task.outcome" || event["task"] !== lost);
    expect(verdictOn("tasks_lost")).toBe("agrees");
    expect(verdictOn("tasks_lost", { events })).toBe("DISAGREES");
    const flattered = withMetrics(({ success_rate: rate }) => ({
      success_rate: rate && { ...rate, post: { ...rate.post, good: rate.post.good + 1 } },
    }));
    expect(verdictOn("goodput after")).toBe("agrees");
    expect(verdictOn("goodput after", flattered)).toBe("DISAGREES");
  });

  test("something a victim is said to have done after its death", () => {
    const [fault] = claims.faults;
    const figure = `${fault?.agent}: events stamped after its death`;
    const ghost = { t: (fault?.before ?? 0) + 2000, src: fault?.agent ?? "", inc: fault?.agentInc ?? 0, seq: 1e6, ev: "log" };
    expect(verdictOn(figure)).toBe("agrees");
    expect(verdictOn(figure, { events: [...claims.events, ghost] })).toBe("DISAGREES");
  });

  test("a byte from a dead agent's port", () => {
    const [fault] = claims.faults;
    const process = outside.processes.find(({ pid }) => pid === fault?.pid);
    const figure = `${fault?.agent}: bytes from its port while dead`;
    const connections = outside.connections.map((connection) => ({
      ...connection,
      moved:
        connection.serverPort === process?.port
          ? [...connection.moved, { t: (process?.exitedAt ?? 0) + 1000, bytes: 1, byServer: true }]
          : connection.moved,
    }));
    expect(verdictOn(figure)).toBe("agrees");
    expect(verdictOn(figure, {}, { connections })).toBe("DISAGREES");
  });

  test("a capture that lost packets", () => {
    const capture = { ...outside.capture, droppedByKernel: 7 };
    expect(verdictOn("packets dropped by the capture", {}, { capture })).toBe("DISAGREES");
  });
});

describe("the oracle itself", () => {
  test("imports nothing but itself and Node", () => {
    const folder = path.join(import.meta.dirname, "../src/oracle");
    const files = ["../oracle.ts", ...readdirSync(folder).filter((name) => name.endsWith(".ts"))];
    const imported = files.flatMap((name) =>
      [...readFileSync(path.join(folder, name), "utf8").matchAll(/^(?:import|export(?! const)|\}) .*?"([^"]+)";$/gm)].map(
        ([, from]) => from,
      ),
    );
    expect(imported.length).toBeGreaterThan(20);
    expect(imported.filter((from) => !/^(node:|\.\/(oracle\/)?[A-Za-z]+\.ts$)/.test(from ?? ""))).toEqual([]);
  });

  test("says what to install when tcpdump is missing", async () => {
    const { PATH } = process.env;
    process.env["PATH"] = results;
    try {
      await expect(startCapture(path.join(results, "none.pcap"))).rejects.toThrow(/apt-get install tcpdump/);
    } finally {
      process.env["PATH"] = PATH;
    }
  });
});
