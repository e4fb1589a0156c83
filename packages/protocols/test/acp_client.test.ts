import { type AgentEvent, CommError, type CommErrorCode, FakeClock, type Part } from "@failstorm/core";
import fastify, { type FastifyInstance } from "fastify";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AcpBackend } from "../src/acp/backend.ts";
import { sessionIdOf } from "../src/acp/client.ts";
import type { AcpExecutionContext } from "../src/acp/execution.ts";
import type { Message, Run, RunStatus } from "../src/acp/model.ts";
import { RunStore, SessionStore } from "../src/acp/stores.ts";
import { echo, type Execute, HOST, introduce, type Peer, World } from "../src/compliance/world.ts";
import { loadProtocol } from "../src/index.ts";

const protocol = await loadProtocol("acp");
const RUN_ID = "5f0b6a0e-8f5c-4b0e-9c0e-2f5d2a4c1b11";
const AT = "2025-01-01T00:00:00.000Z";

let world: World;
const inMode = (section: object = {}): World => {
  const made = new World({ protocol, module: "acp", section });
  worlds.push(made);
  return made;
};
const worlds: World[] = [];
beforeEach(() => {
  world = inMode({ poll_interval: 0.005 });
});
afterEach(async () => {
  for (const one of worlds.splice(0)) await one.close();
});

const failureOf = async (promise: Promise<unknown>): Promise<CommError> => {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof CommError) return error;
  throw new Error(`no CommError: ${String(error)}`);
};

const runOf = (status: RunStatus, more: object = {}): object => ({
  run_id: RUN_ID,
  agent_name: "agent-1",
  status,
  output: [],
  created_at: AT,
  ...more,
});

/** Somebody else's server, as the test writes it. */
async function stranger(routes: (server: FastifyInstance) => void, id = "agent-1"): Promise<Peer> {
  const server = fastify();
  routes(server);
  const port = Number(new URL(await server.listen({ host: HOST, port: 0 })).port);
  world.onClose(() => server.close());
  const caller = await world.peer("agent-0", { listens: false });
  caller.backend.registerEndpoint(id, { host: HOST, port });
  return caller;
}

const stream = (...events: unknown[]): string => events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
const sse = (server: FastifyInstance, text: string): void => {
  server.post("/runs", async (_request, reply) => reply.header("content-type", "text/event-stream").send(text));
};

const ask = (caller: Peer, options: Parameters<Peer["backend"]["send"]>[3] = {}) =>
  caller.backend.send("agent-0", "agent-1", { text: "x" }, options);

describe("the modes of a run", () => {
  const parts: readonly Part[] = [
    { kind: "text", text: "some" },
    { kind: "data", data: { n: [1, null] } },
  ];

  test.each(["sync", "async", "stream"])("[acp-modes] %s carries the same, with the id told where it is known", async (mode) => {
    world = inMode({ mode, poll_interval: 0.005 });
    const { a, b } = await world.pair();
    const ids: string[] = [];
    const answer = await a.backend.send("agent-0", "agent-1", { parts }, { onAccepted: (id) => ids.push(id) });
    expect(answer.parts).toEqual(parts);
    expect(b.executions[0]).toMatchObject({ messageId: ids[0], from: "agent-0", payload: { parts } });
    expect(ids).toHaveLength(1);
    expect(answer.raw).toMatchObject({ run_id: ids[0], status: "completed" });
  });

  test("[acp-client-sync] [acp-no-idempotency] sync is one round trip, and says no more on the wire than the document asks for", async () => {
    const { a, b } = await world.pair();
    const { traffic, raw } = await ask(a, { idempotencyKey: "t-1/1.search", taskId: "t-1" });
    expect(traffic.roundTrips).toBe(1);
    expect(Object.keys(raw as Run).sort()).toEqual(
      ["agent_name", "created_at", "finished_at", "output", "run_id", "session_id", "status"].sort(),
    );
    expect(b.executions[0]?.messageId).toBe((raw as Run).run_id);
    expect(b.executions[0]?.contextId).toBeUndefined();
  });

  test("[acp-client-stream] stream tells the events of the answer one to one", async () => {
    const said: AgentEvent[] = [
      { type: "agent_text_message", text: "one" },
      { type: "status", state: "working", message: "thinking" },
      { type: "agent_parts_message", parts },
    ];
    const { a } = await world.pair(async (_context, queue) => {
      for (const event of said) queue.enqueue(event);
    });
    const heard: AgentEvent[] = [];
    await ask(a, { onEvent: (event) => heard.push(event) });
    expect(heard).toEqual([{ type: "status", state: "working" }, ...said, { type: "status", state: "completed" }]);
  });
});

describe("a run that awaits an answer", () => {
  const asking: Execute = async (context, queue) => {
    const answer = await (context as AcpExecutionContext).awaitAnswer({ text: "who?" });
    queue.enqueue({ type: "agent_text_message", text: `hello ${"text" in answer ? answer.text : ""}` });
  };

  test.each([false, true])(
    "[acp-client-await] fails send with the question, and goes on when it is answered (streamed: %s)",
    async (streamed) => {
      const { a } = await world.pair(asking);
      const backend = a.backend as AcpBackend;
      const heard: AgentEvent[] = [];
      const options = streamed ? { onEvent: (event: AgentEvent) => void heard.push(event) } : {};
      const failure = await failureOf(ask(a, options));
      expect(failure).toMatchObject({ code: "remote", detail: { code: "awaiting" } });
      const { run } = failure.detail as { run: Run };
      expect(run.await_request?.message.parts).toMatchObject([{ content_type: "text/plain", content: "who?" }]);
      const answer = await backend.resumeAwait("agent-0", "agent-1", run.run_id, { text: "Ada" }, options);
      expect(answer.text).toBe("hello Ada");
      expect(heard.some((event) => event.type === "agent_text_message")).toBe(streamed);
    },
  );

  test("[acp-await-expires] is given up when nobody answers for as long as finished runs are kept", async () => {
    world = inMode({ retain_time: 0.02 });
    const { a, b } = await world.pair(asking);
    await failureOf(ask(a));
    await expect.poll(() => b.executions[0]?.signal.aborted).toBe(true);
  });
});

describe("reconnection", () => {
  /** Ends its first run when told to. */
  async function lose(): Promise<{ a: Peer; b: Peer; runId: string; finish: () => void }> {
    const gate = Promise.withResolvers<void>();
    const { a, b } = await world.pair(async ({ payload }, queue) => {
      if ("text" in payload && payload.text === "x") await gate.promise;
      queue.enqueue({ type: "agent_text_message", text: "done" });
    });
    const controller = new AbortController();
    let runId = "";
    const sent = ask(a, {
      signal: controller.signal,
      onAccepted: (id) => {
        runId = id;
        controller.abort(new Error("agent-1 was declared dead"));
      },
    });
    expect((await failureOf(sent)).code).toBe("aborted");
    return { a, b, runId, finish: gate.resolve };
  }

  test("[acp-reconnect] is ping and manifest; after a loss it asks what became of the run until that is known", async () => {
    const { a, runId, finish } = await lose();
    const reconnect = () => a.backend.connect("agent-0", "agent-1", { cause: "handshake" });
    const first = await reconnect();
    expect(first.recovered).toEqual([{ workId: runId, state: "running" }]);
    expect(first.traffic.roundTrips).toBe(3);
    finish();
    await expect.poll(async () => (await reconnect()).recovered).toEqual([{ workId: runId, state: "completed" }]);
    const settled = await reconnect();
    expect([settled.recovered, settled.traffic.roundTrips]).toEqual([undefined, 2]);
    expect((await a.backend.resume?.("agent-0", "agent-1", runId))?.text).toBe("done");
  });

  test("[acp-recreate] with a restarted peer, whose runs died with it: unknown, to be created again", async () => {
    const { a, b, runId } = await lose();
    await b.local?.close();
    introduce(a, await world.peer("agent-1", { incarnation: 2 }));
    const { peer, recovered } = await a.backend.connect("agent-0", "agent-1", { cause: "handshake" });
    expect([peer.incarnation, recovered]).toEqual([2, [{ workId: runId, state: "unknown" }]]);
    const gone = await failureOf(a.backend.resume?.("agent-0", "agent-1", runId) ?? Promise.resolve());
    expect(gone).toMatchObject({ code: "remote", detail: { code: "not_found" } });
    expect((await a.backend.send("agent-0", "agent-1", { text: "again" })).text).toBe("again");
  });

  test("[acp-reconnect] does not ask for runs whose end was seen", async () => {
    const { a } = await world.pair(async () => {
      throw new Error("no");
    });
    await failureOf(ask(a, { onAccepted: () => {} }));
    expect((await a.backend.connect("agent-0", "agent-1")).traffic.roundTrips).toBe(2);
  });

  test("[acp-resume] resume reads the log again and tells each event once", async () => {
    const { a, runId, finish } = await lose();
    const heard: AgentEvent[] = [];
    const resumed = a.backend.resume?.("agent-0", "agent-1", runId, { onEvent: (event) => heard.push(event) });
    await expect.poll(() => heard.length).toBe(1);
    finish();
    expect((await resumed)?.text).toBe("done");
    expect(heard).toEqual([
      { type: "status", state: "working" },
      { type: "agent_text_message", text: "done" },
      { type: "status", state: "completed" },
    ]);
  });
});

describe("conversations", () => {
  const historian: Execute = async (context, queue) => {
    const history = await (context as AcpExecutionContext).history();
    queue.enqueue({ type: "agent_text_message", text: `${history.length} before` });
  };
  const say = async (caller: Peer, to: string, options: object = {}): Promise<string> =>
    (await caller.backend.send("agent-0", to, { text: "x" }, { contextId: "talk-7", ...options })).text;

  async function three(): Promise<readonly [Peer, Peer, Peer]> {
    const peers = [
      await world.peer("agent-0"),
      await world.peer("agent-1", { execute: historian }),
      await world.peer("agent-2", { execute: historian }),
    ] as const;
    introduce(...peers);
    return peers;
  }

  test("[acp-conversations] are sessions, and take their history along from server to server", async () => {
    const [a, b] = await three();
    expect([await say(a, "agent-1"), await say(a, "agent-1")]).toEqual(["0 before", "2 before"]);
    expect(b.executions[0]?.contextId).toBe(sessionIdOf("talk-7"));
    expect(await say(a, "agent-2")).toBe("4 before");
    // Also streamed, which the SDK could not do by itself.
    expect(await say(a, "agent-1", { onEvent: () => {} })).toBe("6 before");
  });

  test("[acp-history-lost] go on when the server that had the session is dead; what it kept is lost", async () => {
    const [a, b] = await three();
    await say(a, "agent-1");
    await b.local?.close();
    expect(await say(a, "agent-2")).toBe("0 before");
  });

  test("[acp-history-lost] a history whose host is dead fails the run that asks for it, not the host", async () => {
    const [a, b, c] = await three();
    await say(a, "agent-1");
    await say(a, "agent-2");
    await b.local?.close();
    expect(await failureOf(say(a, "agent-2"))).toMatchObject({ code: "remote" });
    expect(c.executions).toHaveLength(2);
    expect((await a.backend.send("agent-0", "agent-2", { text: "x" })).text).toBe("0 before");
  });

  test("[acp-session-ids] get one session id each, a UUID", () => {
    expect(sessionIdOf("talk-7")).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(sessionIdOf("talk-7")).toBe(sessionIdOf("talk-7"));
    expect(sessionIdOf("talk-8")).not.toBe(sessionIdOf("talk-7"));
    expect(sessionIdOf(RUN_ID.toUpperCase())).toBe(RUN_ID);
  });
});

describe("strangers' servers", () => {
  test("[acp-strangers] that know nothing of us are met, and answer as the reference server does, nulls and all", async () => {
    const message = {
      role: "agent/agent-1",
      parts: [{ name: null, content_type: "text/plain", content: "hi", content_url: null }],
    };
    const caller = await stranger((server) => {
      server.get("/ping", async () => ({}));
      server.get("/agents/agent-1", async () => ({ name: "agent-1", description: null, metadata: { capabilities: null } }));
      server.post("/runs", async () =>
        runOf("completed", { output: [message], session_id: null, await_request: null, error: null, finished_at: AT }),
      );
    });
    expect((await caller.backend.connect("agent-0", "agent-1")).peer).toEqual({
      agentId: "agent-1",
      incarnation: 0,
      capabilities: [],
    });
    expect((await ask(caller)).text).toBe("hi");
  });

  test("[acp-python-names] that are called what no agent may be called are found under that name, and called so", async () => {
    const asked: unknown[] = [];
    const caller = await stranger((server) => {
      server.get("/ping", async () => ({}));
      server.get<{ Params: { name: string } }>("/agents/:name", async ({ params: { name } }, reply) =>
        name === "slow_echo"
          ? { name }
          : reply.code(404).send({ code: "not_found", message: `Agent ${name} not found`, data: null }),
      );
      server.post<{ Body: { agent_name: string; mode: string } }>("/runs", async ({ body }, reply) => {
        asked.push(body.agent_name);
        const run = runOf("completed", { agent_name: "slow_echo" });
        if (body.mode === "sync") return run;
        return reply.header("content-type", "text/event-stream").send(stream({ type: "run.completed", run }));
      });
    }, "slow_echo");
    const trips: number[] = [];
    for (let i = 0; i < 2; i++) {
      const { peer, traffic } = await caller.backend.connect("agent-0", "slow_echo");
      expect(peer).toEqual({ agentId: "slow_echo", incarnation: 0, capabilities: [] });
      trips.push(traffic.roundTrips);
    }
    expect(trips).toEqual([3, 2]);
    await caller.backend.send("agent-0", "slow_echo", { text: "x" });
    await caller.backend.send("agent-0", "slow_echo", { text: "x" }, { onEvent: () => {} });
    expect(asked).toEqual(["slow_echo", "slow_echo"]);
  });

  test.each([false, true])(
    "[acp-resume-body] are told again which run it is that is answered (streamed: %s)",
    async (streamed) => {
      let asked: unknown;
      const caller = await stranger((server) =>
        server.post("/runs/:id", async ({ body }, reply) => {
          asked = body;
          if (!streamed) return runOf("completed");
          return reply
            .header("content-type", "text/event-stream")
            .send(stream({ type: "run.completed", run: runOf("completed") }));
        }),
      );
      const options = streamed ? { onEvent: () => {} } : {};
      await (caller.backend as AcpBackend).resumeAwait("agent-0", "agent-1", RUN_ID, { text: "Ada" }, options);
      expect(asked).toMatchObject({
        run_id: RUN_ID,
        mode: streamed ? "stream" : "sync",
        await_resume: { type: "message", message: { role: "agent/agent-0", parts: [{ content: "Ada" }] } },
      });
    },
  );

  test("[acp-strangers] that say what the document allows and acp-sdk's schemas do not are understood", async () => {
    const at = "2025-01-01T02:00:00.123456+02:00";
    const message = { role: "agent", parts: [{ content_type: "text/plain", content: "hi" }], created_at: at, completed_at: at };
    const question = { form: ["name"] };
    const caller = await stranger((server) => {
      const done = { type: "run.completed", run: runOf("completed", { output: [message], created_at: at, finished_at: at }) };
      sse(server, `: a comment\r\n\r\nid: 1\r\nevent: message\r\ndata: ${JSON.stringify(done)}\r\n\r\n`);
      server.post("/runs/:id/cancel", async (_request, reply) => reply.code(202).send(runOf("cancelling", { created_at: at })));
      server.post("/runs/:id", async (_request, reply) =>
        reply
          .header("content-type", "text/event-stream; charset=utf-8")
          .send(stream({ type: "run.awaiting", run: runOf("awaiting", { await_request: question }) })),
      );
    });
    expect((await ask(caller, { onEvent: () => {} })).text).toBe("hi");
    await caller.backend.cancel?.("agent-0", "agent-1", RUN_ID);
    const backend = caller.backend as AcpBackend;
    const asked = backend.resumeAwait("agent-0", "agent-1", RUN_ID, { text: "Ada" }, { onEvent: () => {} });
    expect((await failureOf(asked)).detail).toMatchObject({ code: "awaiting", run: { await_request: question } });
  });

  test("[acp-session-path] that have sessions where the document has them are asked there", async () => {
    const resource = "http://127.0.0.1:9/resources/1";
    const caller = await stranger((server) => {
      server.post("/runs", async () => runOf("completed"));
      server.get<{ Params: { id: string } }>("/session/:id", async ({ params: { id } }) => ({ id, history: [resource] }));
    });
    const other = await world.peer("agent-2");
    caller.backend.registerEndpoint("agent-2", other.address);
    await ask(caller, { contextId: "talk-7" });
    await caller.backend.send("agent-0", "agent-2", { text: "x" }, { contextId: "talk-7" });
    const session = await fetch(`http://${HOST}:${other.address.port}/session/${sessionIdOf("talk-7")}`);
    expect(((await session.json()) as { history: string[] }).history[0]).toBe(resource);
  });

  test("[acp-strangers] that stream a message part by part are heard part by part", async () => {
    const part = (content: string) => ({ type: "message.part", part: { content_type: "text/plain", content } });
    const message = (parts: object[]) => ({ role: "agent", parts, created_at: AT, completed_at: AT });
    const both = [part("Hel").part, part("lo").part];
    const caller = await stranger((server) =>
      sse(
        server,
        stream(
          { type: "run.created", run: runOf("created") },
          { type: "message.created", message: message([]) },
          part("Hel"),
          part("lo"),
          { type: "message.completed", message: message(both) },
          { type: "run.completed", run: runOf("completed", { output: [message(both)] }) },
        ),
      ),
    );
    const heard: AgentEvent[] = [];
    const { text } = await ask(caller, { onEvent: (event) => heard.push(event) });
    expect(text).toBe("Hello");
    expect(heard.slice(0, 2)).toEqual([
      { type: "agent_text_message", text: "Hel" },
      { type: "agent_text_message", text: "lo" },
    ]);
  });

  const created = { type: "run.created", run: runOf("created") };
  const bad: readonly (readonly [string, CommErrorCode, string])[] = [
    ["ends before its run does", "reset", stream(created)],
    ["is empty", "reset", ""],
    ["says error", "remote", stream(created, { type: "error", error: { code: "server_error", message: "out of memory" } })],
    ["is no JSON", "protocol", "data: {\n\n"],
    ["has an event that ACP does not know", "protocol", stream(created, { type: "run.paused", run: runOf("created") })],
    [
      "fails",
      "remote",
      stream(created, { type: "run.failed", run: runOf("failed", { error: { code: "server_error", message: "no" } }) }),
    ],
    [
      "has JSON content that is none",
      "protocol",
      stream({
        type: "run.completed",
        run: runOf("completed", { output: [{ role: "agent", parts: [{ content_type: "application/json", content: "{" }] }] }),
      }),
    ],
  ];
  test.each(bad)("[acp-bad-stream] whose stream %s: %s", async (_what, code, text) => {
    const caller = await stranger((server) => sse(server, text));
    const failure = await failureOf(ask(caller, { onEvent: () => {} }));
    expect([failure.code, failure.peer]).toEqual([code, "agent-1"]);
    expect((failure as { traffic?: { roundTrips: number } }).traffic?.roundTrips).toBe(1);
  });

  const answers: readonly (readonly [string, CommErrorCode, number, unknown])[] = [
    ["no run", "protocol", 200, { hello: "world" }],
    ["a run with a status that ACP does not know", "protocol", 200, runOf("paused" as RunStatus)],
    ["a run that is not finished", "protocol", 200, runOf("in-progress")],
    ["a run whose output is no message", "protocol", 200, runOf("completed", { output: ["hi"] })],
    ["an ACP error", "remote", 422, { code: "invalid_input", message: "no such agent" }],
    ["another error", "protocol", 500, { detail: "Internal Server Error" }],
    ["text", "protocol", 502, "Bad Gateway"],
  ];
  test.each(answers)("[acp-bad-answer] that answer with %s: %s", async (_what, code, status, body) => {
    const caller = await stranger((server) => {
      for (const path of ["/runs", "/runs/:id/cancel"])
        server.post(path, async (_request, reply) => reply.code(status).send(body));
      server.get("/ping", async (_request, reply) => reply.code(status).send(body));
      server.get("/runs/:id/events", async (_request, reply) => reply.code(status).send(body));
    });
    expect((await failureOf(ask(caller))).code).toBe(code);
    if (status === 200) return;
    expect((await failureOf(caller.backend.healthCheck("agent-1"))).code).toBe(code);
    expect((await failureOf(caller.backend.cancel?.("agent-0", "agent-1", RUN_ID) ?? Promise.resolve())).code).toBe(code);
    const resumed = caller.backend.resume?.("agent-0", "agent-1", RUN_ID, { onEvent: () => {} });
    expect((await failureOf(resumed ?? Promise.resolve())).code).toBe(code);
  });
});

test("[acp-heartbeat] a probe does not tell the incarnation, as ACP's does not", async () => {
  const { a } = await world.pair(echo);
  expect((await a.backend.healthCheck("agent-1")).incarnation).toBeNull();
});

test("[acp-config] the section acp is checked key by key", () => {
  expect(() => protocol.parseConfig({ mode: "later" })).toThrow(/acp\.mode: "later" is none of sync, async, stream/);
  expect(() => protocol.parseConfig({ poll_interval: 0 })).toThrow(/acp\.poll_interval: 0 is not a number of at least 0\.001/);
  expect(() => protocol.parseConfig({ retain_count: 1.5 })).toThrow(/acp\.retain_count: 1\.5 is not a whole number/);
  expect(() => protocol.parseConfig({ retain_time: "1h" })).toThrow(/acp\.retain_time: "1h"/);
});

describe("what is kept", () => {
  const message = (content: string): Message => ({ role: "user", parts: [{ content_type: "text/plain", content }] });
  const clock = new FakeClock();
  const create = (runs: RunStore, content = "") =>
    runs.create({ agentName: "agent-1", sessionId: undefined, input: [message(content)], now: () => AT });
  const finish = (runs: RunStore, content = "") => {
    const run = create(runs, content);
    run.complete();
    runs.retire(run);
    return run.id;
  };
  const known = (runs: RunStore, ids: readonly string[]) => ids.map((id) => runs.get(id) !== undefined);
  const now = () => clock.now();

  test("[acp-retention] finished runs: the last ones, up to a count, a size and an age; unfinished ones always", async () => {
    const runs = new RunStore({ count: 2, ms: 1000, chars: 10_000 }, now);
    const working = create(runs).id;
    const ids = [finish(runs), finish(runs), finish(runs)];
    expect(known(runs, [working, ...ids])).toEqual([true, false, true, true]);
    const big = finish(runs, "x".repeat(8_000));
    expect(known(runs, [...ids, big])).toEqual([false, false, true, true]);
    const tooBig = finish(runs, "x".repeat(10_001));
    expect(known(runs, [...ids, big, tooBig])).toEqual([false, false, false, false, false]);
    const quiet: Message = {
      role: "user",
      parts: [{ content_type: "text/plain", metadata: { kind: "trajectory", tool_input: { a: ["x".repeat(10_001)] } } }],
    };
    const stuffed = runs.create({ agentName: "agent-1", sessionId: undefined, input: [quiet], now: () => AT });
    stuffed.complete();
    runs.retire(stuffed);
    expect(known(runs, [stuffed.id])).toEqual([false]);
    const last = finish(runs);
    await clock.advance(1000);
    expect(known(runs, [last])).toEqual([true]);
    await clock.advance(1);
    expect(known(runs, [working, last])).toEqual([true, false]);
  });

  test("[acp-retention] sessions: the last used, up to a count and an age; of one that grows too big the newest messages", async () => {
    const sessions = new SessionStore({ count: 2, ms: 1000, chars: 5_000 }, now);
    for (const id of ["a", "b"]) sessions.record(id, [message("hi")]);
    sessions.record("a", [message("again")]);
    sessions.record("c", []);
    expect(["a", "b", "c"].map((id) => sessions.has(id))).toEqual([true, false, true]);
    const idsOf = (id: string) => sessions.read(id, "")?.history.map((url) => url.slice("/resources/".length)) ?? [];
    const [oldest = "", second = ""] = idsOf("a");
    expect(sessions.resource(oldest)?.parts[0]?.content).toBe("hi");
    sessions.record("a", [message("x".repeat(4_500))]);
    expect(idsOf("a")).toHaveLength(2);
    expect([sessions.resource(oldest), sessions.resource(second)?.parts[0]?.content]).toEqual([undefined, "again"]);
    sessions.adopt({ id: "d", history: [], state: `http://x/${"x".repeat(5_000)}` });
    expect([sessions.has("d"), sessions.has("a")]).toEqual([false, false]);
    sessions.record("a", [message("x".repeat(4_500))]);
    expect(idsOf("a")).toHaveLength(1);
    await clock.advance(1001);
    expect(sessions.has("a")).toBe(false);
    expect(sessions.resource(second)).toBeUndefined();
  });

  test("[acp-retention] is not more than 10 000 unfinished runs", () => {
    const runs = new RunStore({ count: 1, ms: 1, chars: 1 }, now);
    for (let i = 0; i < 10_000; i++) create(runs);
    expect(() => create(runs)).toThrow(/unfinished/);
  });
});
