import type { AddressInfo } from "node:net";
import { type AgentSpec, createPrng, FakeClock, type LlmConfig, systemClock, type Tool } from "@failstorm/core";
import { createView } from "@failstorm/network";
import { encodeDocument } from "@failstorm/qa";
import fastify, { type FastifyInstance } from "fastify";
import { afterEach, expect, it } from "vitest";
import { Holdings } from "../src/holdings.ts";
import { createModelSteps } from "../src/modelSteps.ts";
import type { Steps } from "../src/steps.ts";
import { ToolServer } from "../src/toolServer.ts";
import { recording } from "./recorded.ts";

const PASSAGE = { id: "p1", title: "Chile", text: "Santiago is the capital of Chile." };
const KEY = "sk-unit-0123456789";

const servers: FastifyInstance[] = [];
afterEach(async () => {
  delete process.env["FAILSTORM_LLM_API_KEY"];
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

type Message = { content?: string | null; tool_calls?: { name: string; input: unknown }[] };

/** A server that says these messages, one a request. */
async function modelSaying(...messages: Message[]): Promise<{ baseUrl: string; authorizations: unknown[] }> {
  const server = fastify({ forceCloseConnections: true });
  servers.push(server);
  const authorizations: unknown[] = [];
  server.post("/chat/completions", async (request, reply) => {
    const said = messages[Math.min(authorizations.length, messages.length - 1)];
    authorizations.push(request.headers.authorization);
    if (said === undefined) return reply.hijack();
    const calls = said.tool_calls?.map(({ name, input }, index) => ({
      id: `call-${index}`,
      type: "function",
      function: { name, arguments: JSON.stringify(input) },
    }));
    const message = { role: "assistant", content: said.content ?? null, ...(calls === undefined ? {} : { tool_calls: calls }) };
    return { choices: [{ index: 0, message, finish_reason: calls === undefined ? "stop" : "tool_calls" }] };
  });
  await server.listen({ host: "127.0.0.1", port: 0 });
  return { baseUrl: `http://127.0.0.1:${(server.server.address() as AddressInfo).port}`, authorizations };
}

/** The tool server of agent-0, the only one left: it has taken over agent-1's tool and shard. */
function worker(baseUrl: string) {
  const clock = new FakeClock(0);
  const { recorder, of } = recording(clock);
  const homeTools = new Map<string, Tool>([
    ["agent-0", "reason"],
    ["agent-1", "search"],
  ]);
  const holdings = new Holdings({
    self: "agent-0",
    homeShard: 0,
    homeTools,
    shardCount: 1,
    ids: ["agent-0", "agent-1"],
    redundancyLevel: 0,
    takeover: true,
    clock,
    recorder,
    document: () => encodeDocument([[PASSAGE]]),
  });
  holdings.indexOwn();
  holdings.follow(createView([{ id: "agent-0", incarnation: 1 }]));
  const sent: { tool: Tool; step: string; input: unknown }[] = [];
  const steps = {
    callTool: async (tool: Tool, step: string, input: unknown) => {
      sent.push({ tool, step, input });
      return { hits: [] };
    },
  } as unknown as Steps;
  const llm: LlmConfig = {
    type: "local",
    model: "tiny",
    baseUrl,
    maxTokens: 64,
    temperature: null,
    timeoutMs: 30_000,
    retries: 0,
    requestsPerMinute: null,
    stream: false,
    maxRounds: 3,
    price: null,
  };
  const spec = { config: { llm, scenario: { agentCount: 2 } } } as unknown as AgentSpec;
  const self = { agentId: "agent-0", incarnation: 1, host: "127.0.0.1", port: 1 };
  const prng = createPrng(1);
  const model = createModelSteps({ spec, self, clock: systemClock, prng, recorder }, { holdings, steps, shardCount: 1 });
  const tools = new ToolServer({ clock, prng, recorder, holdings, thinkTimeMs: 0, model, lookup: async () => [] });
  const execute = (tool: Tool, input: unknown, step = `1.${tool}`, budgetMs = 30_000): Promise<unknown> =>
    tools.execute({ tool, task: "t-1", step, attempt: 1, budgetMs, takeover: false, input, caller: "agent-0" });
  return { execute, of, sent };
}

const SEARCH = { query: "capital of Chile", topK: 1 };
const LOOK = { tool_calls: [{ name: "lookup_fragment", input: { query: "Chile" } }] };

it("a step is done by the model, with this agent's own shard; the key is in the request and no longer in the environment", async () => {
  process.env["FAILSTORM_LLM_API_KEY"] = KEY;
  const { baseUrl, authorizations } = await modelSaying(LOOK, { content: '{"passages": ["p1"]}' });
  const { execute, of } = worker(baseUrl);
  expect(process.env["FAILSTORM_LLM_API_KEY"]).toBeUndefined();
  expect(await execute("search", SEARCH)).toMatchObject({ hits: [{ id: "p1" }] });
  expect(authorizations).toEqual([`Bearer ${KEY}`, `Bearer ${KEY}`]);
  expect(of("step.finished")).toMatchObject([{ task: "t-1", step: "1.search", ok: true }]);
  expect(of("llm.step")).toMatchObject([{ task: "t-1", step: "1.search", outcome: "ok", rounds: 2, calls: 1 }]);
  expect(of("llm.call")).toHaveLength(2);
  expect(of("takeover.served").map(({ kind }) => kind)).toEqual(["tool"]);
});

it("a model without a result: the step gives nothing, has failed, and is no service of a tool taken over", async () => {
  const { baseUrl } = await modelSaying({ content: "Good morning!" });
  const { execute, of } = worker(baseUrl);
  expect(await execute("search", SEARCH)).toEqual({ hits: [] });
  expect(of("step.finished")).toMatchObject([{ ok: false }]);
  expect(of("llm.step")).toMatchObject([{ outcome: "nonsense", rounds: 3 }]);
  expect(of("takeover.served")).toEqual([]);
});

it("the caller's deadline ends the step as it ends any other: with an error", async () => {
  const { baseUrl } = await modelSaying();
  const { execute, of } = worker(baseUrl);
  await expect(execute("search", SEARCH, "1.search", 50)).rejects.toThrow();
  expect(of("step.finished")).toMatchObject([{ ok: false }]);
  expect(of("llm.step")).toMatchObject([{ outcome: "aborted" }]);
});

it("a message is a step of its own: the same again has the same name, another has another, and its own step sends none", async () => {
  const ask = (query: string): Message => ({
    tool_calls: [{ name: "send_message", input: { tool: "search", input: { query, topK: 1 } } }],
  });
  const reason = { mode: "open", question: "What?", sentences: [] };
  const names: (string | undefined)[] = [];
  for (const query of ["a", "a", "b"]) {
    const { baseUrl } = await modelSaying(ask(query), { content: '{"answer": null}' });
    const { execute, sent } = worker(baseUrl);
    await execute("reason", reason);
    expect(sent).toMatchObject([{ tool: "search", input: { query, topK: 1 } }]);
    names.push(sent[0]?.step);
  }
  expect(names[0]).toMatch(/^1\.reason>search\.[0-9a-f]{8}$/);
  expect(names[1]).toBe(names[0]);
  expect(names[2]).not.toBe(names[0]);

  const { baseUrl } = await modelSaying(ask("c"), { content: '{"answer": null}' });
  const { execute, sent, of } = worker(baseUrl);
  await execute("reason", reason, names[0]);
  expect(sent).toEqual([]);
  expect(of("llm.step")).toMatchObject([{ outcome: "ok", unknownCalls: 1 }]);
});
