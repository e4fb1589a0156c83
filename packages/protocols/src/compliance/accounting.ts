import assert from "node:assert/strict";
import type { Traffic } from "@failstorm/core";
import type { Definition } from "./define.ts";
import { eventually, expectFailure, expectTraffic, PATIENCE_MS } from "./expectations.ts";
import type { Peer } from "./world.ts";

type Bytes = Pick<Traffic, "bytesSent" | "bytesReceived">;

const add = (one: Bytes, other: Bytes): Bytes => ({
  bytesSent: one.bytesSent + other.bytesSent,
  bytesReceived: one.bytesReceived + other.bytesReceived,
});

/** That what was attributed is what the client's sockets moved, late bytes included. */
async function reconcile(what: string, { client, residual }: Peer, traffic: readonly Traffic[]): Promise<void> {
  const attributed = (): Bytes => traffic.reduce<Bytes>(add, residual);
  const difference = (): string => JSON.stringify({ attributed: attributed(), sockets: client.socketTotals() });
  const isEqual = (): boolean => {
    const { bytesSent, bytesReceived } = client.socketTotals();
    const sum = attributed();
    return sum.bytesSent === bytesSent && sum.bytesReceived === bytesReceived;
  };
  await eventually(`${what}: bytes attributed are those of the sockets`, PATIENCE_MS, isEqual).catch((error: unknown) => {
    throw new assert.AssertionError({ message: `${String(error)}: ${difference()}` });
  });
}

export const accounting: readonly Definition[] = [
  {
    id: "contract-bytes",
    title: "every byte of every operation is measured on the sockets and attributed once",
    check: async (world) => {
      const { a } = await world.pair();
      const { backend } = a;
      const traffic: Traffic[] = [];
      traffic.push((await backend.connect("agent-0", "agent-1")).traffic);
      const sends = Array.from({ length: 40 }, (_, i) =>
        backend.send("agent-0", "agent-1", { text: "x".repeat(i * 100) }, i % 4 === 0 ? { onEvent: () => {} } : {}),
      );
      for (const answer of await Promise.all([...sends, backend.healthCheck("agent-1"), backend.connect("agent-0", "agent-1")]))
        traffic.push(answer.traffic);
      for (const one of traffic) expectTraffic("each operation", one);
      await reconcile("messages, probes, handshakes", a, traffic);
      assert.ok(a.client.socketTotals().bytesSent > 78_000);
    },
  },
  {
    id: "contract-bytes-of-failures",
    title: "a failure carries what it moved, and nothing is left over",
    check: async (world) => {
      const { a } = await world.pair(async ({ payload }) => {
        throw new Error(`no: ${"text" in payload ? payload.text.length : 0}`);
      });
      const failures = [
        await expectFailure("remote error", a.backend.send("agent-0", "agent-1", { text: "x".repeat(1000) }), {
          peer: "agent-1",
          codes: ["remote"],
        }),
      ];
      a.backend.registerEndpoint("agent-2", await world.rawServer((socket) => void socket.once("data", () => socket.end("?"))));
      failures.push(
        await expectFailure("garbage", a.backend.healthCheck("agent-2"), {
          peer: "agent-2",
          codes: ["protocol", "reset", "remote"],
        }),
        await expectFailure("garbage", a.backend.connect("agent-0", "agent-2"), {
          peer: "agent-2",
          codes: ["protocol", "reset", "remote"],
        }),
      );
      // The deadline passes when something has been sent, however long that takes.
      const deadline = new AbortController();
      const pass = (): void => deadline.abort(new DOMException("too late", "TimeoutError"));
      a.backend.registerEndpoint("agent-3", await world.rawServer((socket) => void socket.once("data", pass)));
      const sent = a.backend.send("agent-0", "agent-3", { text: "x" }, { signal: deadline.signal });
      failures.push(await expectFailure("deadline", sent, { peer: "agent-3", codes: ["timeout"] }));
      for (const failure of failures)
        assert.ok((failure.traffic?.bytesSent ?? 0) > 0, `${failure.message}: the error has traffic with the bytes sent`);
      await reconcile(
        "failures",
        a,
        failures.flatMap(({ traffic }) => traffic ?? []),
      );
    },
  },
  {
    id: "contract-tags",
    title: "all traffic is measured under the peer, and under the cause and kind that the caller gives",
    check: async (world) => {
      const { a } = await world.pair();
      const { backend } = a;
      const last = (): unknown => a.tags.splice(0).map(({ cause, kind, peer }) => `${cause} ${kind} ${peer}`);
      await backend.connect("agent-0", "agent-1", { cause: "handshake", kind: "handshake" });
      assert.deepEqual(new Set(last() as string[]), new Set(["handshake handshake agent-1"]));
      await backend.send("agent-0", "agent-1", { text: "x" }, { cause: "retry", kind: "lookup" });
      assert.deepEqual(new Set(last() as string[]), new Set(["retry lookup agent-1"]));
      await backend.healthCheck("agent-1", { cause: "excess_heartbeat", kind: "probe" });
      assert.deepEqual(new Set(last() as string[]), new Set(["excess_heartbeat probe agent-1"]));
      await backend.connect("agent-0", "agent-1");
      await backend.send("agent-0", "agent-1", { text: "x" });
      await backend.healthCheck("agent-1");
      assert.deepEqual(
        [...new Set(last() as string[])],
        ["setup handshake agent-1", "work tool agent-1", "heartbeat probe agent-1"],
        "and when the caller says nothing: set-up, work, heartbeat",
      );
    },
  },
];
