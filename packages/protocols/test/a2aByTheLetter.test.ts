import type { AgentEvent } from "@failstorm/core";
import fastify from "fastify";
import { afterEach, describe, expect, test } from "vitest";
import { a2aPeer, closeAll, closing, message, rest, rpc, serve, taskIn } from "./a2aPeers.ts";

afterEach(closeAll);

const OURS = "urn:failstorm:agent:v1";

/** One POST as curl would make it. */
async function post(url: string, body: string, headers: Record<string, string>) {
  const answer = await fetch(url, { method: "POST", body, headers });
  const text = await answer.text();
  return { status: answer.status, type: answer.headers.get("content-type")?.split(";")[0], headers: answer.headers, text };
}

describe("JSON-RPC, as its specification allows it", () => {
  test("[a2a-params] parameters may be left out", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const call = async (method: string, version: string) => {
      const headers = { "content-type": "application/json", "a2a-version": version };
      const { text } = await post(url, JSON.stringify({ jsonrpc: "2.0", id: 1, method }), headers);
      return JSON.parse(text) as { result?: unknown; error?: { code: number } };
    };
    expect((await call("ListTasks", "1.0")).result).toEqual({ tasks: [], nextPageToken: "", pageSize: 50, totalSize: 0 });
    expect((await call("SendMessage", "1.0")).error?.code).toBe(-32602);
    for (const version of ["1.0", "0.3"]) expect((await call("MakeTea", version)).error?.code).toBe(-32601);
    expect((await call("tasks/get", "0.3")).error?.code).toBe(-32602);
  });

  test("[a2a-null-parts] contents of a part that are null are as if they were not there", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const send = async (part: object) => rpc(url, "SendMessage", { message: { ...message("x"), parts: [part] } });
    const artifacts = async (part: object) => (await send(part)).result?.["task"];
    expect(await artifacts({ text: "x", raw: null, url: null, data: null, metadata: null })).toMatchObject({
      artifacts: [{ parts: [{ text: "x" }] }],
    });
    expect(await artifacts({ text: null, data: null })).toMatchObject({ artifacts: [{ parts: [{ data: null }] }] });
    expect((await send({ text: null, raw: null })).error?.code).toBe(-32602);
    expect((await send({ text: "x", data: 0 })).error?.code).toBe(-32602);
  });

  test("[a2a-jsonrpc-errors] a type that is none is no supported one; that of a body which is not there is none", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const call = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ListTasks" });
    const wrong = await post(url, call, { "content-type": "json", "a2a-version": "1.0" });
    expect([wrong.status, JSON.parse(wrong.text)]).toMatchObject([200, { error: { code: -32005 } }]);
    expect(await rest(`${url}/message:send`, { method: "POST", body: call, headers: { "content-type": "json" } })).toMatchObject({
      status: 400,
      body: { error: { details: [{ reason: "CONTENT_TYPE_NOT_SUPPORTED" }] } },
    });
    const form = { "content-type": "application/x-www-form-urlencoded", "a2a-version": "1.0" };
    expect((await post(`${url}/tasks/none:cancel`, "", form)).status).toBe(404);
  });

  test("[a2a-legacy] a client of 0.3 finds the error of tasks/resubscribe in the stream it asked for", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tasks/resubscribe", params: { id: "none" } });
    const { status, type, text } = await post(url, body, { "content-type": "application/json" });
    expect([status, type]).toEqual([200, "text/event-stream"]);
    expect(JSON.parse(text.replace(/^data: /, ""))).toMatchObject({ id: 1, error: { code: -32001 } });
  });

  test("[a2a-push-configs] a webhook is named where 1.0 demands it, and told how to authenticate", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const { id: taskId } = taskIn(await rpc(url, "SendMessage", { message: message("x") }));
    const hook = { taskId, id: "h", url: "http://127.0.0.1:1/" };
    await rpc(url, "CreateTaskPushNotificationConfig", hook);
    for (const method of ["GetTaskPushNotificationConfig", "DeleteTaskPushNotificationConfig"])
      expect((await rpc(url, method, { taskId })).error?.code, method).toBe(-32602);
    const unnamed = { ...hook, authentication: { credentials: "secret" } };
    expect((await rpc(url, "CreateTaskPushNotificationConfig", unnamed)).error?.code).toBe(-32602);
    expect((await rpc(url, "tasks/pushNotificationConfig/get", { id: taskId }, { version: "0.3" })).result).toMatchObject({
      pushNotificationConfig: { id: "h" },
    });
  });
});

describe("HTTP+JSON, by the letter", () => {
  test("[a2a-rest] errors, too, are plain JSON to those who speak it", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const type = async (headers: Record<string, string>) =>
      (await fetch(`${url}/tasks/none`, { headers: { "a2a-version": "1.0", ...headers } })).headers.get("content-type");
    expect(await type({})).toMatch(/^application\/a2a\+json/);
    expect(await type({ accept: "application/json" })).toMatch(/^application\/json/);
    const plain = { "content-type": "application/json", "a2a-version": "1.0" };
    expect(await post(`${url}/message:send`, "{}", plain)).toMatchObject({ status: 400, type: "application/json" });
  });

  test("[a2a-tenant] a tenant is one and the same in path, body, query and parameters", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const body = JSON.stringify({ tenant: "acme", message: message("x") });
    const sent = (await rest(`${url}/message:send`, { method: "POST", body })).body?.["task"] as { id: string };
    expect((await rpc(url, "GetTask", { id: sent.id, tenant: "acme" })).result?.["id"]).toBe(sent.id);
    for (const path of [`/tasks/${sent.id}?tenant=acme`, `/acme/tasks/${sent.id}`])
      expect((await rest(url + path)).body?.["id"], path).toBe(sent.id);
    for (const path of [`/tasks/${sent.id}`, `/other/tasks/${sent.id}?tenant=acme`])
      expect((await rest(url + path)).status, path).toBe(404);
  });
});

test("[a2a-card-caching] a known card is known in a list, as a proxy weakened it, and when any will do", async () => {
  const card = `${(await serve(a2aPeer("agent-1"))).url}/.well-known/agent-card.json`;
  const etag = (await fetch(card)).headers.get("etag") ?? "";
  const status = async (known: string) => (await fetch(card, { headers: { "if-none-match": known } })).status;
  for (const known of [`W/${etag}`, `"other", ${etag}`, "*"]) expect(await status(known), known).toBe(304);
  for (const known of ['"other"', etag.slice(1)]) expect(await status(known), known).toBe(200);
});

test("[a2a-card] names an IPv6 address as URLs have it", async () => {
  const peer = a2aPeer("agent-1", { host: "::1" });
  const { url } = await serve(peer);
  const interfaces = (await rest(`${url}/.well-known/agent-card.json`)).body?.["supportedInterfaces"];
  expect(interfaces).toMatchObject([{ url: `http://[::1]:${peer.port}` }, {}, {}]);
});

test("[a2a-extension] who asks for our extension is told that it is active, and nobody else", async () => {
  const { url } = await serve(a2aPeer("agent-1"));
  const asked = { "content-type": "application/json", "a2a-version": "1.0", "a2a-extensions": `urn:other, ${OURS}` };
  const call = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ListTasks" });
  expect((await post(url, call, asked)).headers.get("a2a-extensions")).toBe(OURS);
  expect((await fetch(`${url}/tasks`, { headers: asked })).headers.get("a2a-extensions")).toBe(OURS);
  const other = await fetch(`${url}/tasks`, { headers: { ...asked, "a2a-extensions": "urn:other" } });
  expect([other.status, other.headers.get("a2a-extensions")]).toEqual([200, null]);
});

test("[a2a-artifact-parts] an answer without parts is a task without artifacts", async () => {
  const { url } = await serve(a2aPeer("agent-1"), async (_context, queue) =>
    queue.enqueue({ type: "agent_parts_message", parts: [] }),
  );
  const { result } = await rpc(url, "SendMessage", { message: message("x") });
  expect(result).toMatchObject({ task: { status: { state: "TASK_STATE_COMPLETED" } } });
  expect(result).not.toHaveProperty("task.artifacts");
});

test("[a2a-client-interface] a stranger's tenant is said in every request; one that does not stream is not asked to", async () => {
  const calls: { method: string; params: { tenant?: string } }[] = [];
  const stranger = fastify();
  let base = "";
  stranger.get("/.well-known/agent-card.json", async () => ({
    supportedInterfaces: [{ url: `${base}/rpc`, protocolBinding: "JSONRPC", protocolVersion: "1.0", tenant: "acme" }],
    capabilities: {},
    skills: [],
  }));
  const task = (state: string) => ({
    id: "t-1",
    status: { state: `TASK_STATE_${state}` },
    artifacts: [{ artifactId: "a", parts: [{ text: "la" }] }],
  });
  const states = ["WORKING", "COMPLETED", "CANCELED"];
  stranger.post<{ Body: { id: number; method: string; params: { tenant?: string } } }>("/rpc", async ({ body }) => {
    calls.push(body);
    const result = body.method === "SendMessage" ? { task: task("COMPLETED") } : task(states.shift() ?? "");
    return { jsonrpc: "2.0", id: body.id, result };
  });
  base = await stranger.listen({ host: "127.0.0.1", port: 0 });
  closing(() => stranger.close());
  const a = a2aPeer("agent-0");
  a.backend.registerEndpoint("agent-1", { host: "127.0.0.1", port: Number(new URL(base).port) });
  await a.backend.connect("agent-0", "agent-1");
  const events: AgentEvent[] = [];
  const accepted: string[] = [];
  const listeners = {
    onEvent: (event: AgentEvent) => void events.push(event),
    onAccepted: (id: string) => void accepted.push(id),
  };
  expect((await a.backend.send("agent-0", "agent-1", { text: "mi" }, listeners)).text).toBe("la");
  expect(events).toEqual([
    { type: "agent_text_message", text: "la" },
    { type: "status", state: "completed" },
  ]);
  expect(accepted).toEqual(["t-1"]);
  expect((await a.backend.resume?.("agent-0", "agent-1", "t-1"))?.text).toBe("la");
  await a.backend.cancel?.("agent-0", "agent-1", "t-1");
  expect(calls.map(({ method, params }) => [method, params.tenant])).toEqual(
    ["SendMessage", "GetTask", "GetTask", "CancelTask"].map((method) => [method, "acme"]),
  );
});
