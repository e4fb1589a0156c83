import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { createPrng, type LlmConfig, type QueueEngine, type QueueSpec, systemClock } from "@failstorm/core";
import { encodeDocument } from "@failstorm/qa";
import { writeFileSync } from "node:fs";
import { afterEach, expect, it } from "vitest";
import { loadEngine } from "../src/queue/answerEngine.ts";
import type { RoleParts } from "../src/role.ts";
import { folder, recording } from "./recorded.ts";

const KEY = "sk-unit-0123456789";
const CHILE = { id: "p1", title: "Chile", text: "The capital of Chile is Santiago." };

const servers: Server[] = [];
afterEach(() => {
  delete process.env["FAILSTORM_LLM_API_KEY"];
  for (const server of servers.splice(0)) server.closeAllConnections();
});

/** A model that says this, whatever it is asked; nothing at all for null. */
async function modelSaying(content: string | null): Promise<string> {
  const server = createServer((request, response) => {
    request.resume();
    if (content === null) return;
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ choices: [{ message: { content }, finish_reason: "stop" }] }));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function engineOf(engine: QueueEngine, baseUrl = "http://127.0.0.1:9", deadlineMs = 30_000) {
  process.env["FAILSTORM_LLM_API_KEY"] = KEY;
  const documentPath = path.join(folder(), "document.jsonl");
  writeFileSync(documentPath, encodeDocument([[CHILE]]));
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
    maxRounds: 2,
    price: null,
  };
  const { recorder, of } = recording(systemClock);
  const config = { llm, qa: { topK: 5 }, queue: { engine, deadlineMs, thinkTimeMs: 0, workers: 1 } };
  const answer = await loadEngine({
    spec: { index: 1, config, documentPath } as unknown as QueueSpec,
    self: { agentId: "worker-1", incarnation: 1, host: "127.0.0.1", port: 1 },
    clock: systemClock,
    prng: createPrng(1),
    recorder,
  } as unknown as RoleParts<QueueSpec>);
  const { signal } = new AbortController();
  return { answer: () => answer({ seq: 0, id: "q1", q: "What is the capital of Chile?", attempt: 1 }, signal), of };
}

it.each([
  ["echo", "What is the capital of Chile?"],
  ["corpus", "Santiago"],
] as const)("the engine %s needs no model, and leaves no key in the environment either", async (engine, expected) => {
  const { answer, of } = await engineOf(engine);
  expect(process.env["FAILSTORM_LLM_API_KEY"]).toBeUndefined();
  expect(await answer()).toBe(expected);
  expect(of("llm.call")).toEqual([]);
});

it("a model answers; without a result it is no answer, and recorded why", async () => {
  const right = await engineOf("llm", await modelSaying('{"answer": "Santiago"}'));
  expect(process.env["FAILSTORM_LLM_API_KEY"]).toBeUndefined();
  expect(await right.answer()).toBe("Santiago");
  expect(right.of("llm.step")).toMatchObject([{ task: "q1", step: "answer", outcome: "ok", rounds: 1 }]);
  const wrong = await engineOf("llm", await modelSaying("Good morning!"));
  expect(await wrong.answer()).toBeNull();
  expect(wrong.of("llm.step")).toMatchObject([{ outcome: "nonsense", rounds: 2 }]);
});

it("nobody waits for a model any longer than the coordinator waits for the worker", async () => {
  const { answer, of } = await engineOf("llm", await modelSaying(null), 50);
  expect(await answer()).toBeNull();
  expect(of("llm.call")).toMatchObject([{ status: "aborted" }]);
  expect(of("llm.step")).toMatchObject([{ outcome: "aborted" }]);
});
