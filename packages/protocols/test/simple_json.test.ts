import { createServer, type Server, type Socket } from "node:net";
import type { AgentExecutor, BackendContext, CommBackend, CommError, Payload, Traffic } from "@failstorm/core";
import { createPrng, systemClock } from "@failstorm/core";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createMeteredClient, loadProtocol, type OwnMeteredClient } from "../src/index.ts";

interface Peer {
  readonly backend: CommBackend;
  readonly client: OwnMeteredClient;
  readonly repeats: string[];
}

const opened: Array<() => Promise<unknown>> = [];
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

async function peer(agentId: string, section: unknown = {}): Promise<Peer> {
  const protocol = await loadProtocol("simple_json");
  const client = createMeteredClient({ clock: systemClock, connectTimeoutMs: 2_000, onResidual: () => {} });
  const repeats: string[] = [];
  const context: BackendContext = {
    describeSelf: () => ({ agentId, incarnation: 3, capabilities: ["tool:search"] }),
    selfAddress: () => ({ host: "127.0.0.1", port: 0 }),
    client,
    clock: systemClock,
    prng: createPrng(1),
    workspaceDir: ".",
    config: protocol.parseConfig(section),
    onDeduplicated: (id) => repeats.push(id),
  };
  const backend = protocol.createBackend(context);
  opened.push(() => client.close());
  return { backend, client, repeats };
}

async function host(on: Peer, agentId: string, execute: AgentExecutor["execute"]): Promise<number> {
  const local = await on.backend.spawnLocalAgent(agentId, "127.0.0.1", 0, { execute, cancel: async () => {} });
  opened.push(() => local.close());
  return Number(new URL(local.baseUrl).port);
}

/** A server that speaks raw TCP, for peers that misbehave. */
async function rawServer(onSocket: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  opened.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as { port: number }).port;
}

const failure = async (promise: Promise<unknown>): Promise<CommError & { traffic?: Traffic }> => {
  try {
    await promise;
  } catch (error) {
    return error as CommError & { traffic?: Traffic };
  }
  throw new Error("it did not fail");
};

let a: Peer;
let b: Peer;
const at = (port: number) => a.backend.registerEndpoint("agent-1", { host: "127.0.0.1", port });

beforeEach(async () => {
  a = await peer("agent-0");
  b = await peer("agent-1");
});

describe("messages", () => {
  test("carry text and parts there and back, however big", async () => {
    at(
      await host(b, "agent-1", async ({ payload, from }, queue) => {
        queue.enqueue({ type: "agent_text_message", text: `hello ${from}` });
        queue.enqueue({ type: "agent_parts_message", parts: (payload as { parts: [] }).parts });
      }),
    );
    const big = "é".repeat(2_000_000);
    const payload: Payload = {
      parts: [
        { kind: "data", data: { n: [1, null, "x"] } },
        { kind: "text", text: big },
      ],
    };
    const answer = await a.backend.send("agent-0", "agent-1", payload);
    expect(answer.parts).toEqual([{ kind: "text", text: "hello agent-0" }, ...payload.parts]);
    expect(answer.text).toBe(`hello agent-0${big}`);
    expect(answer.traffic.bytesSent).toBeGreaterThan(4_000_000);
  });

  test("with the same idempotency key are executed once at a time and answered from the record", async () => {
    let executions = 0;
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    at(
      await host(b, "agent-1", async (_context, queue) => {
        executions += 1;
        await gate;
        queue.enqueue({ type: "agent_text_message", text: `run ${executions}` });
      }),
    );
    const send = () => a.backend.send("agent-0", "agent-1", { text: "x" }, { idempotencyKey: "t-1/1.search" });
    const first = send();
    const second = send();
    release();
    const answers = [await first, await second, await send()];
    expect(answers.map(({ text }) => text)).toEqual(["run 1", "run 1", "run 1"]);
    expect(executions).toBe(1);
    expect(b.repeats).toEqual(["t-1/1.search", "t-1/1.search"]);
  });

  test("are executed again when idempotency is switched off, and when an execution failed", async () => {
    const forgetful = await peer("agent-1", { idempotency: false });
    let executions = 0;
    at(
      await host(forgetful, "agent-1", async (_context, queue) => {
        executions += 1;
        queue.enqueue({ type: "agent_text_message", text: "done" });
      }),
    );
    for (let i = 0; i < 2; i++) await a.backend.send("agent-0", "agent-1", { text: "x" }, { idempotencyKey: "same" });
    expect(executions).toBe(2);
    at(
      await host(b, "agent-1", async () => {
        executions += 1;
        if (executions === 3) throw new Error("first time unlucky");
      }),
    );
    const send = () => a.backend.send("agent-0", "agent-1", { text: "x" }, { idempotencyKey: "key" });
    expect(await failure(send())).toMatchObject({ code: "remote", message: "agent-1: first time unlucky" });
    await send();
    expect(executions).toBe(4);
  });
});

describe("handshake and probe", () => {
  test("tell who answers, in one round trip each", async () => {
    at(await host(b, "agent-1", async () => {}));
    const { peer: description, traffic } = await a.backend.connect("agent-0", "agent-1");
    expect(description).toEqual({ agentId: "agent-1", incarnation: 3, capabilities: ["tool:search"] });
    expect(traffic.roundTrips).toBe(1);
    expect(traffic.firstByteAt).toBeLessThanOrEqual(systemClock.now());
    expect((await a.backend.healthCheck("agent-1")).incarnation).toBe(3);
  });

  test("refuse an agent that is somebody else", async () => {
    at(await host(b, "agent-1", async () => {}));
    a.backend.registerEndpoint("agent-2", { host: "127.0.0.1", port: await host(b, "agent-2", async () => {}) });
    expect((await failure(a.backend.connect("agent-0", "agent-2"))).code).toBe("protocol");
  });
});

describe("accounting", () => {
  test("attributes exactly what the sockets moved", async () => {
    at(
      await host(b, "agent-1", async (_context, queue) => queue.enqueue({ type: "agent_text_message", text: "y".repeat(5000) })),
    );
    const all = await Promise.all([
      a.backend.connect("agent-0", "agent-1"),
      ...Array.from({ length: 20 }, (_, i) => a.backend.send("agent-0", "agent-1", { text: "x".repeat(i * 100) })),
      a.backend.healthCheck("agent-1"),
    ]);
    const sum = (key: "bytesSent" | "bytesReceived") => all.reduce((total, { traffic }) => total + traffic[key], 0);
    const totals = a.client.socketTotals();
    expect({ bytesSent: sum("bytesSent"), bytesReceived: sum("bytesReceived") }).toEqual(totals);
    expect(totals.bytesReceived).toBeGreaterThan(100_000);
  });

  test("counts extra header bytes and nothing else", async () => {
    const padded = await peer("agent-0", { extra_header_bytes: 500 });
    const port = await host(b, "agent-1", async () => {});
    at(port);
    padded.backend.registerEndpoint("agent-1", { host: "127.0.0.1", port });
    const plain = await a.backend.healthCheck("agent-1");
    const fat = await padded.backend.healthCheck("agent-1");
    expect(fat.traffic.bytesSent - plain.traffic.bytesSent).toBe(500 + "x-filler: \r\n".length);
    expect(fat.traffic.bytesReceived).toBe(plain.traffic.bytesReceived);
  });
});

describe("failures are typed", () => {
  test("nobody listens", async () => {
    const port = await rawServer(() => {});
    await opened.pop()?.();
    at(port);
    expect(await failure(a.backend.send("agent-0", "agent-1", { text: "x" }))).toMatchObject({
      code: "refused",
      peer: "agent-1",
    });
    expect((await failure(a.backend.send("agent-0", "agent-9", { text: "x" }))).code).toBe("unknown_agent");
  });

  test("the connection is cut before, and in the middle of, the answer", async () => {
    at(await rawServer((socket) => socket.once("data", () => socket.destroy())));
    expect((await failure(a.backend.send("agent-0", "agent-1", { text: "x" }))).code).toBe("reset");
    at(await rawServer((socket) => socket.once("data", () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"in'))));
    const cut = await failure(a.backend.send("agent-0", "agent-1", { text: "x" }));
    expect(cut.code).toBe("reset");
    expect(cut.traffic?.bytesReceived).toBeGreaterThan(0);
  });

  test("garbage, an error of the peer, a deadline, a caller that gives up", async () => {
    at(await rawServer((socket) => socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n<x>"))));
    expect((await failure(a.backend.healthCheck("agent-1"))).code).toBe("protocol");
    at(await host(b, "agent-7", async () => {}));
    expect(await failure(a.backend.send("agent-0", "agent-1", { text: "x" }))).toMatchObject({
      code: "remote",
      detail: { code: "wrong_agent" },
    });
    at(await rawServer(() => {}));
    expect((await failure(a.backend.healthCheck("agent-1", { signal: AbortSignal.timeout(20) }))).code).toBe("timeout");
    expect((await failure(a.backend.healthCheck("agent-1", { signal: AbortSignal.abort(new Error("peer is dead")) }))).code).toBe(
      "aborted",
    );
  });
});

test("an unknown protocol, and a wrong key of its section, are input errors", async () => {
  await expect(loadProtocol("simple_jsn")).rejects.toThrow(/--protocol simple_jsn: no such protocol; choose one of simple_json/);
  await expect(loadProtocol("./nowhere.ts")).rejects.toThrow(/there is no such file/);
  const protocol = await loadProtocol("simple_json");
  expect(() => protocol.parseConfig({ retries: 1 })).toThrow(/simple_json.retries: unknown key/);
  expect(() => protocol.parseConfig({ extra_header_bytes: -1 })).toThrow(/extra_header_bytes: -1/);
});
