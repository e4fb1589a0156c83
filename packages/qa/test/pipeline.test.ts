import type { Tool } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { answerQuestion, type Passage, runTool, ShardStore, ToolInputError } from "../src/index.ts";

const PASSAGES: readonly Passage[] = [
  { id: "p1", title: "Portugal", text: "Maps agree. Portugal is governed from its capital, Lisbon." },
  { id: "p2", title: "Portugal", text: "Portugal shares a land border with Spain." },
  { id: "p3", title: "Spain", text: "Prices in Spain are quoted in the Euro. Maps agree." },
  { id: "p4", title: "Saint Lucia", text: "The demonym of nobody is Lisbon." },
  { id: "p5", title: "Annie Morton", text: "Annie Morton (born October 8, 1970) is an American model." },
  { id: "p6", title: "Terry Richardson", text: "Terry Richardson (born August 14, 1965) is an American photographer." },
];

const store = new ShardStore();
store.add(0, PASSAGES, "home");
const ports = { lookupFragment: async (query: string, topK: number) => store.lookup(0, query, topK) };

describe("answerQuestion", () => {
  const CHAIN = "What is the currency of the only country that shares a land border with the country whose capital is Lisbon?";

  it("goes hop by hop, each step named once", async () => {
    const steps: string[] = [];
    const answer = await answerQuestion(CHAIN, {
      callTool: (tool, step, input) => {
        expect(step.endsWith(tool)).toBe(true);
        steps.push(step);
        return runTool(tool, input, ports);
      },
    });
    expect(answer).toEqual({ answer: "Euro", evidence: ["p1", "p2", "p3"] });
    expect(steps.join(" ")).toBe("1.search 1.extract 1.triple 2.search 2.extract 2.triple 3.search 3.extract 3.triple reason");
  });

  it("fails when a step does", async () => {
    const failure = new Error("nobody serves triple");
    const callTool = (tool: Tool, _step: string, input: unknown): Promise<unknown> =>
      tool === "triple" ? Promise.reject(failure) : runTool(tool, input, ports);
    await expect(answerQuestion(CHAIN, { callTool })).rejects.toBe(failure);
    await expect(answerQuestion("Who is older?", { callTool })).rejects.toBe(failure);
  });

  it("fails, typed, when a tool answers with something else", async () => {
    await expect(answerQuestion(CHAIN, { callTool: async () => ({ hits: "many" }) })).rejects.toThrow(
      /1\.search\.hits: wanted a list/,
    );
  });

  it("has no answer when the facts contradict each other", async () => {
    const two = new ShardStore();
    two.add(0, [...PASSAGES, { id: "p9", title: "Spain", text: "Spain uses the Peseta as its currency." }], "home");
    const lookupFragment = async (query: string, topK: number) => two.lookup(0, query, topK);
    const { answer, evidence } = await answerQuestion(CHAIN, {
      callTool: (tool, _step, input) => runTool(tool, input, { lookupFragment }),
    });
    expect([answer, evidence]).toEqual([null, ["p1", "p2"]]);
  });

  it("compares what a free question wants compared", async () => {
    const callTool = (tool: Tool, _step: string, input: unknown) => runTool(tool, input, ports);
    expect((await answerQuestion("Who is older, Annie Morton or Terry Richardson?", { callTool })).answer).toBe(
      "Terry Richardson",
    );
    expect((await answerQuestion("Who is younger, Annie Morton or Terry Richardson?", { callTool })).answer).toBe("Annie Morton");
    const same = "Are Annie Morton and Terry Richardson of the same nationality?";
    expect((await answerQuestion(same, { callTool })).answer).toBe("yes");
  });

  it("has no answer from an empty index", async () => {
    const lookupFragment = async () => [];
    const callTool = (tool: Tool, _step: string, input: unknown) => runTool(tool, input, { lookupFragment });
    for (const question of [CHAIN, "Who is older?", "", "?"])
      expect((await answerQuestion(question, { callTool })).answer).toBeNull();
  });
});

describe("runTool", () => {
  it.each([
    ["search", { query: 1, topK: 5 }, /search\.query: wanted a text.*, got number/],
    ["search", { query: "x", topK: 0 }, /search\.topK/],
    ["search", null, /search: wanted an object, got null/],
    ["extract", { mode: "fact", entity: "x", relation: "capital" }, /extract\.passages: wanted a list.*undefined/],
    ["extract", { mode: "toString" }, /extract\.mode: wanted one of fact, open/],
    [
      "extract",
      { mode: "open", question: "x", passages: [{ id: "a", title: "t", text: "x", score: null }] },
      /passages\[0\]\.score/,
    ],
    ["triple", { mode: "fact", relation: "capital", sentences: Array.from({ length: 201 }, () => ({})) }, /triple\.sentences/],
    [
      "reason",
      { mode: "fact", start: "x", hops: [{ relation: "capital", direction: "up" }], triples: [] },
      /hops\[0\]\.direction/,
    ],
    ["reason", [], /reason: wanted an object, got a list/],
  ] as const)("%s refuses %j", async (tool, input, message) => {
    const refused = runTool(tool, input, ports);
    await expect(refused).rejects.toThrow(ToolInputError);
    await expect(refused).rejects.toThrow(message);
  });

  it("reads no triple for a relation it does not know", async () => {
    const input = { mode: "fact", relation: "__proto__", sentences: [{ passage: "p", title: "t", text: "x", score: 1 }] };
    expect(await runTool("triple", input, ports)).toEqual({ triples: [] });
  });
});
