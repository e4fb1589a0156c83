import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { Readable } from "node:stream";
import { type AgentCard, AgentSkill, formatSSEEvent, Role, type Task, TaskState } from "@a2a-js/sdk";
import {
  AgentEvent as SdkEvent,
  type AgentExecutor as SdkExecutor,
  DefaultRequestHandler,
  InMemoryTaskStore,
  JsonRpcTransportHandler,
  ServerCallContext,
} from "@a2a-js/sdk/server";
import type { AgentEvent, HealthResult } from "@failstorm/core";
import fastify from "fastify";
import { afterEach, describe, expect, test } from "vitest";
import { protocol } from "../src/a2a/protocol.ts";
import { a2aPeer, closeAll, closing, echo, failure, gate, type Peer, rawServer, serve, workspace } from "./a2aPeers.ts";

afterEach(closeAll);

/** Agent `agent-1` with that executor, and `agent-0` that knows where it is. */
async function pair(...executor: Parameters<typeof serve> extends [Peer, ...infer Rest] ? Rest : never) {
  const a = a2aPeer("agent-0");
  const b = a2aPeer("agent-1", { incarnation: 4, prefix: "/a2a" });
  const host = await serve(b, ...executor);
  a.backend.registerEndpoint("agent-1", host.address);
  return { a, b, host };
}

/** An agent of somebody else: the SDK's server, with its JSON-RPC elsewhere than its card. */
async function sdkServer(executor: SdkExecutor) {
  let base = "";
  const card = (): AgentCard => ({
    name: "Somebody",
    description: "else's agent",
    version: "9",
    supportedInterfaces: [{ url: `${base}/rpc`, protocolBinding: "JSONRPC", protocolVersion: "1.0", tenant: "" }],
    capabilities: { streaming: true, pushNotifications: false, extensions: [] },
    defaultInputModes: ["text/plain"],
    defaultOutputModes: ["text/plain"],
    skills: [AgentSkill.fromJSON({ id: "sing", name: "sing", description: "sings", tags: ["song"] })],
    provider: undefined,
    securitySchemes: {},
    securityRequirements: [],
    signatures: [],
  });
  const server = fastify({ forceCloseConnections: true });
  const handler = new JsonRpcTransportHandler(new DefaultRequestHandler(card(), new InMemoryTaskStore(), executor));
  server.get("/.well-known/agent-card.json", async () => card());
  server.post("/rpc", async (request, reply) => {
    const requestedVersion = String(request.headers["a2a-version"]);
    const answer = await handler.handle(request.body as Record<string, unknown>, new ServerCallContext({ requestedVersion }));
    if (!(Symbol.asyncIterator in answer)) return answer;
    reply.type("text/event-stream");
    return reply.send(Readable.from(answer).map(formatSSEEvent));
  });
  base = await server.listen({ host: "127.0.0.1", port: 0 });
  closing(() => server.close());
  return { host: "127.0.0.1", port: Number(new URL(base).port) };
}

const plain = { metadata: undefined, filename: "", mediaType: "" };
const song = (text: string) => [{ ...plain, content: { $case: "text", value: text } as const }];
const status = (state: TaskState): Task["status"] => ({ state, message: undefined, timestamp: new Date(0).toISOString() });

const singer: SdkExecutor = {
  async execute({ taskId, contextId, userMessage }, bus) {
    const heard = userMessage.parts[0]?.content?.value as string;
    if (heard === "talk") {
      const reply = {
        messageId: "r",
        role: Role.ROLE_AGENT,
        parts: song("la"),
        taskId: "",
        contextId,
        metadata: undefined,
        extensions: [],
        referenceTaskIds: [],
      };
      bus.publish(SdkEvent.message(reply));
      return;
    }
    bus.publish(
      SdkEvent.task({
        id: taskId,
        contextId,
        status: status(TaskState.TASK_STATE_SUBMITTED),
        artifacts: [],
        history: [],
        metadata: undefined,
      }),
    );
    const artifact = (value: string) => ({
      artifactId: "a",
      name: "",
      description: "",
      parts: song(value),
      metadata: undefined,
      extensions: [],
    });
    for (const [value, append] of [
      ["la", false],
      [heard, true],
    ] as const)
      bus.publish(
        SdkEvent.artifactUpdate({ taskId, contextId, artifact: artifact(value), append, lastChunk: append, metadata: undefined }),
      );
    const state =
      heard === "fail"
        ? TaskState.TASK_STATE_FAILED
        : heard === "ask"
          ? TaskState.TASK_STATE_INPUT_REQUIRED
          : TaskState.TASK_STATE_COMPLETED;
    bus.publish(SdkEvent.statusUpdate({ taskId, contextId, status: status(state), metadata: undefined }));
  },
  async cancelTask(taskId, bus) {
    bus.publish(
      SdkEvent.statusUpdate({ taskId, contextId: "", status: status(TaskState.TASK_STATE_CANCELED), metadata: undefined }),
    );
  },
};

describe("our client and the SDK's own server", () => {
  test("[a2a-client] meet by the card, and speak where it says; tasks and messages are answers", async () => {
    const a = a2aPeer("agent-0");
    a.backend.registerEndpoint("agent-1", await sdkServer(singer));
    const { peer } = await a.backend.connect("agent-0", "agent-1");
    expect(peer).toEqual({ agentId: "agent-1", incarnation: 0, capabilities: ["sing"] });
    const answer = await a.backend.send("agent-0", "agent-1", { text: "mi" });
    expect(answer.parts).toEqual([
      { kind: "text", text: "la" },
      { kind: "text", text: "mi" },
    ]);
    expect((await a.backend.send("agent-0", "agent-1", { text: "talk" })).text).toBe("la");
    const events: AgentEvent[] = [];
    const accepted: string[] = [];
    const options = {
      onEvent: (event: AgentEvent) => void events.push(event),
      onAccepted: (id: string) => void accepted.push(id),
    };
    expect((await a.backend.send("agent-0", "agent-1", { text: "mi" }, options)).text).toBe("lami");
    expect(events).toEqual([
      { type: "agent_text_message", text: "la" },
      { type: "agent_text_message", text: "mi" },
      { type: "status", state: "completed" },
    ]);
    expect((await a.backend.resume?.("agent-0", "agent-1", accepted[0] ?? ""))?.text).toBe("lami");
    expect((await a.backend.send("agent-0", "agent-1", { text: "talk" }, options)).text).toBe("la");
    expect(await a.backend.healthCheck("agent-1")).toMatchObject({ incarnation: null });
  });

  test("[a2a-client-refusals] a task that fails, or wants something of its client, is an error of the peer's", async () => {
    const a = a2aPeer("agent-0");
    a.backend.registerEndpoint("agent-1", await sdkServer(singer));
    await a.backend.connect("agent-0", "agent-1");
    for (const onEvent of [undefined, () => {}])
      for (const [text, state] of [
        ["fail", "TASK_STATE_FAILED"],
        ["ask", "TASK_STATE_INPUT_REQUIRED"],
      ] as const) {
        const error = await failure(a.backend.send("agent-0", "agent-1", { text }, onEvent ? { onEvent } : {}));
        expect(error).toMatchObject({ code: "remote", detail: { state } });
      }
    expect(await failure(a.backend.resume?.("agent-0", "agent-1", "none") ?? Promise.resolve())).toMatchObject({
      code: "remote",
      detail: { code: -32001, data: [{ reason: "TASK_NOT_FOUND" }] },
    });
  });
});

describe("reconnection", () => {
  /** agent-1 whose second piece of work never ends, and what agent-0 has lost with it. */
  async function lostWork(streaming: boolean) {
    const dir = workspace();
    const first = a2aPeer("agent-1", { workspaceDir: dir });
    const begun = gate();
    const host = await serve(first, async (context, queue) => {
      if ("text" in context.payload && context.payload.text === "hang") {
        begun.open();
        await new Promise(() => {});
      }
      await echo(context, queue);
    });
    const a = a2aPeer("agent-0");
    a.backend.registerEndpoint("agent-1", host.address);
    await a.backend.send("agent-0", "agent-1", { text: "hello" });
    const giveUp = new AbortController();
    const accepted: string[] = [];
    const options = { signal: giveUp.signal, ...(streaming ? { onAccepted: (id: string) => void accepted.push(id) } : {}) };
    const lost = failure(a.backend.send("agent-0", "agent-1", { text: "hang" }, options));
    await begun.passed;
    const restart = async () => {
      await host.close();
      const second = a2aPeer("agent-1", { workspaceDir: dir, incarnation: 2 });
      second.port = first.port;
      await serve(second);
    };
    return { a, lost, giveUp, restart, accepted };
  }

  test("[a2a-reconnect] [a2a-orphans] after a restart one request more tells what became of the work: it failed", async () => {
    const { a, lost, restart } = await lostWork(false);
    await restart();
    expect((await lost).code).toBe("reset");
    const { peer, recovered, traffic } = await a.backend.connect("agent-0", "agent-1", { kind: "handshake", cause: "handshake" });
    expect(peer.incarnation).toBe(2);
    expect(recovered).toEqual([{ workId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string, state: "failed" }]);
    expect(traffic.roundTrips).toBe(2);
    const workId = recovered?.[0]?.workId ?? "";
    expect(await failure(a.backend.resume?.("agent-0", "agent-1", workId) ?? Promise.resolve())).toMatchObject({
      code: "remote",
      message: expect.stringContaining("agent-1 was restarted (incarnation 2) while it worked on this") as string,
    });
    const again = await a.backend.connect("agent-0", "agent-1");
    expect([again.recovered, again.traffic.roundTrips]).toEqual([undefined, 1]);
  });

  test("[a2a-reconnect] work known by its task is asked for by name; it may still run", async () => {
    const { a, lost, giveUp, restart, accepted } = await lostWork(true);
    while (accepted.length === 0) await a.backend.healthCheck("agent-1");
    giveUp.abort(new Error("impatient"));
    expect((await lost).code).toBe("aborted");
    const { recovered } = await a.backend.connect("agent-0", "agent-1");
    expect(recovered).toEqual([{ workId: accepted[0], state: "running" }]);
    const followed = failure(a.backend.resume?.("agent-0", "agent-1", accepted[0] ?? "") ?? Promise.resolve());
    await restart();
    expect((await followed).code).toBe("reset");
  });

  test("[a2a-reconnect] a peer without its tasks knows of nothing", async () => {
    const { a, lost, giveUp } = await lostWork(false);
    giveUp.abort(new Error("impatient"));
    await lost;
    a.backend.registerEndpoint("agent-1", (await serve(a2aPeer("agent-1", { incarnation: 3 }))).address);
    const { recovered } = await a.backend.connect("agent-0", "agent-1");
    expect(recovered).toEqual([{ workId: "agent-0/1/1", state: "unknown" }]);
  });
});

describe("the client", () => {
  test("[a2a-heartbeat] asks for the card if it is another than the known one, which tells the incarnation, without a connection of its own", async () => {
    const { a, b } = await pair();
    const sockets = new Set<unknown>();
    const onConnected = ({ socket }: { socket: unknown }) => void sockets.add(socket);
    const listener = (message: unknown) => onConnected(message as { socket: unknown });
    subscribe("undici:client:connected", listener);
    closing(() => unsubscribe("undici:client:connected", listener));
    const card = await a.backend.connect("agent-0", "agent-1");
    expect(card.peer).toEqual({ agentId: "agent-1", incarnation: 4, capabilities: ["tool:search", "shard:1"] });
    const probes: HealthResult[] = [];
    for (let i = 0; i < 5; i++) probes.push(await a.backend.healthCheck("agent-1"));
    for (const { incarnation, traffic } of probes) {
      expect({ incarnation, roundTrips: traffic.roundTrips }).toEqual({ incarnation: 4, roundTrips: 1 });
      expect(traffic.bytesReceived).toBeLessThan(card.traffic.bytesReceived / 3);
    }
    b.capabilities.push("tool:extract");
    expect((await a.backend.healthCheck("agent-1")).traffic.bytesReceived).toBeGreaterThan(card.traffic.bytesReceived);
    expect((await a.backend.healthCheck("agent-1")).traffic).toMatchObject({ bytesReceived: probes[1]?.traffic.bytesReceived });
    expect(sockets.size).toBeLessThanOrEqual(2);
  });

  test("[a2a-resume] follows what still runs, with the part that was missed", async () => {
    const halfway = gate();
    const { a } = await pair(async (_context, queue) => {
      queue.enqueue({ type: "agent_text_message", text: "one " });
      await halfway.passed;
      queue.enqueue({ type: "agent_text_message", text: "two" });
    });
    const giveUp = new AbortController();
    let id = "";
    const onAccepted = (workId: string): void => {
      id = workId;
      giveUp.abort();
    };
    await failure(a.backend.send("agent-0", "agent-1", { text: "x" }, { signal: giveUp.signal, onAccepted }));
    const heard: AgentEvent[] = [];
    const resumed = a.backend.resume?.("agent-0", "agent-1", id, {
      onEvent: (event) => {
        heard.push(event);
        halfway.open();
      },
    });
    expect((await resumed)?.text).toBe("one two");
    expect(heard.filter(({ type }) => type === "agent_text_message")).toHaveLength(2);
  });

  test("[a2a-data] data of any JSON value comes back as it was, null too", async () => {
    const { a } = await pair();
    const values = [null, 0, "", "x", [], {}, [null], { __proto__: null, a: { b: [1, "é"] } }, true];
    const parts = values.map((data) => ({ kind: "data", data }) as const);
    expect((await a.backend.send("agent-0", "agent-1", { parts })).parts).toEqual(parts);
  });

  test("[a2a-garbage] an answer that is not A2A's, and a card that is not the peer's, are typed errors", async () => {
    const answers: Record<string, string> = {
      "no JSON": "<html>",
      "no JSON-RPC": "{}",
      "another request's": '{"jsonrpc":"2.0","id":77,"result":{}}',
      "neither task nor message": '{"jsonrpc":"2.0","id":1,"result":{}}',
      "a task without status": '{"jsonrpc":"2.0","id":1,"result":{"task":{"id":"t"}}}',
    };
    for (const [what, body] of Object.entries(answers)) {
      const a = a2aPeer("agent-0");
      const respond = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
      a.backend.registerEndpoint("agent-1", await rawServer((socket) => socket.on("data", () => socket.end(respond))));
      expect((await failure(a.backend.send("agent-0", "agent-1", { text: "x" }))).code, what).toBe("protocol");
      expect((await failure(a.backend.send("agent-0", "agent-1", { text: "x" }, { onEvent: () => {} }))).code, what).toBe(
        "protocol",
      );
      expect((await failure(a.backend.connect("agent-0", "agent-1"))).code, what).toBe("protocol");
    }
    const { a, host } = await pair();
    a.backend.registerEndpoint("agent-2", host.address);
    expect((await failure(a.backend.connect("agent-0", "agent-2"))).code).toBe("protocol");
  });

  test("[a2a-stream-cut] a stream that is cut at any byte is a lost connection, unless the answer was complete", async () => {
    const event = (result: object) => `data: ${JSON.stringify({ jsonrpc: "2.0", id: 1, result })}\n\n`;
    const state = (name: string) => ({ status: { state: `TASK_STATE_${name}` } });
    const events = [
      event({ task: { id: "t", contextId: "c", ...state("SUBMITTED") } }),
      event({ artifactUpdate: { taskId: "t", artifact: { artifactId: "a", parts: [{ text: "é!" }] } } }),
      event({ statusUpdate: { taskId: "t", ...state("COMPLETED") } }),
    ].map((text) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);
    const head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    const whole = Buffer.from(`${head}${events.join("")}0\r\n\r\n`);
    const complete = whole.length - "\r\n0\r\n\r\n".length - 1; // the empty line that ends the last event
    for (let cut = 0; cut <= whole.length; cut += cut > complete - 4 ? 1 : 7) {
      const a = a2aPeer("agent-0");
      const server = await rawServer((socket) => socket.once("data", () => socket.end(whole.subarray(0, cut))));
      a.backend.registerEndpoint("agent-1", server);
      const outcome = await a.backend.send("agent-0", "agent-1", { text: "x" }, { onEvent: () => {} }).then(
        ({ text }) => text,
        (error: { code: string }) => error.code,
      );
      expect(outcome, `cut at ${cut} of ${whole.length}`).toBe(cut > complete ? "é!" : "reset");
    }
  });

  test("[a2a-config] a wrong key, and a wrong value, of its section are input errors", () => {
    expect(() => protocol.parseConfig({ retries: 1 })).toThrow(/a2a.retries: unknown key/);
    expect(() => protocol.parseConfig({ retain_ms: -1 })).toThrow(/a2a.retain_ms/);
    expect(() => protocol.parseConfig({ legacy_card: "yes" })).toThrow(/a2a.legacy_card/);
    expect(() => protocol.parseConfig({ bearer_tokens: { alice: "two words" } })).toThrow(/a2a.bearer_tokens.alice/);
    expect(() => protocol.parseConfig({ bearer_tokens: [] })).toThrow(/a2a.bearer_tokens/);
  });

  test("[a2a-authentication] sends the first token that is configured", async () => {
    const section = { bearer_tokens: { agents: "secret", auditor: "other" } };
    const a = a2aPeer("agent-0", { section });
    a.backend.registerEndpoint("agent-1", (await serve(a2aPeer("agent-1", { section }))).address);
    expect((await a.backend.send("agent-0", "agent-1", { text: "hello" })).text).toBe("hello");
    const stranger = a2aPeer("agent-2");
    stranger.backend.registerEndpoint("agent-1", (await serve(a2aPeer("agent-1", { section }))).address);
    expect(await failure(stranger.backend.send("agent-2", "agent-1", { text: "hello" }))).toMatchObject({ code: "remote" });
  });
});
