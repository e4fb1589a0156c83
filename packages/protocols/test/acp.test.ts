import { createRequire } from "node:module";
import type { AgentEvent } from "@failstorm/core";
import type * as AcpSdk from "acp-sdk";
import fastify from "fastify";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AcpExecutionContext } from "../src/acp/execution.ts";
import type { Message, Run, RunLogEvent, Session } from "../src/acp/model.ts";
import { type Execute, HOST, type Peer, type PeerOptions, World } from "../src/compliance/world.ts";
import { loadProtocol } from "../src/index.ts";

/** As a stranger has it: its own fetch, no backend of ours. (`require`: its ESM build does not load in Node.) */
const { Client, ACPError, Event, Message: SdkMessage } = createRequire(import.meta.url)("acp-sdk") as typeof AcpSdk;

const protocol = await loadProtocol("acp");
const UNKNOWN = "00000000-0000-4000-8000-000000000000";
const hello = [{ role: "user", parts: [{ content_type: "text/plain", content: "Hello!" }] }];

let world: World;
beforeEach(() => {
  world = new World({ protocol, module: "acp" });
});
afterEach(() => world.close());

const urlOf = ({ address }: Peer): string => `http://${address.host}:${address.port}${address.basePath ?? ""}`;

async function serve(execute: Execute, options: PeerOptions = {}): Promise<{ peer: Peer; url: string }> {
  const peer = await world.peer("agent-1", { execute, ...options });
  return { peer, url: urlOf(peer) };
}

interface Answer<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
}

async function call<T = Record<string, unknown>>(url: string, init: RequestInit = {}): Promise<Answer<T>> {
  const response = await fetch(url, init);
  return { status: response.status, headers: response.headers, body: (await response.json()) as T };
}

const post = <T = Run>(url: string, body: unknown): Promise<Answer<T>> =>
  call<T>(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

const create = (url: string, more: object = {}): Promise<Answer<Run>> =>
  post(`${url}/runs`, { agent_name: "agent-1", input: hello, ...more });

async function collect<T>(events: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const event of events) all.push(event);
  return all;
}

const until = async (client: AcpSdk.Client, runId: string, wanted: string): Promise<AcpSdk.Run> => {
  for (;;) {
    const run = await client.runStatus(runId);
    if (run.status === wanted) return run;
    if (["completed", "failed", "cancelled"].includes(run.status)) throw new Error(`the run is ${run.status}, not ${wanted}`);
  }
};

const echo: Execute = async ({ payload }, queue) => {
  if ("text" in payload) queue.enqueue({ type: "agent_text_message", text: payload.text });
  else queue.enqueue({ type: "agent_parts_message", parts: payload.parts });
};
const greet =
  (text: string): Execute =>
  async (_context, queue) =>
    queue.enqueue({ type: "agent_text_message", text });
/** Asks for a name, then greets. */
const awaiter: Execute = async (context, queue) => {
  queue.enqueue({ type: "agent_text_message", text: "hm" });
  const answer = await (context as AcpExecutionContext).awaitAnswer({ text: "who?" });
  queue.enqueue({ type: "agent_text_message", text: `hello ${"text" in answer ? answer.text : JSON.stringify(answer)}` });
};
/** Works until its signal aborts. */
const endless: Execute = ({ signal }) =>
  new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
const historian: Execute = async (context, queue) => {
  for (const message of await (context as AcpExecutionContext).history())
    queue.enqueue({ type: "agent_text_message", text: message.parts[0]?.content ?? "" });
  await echo(context, queue);
};

describe("discovery, as acp-sdk's client sees it", () => {
  test("[acp-ping] [acp-agents] [acp-manifest] ping, the list of agents, and the manifest, with our own terms where they are documented to be", async () => {
    const { url } = await serve(echo, { incarnation: 4, capabilities: () => ["tool:search", "shard:1"] });
    const client = new Client({ baseUrl: url });
    await client.ping();
    const [listed, ...others] = await client.agents();
    expect(others).toEqual([]);
    expect(listed).toEqual(await client.agent("agent-1"));
    expect(listed).toMatchObject({
      name: "agent-1",
      metadata: { capabilities: [{ name: "tool:search" }, { name: "shard:1" }] },
    });
    expect((await call(`${url}/agents/agent-1`)).body).toMatchObject({
      metadata: { annotations: { failstorm: { agent_id: "agent-1", incarnation: 4 } } },
    });
    await expect(client.agent("agent-2")).rejects.toMatchObject({ name: "ACPError", code: "not_found" });
  });

  test("[acp-pages] pages, and refuses pages that the document does not allow", async () => {
    const { url } = await serve(echo);
    const names = async (query: string) =>
      (await call<{ agents: { name: string }[] }>(`${url}/agents${query}`)).body.agents.map(({ name }) => name);
    expect(await names("?limit=1000&offset=0")).toEqual(["agent-1"]);
    expect(await names("?offset=1")).toEqual([]);
    expect(await names(`?offset=${10n ** 18n}`)).toEqual([]);
    for (const query of ["limit=0", "limit=1001", "limit=x", "limit=1.5", "offset=-1", "limit=1&limit=2", "limit="])
      expect(await call(`${url}/agents?${query}`), query).toMatchObject({ status: 422, body: { code: "invalid_input" } });
  });

  test("[acp-names] an id that is no RFC 1123 label gets a name that is one", async () => {
    const peer = await world.peer("Agent_X.9");
    const client = new Client({ baseUrl: urlOf(peer) });
    expect((await client.agents())[0]?.name).toBe("agent-x-9");
    expect((await client.runSync("agent-x-9", "hi")).status).toBe("completed");
    const caller = await world.peer("agent-0");
    caller.backend.registerEndpoint("Agent_X.9", peer.address);
    expect((await caller.backend.connect("agent-0", "Agent_X.9")).peer.agentId).toBe("Agent_X.9");
    expect((await caller.backend.send("agent-0", "Agent_X.9", { text: "hi" })).text).toBe("hi");
  });
});

describe("runs, as acp-sdk's client sees them", () => {
  test("[acp-sync] sync: the completed run, under the id of its header", async () => {
    const { url, peer } = await serve(echo);
    const run = await new Client({ baseUrl: url }).runSync("agent-1", [
      { content_type: "text/plain", content: "Hello!" },
    ] as never);
    expect(run).toMatchObject({
      status: "completed",
      agent_name: "agent-1",
      output: [{ role: "agent/agent-1", parts: [{ content: "Hello!", content_type: "text/plain" }] }],
    });
    expect(peer.executions[0]).toMatchObject({ messageId: run.run_id, from: null, payload: { text: "Hello!" } });
    const { headers, body, status } = await create(url);
    expect([status, headers.get("run-id")]).toEqual([200, body.run_id]);
    expect(Object.values(body)).not.toContain(null);
  });

  test("[acp-async] [acp-run-state] async: created and accepted, then in progress, then completed", async () => {
    const gate = Promise.withResolvers<void>();
    const { url } = await serve(async (_context, queue) => {
      await gate.promise;
      queue.enqueue({ type: "agent_text_message", text: "late" });
    });
    const client = new Client({ baseUrl: url });
    const run = await client.runAsync("agent-1", "x");
    expect(run.status).toBe("created");
    expect((await client.runStatus(run.run_id)).status).toBe("in-progress");
    gate.resolve();
    expect((await until(client, run.run_id, "completed")).output[0]?.parts[0]?.content).toBe("late");
    expect((await create(url, { mode: "async" })).status).toBe(202);
  });

  test("[acp-stream] [acp-events] stream: every event as it happens, and the same events from the log afterwards", async () => {
    const { url } = await serve(async (_context, queue) => {
      queue.enqueue({ type: "agent_text_message", text: "one" });
      queue.enqueue({ type: "status", state: "working", message: "thinking" });
      queue.enqueue({
        type: "agent_parts_message",
        parts: [
          { kind: "text", text: "two" },
          { kind: "data", data: { n: 3 } },
        ],
      });
    });
    const client = new Client({ baseUrl: url });
    const events = await collect(client.runStream("agent-1", "x"));
    expect(events.map(({ type }) => type)).toEqual([
      "run.created",
      "run.in-progress",
      "message.created",
      "message.part",
      "message.completed",
      "generic",
      "message.created",
      "message.part",
      "message.part",
      "message.completed",
      "run.completed",
    ]);
    const [first, , , , , note] = events;
    if (first?.type !== "run.created") throw new Error("no run.created");
    expect(first.run).toMatchObject({ status: "created", output: [] });
    expect(note).toMatchObject({ generic: { state: "working", message: "thinking" } });
    expect(await client.runEvents(first.run.run_id)).toEqual(events);
    expect(events.at(-1)).toMatchObject({ run: await client.runStatus(first.run.run_id) });
  });

  test("[acp-lost-client] a client that goes away does not end its run", async () => {
    const gate = Promise.withResolvers<void>();
    const { url } = await serve(async (_context, queue) => {
      await gate.promise;
      queue.enqueue({ type: "agent_text_message", text: "done" });
    });
    const client = new Client({ baseUrl: url });
    const controller = new AbortController();
    let runId = "";
    const listening = (async () => {
      for await (const event of client.runStream("agent-1", "x", controller.signal)) {
        if (event.type !== "run.created") continue;
        runId = event.run.run_id;
        controller.abort();
      }
    })();
    await expect(listening).rejects.toMatchObject({ name: "AbortError" });
    expect((await client.runStatus(runId)).status).toBe("in-progress");
    gate.resolve();
    expect((await until(client, runId, "completed")).output).toHaveLength(1);
  });

  test("[acp-run-errors] what the executor throws fails the run: with ACP's code if it has one, else server_error and its own as data", async () => {
    const codes = ["invalid_input", "not_ready", undefined];
    const { url } = await serve(async () => {
      throw Object.assign(new Error("Wrong question"), { code: codes.shift() });
    });
    const client = new Client({ baseUrl: url });
    const errors = [];
    for (let i = 0; i < 3; i++) {
      const run = await client.runSync("agent-1", "x");
      expect(run.status).toBe("failed");
      errors.push(run.error);
    }
    expect(errors).toEqual([
      { code: "invalid_input", message: "Wrong question" },
      { code: "server_error", message: "Wrong question", data: { code: "not_ready" } },
      { code: "server_error", message: "Wrong question" },
    ]);
  });

  test("[acp-run-end] an executor may say that it failed or was canceled; what it says after that is not heard", async () => {
    const events: AgentEvent[] = [
      { type: "status", state: "failed", message: "no luck" },
      { type: "status", state: "canceled" },
    ];
    const { url } = await serve(async (_context, queue) => {
      queue.enqueue(events.shift() ?? { type: "status", state: "working" });
      queue.enqueue({ type: "agent_text_message", text: "too late" });
    });
    const client = new Client({ baseUrl: url });
    const failed = await client.runSync("agent-1", "x");
    expect(failed).toMatchObject({ status: "failed", error: { code: "server_error", message: "no luck" }, output: [] });
    expect((await client.runSync("agent-1", "x")).status).toBe("cancelled");
    expect((await client.runEvents(failed.run_id)).at(-1)?.type).toBe("run.failed");
  });

  test("[acp-content] other content types, links and base64 reach the executor", async () => {
    const { url, peer } = await serve(echo);
    const parts = [
      { content_type: "text/plain", content: "aGk=", content_encoding: "base64" },
      { content_type: "Application/JSON; charset=utf-8", content: '{"a":1}' },
      { content_type: "image/png", content: "iVBORw==", content_encoding: "base64", name: "logo.png" },
      { content_type: "text/plain", content_url: "https://example.org/x.txt" },
      { content_type: "text/plain", content: "no base64!", content_encoding: "base64" },
      { content_type: "text/plain", content: "/w==", content_encoding: "base64" },
      { content_type: "text/markdown", content: "*hola*", language: "Spanish" },
    ];
    const { body } = await create(url, { input: [{ role: "agent/agent-0", parts }] });
    expect(body.status).toBe("completed");
    expect(peer.executions[0]).toMatchObject({ from: "agent-0" });
    expect(peer.executions[0]?.payload).toEqual({
      parts: [
        { kind: "text", text: "hi" },
        { kind: "data", data: { a: 1 } },
        ...parts.slice(2).map((data) => ({ kind: "data", data })),
      ],
    });
  });

  test("[acp-message] dates that are none and metadata of no kind are refused: SDKs would refuse the history that they stand in", async () => {
    const { url } = await serve(echo);
    const say = (message: object, part: object = {}) =>
      create(url, { input: [{ parts: [{ content: "x", ...part }], ...message }], session_id: UNKNOWN });
    for (const date of ["yesterday", "2025-01-01", "2025-13-01T00:00:00Z", "2025-01-01T00:00:00Z and more"])
      expect(await say({ created_at: date }), date).toMatchObject({ status: 422, body: { code: "invalid_input" } });
    const noMetadata = [{}, { kind: "rumour" }, { kind: "citation", start_index: "1" }, { kind: "trajectory", tool_input: "x" }];
    for (const metadata of noMetadata)
      expect(await say({}, { metadata }), JSON.stringify(metadata)).toMatchObject({
        status: 422,
        body: { code: "invalid_input" },
      });
    for (const date of ["2025-01-01t00:00:00z", "2025-01-01T00:00:00.123456+02:00", "2025-01-01T00:00:00"])
      expect((await say({ created_at: date })).status, date).toBe(200);
    const { body: before } = await call<Session>(`${url}/session/${UNKNOWN}`);
    const citation = { kind: "citation", start_index: null, end_index: 4, url: "https://example.org", more: true };
    expect((await say({ created_at: "2025-01-01T00:00:00.123456Z" }, { metadata: citation })).status).toBe(200);
    expect((await say({}, { metadata: { kind: "trajectory", tool_output: { n: 1 } } })).status).toBe(200);
    const { body: after } = await call<Session>(`${url}/session/${UNKNOWN}`);
    for (const resource of after.history.slice(before.history.length))
      expect(SdkMessage.safeParse((await call(resource)).body).error).toBeUndefined();
  });
});

describe("cancel", () => {
  test("[acp-cancel] of a run at work: cancelling, then cancelled, and the executor's signal aborts", async () => {
    const { url, peer } = await serve(endless);
    const client = new Client({ baseUrl: url });
    const { run_id: runId } = await client.runAsync("agent-1", "x");
    expect((await client.runCancel(runId)).status).toBe("cancelling");
    const run = await until(client, runId, "cancelled");
    expect(run.finished_at).toEqual(expect.any(String));
    expect(peer.executions[0]?.signal.aborted).toBe(true);
    await expect(client.runCancel(runId)).rejects.toThrow(ACPError);
    expect((await call(`${url}/runs/${runId}/cancel`, { method: "POST" })).status).toBe(403);
    // As curl sends nothing: -d ''.
    const { run_id: second } = await client.runAsync("agent-1", "x");
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    expect((await call(`${url}/runs/${second}/cancel`, { method: "POST", headers, body: "" })).status).toBe(202);
  });

  test("[acp-cancel] during a stream ends it with run.cancelled, even when the executor cannot stop", async () => {
    const { url } = await serve(() => new Promise(() => {}));
    const client = new Client({ baseUrl: url });
    const types: string[] = [];
    for await (const event of client.runStream("agent-1", "x")) {
      types.push(event.type);
      if (event.type === "run.in-progress") expect((await client.runCancel(event.run.run_id)).status).toBe("cancelling");
    }
    expect(types).toEqual(["run.created", "run.in-progress", "run.cancelled"]);
  });

  test("[acp-cancel] [acp-await] of a run that awaits something ends it", async () => {
    const { url } = await serve(awaiter);
    const client = new Client({ baseUrl: url });
    const { run_id: runId } = await client.runSync("agent-1", "x");
    await client.runCancel(runId);
    await until(client, runId, "cancelled");
    expect(
      await post(`${url}/runs/${runId}`, { await_resume: { type: "message", message: hello[0] }, mode: "sync" }),
    ).toMatchObject({
      status: 403,
    });
  });
});

describe("await and resume", () => {
  const answer = { type: "message" as const, message: { role: "user", parts: [{ content_type: "text/plain", content: "Ada" }] } };
  const resume = answer as unknown as AcpSdk.AwaitResume;

  test("[acp-await] sync: the run awaits, is answered, and completes", async () => {
    const { url } = await serve(awaiter);
    const client = new Client({ baseUrl: url });
    const run = await client.runSync("agent-1", "x");
    expect(run).toMatchObject({
      status: "awaiting",
      await_request: { type: "message", message: { role: "agent/agent-1", parts: [{ content: "who?" }] } },
      output: [{ parts: [{ content: "hm" }] }],
    });
    expect(run.await_request?.message.completed_at).toBe(run.await_request?.message.created_at);
    const resumed = await client.runResumeSync(run.run_id, resume);
    expect(resumed.status).toBe("completed");
    expect(resumed.await_request).toBeUndefined();
    expect(resumed.output.map(({ parts }) => parts[0]?.content)).toEqual(["hm", "hello Ada"]);
    await expect(client.runResumeSync(run.run_id, resume)).rejects.toMatchObject({ name: "ACPError" });
  });

  test("[acp-await] async and stream", async () => {
    const { url } = await serve(awaiter);
    const client = new Client({ baseUrl: url });
    const { run_id: first } = await client.runSync("agent-1", "x");
    expect((await client.runResumeAsync(first, resume)).status).toBe("in-progress");
    await until(client, first, "completed");
    const events = await collect(client.runStream("agent-1", "x"));
    expect(events.at(-1)?.type).toBe("run.awaiting");
    const [created] = events;
    const second = created?.type === "run.created" ? created.run.run_id : "";
    expect((await collect(client.runResumeStream(second, resume))).map(({ type }) => type)).toEqual([
      "run.in-progress",
      "message.created",
      "message.part",
      "message.completed",
      "run.completed",
    ]);
  });

  test("[acp-await-refused] what is no answer is refused and leaves the run as it was", async () => {
    const { url } = await serve(awaiter);
    const { run_id: runId } = (await create(url)).body;
    const bad: readonly (readonly [number, unknown])[] = [
      [422, { await_resume: { type: "form" }, mode: "sync" }],
      [422, { await_resume: "Ada", mode: "sync" }],
      [422, { await_resume: answer, mode: "soon" }],
      [422, { await_resume: answer, mode: "sync", run_id: UNKNOWN }],
      [422, { await_resume: { type: "message", message: { parts: [{ content_type: "application/json", content: "{" }] } } }],
      [422, null],
    ];
    for (const [status, body] of bad)
      expect(await post(`${url}/runs/${runId}`, body), JSON.stringify(body)).toMatchObject({
        status,
        body: { code: "invalid_input" },
      });
    expect((await call<Run>(`${url}/runs/${runId}`)).body.status).toBe("awaiting");
    const empty = { await_resume: { type: "message", message: { parts: [] } }, mode: "sync", run_id: runId };
    expect((await post(`${url}/runs/${runId}`, empty)).body.status).toBe("completed");
  });
});

describe("sessions", () => {
  test("[acp-sessions] remember their messages as resources", async () => {
    const { url } = await serve(historian);
    const client = new Client({ baseUrl: url });
    let sessionId = "";
    await client.withSession(async (session) => {
      sessionId = session.sessionId ?? "";
      expect((await session.runSync("agent-1", "first")).output).toHaveLength(1);
      const { output, session_id } = await session.runSync("agent-1", "second");
      expect(output.map(({ parts }) => parts[0]?.content)).toEqual(["first", "first", "second"]);
      expect(session_id).toBe(sessionId);
    });
    // The document's path and the reference server's.
    const { body } = await call<Session>(`${url}/session/${sessionId}`);
    expect((await call<Session>(`${url}/sessions/${sessionId}`)).body).toEqual(body);
    expect(body.id).toBe(sessionId);
    const messages = await Promise.all(body.history.map(async (resource) => (await call<Message>(resource)).body));
    expect(messages.map(({ role, parts }) => `${role} ${parts[0]?.content}`)).toEqual([
      "user first",
      "agent/agent-1 first",
      "user second",
      "agent/agent-1 first",
      "agent/agent-1 first",
      "agent/agent-1 second",
    ]);
  });

  test("[acp-sessions] that nobody named can be gone on with under the run's session id", async () => {
    const { url } = await serve(historian);
    const { session_id: sessionId } = (await create(url)).body;
    expect((await create(url, { session_id: sessionId })).body.output).toHaveLength(3);
    expect((await call<Session>(`${url}/session/${sessionId}`)).body.history).toHaveLength(6);
  });

  test("[acp-session-forwarded] go to another server with their history, which stays where it is", async () => {
    const one = await serve(historian);
    const other = urlOf(await world.peer("agent-2", { execute: historian }));
    const { session_id: id } = (await create(one.url, { session_id: UNKNOWN })).body;
    const { body: session } = await call<Session>(`${one.url}/session/${id}`);
    const second = await post(`${other}/runs`, { agent_name: "agent-2", input: hello, session });
    expect(second.body.output).toHaveLength(3);
    const { body: forwarded } = await call<Session>(`${other}/session/${id}`);
    expect(forwarded.history.slice(0, 2)).toEqual(session.history);
    expect(forwarded.history.slice(2).every((resource) => resource.startsWith(other))).toBe(true);
  });

  test("[acp-session-failed] failed and cancelled runs leave no trace in them", async () => {
    const { url } = await serve(async () => {
      throw new Error("no");
    });
    await create(url, { session_id: UNKNOWN });
    expect((await call<Session>(`${url}/session/${UNKNOWN}`)).body).toEqual({ id: UNKNOWN, history: [] });
  });
});

describe("the host", () => {
  test("[acp-python-client] serves ACP's Python client, which names no content type and writes null for what it leaves out", async () => {
    const { url } = await serve(echo);
    const part = {
      name: null,
      content_type: "text/plain",
      content: "Hello!",
      content_encoding: "plain",
      content_url: null,
      metadata: null,
    };
    const message = { role: "user", parts: [part], created_at: "2025-01-01T00:00:00.123456Z", completed_at: null };
    const body = JSON.stringify({ agent_name: "agent-1", session_id: null, session: null, input: [message], mode: "sync" });
    // A stream has no content type of its own, as a string would.
    const { status, body: run } = await call<Run>(`${url}/runs`, {
      method: "POST",
      body: new Blob([body]).stream(),
      duplex: "half",
    });
    expect([status, run.status]).toEqual([200, "completed"]);
  });

  test("[acp-python-stream] streams no character at which the Python client's reader would cut a line", async () => {
    const { url } = await serve(echo);
    const text = "a\u0085b\u2028c\u2029d\u000be\u000cf\u001cg";
    const input = [{ role: "user", parts: [{ content_type: "text/plain", content: text }] }];
    const init = { method: "POST", headers: { "content-type": "application/json" } };
    const body = JSON.stringify({ agent_name: "agent-1", input, mode: "stream" });
    const stream = await (await fetch(`${url}/runs`, { ...init, body })).text();
    // Where Python's str.splitlines cuts.
    // oxlint-disable-next-line no-control-regex
    const lines = stream.split(/\r\n|[\n\v\f\r\u001c-\u001e\u0085\u2028\u2029]/).filter((line) => line !== "");
    expect(lines.every((line) => line.startsWith("data: "))).toBe(true);
    const last = JSON.parse(lines.at(-1)?.slice("data: ".length) ?? "") as { run: Run };
    expect(last.run.output[0]?.parts[0]?.content).toBe(text);
  });

  test("[acp-errors] answers bad requests with ACP's error model", async () => {
    const { url } = await serve(echo);
    const json = { "content-type": "application/json" };
    const run = (body: unknown) => ({ method: "POST", headers: json, body: JSON.stringify(body) });
    const input = hello;
    const cases: readonly (readonly [number, string, string, RequestInit])[] = [
      [422, "invalid_input", "/runs", { method: "POST", headers: json, body: '{"agent_name": "agent-1", ' }],
      [422, "invalid_input", "/runs", { method: "POST", headers: json, body: '{"__proto__": {"admin": true}}' }],
      [415, "invalid_input", "/runs", { method: "POST", headers: { "content-type": "text/plain" }, body: "{}" }],
      [415, "invalid_input", "/runs", { method: "POST", body: new FormData() }],
      [422, "invalid_input", "/runs", { method: "POST" }],
      [422, "invalid_input", "/runs", run([])],
      [422, "invalid_input", "/runs", run({ input })],
      [422, "invalid_input", "/runs", run({ agent_name: "agent-1", input: [] })],
      [422, "invalid_input", "/runs", run({ agent_name: "agent-1", input: "Hello!" })],
      [422, "invalid_input", "/runs", run({ agent_name: "agent-1", input: [{ role: "robot", parts: hello[0]?.parts }] })],
      [422, "invalid_input", "/runs", run({ agent_name: "agent-1", input: [{ role: "user", parts: [] }] })],
      [
        422,
        "invalid_input",
        "/runs",
        run({ agent_name: "agent-1", input: [{ parts: [{ content: "x", content_url: "http://x/" }] }] }),
      ],
      [422, "invalid_input", "/runs", run({ agent_name: "agent-1", input: [{ parts: [{ content: 7 }] }] })],
      [
        422,
        "invalid_input",
        "/runs",
        run({ agent_name: "agent-1", input: [{ parts: [{ content: "x", content_encoding: "zip" }] }] }),
      ],
      [
        422,
        "invalid_input",
        "/runs",
        run({ agent_name: "agent-1", input: [{ parts: [{ content: "{", content_type: "application/json" }] }] }),
      ],
      [422, "invalid_input", "/runs", run({ agent_name: "agent-1", input, mode: "later" })],
      [422, "invalid_input", "/runs", run({ agent_name: "agent-1", input, session_id: "mine" })],
      [422, "invalid_input", "/runs", run({ agent_name: "agent-1", input, session: { id: UNKNOWN, history: ["no url"] } })],
      [
        400,
        "invalid_input",
        "/runs",
        run({ agent_name: "agent-1", input, session_id: UNKNOWN, session: { id: UNKNOWN.replace("8", "9"), history: [] } }),
      ],
      [404, "not_found", "/runs", run({ agent_name: "agent-7", input })],
      [404, "not_found", `/runs/${UNKNOWN}`, {}],
      [404, "not_found", `/runs/${UNKNOWN}/events`, {}],
      [404, "not_found", `/runs/${UNKNOWN}/cancel`, { method: "POST" }],
      [404, "not_found", `/runs/${UNKNOWN}`, run({ await_resume: {}, mode: "sync" })],
      [404, "not_found", `/session/${UNKNOWN}`, {}],
      [404, "not_found", `/resources/${UNKNOWN}`, {}],
      [422, "invalid_input", "/runs/7", {}],
      [422, "invalid_input", "/session/mine", {}],
      [404, "not_found", "/agents/nobody", {}],
      [404, "not_found", "/nowhere", {}],
      [404, "not_found", "/runs", { method: "DELETE" }],
      [422, "invalid_input", "/runs/%zz", {}],
    ];
    for (const [status, code, path, init] of cases) {
      const label = `${init.method ?? "GET"} ${path} ${typeof init.body === "string" ? init.body : ""}`;
      const answer = await call(url + path, init);
      expect(answer, label).toMatchObject({ status, body: { code, message: expect.any(String) } });
    }
  });

  test("[acp-size] refuses a body of more than 64 MiB before reading it", async () => {
    const { url } = await serve(echo);
    const response = await fetch(`${url}/runs`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: Buffer.alloc(64 * 1024 * 1024 + 1, " "),
    }).catch(() => null);
    // The host may hang up while we still write.
    if (response !== null) expect([response.status, await response.json()]).toMatchObject([413, { code: "invalid_input" }]);
    expect((await call(`${url}/ping`)).status).toBe(200);
  });

  test("[acp-prefix] mounted under a prefix, its resources' addresses have the prefix, and other routes keep their own errors", async () => {
    const peer = await world.peer("agent-1", { execute: echo, listens: false });
    const server = fastify();
    world.onClose(() => server.close());
    await server.register(peer.backend.hostPlugin("agent-1", peer.executor), { prefix: "/acp" });
    server.post("/plain", (request) => request.body);
    const base = await server.listen({ host: HOST, port: 0 });
    // Bigger than the surrounding server would take by itself.
    const run = await new Client({ baseUrl: `${base}/acp` }).runSync("agent-1", "x".repeat(2_000_000));
    expect(run.output[0]?.parts[0]?.content).toHaveLength(2_000_000);
    const { history } = (await call<Session>(`${base}/acp/session/${run.session_id}`)).body;
    expect(history).toHaveLength(2);
    for (const resource of history) {
      expect(resource.startsWith(`${base}/acp/resources/`)).toBe(true);
      expect((await call(resource)).status).toBe(200);
    }
    expect((await call(`${base}/acp/nowhere`)).body).toMatchObject({ code: "not_found" });
    expect((await call(`${base}/nowhere`)).body).toMatchObject({ statusCode: 404 });
    expect((await post(`${base}/plain`, { x: 1 })).body).toEqual({ x: 1 });
  });

  test("[acp-close] closes under open streams and waiting clients: its runs are given up, and nobody is left waiting", async () => {
    const { url, peer } = await serve(endless);
    const waiting = create(url);
    const client = new Client({ baseUrl: url });
    const events: RunLogEvent["type"][] = [];
    const streaming = (async () => {
      for await (const event of client.runStream("agent-1", "x")) events.push(event.type);
    })();
    // Told that the run failed, or cut off, maybe before the host has closed: both are an end.
    const ended = Promise.allSettled([waiting, streaming]);
    await expect.poll(() => peer.executions.length + events.length).toBe(4);
    await peer.local?.close();
    await ended;
    expect(peer.executions.every(({ signal }) => signal.aborted)).toBe(true);
  });

  test("[acp-forgets] forgets its runs with its process: a new server says not_found", async () => {
    const { url, peer } = await serve(greet("x"));
    const client = new Client({ baseUrl: url });
    const { run_id: runId } = await client.runSync("agent-1", "x");
    expect(Event.safeParse((await client.runEvents(runId))[0]).success).toBe(true);
    await peer.local?.close();
    const again = await world.peer("agent-1", { workspaceDir: peer.workspaceDir, incarnation: 2 });
    await expect(new Client({ baseUrl: urlOf(again) }).runStatus(runId)).rejects.toMatchObject({ code: "not_found" });
  });
});
