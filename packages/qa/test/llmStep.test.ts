import { createPrng, type Tool } from "@failstorm/core";
import { expect, it } from "vitest";
import { openModel } from "../src/llm/model.ts";
import { runToolWithModel } from "../src/llm/step.ts";
import { callsFunctions, instantClock, llmConfig, says, startEndpoint, type Turn } from "./llmEndpoint.ts";

const CHILE = { id: "p7", title: "Chile", text: "Santiago is the capital of Chile. It is a long country.", score: 3 };
const PERU = { id: "p8", title: "Peru", text: "Lima is the capital of Peru.", score: 2 };

const SEARCH = { query: "capital Chile", topK: 2 };
const EXTRACT = { mode: "open", question: "What is the capital of Chile?", passages: [CHILE] };
const SENTENCE = { passage: "p7", title: "Chile", text: "Santiago is the capital of Chile.", score: 2 };
const TRIPLE = { mode: "fact", relation: "capital", sentences: [SENTENCE] };
const REASON = {
  mode: "fact",
  start: "Chile",
  hops: [{ relation: "capital", direction: "forward" }],
  triples: [{ subject: "Chile", relation: "capital", object: "Santiago", passage: "p7" }],
};

/** One step with a model behind a server that follows the script; what the agent was asked for is listed in `did`. */
async function step(tool: Tool, input: unknown, options: { script: Turn[]; inMessage?: boolean }) {
  const clock = instantClock();
  await using server = await startEndpoint(clock, ...options.script);
  const model = openModel({
    config: llmConfig(server.baseUrl),
    apiKey: null,
    clock,
    prng: createPrng(1),
    share: { index: 0, of: 1 },
    onCall: () => {},
  });
  const did: unknown[] = [];
  const ended = await runToolWithModel(tool, input, {
    model,
    purpose: { task: "t-1", step: `1.${tool}` },
    signal: new AbortController().signal,
    ports: {
      lookupFragment: async (query, topK) => {
        did.push(["everywhere", query, topK]);
        return [CHILE, PERU];
      },
      lookupOwn: async (query, topK) => {
        did.push(["own", query, topK]);
        return [PERU];
      },
      sendMessage:
        options.inMessage === true
          ? null
          : async (to, message) => {
              did.push(["message", to, message]);
              return { hits: [PERU] };
            },
    },
  });
  return { ...ended, did, asked: server.asked };
}

const result = (value: unknown): Turn => says(JSON.stringify(value));

it("search: the model asks the shards with words of its own, and picks among what it has seen", async () => {
  const { output, outcome, did, asked } = await step("search", SEARCH, {
    script: [
      callsFunctions(
        { name: "search", input: { query: "Chile Santiago" } },
        { name: "lookup_fragment", input: { query: "Peru" } },
      ),
      result({ passages: ["p8", "p7", "p99", "p8"] }),
    ],
  });
  expect(outcome).toBe("ok");
  expect(output).toEqual({ hits: [PERU, CHILE] });
  expect(did).toEqual([
    ["everywhere", "Chile Santiago", 2],
    ["own", "Peru", 5],
  ]);
  expect(asked[0]?.body.tools?.map((tool) => tool.function.name)).toEqual(["lookup_fragment", "search", "send_message"]);
});

it("search: passages nobody has shown it are none", async () => {
  const { output, outcome, rounds } = await step("search", SEARCH, { script: [result({ passages: ["p7"] })] });
  expect(output).toEqual({ hits: [] });
  expect(outcome).toBe("nonsense");
  expect(rounds).toBe(4);
});

it("extract: only sentences that stand in their passage count", async () => {
  const { output, outcome } = await step("extract", EXTRACT, {
    script: [
      result({
        sentences: [
          { passage: "p7", text: "Santiago is the  capital of Chile." },
          { passage: "p7", text: "Valparaíso is the capital of Chile." },
          { passage: "p8", text: "Lima is the capital of Peru." },
          { passage: "p7", text: " " },
        ],
      }),
    ],
  });
  expect(outcome).toBe("ok");
  expect(output).toEqual({
    sentences: [{ passage: "p7", title: "Chile", text: "Santiago is the  capital of Chile.", score: 4 }],
  });
});

it("extract: asks a search agent for more, and may then quote what came", async () => {
  const ask = { tool: "search", input: { query: "capital Peru", topK: 1 } };
  const { output, did } = await step("extract", EXTRACT, {
    script: [
      callsFunctions({ name: "send_message", input: ask }),
      result({ sentences: [{ passage: "p8", text: "Lima is the capital of Peru." }] }),
    ],
  });
  expect(did).toEqual([["message", "search", ask.input]]);
  expect(output).toMatchObject({ sentences: [{ passage: "p8" }] });
});

it("a message that is none of the other tool's costs no other agent a step", async () => {
  const ask = { tool: "triple", input: { what: "ever" } };
  const { did, outcome, asked } = await step("reason", REASON, {
    script: [callsFunctions({ name: "send_message", input: ask }), result({ answer: "Santiago", evidence: ["p7"] })],
  });
  expect(did).toEqual([]);
  expect(outcome).toBe("ok");
  expect(asked[1]?.body.messages.at(-1)?.content).toContain('"error"');
});

it("while answering a message a model sends none: no agent sets another off for ever", async () => {
  const { did, unknownCalls, asked } = await step("search", SEARCH, {
    inMessage: true,
    script: [callsFunctions({ name: "send_message", input: { tool: "search", input: SEARCH } }), result({ passages: [] })],
  });
  expect(asked[0]?.body.tools?.map((tool) => tool.function.name)).toEqual(["lookup_fragment", "search"]);
  expect(unknownCalls).toBe(1);
  expect(did).toEqual([]);
});

it("triple and reason: the model is told which end of a relation is the subject", async () => {
  for (const [tool, input] of [
    ["triple", { ...TRIPLE, relation: "official name" }],
    ["reason", { ...REASON, hops: [{ relation: "official name", direction: "forward" }] }],
  ] as const) {
    const { asked } = await step(tool, input, { script: [result({ triples: [], answer: null })] });
    expect(asked[0]?.body.messages[0]?.content).toContain("The official name of {S} is {O}.");
  }
});

it("triple: the relation is the one that was asked for", async () => {
  const { output } = await step("triple", TRIPLE, {
    script: [result({ triples: [{ subject: "Chile", relation: "has capital", object: "Santiago", passage: "p7" }] })],
  });
  expect(output).toEqual({ triples: [{ subject: "Chile", relation: "capital", object: "Santiago", passage: "p7" }] });
});

it("reason: an answer, or none; evidence it was not given is left out", async () => {
  const found = await step("reason", REASON, { script: [result({ answer: "Santiago", evidence: ["p7", "p1"] })] });
  expect(found.output).toEqual({ answer: "Santiago", evidence: ["p7"] });
  const none = await step("reason", REASON, { script: [result({ answer: null })] });
  expect(none).toMatchObject({ output: { answer: null, evidence: [] }, outcome: "ok" });
});

it("the home tool is the deterministic one, by default with the step's own input", async () => {
  const { asked } = await step("reason", REASON, {
    script: [callsFunctions({ name: "reason", input: {} }), result({ answer: "Santiago", evidence: ["p7"] })],
  });
  expect(JSON.parse(asked[1]?.body.messages.at(-1)?.content ?? "")).toEqual({ answer: "Santiago", evidence: ["p7"] });
});

it("an input that is not the tool's is the caller's error, and costs no request", async () => {
  await expect(step("search", { query: 7 }, { script: [result({})] })).rejects.toMatchObject({ code: "BAD_TOOL_INPUT" });
});
