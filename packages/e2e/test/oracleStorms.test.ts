import { describe, expect, test } from "vitest";
import { compareBytes } from "../src/oracle/bytes.ts";
import type { Claims, FaultLine } from "../src/oracle/claims.ts";
import { compareGoodput } from "../src/oracle/goodput.ts";
import type { AgentProcess, Outside, OwnedConnection } from "../src/oracle/outside.ts";
import { firstStorm } from "../src/oracle/storm.ts";

/** What both sides would have of a run of three agents: pure, without a process. Instants are ms after t=0, which is at 0. */
const processOf = (agent: string, pid: number, exitedAt: number | null): AgentProcess => ({
  agent,
  pid,
  seenAt: -1000,
  home: [],
  port: 9000 + pid,
  firstThreadExitAt: exitedAt,
  signal: exitedAt === null ? null : 9,
  exitedAt,
});
const processes = [processOf("agent-0", 1, null), processOf("agent-1", 2, 20_501), processOf("agent-2", 3, 40_501)];

const fault = (pid: number, cycle: number, before: number): FaultLine => ({
  agent: processes[pid - 1]?.agent ?? "",
  agentInc: 1,
  pid,
  cycle,
  fake: false,
  kind: "sigkill",
  before,
  after: before + 1,
});

/** A handshake of 100 bytes by the one survivor, whose last byte came at this instant. */
const handshake = (at: number): OwnedConnection["exchanges"][number] => ({
  method: "GET",
  path: "/agent",
  request: "GET /agent HTTP/1.1",
  answer: "",
  status: 200,
  firstByteAt: at - 1,
  lastByteAt: at,
  bytesSent: 40,
  bytesReceived: 60,
});

const claimsOf = (faults: readonly FaultLine[], handshakeBytes: number, drop: number | null): Claims => ({
  metrics: {
    saturated: false,
    at_ms: 20_500,
    transport_notice_ms: null,
    recovery_ms: null,
    bytes_reconnect: { by_cause: { handshake: handshakeBytes }, window: { seconds: 19, before: 0, after: 0 } },
    success_rate: null,
    success_rate_drop: drop,
    tasks_lost: 0,
  },
  schedule: { tasks: [], faults: [] },
  events: [],
  faults,
  t0: 0,
  loadFromMs: 1000,
  protocol: "simple_json",
  runtimeMs: 60_000,
  warmupMs: 2000,
  deadlineMs: 4000,
  recoveryDurationMs: null,
});

const outside = (exchanges: OwnedConnection["exchanges"]): Outside => {
  const ended = { serverClosedAt: null, clientClosedAt: null };
  const counts = { moved: [], retransmittedBytes: 0, unreceivedBytes: 0 };
  const connection = { clientPort: 1, serverPort: 9002, openedAt: 0, lastAt: 60_000, ...ended, ...counts, exchanges };
  return {
    capture: { captured: 0, droppedByKernel: 0 },
    notes: [],
    runDir: "",
    processes,
    connections: [{ ...connection, client: processes[0] ?? null }],
    clockDriftMs: 0,
  };
};

describe("several storms", () => {
  test("the second in which the next storm fell is in the bytes of that one alone; the last second of a run is counted", () => {
    const seen = outside([21_000, 39_900, 40_100, 40_700].map(handshake));
    const verdictOn = (faults: readonly FaultLine[], bytes: number): string | undefined => {
      const claims = claimsOf(faults, bytes, null);
      const rows = compareBytes(claims, seen, firstStorm(claims, seen));
      return rows.find(({ figure }) => figure === "bytes_reconnect.by_cause.handshake")?.verdict;
    };
    const two = [fault(2, 0, 20_500), fault(3, 1, 40_500)];
    expect([verdictOn(two, 200), verdictOn(two, 300), verdictOn(two, 400)]).toEqual(["agrees", "DISAGREES", "DISAGREES"]);
    expect(verdictOn(two.slice(0, 1), 400)).toBe("agrees");
  });

  test("no drop where the next storm came within a deadline of the first", () => {
    const verdictOn = (nextAt: number, drop: number | null): string | undefined => {
      const tasks = Array.from({ length: 40 }, (_, i) => ({ task: `t${i}`, atMs: 1000 + i * 500, expected: "Paris" }));
      const events = tasks.map(({ task, atMs }, i) => {
        const outcome = { ev: "task.outcome", task, status: "answered", answer: "Paris" };
        return { t: atMs + 100, src: "agent-0", inc: 1, seq: i, ...outcome };
      });
      const claims = {
        ...claimsOf([fault(2, 0, 20_500), fault(3, 1, nextAt)], 0, drop),
        schedule: { tasks, faults: [] },
        events,
      };
      const rows = compareGoodput(claims, firstStorm(claims, outside([])));
      return rows.find(({ figure }) => figure === "success_rate_drop")?.verdict;
    };
    expect([verdictOn(24_000, null), verdictOn(24_000, 0)]).toEqual(["agrees", "DISAGREES"]);
    expect([verdictOn(40_000, null), verdictOn(40_000, 0)]).toEqual(["DISAGREES", "agrees"]);
  });
});
