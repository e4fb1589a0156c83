import { createServer, type Server } from "node:http";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AcpExecutionContext } from "../src/acp/execution.ts";
import { ERROR_CODES } from "../src/acp/model.ts";
import { HOST, type Peer, World } from "../src/compliance/world.ts";
import { loadProtocol } from "../src/index.ts";

const protocol = await loadProtocol("acp");
const world = new World({ protocol, module: "acp" });
const ID = "5f0b6a0e-8f5c-4b0e-9c0e-2f5d2a4c1b11";
let peer: Peer;
let url = "";
let awaiting = "";

beforeAll(async () => {
  peer = await world.peer("agent-1", {
    execute: async (context, queue) => {
      const { payload } = context;
      if ("text" in payload && payload.text === "ask") await (context as AcpExecutionContext).awaitAnswer({ text: "?" });
      queue.enqueue(
        "text" in payload
          ? { type: "agent_text_message", text: payload.text }
          : { type: "agent_parts_message", parts: payload.parts },
      );
    },
  });
  url = `http://${HOST}:${peer.address.port}`;
  const body = JSON.stringify({ agent_name: "agent-1", input: [{ parts: [{ content: "ask" }] }] });
  const response = await fetch(`${url}/runs`, { method: "POST", headers: { "content-type": "application/json" }, body });
  awaiting = ((await response.json()) as { run_id: string }).run_id;
});
afterAll(() => world.close());

/** Whatever was sent: JSON or a stream comes back, errors are ACP's, and the host did not fail. */
async function expectAcp(path: string, init: RequestInit): Promise<void> {
  const response = await fetch(url + path, init);
  const text = await response.text();
  if (response.ok) {
    if (response.headers.get("content-type")?.startsWith("text/event-stream")) expect(text.endsWith("\n\n")).toBe(true);
    else expect(() => JSON.parse(text) as unknown).not.toThrow();
    return;
  }
  const error = JSON.parse(text) as { code: string; message: unknown };
  expect(ERROR_CODES).toContain(error.code);
  expect(typeof error.message).toBe("string");
  // Nothing that a client sends is the server's fault.
  expect(response.status).toBeLessThan(500);
}

const anything = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom<unknown>(null, "", 0, [], {}, ID, "agent-1", "sync", { __proto__x: 1 }, { toString: null }),
);
const orElse = (arb: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 6, arbitrary: arb }, { weight: 1, arbitrary: anything });

const part = fc.record(
  {
    name: orElse(fc.string()),
    content_type: orElse(fc.constantFrom("text/plain", "application/json", "image/png", "text/html; charset=x", ";")),
    content: orElse(fc.oneof(fc.string({ unit: "binary" }), fc.json())),
    content_encoding: orElse(fc.constantFrom("plain", "base64")),
    content_url: fc.oneof(fc.constant(undefined), anything),
    metadata: orElse(fc.constantFrom(null, { kind: "citation" })),
  },
  { requiredKeys: [] },
);
const message = fc.record(
  {
    role: orElse(fc.constantFrom("user", "agent", "agent/agent-0")),
    parts: orElse(fc.array(orElse(part), { maxLength: 3 })),
    created_at: orElse(fc.constant("2025-01-01T00:00:00Z")),
  },
  { requiredKeys: [] },
);
const mode = orElse(fc.constantFrom("sync", "async", "stream"));
const creation = fc.record(
  {
    agent_name: orElse(fc.constant("agent-1")),
    input: orElse(fc.array(orElse(message), { maxLength: 2 })),
    mode,
    session_id: fc.oneof(fc.constant(undefined), fc.constant(ID), anything),
    session: fc.oneof(fc.constant(undefined), fc.record({ id: orElse(fc.constant(ID)), history: orElse(fc.array(fc.webUrl())) })),
  },
  { requiredKeys: [] },
);
const resumption = fc.record({
  await_resume: orElse(fc.record({ type: orElse(fc.constant("message")), message: orElse(message) })),
  mode,
});

const post = (body: string, contentType = "application/json"): RequestInit => ({
  method: "POST",
  headers: { "content-type": contentType },
  body,
});

describe("whatever a client sends, the answer is ACP's", () => {
  test("[acp-fuzz] to create a run", () =>
    fc.assert(
      fc.asyncProperty(orElse(creation), (body) => expectAcp("/runs", post(JSON.stringify(body)))),
      { numRuns: 400 },
    ));

  test("[acp-fuzz] to resume one", () =>
    fc.assert(
      fc.asyncProperty(orElse(resumption), (body) => expectAcp(`/runs/${awaiting}`, post(JSON.stringify(body)))),
      { numRuns: 150 },
    ));

  test("[acp-fuzz] in bytes that are no JSON, of any type", () =>
    fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string({ unit: "binary" }),
          fc.json().map((text) => text.slice(0, -1)),
          fc.constant("[".repeat(20_000)),
        ),
        fc.constantFrom(
          "application/json",
          "application/json; charset=utf-16",
          "text/plain",
          "multipart/form-data",
          "x",
          "a/b/c",
        ),
        fc.constantFrom("/runs", `/runs/${ID}`, `/runs/${ID}/cancel`),
        (body, type, path) => expectAcp(path, post(body, type)),
      ),
      { numRuns: 150 },
    ));

  test("[acp-fuzz] to any path", () =>
    fc.assert(
      fc.asyncProperty(
        fc.constantFrom("GET", "POST", "PUT", "DELETE", "PATCH"),
        fc.array(
          fc.oneof(
            fc.constantFrom("runs", "agents", "session", "sessions", "resources", "events", "cancel", ID, ".."),
            fc.string({ unit: "binary" }),
          ),
          {
            maxLength: 4,
          },
        ),
        fc.webQueryParameters(),
        (method, segments, query) => {
          // Lone surrogates have no encoding; the path limits of the HTTP server itself are not at issue.
          const path = segments.map((segment) => encodeURIComponent(segment.toWellFormed())).join("/");
          return expectAcp(`/${path}?${query}`, { method });
        },
      ),
      { numRuns: 200 },
    ));

  test("[acp-fuzz] in content nested so deep that it cannot be written again", async () => {
    const deep = `${"[".repeat(50_000)}${"]".repeat(50_000)}`;
    const nested = `{"agent_name":"agent-1","input":[{"parts":[{"content":"x","metadata":{"kind":"trajectory","tool_input":{"a":${deep}}}}]}],"session_id":"${ID}"}`;
    const content = JSON.stringify({
      agent_name: "agent-1",
      input: [{ parts: [{ content_type: "application/json", content: deep }] }],
    });
    for (const body of [nested, content]) {
      const response = await fetch(`${url}/runs`, post(body));
      expect(JSON.parse(await response.text())).toBeTypeOf("object");
    }
    expect((await fetch(`${url}/ping`)).status).toBe(200);
  });
});

describe("a stream that is cut", () => {
  let server: Server;
  let whole = Buffer.alloc(0);
  let cut = 0;
  let caller: Peer;

  beforeAll(async () => {
    const body = JSON.stringify({ agent_name: "agent-1", mode: "stream", input: [{ parts: [{ content: "é".repeat(20) }] }] });
    whole = Buffer.from(await (await fetch(`${url}/runs`, post(body))).arrayBuffer());
    // Ends properly after the cut: nothing but the protocol itself can tell.
    server = createServer((_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(whole.subarray(0, cut));
    });
    await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
    caller = await world.peer("agent-0", { listens: false });
    caller.backend.registerEndpoint("agent-1", { host: HOST, port: (server.address() as { port: number }).port });
  });
  afterAll(async () => {
    await caller.backend.close();
    server.closeAllConnections();
    server.close();
  });

  test("[acp-stream-cut] at any byte is a failure, or was whole", async () => {
    const offsets = Array.from({ length: 60 }, (_, i) => Math.floor(((whole.length - 1) * i) / 59));
    for (cut of [...offsets, whole.length]) {
      const outcome = await caller.backend.send("agent-0", "agent-1", { text: "x" }, { onEvent: () => {} }).then(
        ({ text }) => text,
        (error: { name: string; code: string }) => `${error.name} ${error.code}`,
      );
      if (cut === whole.length) expect(outcome).toBe("é".repeat(20));
      else expect(outcome, `cut at ${cut} of ${whole.length}`).toMatch(/^CommError (reset|protocol)$/);
    }
  });
});
