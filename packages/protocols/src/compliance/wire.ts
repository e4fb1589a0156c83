import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { type Address, createPrng, systemClock } from "@failstorm/core";
import type { Definition } from "./define.ts";
import { PATIENCE_MS, within } from "./expectations.ts";
import { HOST, introduce, type Peer, type World } from "./world.ts";

const CUTS = 24;

const MUTATIONS = 60;

/** What a client sent on one connection, and what came back. */
interface Recorded {
  readonly sent: Buffer[];
  readonly received: Buffer[];
  readonly inner: Socket;
}

/** Between the caller and the host: records what passes, and can cut an answer short. */
class Proxy {
  readonly connections: Recorded[] = [];
  /** From here on each connection's answer ends after so many bytes. */
  cutAfter: number = Number.POSITIVE_INFINITY;
  target: Address | null = null;

  readonly onSocket = (inner: Socket): void => {
    const { target, cutAfter } = this;
    if (target === null) return void inner.destroy();
    const recorded: Recorded = { sent: [], received: [], inner };
    this.connections.push(recorded);
    const outer = connect(target);
    let left = cutAfter;
    inner.on("data", (chunk) => {
      recorded.sent.push(chunk);
      outer.write(chunk);
    });
    outer.on("data", (chunk) => {
      recorded.received.push(chunk);
      inner.write(chunk.subarray(0, left));
      left -= chunk.length;
      if (left <= 0) inner.destroySoon();
    });
    for (const [one, other] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      one.on("error", () => {});
      one.once("close", () => other.destroySoon());
    }
  };
}

/** Two agents that have met, the second of which is reached through the proxy and believes to be there. */
async function proxied(world: World): Promise<{ a: Peer; b: Peer; proxy: Proxy }> {
  const proxy = new Proxy();
  const reachedAt = await world.rawServer(proxy.onSocket);
  const a = await world.peer("agent-0");
  const b = await world.peer("agent-1", { reachedAt });
  proxy.target = { host: HOST, port: Number(new URL(b.local?.baseUrl ?? "").port) };
  introduce(a, b);
  await a.backend.connect("agent-0", "agent-1");
  await a.backend.send("agent-0", "agent-1", { text: "warm" });
  return { a, b, proxy };
}

/** Offsets spread over [1, length), the ends among them. */
function cutsOf(length: number): number[] {
  const last = length - 1;
  const spread = Array.from({ length: CUTS }, (_, i) => 1 + Math.floor((i * (last - 1)) / (CUTS - 1)));
  return [...new Set(spread)].filter((at) => at >= 1 && at <= last);
}

/** Writes these bytes to the host and resolves when the connection is closed, by it or after `waitMs` by us. */
async function write({ host, port }: Address, bytes: Buffer, waitMs: number): Promise<void> {
  const socket = connect({ host, port });
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.resume().write(bytes);
  await Promise.race([closed, systemClock.sleep(waitMs)]);
  socket.destroy();
  await closed;
}

/** Ends the caller's connections, so that what comes next is alone on its own. */
async function startAfresh({ connections }: Proxy): Promise<void> {
  for (const { inner } of connections.splice(0)) inner.destroy();
  // Until the caller has noticed.
  await systemClock.sleep(30);
}

/** The bytes of a whole send and of its whole answer. */
async function recordSend(a: Peer, proxy: Proxy): Promise<{ request: Buffer; answer: Buffer }> {
  await startAfresh(proxy);
  await a.backend.send("agent-0", "agent-1", { text: "recorded" }, { idempotencyKey: "t-1/1.search" });
  const [recorded] = proxy.connections;
  assert.equal(proxy.connections.length, 1, "one message, one connection");
  return { request: Buffer.concat(recorded?.sent ?? []), answer: Buffer.concat(recorded?.received ?? []) };
}

async function stillServes(a: Peer, proxy: Proxy): Promise<void> {
  await startAfresh(proxy);
  const sent = a.backend.send("agent-0", "agent-1", { text: "still there?" });
  assert.equal((await within("an answer after all that", PATIENCE_MS, sent)).text, "still there?");
}

/** What strangers send to an open port. */
const NONSENSE: readonly Buffer[] = [
  "GET / HTTP/1.1\r\n\r\n",
  "GET / HTTP/9.9\r\nhost: x\r\n\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  'POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\n{"a":',
  "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\nnull",
  "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nnull",
  'POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 27\r\n\r\n{"__proto__":{"admin":true}}',
  "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
  `POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 20000\r\n\r\n${"[".repeat(20_000)}`,
  `GET /${"x".repeat(40_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
  "DELETE /%00%ff/../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
].map((text) => Buffer.from(text, "latin1"));

export const wire: readonly Definition[] = [
  {
    id: "contract-cut-answer",
    title: "an answer that is cut at any byte is a failure noticed at once, or was whole",
    timeoutMs: 120_000,
    check: async (world) => {
      const { a, proxy } = await proxied(world);
      const { answer } = await recordSend(a, proxy);
      await startAfresh(proxy);
      for (const at of cutsOf(answer.length)) {
        proxy.cutAfter = at;
        const sent = a.backend.send("agent-0", "agent-1", { text: "recorded" }, { signal: AbortSignal.timeout(PATIENCE_MS) });
        const outcome = await sent.then(
          ({ text }) => text,
          (error: unknown) => error as { name: string; code: string },
        );
        if (typeof outcome === "string") assert.equal(outcome, "recorded", `cut after ${at} of ${answer.length} bytes`);
        else
          assert.match(
            `${outcome.name} ${outcome.code}`,
            /^CommError (?:reset|protocol|remote)$/,
            `cut after ${at} of ${answer.length}`,
          );
      }
      proxy.cutAfter = Number.POSITIVE_INFINITY;
      await stillServes(a, proxy);
    },
  },
  {
    id: "contract-cut-request",
    title: "a request that is cut at any byte is not executed and leaves the host as it was",
    timeoutMs: 120_000,
    check: async (world) => {
      const { a, b, proxy } = await proxied(world);
      const { request } = await recordSend(a, proxy);
      const before = b.executions.length;
      for (const at of cutsOf(request.length)) await write(proxy.target as Address, request.subarray(0, at), 15);
      assert.equal(b.executions.length, before);
      await stillServes(a, proxy);
    },
  },
  {
    id: "contract-replay",
    title: "declared authentication or idempotency: a message replayed byte for byte is not executed again",
    when: ({ authentication, idempotency }) => authentication || idempotency,
    check: async (world) => {
      const { a, b, proxy } = await proxied(world);
      const { request } = await recordSend(a, proxy);
      const before = b.executions.length;
      for (let i = 0; i < 3; i++) await write(proxy.target as Address, request, 100);
      assert.equal(b.executions.length, before);
      await stillServes(a, proxy);
    },
  },
  {
    id: "contract-nonsense",
    title: "nonsense, and messages with bytes changed, do not bring a host down",
    timeoutMs: 120_000,
    check: async (world) => {
      const { a, proxy } = await proxied(world);
      const { request } = await recordSend(a, proxy);
      const prng = createPrng(1, "mutations");
      const changed = Array.from({ length: MUTATIONS }, () => {
        const bytes = Buffer.from(request);
        bytes[prng.int(bytes.length)] = prng.int(256);
        return bytes;
      });
      for (const bytes of [...NONSENSE, ...changed]) await write(proxy.target as Address, bytes, 15);
      await stillServes(a, proxy);
    },
  },
];
