import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { type CommErrorCode, type ConnectResult, type HealthResult, systemClock } from "@failstorm/core";
import type { Definition } from "./define.ts";
import { eventually, expectFailure, PATIENCE_MS, within } from "./expectations.ts";
import { HOST, introduce, type Peer, quietPort, type World } from "./world.ts";

/** An answer over HTTP whose connection is closed after it. */
const http = (status: string, type: string, body: string): string =>
  `HTTP/1.1 ${status}\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`;

const JSON_TYPE = "application/json";

/** The beginning of an answer in the form that was asked for; where the headers are the whole answer, of the headers. */
function beginning(request: Buffer, length: number): string {
  if (request.toString("latin1").startsWith("HEAD ")) return "HTTP/1.1 200 OK\r\ncontent-type: ";
  const type = request.includes("text/event-stream") ? "text/event-stream" : JSON_TYPE;
  return `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ncontent-length: ${length}\r\n\r\n`;
}

/** What a peer may answer that is no answer of any of our protocols. */
const GARBAGE: Readonly<Record<string, string>> = {
  "not HTTP": "220 mail.example ESMTP ready\r\n",
  "random bytes": "\u0000\u0001\u00ff\u0016\u0003\u0001\u0002",
  "HTML with status 200": http("200 OK", "text/html", "<html>It works!</html>"),
  "a cut JSON text": http("200 OK", JSON_TYPE, '{"in'),
  "an empty body": http("200 OK", JSON_TYPE, ""),
  null: http("200 OK", JSON_TYPE, "null"),
  "a list": http("200 OK", JSON_TYPE, "[]"),
  "an empty object": http("200 OK", JSON_TYPE, "{}"),
  "a word": http("200 OK", JSON_TYPE, '"ok"'),
  "an answer to another question": http(
    "200 OK",
    JSON_TYPE,
    '{"jsonrpc":"2.0","id":"nobody","result":{"parts":7,"status":null}}',
  ),
  "nested without end": http("200 OK", JSON_TYPE, "[".repeat(20_000)),
  "an event stream that says nothing": http("200 OK", "text/event-stream", ": hello\n\ndata: {]\n\n"),
  "status 404": http("404 Not Found", "text/plain", "no such page"),
  "status 502": http("502 Bad Gateway", "text/html", "<h1>Bad gateway</h1>"),
  "status 204": "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
  "a redirect to itself": "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
};

/**
 * Who answers at all lives, and some protocols let an agent say nothing of itself: a probe or a handshake may be content with any HTTP
 * answer as long as it makes nothing up.
 */
async function claimsNothing(operation: Promise<unknown>): Promise<boolean> {
  const result = (await operation.catch(() => null)) as Partial<ConnectResult & HealthResult> | null;
  if (result?.peer !== undefined) return result.peer.incarnation === 0 && result.peer.capabilities.length === 0;
  return result?.incarnation === null;
}

type Operation = readonly [name: string, run: () => Promise<unknown>];

/** Beyond a deadline: nobody is that late, and who does not hear of it has to be waited for. */
const SLOW_MS = 10_000;

const WORK_ID = "00000000-0000-4000-8000-000000000001";

/** Every operation that crosses the wire; each has its own deadline from when it is begun. */
function operations(
  { backend }: Peer,
  peer: string,
  signal: () => AbortSignal = () => AbortSignal.timeout(PATIENCE_MS),
): Operation[] {
  const listeners = { onEvent: () => {}, onAccepted: () => {} };
  const all: Operation[] = [
    ["connect", () => backend.connect("agent-0", peer, { signal: signal() })],
    ["send", () => backend.send("agent-0", peer, { text: "x" }, { signal: signal(), idempotencyKey: "t-1/1.search" })],
    ["streaming send", () => backend.send("agent-0", peer, { text: "x" }, { signal: signal(), ...listeners })],
    ["healthCheck", () => backend.healthCheck(peer, { signal: signal() })],
  ];
  if (backend.cancel) all.push(["cancel", async () => backend.cancel?.("agent-0", peer, WORK_ID, { signal: signal() })]);
  if (backend.resume) all.push(["resume", async () => backend.resume?.("agent-0", peer, WORK_ID, { signal: signal() })]);
  return all;
}

/** That every operation towards a server that behaves like this fails with one of these codes. */
async function allFail(
  world: World,
  onSocket: (socket: Socket) => void,
  codes: readonly CommErrorCode[],
  { label, deadlineMs = PATIENCE_MS }: { readonly label: string; readonly deadlineMs?: number },
): Promise<void> {
  const a = await world.peer("agent-0");
  a.backend.registerEndpoint("agent-1", await world.rawServer(onSocket));
  for (const [name, operation] of operations(a, "agent-1", () => AbortSignal.timeout(deadlineMs)))
    await expectFailure(`${name}, ${label}`, operation(), { peer: "agent-1", codes });
}

export const unreachable: readonly Definition[] = [
  {
    id: "contract-refused",
    title: "nobody listens: refused",
    check: async (world) => {
      const a = await world.peer("agent-0");
      a.backend.registerEndpoint("agent-1", { host: HOST, port: await quietPort() });
      for (const [name, operation] of operations(a, "agent-1"))
        await expectFailure(name, operation(), { peer: "agent-1", codes: ["refused"] });
    },
  },
  {
    id: "contract-unknown-agent",
    title: "an agent that was never registered, or was forgotten by close: unknown_agent",
    check: async (world) => {
      const { a } = await world.pair();
      for (const [name, operation] of operations(a, "agent-7"))
        await expectFailure(name, operation(), { peer: "agent-7", codes: ["unknown_agent"] });
      await a.backend.close();
      await expectFailure("send after close", a.backend.send("agent-0", "agent-1", { text: "x" }), {
        peer: "agent-1",
        codes: ["unknown_agent"],
      });
    },
  },
];

export const misbehaving: readonly Definition[] = [
  {
    id: "contract-reset",
    title: "a peer that cuts the connection before or in the middle of its answer: reset",
    check: async (world) => {
      await allFail(world, (socket) => void socket.once("data", () => socket.destroy()), ["reset"], { label: "no answer" });
      const half = (request: Buffer): string => `${beginning(request, 100)}{"in`;
      await allFail(world, (socket) => void socket.once("data", (data) => socket.end(half(data))), ["reset"], {
        label: "half an answer",
      });
    },
  },
  {
    id: "contract-half-open",
    title: "a peer that accepts and never answers: timeout, at the deadline",
    check: async (world) => {
      await allFail(world, () => {}, ["timeout"], { label: "half-open", deadlineMs: 100 });
    },
  },
  {
    id: "contract-trickle",
    title: "a peer that answers byte by byte does not outlast the deadline",
    check: async (world) => {
      const onSocket = (socket: Socket): void => {
        const drip = (): void => {
          if (socket.destroyed) return;
          socket.write("a");
          systemClock.after(10, drip);
        };
        socket.once("data", (request) => {
          socket.write(beginning(request, 100_000));
          drip();
        });
      };
      await allFail(world, onSocket, ["timeout"], { label: "trickling", deadlineMs: 150 });
    },
  },
  {
    id: "contract-garbage",
    title: "a peer that answers garbage: a typed failure, never a crash, never an answer made up",
    timeoutMs: 120_000,
    check: async (world) => {
      const a = await world.peer("agent-0");
      for (const [label, bytes] of Object.entries(GARBAGE)) {
        const address = await world.rawServer((socket) => {
          socket.once("data", () => socket.end(Buffer.from(bytes, label === "random bytes" ? "latin1" : "utf8")));
        });
        a.backend.registerEndpoint("agent-1", address);
        for (const [name, operation] of operations(a, "agent-1")) {
          const expected = { peer: "agent-1", codes: ["protocol", "remote", "reset"] as const };
          const run = operation();
          if (bytes.startsWith("HTTP/1.1") && (await claimsNothing(run))) continue;
          await expectFailure(`${name}, answered with ${label}`, run, expected);
        }
      }
    },
  },
];

export const deadlines: readonly Definition[] = [
  {
    id: "contract-slow",
    title: "a slow answer is an answer; with a deadline before it, the call fails with timeout at the deadline",
    check: async (world) => {
      const answered = Promise.withResolvers<void>();
      const { a } = await world.pair(async (_context, queue) => {
        await answered.promise;
        queue.enqueue({ type: "agent_text_message", text: "at last" });
      });
      try {
        // At the deadline, not with the answer: that comes only afterwards.
        const sent = a.backend.send("agent-0", "agent-1", { text: "x" }, { signal: AbortSignal.timeout(100) });
        await expectFailure("send", sent, { peer: "agent-1", codes: ["timeout"], withinMs: SLOW_MS });
        const slow = a.backend.send("agent-0", "agent-1", { text: "x" });
        await systemClock.sleep(400);
        answered.resolve();
        assert.equal((await slow).text, "at last");
      } finally {
        answered.resolve();
      }
    },
  },
  {
    id: "contract-abort",
    title: "a caller that gives up: aborted, with its reason as the cause; before the start as well",
    check: async (world) => {
      const { a, b } = await world.pair();
      const reason = new Error("peer was declared dead");
      for (const [name, operation] of operations(a, "agent-1", () => AbortSignal.abort(reason))) {
        const failure = await expectFailure(name, operation(), { peer: "agent-1", codes: ["aborted"] });
        assert.equal(failure.cause, reason);
      }
      assert.equal(b.executions.length, 0, "what was given up before the start is not executed");
      const gate = Promise.withResolvers<void>();
      const slow = await world.peer("agent-2", { execute: () => gate.promise });
      introduce(a, slow);
      const giveUp = new AbortController();
      const sent = a.backend.send("agent-0", "agent-2", { text: "x" }, { signal: giveUp.signal });
      await eventually("the work begins", PATIENCE_MS, () => slow.executions.length > 0);
      giveUp.abort(reason);
      assert.equal((await expectFailure("send", sent, { peer: "agent-2", codes: ["aborted"] })).cause, reason);
      gate.resolve();
    },
  },
  {
    id: "contract-lost-client",
    title: "a lost client does not cancel: the work goes on",
    check: async (world) => {
      const ended = Promise.withResolvers<boolean>();
      const gate = Promise.withResolvers<void>();
      const { a, b } = await world.pair(async ({ signal }) => {
        await gate.promise;
        ended.resolve(signal.aborted);
      });
      const giveUp = new AbortController();
      const sent = a.backend.send("agent-0", "agent-1", { text: "x" }, { signal: giveUp.signal, onEvent: () => {} });
      await eventually("the work begins", PATIENCE_MS, () => b.executions.length > 0);
      giveUp.abort(new Error("gone"));
      await expectFailure("send", sent, { peer: "agent-1", codes: ["aborted"] });
      // Long enough for the host to hear of it.
      await systemClock.sleep(50);
      gate.resolve();
      assert.equal(await within("the work comes to its end", PATIENCE_MS, ended.promise), false);
    },
  },
];
