import {
  type AgentExecutor,
  type Clock,
  type CommBackend,
  createPrng,
  FakeClock,
  type Protocol,
  systemClock,
} from "@failstorm/core";
import fastify, { type FastifyInstance } from "fastify";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createMeteredClient, loadProtocol, type OwnMeteredClient, protocolNames } from "../src/index.ts";

interface Peer {
  readonly backend: CommBackend;
  readonly client: OwnMeteredClient;
  readonly repeats: string[];
}

const opened: Array<() => Promise<unknown>> = [];
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

const protocol: Protocol = await loadProtocol("simple_json");

function peer(agentId: string, section: unknown = {}, clock: Clock = systemClock): Peer {
  const client = createMeteredClient({ clock: systemClock, connectTimeoutMs: 30_000, onResidual: () => {} });
  const repeats: string[] = [];
  const backend = protocol.createBackend({
    describeSelf: () => ({ agentId, incarnation: 3, capabilities: ["tool:search"] }),
    selfAddress: () => ({ host: "127.0.0.1", port: 0 }),
    client,
    clock,
    prng: createPrng(1),
    workspaceDir: ".",
    config: protocol.parseConfig(section),
    onDeduplicated: (id) => repeats.push(id),
  });
  opened.push(() => client.close());
  return { backend, client, repeats };
}

/** The host of `on` behind Fastify's injection: what comes over the wire, without a wire. */
async function host(on: Peer, execute: AgentExecutor["execute"]): Promise<FastifyInstance> {
  const server = fastify();
  await server.register(on.backend.hostPlugin("agent-1", { execute, cancel: async () => {} }));
  opened.push(() => server.close());
  return server;
}

const echo: AgentExecutor["execute"] = async ({ payload }, queue) => {
  queue.enqueue({ type: "agent_text_message", text: "text" in payload ? payload.text : "" });
};

const envelope = (id: string, more: object = {}): object => ({
  id,
  from: "stranger",
  to: "agent-1",
  payload: { text: "hello" },
  ...more,
});

let b: Peer;
beforeEach(() => {
  b = peer("agent-1");
});

describe("on the wire", () => {
  test("[simple_json-message] a message is a POST of an envelope, and so is its answer", async () => {
    const server = await host(b, async ({ messageId, from, payload }, queue) => {
      queue.enqueue({ type: "agent_parts_message", parts: [{ kind: "data", data: { messageId, from, payload } }] });
    });
    const answer = await server.inject({ method: "POST", url: "/message", payload: envelope("m-1") });
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({
      inReplyTo: "m-1",
      from: "agent-1",
      parts: [{ kind: "data", data: { messageId: "m-1", from: "stranger", payload: { text: "hello" } } }],
    });
  });

  test("[simple_json-agent] GET /agent describes the agent", async () => {
    const server = await host(b, echo);
    expect((await server.inject({ url: "/agent" })).json()).toEqual({
      protocol: "simple_json",
      version: "1",
      agentId: "agent-1",
      incarnation: 3,
      capabilities: ["tool:search"],
    });
  });

  test("[simple_json-health] GET /health says that the agent lives, and which incarnation", async () => {
    const server = await host(b, echo);
    expect((await server.inject({ url: "/health" })).json()).toEqual({ status: "ok", agentId: "agent-1", incarnation: 3 });
  });

  test("[simple_json-size] a message may have 64 MB; a bigger one is refused with 413", async () => {
    const server = await host(b, echo);
    const text = "x".repeat(64 * 1024 * 1024);
    const refused = await server.inject({ method: "POST", url: "/message", payload: envelope("m-1", { payload: { text } }) });
    expect(refused.statusCode).toBe(413);
    expect(refused.json()).toMatchObject({ error: { code: "too_large" } });
    const most = envelope("m-2", { payload: { text: text.slice(200) } });
    expect((await server.inject({ method: "POST", url: "/message", payload: most })).statusCode).toBe(200);
  });
});

describe("bad input", () => {
  const post = (server: FastifyInstance, body: string, type = "application/json") =>
    server.inject({ method: "POST", url: "/message", headers: { "content-type": type }, payload: body });

  test.each([
    ["bad_json", 400, '{"id":', "application/json"],
    ["bad_json", 400, "", "application/json"],
    ["bad_json", 400, '{"__proto__":{"admin":true}}', "application/json"],
    ["wrong_content_type", 415, "<message/>", "text/xml"],
    ["bad_envelope", 400, "null", "application/json"],
    ["bad_envelope", 400, "[]", "application/json"],
    ["bad_envelope", 400, "hello", "text/plain"],
    ["bad_envelope", 400, JSON.stringify(envelope("m", { id: 1 })), "application/json"],
    ["bad_envelope", 400, JSON.stringify(envelope("m", { payload: {} })), "application/json"],
    ["bad_envelope", 400, JSON.stringify(envelope("m", { payload: { parts: [{ kind: "image" }] } })), "application/json"],
    ["wrong_agent", 404, JSON.stringify(envelope("m", { to: "agent-2" })), "application/json"],
  ])("[simple_json-errors] is answered with %s, status %i, and not executed: %s", async (code, status, body, type) => {
    let executions = 0;
    const server = await host(b, async () => void executions++);
    const answer = await post(server, body, type);
    expect(answer.statusCode).toBe(status);
    expect(answer.json()).toEqual({ error: { code, message: expect.any(String) as string } });
    expect(executions).toBe(0);
    expect((await post(server, JSON.stringify(envelope("m-1")))).statusCode).toBe(200);
  });

  test("[simple_json-execution-failed] an execution that throws is answered with 500 and its words", async () => {
    const server = await host(b, async () => {
      throw new Error("no such shard");
    });
    const answer = await server.inject({ method: "POST", url: "/message", payload: envelope("m-1") });
    expect(answer.statusCode).toBe(500);
    expect(answer.json()).toEqual({ error: { code: "execution_failed", message: "no such shard" } });
  });
});

describe("idempotency", () => {
  const send = (server: FastifyInstance, id: string) =>
    server
      .inject({ method: "POST", url: "/message", payload: envelope(id) })
      .then((answer) => answer.json<{ repeated?: boolean }>());

  test("[simple_json-repeat] a repeated id is answered from the record for a minute, whoever asks, and says so", async () => {
    const clock = new FakeClock();
    const on = peer("agent-1", {}, clock);
    let executions = 0;
    const server = await host(on, async () => void executions++);
    expect((await send(server, "t-1/1.search")).repeated).toBeUndefined();
    await clock.advance(59_000);
    expect((await send(server, "t-1/1.search")).repeated).toBe(true);
    expect(on.repeats).toEqual(["t-1/1.search"]);
    await clock.advance(1_000);
    await send(server, "another message makes room");
    expect((await send(server, "t-1/1.search")).repeated).toBeUndefined();
    expect(executions).toBe(3);
  });

  test("[simple_json-repeat-forgotten] the record is in memory: the next incarnation executes again", async () => {
    let executions = 0;
    const execute = async (): Promise<void> => void executions++;
    await send(await host(b, execute), "t-1/1.search");
    await send(await host(peer("agent-1"), execute), "t-1/1.search");
    expect(executions).toBe(2);
  });

  test("[simple_json-no-idempotency] switched off, a repeated id is executed again and nothing else changes", async () => {
    let executions = 0;
    const off = peer("agent-1", { idempotency: false });
    const server = await host(off, async () => void executions++);
    const [first, second] = [await send(server, "same"), await send(server, "same")];
    expect(executions).toBe(2);
    expect(off.repeats).toEqual([]);
    expect(second).toEqual(first);
    const on = await host(b, async () => {});
    expect(await send(on, "same"), "the first answer is the same with the record").toEqual(first);
  });
});

describe("control experiments", () => {
  async function spawn(on: Peer): Promise<{ host: string; port: number }> {
    const local = await on.backend.spawnLocalAgent("agent-1", "127.0.0.1", 0, { execute: echo, cancel: async () => {} });
    opened.push(() => local.close());
    return { host: "127.0.0.1", port: Number(new URL(local.baseUrl).port) };
  }

  test("[simple_json-extra-bytes] extra header bytes are sent with every request, and change nothing else", async () => {
    const address = await spawn(b);
    const [plain, padded] = [peer("agent-0"), peer("agent-0", { extra_header_bytes: 500 })];
    for (const { backend } of [plain, padded]) backend.registerEndpoint("agent-1", address);
    const operations = [
      (on: Peer) => on.backend.connect("agent-0", "agent-1"),
      (on: Peer) => on.backend.healthCheck("agent-1"),
      (on: Peer) => on.backend.send("agent-0", "agent-1", { text: "x" }, { idempotencyKey: "t-1/1.search" }),
    ];
    // So that the answer comes from the record both times.
    await operations[2]?.(plain);
    for (const operation of operations) {
      const [{ traffic: thin }, { traffic: fat }] = [await operation(plain), await operation(padded)];
      expect(fat.bytesSent - thin.bytesSent).toBe(500 + "x-filler: \r\n".length);
      expect(fat.bytesReceived).toBe(thin.bytesReceived);
      expect(fat.roundTrips).toBe(thin.roundTrips);
    }
  });

  test("[simple_json-no-idempotency-bytes] idempotency switched off changes no byte of a first answer", async () => {
    const a = peer("agent-0");
    const traffic = [];
    for (const idempotency of [true, false]) {
      a.backend.registerEndpoint("agent-1", await spawn(peer("agent-1", { idempotency })));
      const answer = await a.backend.send("agent-0", "agent-1", { text: "x" }, { idempotencyKey: "t-1/1.search" });
      traffic.push([answer.traffic.bytesSent, answer.traffic.bytesReceived, answer.traffic.roundTrips]);
    }
    expect(traffic[1]).toEqual(traffic[0]);
  });

  test("[simple_json-config] the keys of the section are checked", () => {
    expect(() => protocol.parseConfig({ retries: 1 })).toThrow(/simple_json.retries: unknown key/);
    for (const extra of [-1, 1.5, "500", 8193])
      expect(() => protocol.parseConfig({ extra_header_bytes: extra })).toThrow(/simple_json.extra_header_bytes: /);
    expect(() => protocol.parseConfig({ idempotency: "no" })).toThrow(/simple_json.idempotency: say true or false/);
  });
});

describe("protocols are found", () => {
  test("[contract-found] by name, and an unknown name or path is bad input that says what there is", async () => {
    expect(protocolNames()).toContain("simple_json");
    await expect(loadProtocol("simple_jsn")).rejects.toThrow(
      /--protocol simple_jsn: no such protocol; choose one of .*simple_json/,
    );
    await expect(loadProtocol("fs"), "a module of Node's").rejects.toThrow(/--protocol fs: no such protocol/);
    await expect(loadProtocol("./nowhere.ts")).rejects.toThrow(/there is no such file/);
  });
});
