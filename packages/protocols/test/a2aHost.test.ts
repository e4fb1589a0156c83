import { systemClock } from "@failstorm/core";
import fastify from "fastify";
import { afterEach, describe, expect, test } from "vitest";
import { a2aPeer, closeAll, closing, gate, message, rest, rpc, sent, serve, taskIn } from "./a2aPeers.ts";

afterEach(closeAll);

const ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo";

describe("the card", () => {
  test("[a2a-card] tells who answers as which incarnation, its skills, and where each binding is", async () => {
    const peer = a2aPeer("agent-1", { incarnation: 7, prefix: "/a2a" });
    const { url } = await serve(peer);
    const answer = await fetch(`${url}/.well-known/agent-card.json`, { headers: { "a2a-version": "1.0" } });
    expect(answer.headers.get("content-type")).toMatch(/^application\/json/);
    const card = (await answer.json()) as Record<string, unknown>;
    expect(card).toMatchObject({
      name: "agent-1",
      capabilities: {
        streaming: true,
        pushNotifications: true,
        extensions: [{ uri: "urn:failstorm:agent:v1", params: { agentId: "agent-1", incarnation: 7 } }],
      },
      skills: [
        { id: "tool:search", name: "search", tags: ["tool"] },
        { id: "shard:1", name: "1", tags: ["shard"] },
      ],
    });
    expect(card["supportedInterfaces"]).toEqual([
      { url, protocolBinding: "JSONRPC", protocolVersion: "1.0" },
      { url, protocolBinding: "HTTP+JSON", protocolVersion: "1.0" },
      { url, protocolBinding: "JSONRPC", protocolVersion: "0.3" },
    ]);
    peer.capabilities = [];
    const bare = await rest(`${url}/.well-known/agent-card.json`);
    expect(bare.body?.["skills"]).toHaveLength(1);
  });

  test("[a2a-card-caching] has an ETag of its content, which spares it from being sent again", async () => {
    const peer = a2aPeer("agent-1");
    const { url } = await serve(peer);
    const card = `${url}/.well-known/agent-card.json`;
    const first = await fetch(card);
    const etag = first.headers.get("etag") ?? "";
    expect(first.headers.get("cache-control")).toContain("max-age");
    expect((await fetch(card, { headers: { "if-none-match": etag } })).status).toBe(304);
    peer.capabilities.push("tool:extract");
    expect((await fetch(card, { headers: { "if-none-match": etag } })).status).toBe(200);
  });

  test("[a2a-legacy-card] has the fields of 0.3 beside those of 1.0 for those who speak it or name no version, and not for those of 1.0", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const old = { protocolVersion: "0.3.0", url, preferredTransport: "JSONRPC" };
    const path = `${url}/.well-known/agent-card.json`;
    expect((await rest(path, { headers: { "a2a-version": "0.3" } })).body).toMatchObject(old);
    expect((await rest(`${url}/.well-known/agent.json`)).body).toMatchObject(old);
    const both = await fetch(path);
    expect(both.headers.get("vary")).toBe("A2A-Version");
    const { body: plain } = await rest(path, { headers: { "a2a-version": "1.0" } });
    expect(plain).not.toHaveProperty("protocolVersion");
    expect(await both.json()).toEqual({ ...plain, ...old });
    const strict = await serve(a2aPeer("agent-2", { section: { legacy_card: false } }));
    expect(await (await fetch(`${strict.url}/.well-known/agent-card.json`)).json()).not.toHaveProperty("protocolVersion");
  });
});

describe("JSON-RPC", () => {
  test("[a2a-slash] is served with and without a slash at the end", async () => {
    for (const prefix of ["", "/a2a"]) {
      const { url } = await serve(a2aPeer(`agent-1${prefix.slice(1)}`, { prefix }));
      for (const path of [url, `${url}/`])
        expect((await rpc(path, "SendMessage", { message: message("hello") })).result?.["task"]).toMatchObject({
          status: { state: "TASK_STATE_COMPLETED" },
        });
    }
  });

  test("[a2a-no-idempotency] executes a message that comes twice a second time, as another task", async () => {
    let executions = 0;
    const { url } = await serve(a2aPeer("agent-1"), async () => void executions++);
    const params = { message: message("once") };
    const ids = [await rpc(url, "SendMessage", params), await rpc(url, "SendMessage", params)].map((reply) => taskIn(reply).id);
    expect(executions).toBe(2);
    expect(new Set(ids).size).toBe(2);
  });

  test("[a2a-context] keeps a conversation's id, makes one when there is none", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    expect((await sent(url, "x", { contextId: "c-1" })).contextId).toBe("c-1");
    expect((await sent(url, "x")).contextId).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("[a2a-errors] answers with A2A's codes and ErrorInfo", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const ended = await sent(url, "x");
    const send = (message: object, configuration = {}) => ["SendMessage", { message, configuration }] as const;
    const whole = message("x");
    const expected: (readonly [string, unknown, number, string])[] = [
      ["GetTask", { id: "none" }, -32001, "TASK_NOT_FOUND"],
      ["CancelTask", { id: "none" }, -32001, "TASK_NOT_FOUND"],
      ["SubscribeToTask", { id: "none" }, -32001, "TASK_NOT_FOUND"],
      [...send(message("x", { taskId: "none" })), -32001, "TASK_NOT_FOUND"],
      ["GetTaskPushNotificationConfig", { taskId: ended.id, id: "none" }, -32001, "TASK_NOT_FOUND"],
      ["CancelTask", { id: ended.id }, -32002, "TASK_NOT_CANCELABLE"],
      ["SubscribeToTask", { id: ended.id }, -32004, "UNSUPPORTED_OPERATION"],
      ["GetExtendedAgentCard", {}, -32004, "UNSUPPORTED_OPERATION"],
      [...send(message("x", { taskId: ended.id })), -32004, "UNSUPPORTED_OPERATION"],
      [...send({ ...whole, parts: [{ raw: "AA==", mediaType: "image/png" }] }), -32005, "CONTENT_TYPE_NOT_SUPPORTED"],
      [...send({ ...whole, parts: [{ text: "x", mediaType: "image/png" }] }), -32005, "CONTENT_TYPE_NOT_SUPPORTED"],
      [...send(message("x", { taskId: ended.id, contextId: "another" })), -32602, "INVALID_PARAMS"],
      ["SendMessage", {}, -32602, "INVALID_PARAMS"],
      [...send({ ...whole, messageId: "" }), -32602, "INVALID_PARAMS"],
      [...send({ ...whole, role: "ROLE_KING" }), -32602, "INVALID_PARAMS"],
      [...send({ ...whole, parts: [] }), -32602, "INVALID_PARAMS"],
      [...send({ ...whole, parts: [null] }), -32602, "INVALID_PARAMS"],
      [...send({ ...whole, parts: [{ text: 1 }] }), -32602, "INVALID_PARAMS"],
      [...send({ ...whole, parts: [{ text: "x", data: 1 }] }), -32602, "INVALID_PARAMS"],
      [...send(whole, { historyLength: -1 }), -32602, "INVALID_PARAMS"],
      [...send(whole, { taskPushNotificationConfig: { url: "file:///etc" } }), -32602, "INVALID_PARAMS"],
      ["GetTask", { id: " " }, -32602, "INVALID_PARAMS"],
      ["GetTask", [], -32602, "INVALID_PARAMS"],
      ["ListTasks", { pageSize: 0 }, -32602, "INVALID_PARAMS"],
      ["ListTasks", { pageSize: 101 }, -32602, "INVALID_PARAMS"],
      ["ListTasks", { status: "TASK_STATE_LOST" }, -32602, "INVALID_PARAMS"],
      ["ListTasks", { pageToken: "?" }, -32602, "INVALID_PARAMS"],
      ["ListTasks", { statusTimestampAfter: "soon" }, -32602, "INVALID_PARAMS"],
    ];
    for (const [method, params, code, reason] of expected) {
      const { status, error, id } = await rpc(url, method, params);
      expect({ status, id, code: error?.code }, `${method} ${JSON.stringify(params)}`).toEqual({ status: 200, id: "r-1", code });
      expect(error?.data?.[0]).toMatchObject({ "@type": ERROR_INFO, reason, domain: "a2a-protocol.org" });
    }
    const { result } = await rpc(url, "ListTasks", {});
    expect(result?.["totalSize"], "nothing of it was executed").toBe(1);
  });

  test("[a2a-jsonrpc-errors] answers what is no JSON, no request, no method, no JSON by its type", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const post = async (body: string, type = "application/json") => {
      const headers = { "content-type": type, "a2a-version": "1.0" };
      return (await (await fetch(url, { method: "POST", headers, body })).json()) as { id: unknown; error: { code: number } };
    };
    const codes = async (bodies: string[]) => Promise.all(bodies.map(async (body) => (await post(body)).error.code));
    expect(await codes(["{", "", "nonsense"])).toEqual([-32700, -32700, -32700]);
    const no = [
      "[]",
      "1",
      "null",
      '{"jsonrpc":"1.0","method":"GetTask"}',
      '{"jsonrpc":"2.0","method":1}',
      '{"jsonrpc":"2.0","id":1.5,"method":"GetTask"}',
    ];
    expect(await codes(no)).toEqual(no.map(() => -32600));
    expect(await codes(['{"jsonrpc":"2.0","id":1,"method":"MakeTea","params":{}}'])).toEqual([-32601]);
    expect(await post('{"jsonrpc":"2.0","id":9,"method":5}')).toMatchObject({ id: 9 });
    for (const type of ["text/plain", "application/xml", "application/json5"])
      expect((await post('{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"x"}}', type)).error.code).toBe(-32005);
    const big = new Uint8Array(65 * 1024 * 1024);
    const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: big });
    expect(answer.status).toBe(413);
    expect(await answer.json()).toMatchObject({ jsonrpc: "2.0", id: null, error: { code: -32600 } });
  });

  test("[a2a-size] takes 64 MB, whatever the server it is mounted on takes elsewhere", async () => {
    const { url } = await serve(a2aPeer("agent-1", { prefix: "/a2a" }));
    const text = "x".repeat(3_000_000);
    const { result } = await rpc(url, "SendMessage", { message: { ...message("big"), parts: [{ text }] } });
    expect(result).toMatchObject({ task: { artifacts: [{ parts: [{ text }] }] } });
  });

  test("[a2a-version] speaks 1.0 and 0.3, which no version means, and no other", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const codeOf = async (method: string, version: string | null, at = url) =>
      (await rpc(at, method, { id: "none" }, { version })).error?.code;
    expect(await codeOf("GetTask", "1.0")).toBe(-32001);
    expect(await codeOf("GetTask", "1.0.1")).toBe(-32001);
    expect(await codeOf("GetTask", null, `${url}?A2A-Version=1.0`)).toBe(-32001);
    expect(await codeOf("GetTask", null)).toBe(-32601);
    expect(await codeOf("tasks/get", null)).toBe(-32001);
    expect(await codeOf("tasks/get", "0.3")).toBe(-32001);
    expect(await codeOf("tasks/get", "1.0")).toBe(-32601);
    for (const version of ["2.0", "0.2", "1", "latest"]) expect(await codeOf("GetTask", version), version).toBe(-32009);
  });

  test("[a2a-legacy] message/send of 0.3 gets a task of 0.3", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const old = { kind: "message", messageId: "m", role: "user", parts: [{ kind: "text", text: "hello" }] };
    const { result } = await rpc(url, "message/send", { message: old }, { version: null });
    expect(result).toMatchObject({
      kind: "task",
      status: { state: "completed" },
      artifacts: [{ parts: [{ kind: "text", text: "hello" }] }],
    });
    const bad = await rpc(url, "message/send", { message: { ...old, parts: [{ kind: "song" }] } }, { version: null });
    expect(bad.error?.code).toBe(-32602);
  });

  test("[a2a-list] lists by context, state and time, latest first, page by page while tasks come and go", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    for (let i = 0; i < 5; i++) await rpc(url, "SendMessage", { message: message(`${i}`, { contextId: i < 4 ? "c" : "d" }) });
    const seen: string[] = [];
    let pageToken = "";
    do {
      const { result } = await rpc(url, "ListTasks", { contextId: "c", pageSize: 2, pageToken, includeArtifacts: true });
      const tasks = result?.["tasks"] as { artifacts: { parts: { text: string }[] }[] }[];
      seen.push(...tasks.map(({ artifacts }) => artifacts[0]?.parts[0]?.text ?? ""));
      pageToken = result?.["nextPageToken"] as string;
      await rpc(url, "SendMessage", { message: message("late", { contextId: "c" }) });
    } while (pageToken !== "");
    expect(seen.toSorted()).toEqual(["0", "1", "2", "3"]);
    const total = async (params: object) => (await rpc(url, "ListTasks", params)).result?.["totalSize"];
    expect(await total({ status: "TASK_STATE_FAILED" })).toBe(0);
    expect(await total({ statusTimestampAfter: "2999-01-01T00:00:00Z" })).toBe(0);
    expect(await total({ contextId: "d", statusTimestampAfter: "2000-01-01T00:00:00Z" })).toBe(1);
    const { result } = await rpc(url, "ListTasks", {});
    expect(result).not.toHaveProperty("tasks.0.artifacts");
  });
});

describe("HTTP+JSON", () => {
  test("[a2a-rest] [a2a-rest-errors] has its routes, with and without a slash and a tenant; errors are google.rpc.Status", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const body = JSON.stringify({ message: message("hello") });
    for (const path of ["/message:send", "/message:send/", "/acme/message:send"]) {
      const { status, type, body: answer } = await rest(url + path, { method: "POST", body });
      expect([status, type?.split(";")[0]]).toEqual([200, "application/a2a+json"]);
      expect(answer?.["task"]).toMatchObject({ status: { state: "TASK_STATE_COMPLETED" } });
    }
    const plain = await rest(`${url}/message:send`, { method: "POST", body, headers: { "content-type": "application/json" } });
    expect(plain.type).toMatch(/^application\/json/);
    const { tasks } = (await rest(`${url}/tasks/?pageSize=1`)).body as { tasks: { id: string }[] };
    const id = tasks[0]?.id ?? "";
    expect((await rest(`${url}/tasks/${id}?historyLength=0`)).body).not.toHaveProperty("history");
    expect((await rest(`${url}/acme/tasks/${id}`)).status).toBe(404);
    const get = { method: "GET" };
    const post = (content: string, headers = {}) => ({ method: "POST", body: content, headers });
    const expected: (readonly [string, RequestInit, number, string])[] = [
      ["/tasks/none", get, 404, "TASK_NOT_FOUND"],
      [`/tasks/${id}:cancel`, post("{}"), 400, "TASK_NOT_CANCELABLE"],
      [`/tasks/${id}:cancel`, { method: "POST" }, 400, "TASK_NOT_CANCELABLE"],
      [`/tasks/${id}:subscribe`, { method: "POST" }, 400, "UNSUPPORTED_OPERATION"],
      [`/tasks/${id}:subscribe`, get, 400, "UNSUPPORTED_OPERATION"],
      [`/tasks/${id}:praise`, post("{}"), 404, "INVALID_PARAMS"],
      ["/extendedAgentCard", get, 400, "UNSUPPORTED_OPERATION"],
      ["/tasks?pageSize=many", get, 400, "INVALID_PARAMS"],
      ["/tasks?status=TASK_STATE_LOST", get, 400, "INVALID_PARAMS"],
      ["/tasks?contextId=a&contextId=b", get, 400, "INVALID_PARAMS"],
      ["/message:send", post("{"), 400, "INVALID_PARAMS"],
      ["/message:send", post("{}"), 400, "INVALID_PARAMS"],
      ["/message:stream", post("{}"), 400, "INVALID_PARAMS"],
      ["/message:send", post(body, { "content-type": "text/plain" }), 400, "CONTENT_TYPE_NOT_SUPPORTED"],
      ["/message:send", post(body, { "a2a-version": "" }), 400, "VERSION_NOT_SUPPORTED"],
      ["/message:send", post(body, { "a2a-version": "9.9" }), 400, "VERSION_NOT_SUPPORTED"],
    ];
    for (const [path, init, status, reason] of expected) {
      const { status: got, body: answer } = await rest(url + path, init);
      const what = `${init.method} ${path}`;
      expect(got, what).toBe(status);
      expect(answer?.["error"], what).toMatchObject({ code: status, details: [{ "@type": ERROR_INFO, reason }] });
    }
  });
});

describe("whose task it is", () => {
  const section = { bearer_tokens: { alice: "a-token", bob: "b-token" } };

  test("[a2a-authentication] with tokens configured, nobody gets further than the card without one", async () => {
    const { url } = await serve(a2aPeer("agent-1", { section }));
    const card = (await rest(`${url}/.well-known/agent-card.json`)).body;
    expect(card).toMatchObject({ securitySchemes: { bearer: { httpAuthSecurityScheme: { scheme: "Bearer" } } } });
    for (const authorization of ["", "Bearer wrong", "Basic a-token"]) {
      const refused = await rpc(url, "ListTasks", {}, { headers: { authorization } });
      expect([refused.status, refused.error?.code]).toEqual([401, -32000]);
      expect((await rest(`${url}/tasks`, { headers: { authorization } })).status).toBe(401);
    }
    expect((await rpc(url, "ListTasks", {}, { headers: { authorization: "bearer a-token" } })).result?.["totalSize"]).toBe(0);
  });

  test("[a2a-scope] somebody else's task, and another tenant's, does not exist", async () => {
    const peer = a2aPeer("agent-1", { section });
    const { url } = await serve(peer);
    const as = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
    const { id } = taskIn(await rpc(url, "SendMessage", { message: message("mine") }, as("a-token")));
    expect((await rpc(url, "GetTask", { id }, as("a-token"))).result?.["id"]).toBe(id);
    for (const [params, user] of [
      [{ id }, "b-token"],
      [{ id, tenant: "acme" }, "a-token"],
    ] as const)
      for (const method of ["GetTask", "CancelTask", "SubscribeToTask"])
        expect((await rpc(url, method, params, as(user))).error?.code).toBe(-32001);
    expect((await rpc(url, "ListTasks", {}, as("b-token"))).result?.["totalSize"]).toBe(0);
    const hook = { taskId: id, url: "http://127.0.0.1:1/" };
    expect((await rpc(url, "CreateTaskPushNotificationConfig", hook, as("b-token"))).error?.code).toBe(-32001);
  });

  test("[a2a-extended-card] those who authenticate get a card that tells more", async () => {
    const { url } = await serve(a2aPeer("agent-1", { section }));
    const headers = { authorization: "Bearer b-token" };
    const limits = { capabilities: { extendedAgentCard: true, extensions: [{ params: { limits: { retainMs: 60_000 } } }] } };
    expect((await rpc(url, "GetExtendedAgentCard", {}, { headers })).result).toMatchObject(limits);
    expect((await rest(`${url}/extendedAgentCard`, { headers })).body).toMatchObject(limits);
  });
});

describe("push notifications", () => {
  /** A webhook that answers these statuses, then 204. */
  async function webhook(...statuses: number[]) {
    const got: { headers: Record<string, unknown>; body: Record<string, unknown> }[] = [];
    const waiting: Array<() => void> = [];
    const server = fastify();
    server.addContentTypeParser("application/a2a+json", { parseAs: "string" }, (_request, body, done) =>
      done(null, JSON.parse(body as string)),
    );
    server.post("/hook", async ({ headers, body }, reply) => {
      got.push({ headers, body: body as Record<string, unknown> });
      for (const wake of waiting) wake();
      return reply.code(statuses.shift() ?? 204).send();
    });
    const base = await server.listen({ host: "127.0.0.1", port: 0 });
    closing(() => server.close());
    const until = async (count: number) => {
      while (got.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
      return got;
    };
    return { url: `${base}/hook`, until };
  }

  test("[a2a-push] deliver each event, in order, with the credentials asked for", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const hook = await webhook();
    const taskPushNotificationConfig = {
      url: hook.url,
      token: "t-1",
      authentication: { scheme: "Bearer", credentials: "secret" },
    };
    const configuration = { taskPushNotificationConfig };
    const { id } = taskIn(await rpc(url, "SendMessage", { message: message("hello"), configuration }));
    const got = await hook.until(4);
    expect(got.map(({ body }) => Object.keys(body)[0])).toEqual(["task", "statusUpdate", "artifactUpdate", "statusUpdate"]);
    expect(got[3]?.body).toMatchObject({ statusUpdate: { taskId: id, status: { state: "TASK_STATE_COMPLETED" } } });
    expect(got[0]?.headers).toMatchObject({
      authorization: "Bearer secret",
      "x-a2a-notification-token": "t-1",
      "content-type": "application/a2a+json",
    });
  });

  test("[a2a-push] are tried again, and speak 0.3 with those who do", async () => {
    const held = gate();
    const hurried = { ...systemClock, sleep: async () => {} };
    const { url } = await serve(a2aPeer("agent-1", { clock: hurried }), () => held.passed);
    const old = { kind: "message", messageId: "m", role: "user", parts: [{ kind: "text", text: "hello" }] };
    const params = { message: old, configuration: { blocking: false } };
    const { result } = await rpc(url, "message/send", params, { version: null });
    const hook = await webhook(500);
    const set = { taskId: result?.["id"], pushNotificationConfig: { url: hook.url } };
    expect((await rpc(url, "tasks/pushNotificationConfig/set", set, { version: null })).error).toBeUndefined();
    held.open();
    const got = await hook.until(2);
    expect(got.map(({ body }) => body)).toMatchObject([
      { kind: "task", id: result?.["id"], status: { state: "completed" } },
      { kind: "task", id: result?.["id"], status: { state: "completed" } },
    ]);
  });

  test("[a2a-push-configs] are kept, told, listed and deleted, over both bindings", async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const { id: taskId } = await sent(url, "hello");
    const config = { taskId, id: "h-1", url: "http://127.0.0.1:1/" };
    expect((await rpc(url, "CreateTaskPushNotificationConfig", config)).result).toEqual(config);
    const configs = `${url}/tasks/${taskId}/pushNotificationConfigs`;
    const made = await rest(configs, { method: "POST", body: JSON.stringify({ url: config.url }) });
    expect(made).toMatchObject({ status: 201, body: { taskId, url: config.url } });
    expect((await rpc(url, "GetTaskPushNotificationConfig", { taskId, id: "h-1" })).result).toEqual(config);
    expect((await rest(`${configs}/h-1`)).body).toEqual(config);
    expect((await rest(configs)).body?.["configs"]).toHaveLength(2);
    for (let i = 0; i < 2; i++) expect((await rest(`${configs}/h-1`, { method: "DELETE" })).status).toBe(204);
    await rpc(url, "DeleteTaskPushNotificationConfig", { taskId, id: made.body?.["id"] });
    expect((await rpc(url, "ListTaskPushNotificationConfigs", { taskId })).result?.["configs"] ?? []).toEqual([]);
    expect((await rest(`${configs}/h-1`)).status).toBe(404);
  });

  test("[a2a-push-unsupported] are refused when they are switched off", async () => {
    const { url } = await serve(a2aPeer("agent-1", { section: { push_notifications: false } }));
    const { error } = await rpc(url, "ListTaskPushNotificationConfigs", { taskId: "x" });
    expect(error?.code).toBe(-32003);
  });
});
