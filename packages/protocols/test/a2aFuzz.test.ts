import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { a2aPeer, closeAll, message, rpc, sent, serve } from "./a2aPeers.ts";

const METHODS = [
  "SendMessage",
  "SendStreamingMessage",
  "GetTask",
  "ListTasks",
  "CancelTask",
  "SubscribeToTask",
  "CreateTaskPushNotificationConfig",
  "GetTaskPushNotificationConfig",
  "ListTaskPushNotificationConfigs",
  "DeleteTaskPushNotificationConfig",
  "GetExtendedAgentCard",
  "message/send",
  "message/stream",
  "tasks/get",
  "tasks/cancel",
  "tasks/resubscribe",
  "tasks/pushNotificationConfig/set",
  "tasks/pushNotificationConfig/get",
  "tasks/pushNotificationConfig/list",
  "tasks/pushNotificationConfig/delete",
  "agent/getAuthenticatedExtendedCard",
];
const KEYS = [
  "id",
  "taskId",
  "message",
  "configuration",
  "parts",
  "text",
  "data",
  "raw",
  "kind",
  "role",
  "messageId",
  "tenant",
  "metadata",
];
const MORE_KEYS = [
  "contextId",
  "historyLength",
  "pageSize",
  "pageToken",
  "status",
  "url",
  "pushNotificationConfig",
  "authentication",
  "taskPushNotificationConfig",
  "__proto__",
];

/** Well-formed requests, as seeds: what is changed in one of them gets further in than what was never one. */
const seeds = (id: string): Record<string, unknown> => ({
  id,
  taskId: id,
  message: { messageId: "m", role: "ROLE_USER", kind: "message", parts: [{ kind: "text", text: "x" }, { data: [1] }] },
  configuration: { returnImmediately: true, historyLength: 1, taskPushNotificationConfig: { url: "http://127.0.0.1:1/" } },
  url: "http://127.0.0.1:1/",
  pushNotificationConfig: { url: "http://127.0.0.1:1/" },
  pageSize: 3,
});

const anything = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom(null, true, 0, -1, 1.5, 1e308, "", "x", "\u0000", "ROLE_USER", "TASK_STATE_WORKING", "1.0"),
    fc.string(),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...KEYS, ...MORE_KEYS), tie("value"), { maxKeys: 4 }),
  ),
})).value;

/** A value with what lies at one of its keys replaced, at some depth. */
function changed(value: unknown, depth: number, pick: number, by: unknown): unknown {
  if (depth === 0 || typeof value !== "object" || value === null) return by;
  const keys = Object.keys(value);
  const key = keys[pick % Math.max(1, keys.length)] ?? "x";
  const next = changed((value as Record<string, unknown>)[key], depth - 1, pick >> 2, by);
  return Array.isArray(value) ? value.with(Number(key) || 0, next) : { ...value, [key]: next };
}

let url = "";
let taskId = "";

beforeAll(async () => {
  ({ url } = await serve(a2aPeer("agent-1")));
  taskId = (await sent(url, "first")).id;
});
afterAll(closeAll);

const RUNS = { numRuns: 300, endOnFailure: true, seed: 20_261_121 };

/** The host still serves. */
const serves = async (): Promise<void> => {
  expect((await rpc(url, "SendMessage", { message: message("hello") })).error).toBeUndefined();
  expect(
    (
      await rpc(
        url,
        "message/send",
        { message: { kind: "message", messageId: "m", role: "user", parts: [{ kind: "text", text: "x" }] } },
        { version: null },
      )
    ).error,
  ).toBeUndefined();
};

async function post(path: string, body: string, version: string, init: RequestInit = {}) {
  const headers = { "content-type": "application/json", "a2a-version": version };
  const answer = await fetch(url + path, { method: "POST", headers, body, signal: AbortSignal.timeout(30_000), ...init });
  const text = await answer.text();
  return { status: answer.status, stream: answer.headers.get("content-type") === "text/event-stream", text };
}

describe("[a2a-fuzz] whatever comes is answered in A2A's words, and the host serves on", () => {
  const versions = fc.constantFrom("1.0", "0.3", "");

  test("JSON-RPC: changed requests", async () => {
    const requests = fc.tuple(fc.constantFrom(...METHODS), versions, fc.nat({ max: 3 }), fc.nat(), anything);
    await fc.assert(
      fc.asyncProperty(requests, async ([method, version, depth, pick, by]) => {
        const params = changed(seeds(taskId), depth, pick, by);
        const { status, stream, text } = await post("/", JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }), version);
        expect(status).toBe(200);
        if (stream) return;
        const { id, result, error } = JSON.parse(text) as { id: unknown; result?: unknown; error?: { code: number } };
        expect(id).toBe(1);
        if (result === undefined) expect(error?.code).not.toBe(-32603);
        if (result === undefined) expect(error?.code).toBeLessThanOrEqual(-32001);
      }),
      RUNS,
    );
    await serves();
  });

  test("JSON-RPC: any JSON, any text", async () => {
    const bodies = fc.oneof(
      anything.map((value) => JSON.stringify(value)),
      fc.string(),
      fc.json(),
    );
    await fc.assert(
      fc.asyncProperty(bodies, versions, async (body, version) => {
        const { status, text } = await post("/", body, version);
        expect(status).toBe(200);
        expect([-32700, -32600, -32601, -32602, -32005]).toContain((JSON.parse(text) as { error: { code: number } }).error.code);
      }),
      RUNS,
    );
    await serves();
  });

  test("REST: changed requests, any identifier, any query", async () => {
    const paths = fc.constantFrom(
      "/message:send",
      "/message:stream",
      "/tasks/ID:cancel",
      "/tasks/ID:subscribe",
      "/tasks/ID",
      "/tasks",
      "/tasks/ID/pushNotificationConfigs",
      "/tasks/ID/pushNotificationConfigs/ID",
      "/extendedAgentCard",
      "/ID/tasks/ID",
    );
    const ids = fc.oneof(
      fc.constant(null),
      fc.string({ minLength: 1, maxLength: 20 }),
      fc.constantFrom("..", "%", "a:b:c", ":cancel", "__proto__"),
    );
    const queries = fc.dictionary(
      fc.constantFrom(
        "historyLength",
        "pageSize",
        "pageToken",
        "status",
        "statusTimestampAfter",
        "contextId",
        "A2A-Version",
        "x",
      ),
      fc.string(),
      { maxKeys: 3 },
    );
    const requests = fc.tuple(
      fc.constantFrom("GET", "POST", "DELETE"),
      paths,
      ids,
      queries,
      fc.nat({ max: 3 }),
      fc.nat(),
      anything,
    );
    await fc.assert(
      fc.asyncProperty(requests, async ([method, path, id, query, depth, pick, by]) => {
        const filled = path.replaceAll("ID", () => encodeURIComponent(id ?? taskId));
        const body = method === "POST" ? JSON.stringify(changed(seeds(taskId), depth, pick, by)) : null;
        const { status, stream, text } = await post(`${filled}?${new URLSearchParams(query).toString()}`, "", "1.0", {
          method,
          body,
        });
        expect(status).toBeLessThan(500);
        if (!stream && text !== "") expect(JSON.parse(text)).toBeTypeOf("object");
      }),
      RUNS,
    );
    await serves();
  });
});
