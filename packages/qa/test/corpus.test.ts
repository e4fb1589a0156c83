import { createPrng, InputError } from "@failstorm/core";
import { exactMatch } from "@failstorm/core/scores.ts";
import { describe, expect, it } from "vitest";
import { readPlaceFacts, readSubregionFacts } from "../src/facts.ts";
import {
  type Answer,
  answerQuestion,
  calibrate,
  generateCorpus,
  type Hit,
  mergeHits,
  type Passage,
  parseDocument,
  type QuestionSet,
  runTool,
  ShardStore,
} from "../src/index.ts";
import { planQuestion } from "../src/questionGrammar.ts";
import { readAny, type Triple } from "../src/sentenceGrammar.ts";
import { sentencesOf } from "../src/text.ts";

const generate = (changes: Partial<Parameters<typeof generateCorpus>[0]> = {}, seed = 7): Promise<QuestionSet> =>
  generateCorpus({ prng: createPrng(seed), shards: 8, passages: 800, questions: 120, hops: [2, 3], ...changes });

const set = await generate();
const shards = parseDocument(set.document);
const shardOf = new Map(shards.flatMap((passages, shard) => passages.map(({ id }) => [id, shard] as const)));

/** Answers as agents would: each shard in a store of its own, replies merged in shuffled order, everything sent as JSON. */
async function answerOverAgents(
  question: string,
  held: readonly (readonly Passage[])[],
  absent: ReadonlySet<number> = new Set(),
): Promise<Answer> {
  const prng = createPrng(1);
  const stores = held.map((passages, shard) => {
    const store = new ShardStore();
    store.add(shard, passages, "cold");
    return store;
  });
  const lookupFragment = async (query: string, topK: number): Promise<Hit[]> => {
    const lists = stores.flatMap((store, shard) => (absent.has(shard) ? [] : [store.lookup(shard, query, topK)]));
    return JSON.parse(JSON.stringify(mergeHits(prng.shuffle(lists), topK))) as Hit[];
  };
  return answerQuestion(question, {
    callTool: async (tool, _step, input) => {
      const output = await runTool(tool, JSON.parse(JSON.stringify(input)), { lookupFragment });
      return JSON.parse(JSON.stringify(output)) as unknown;
    },
  });
}

describe("generateCorpus", () => {
  it("gives the same bytes for the same seed, others for another", async () => {
    const again = await generate();
    expect(Buffer.from(again.document).equals(set.document)).toBe(true);
    expect(again.questions).toEqual(set.questions);
    const other = await generate({ questions: 10 }, 8);
    expect(Buffer.from(other.document).equals(set.document)).toBe(false);
  });

  it("makes what was asked for: sizes, both numbers of hops, no question twice", () => {
    expect(shards.map((passages) => passages.length)).toEqual(Array.from({ length: 8 }, () => 100));
    expect(new Set(set.questions.map(({ question }) => question)).size).toBe(120);
    for (const hops of [2, 3]) expect(set.questions.filter((question) => question.hops === hops).length).toBeGreaterThan(40);
    expect(set.calibrated).toBe(true);
  });

  it("puts the facts of a question into different shards", () => {
    for (const { evidence, hops } of set.questions) {
      expect(evidence).toHaveLength(hops);
      expect(new Set(evidence.map((id) => shardOf.get(id))).size).toBe(hops);
    }
  });

  it("asks only what has one answer in the whole fact set, stated facts or not", () => {
    const everything = [...readSubregionFacts(), ...readPlaceFacts().flatMap(({ core, further }) => core.concat(further))];
    const stated: Triple[] = shards.flat().flatMap(({ text }) => sentencesOf(text).flatMap(readAny));
    const bare = (name: string): string => name.replace(/^the /i, "").toLowerCase();
    for (const { question, gold } of set.questions) {
      for (const facts of [everything, stated]) {
        const plan = planQuestion(question);
        let names = new Set([bare(plan?.start ?? "")]);
        for (const hop of plan?.hops ?? []) {
          const [from, to] = hop.direction === "forward" ? (["subject", "object"] as const) : (["object", "subject"] as const);
          names = new Set(
            facts.filter((fact) => fact.relation === hop.relation && names.has(bare(fact[from]))).map((fact) => bare(fact[to])),
          );
          expect(names.size).toBe(1);
        }
        expect([...names]).toEqual([bare(gold)]);
      }
    }
  });

  it("has every question answered right by agents that hold one shard each", async () => {
    for (const { question, gold, expected, evidence } of set.questions) {
      const { answer, evidence: found } = await answerOverAgents(question, shards);
      expect(exactMatch(answer ?? "", gold)).toBe(true);
      expect(answer).toBe(expected);
      expect(found).toEqual(evidence);
    }
  });

  it("is answered not at all, rather than wrong, while a needed shard is missing", async () => {
    for (const { question, evidence } of set.questions.slice(0, 40)) {
      const missing = new Set([shardOf.get(evidence.at(-1) ?? "") ?? -1]);
      expect((await answerOverAgents(question, shards, missing)).answer).toBeNull();
    }
  });

  it("works with one shard, and with fewer shards than hops", async () => {
    const one = await generate({ shards: 1, questions: 30 });
    expect(one.questions.every(({ evidence, hops }) => new Set(evidence).size === hops)).toBe(true);
    const two = await generate({ shards: 2, questions: 30, hops: [3] });
    expect(two.questions).toHaveLength(30);
  });

  it("says how many questions are possible when too many are asked for", async () => {
    await expect(generate({ passages: 100, questions: 50_000 })).rejects.toThrow(/^questions 50000: only [1-9]\d* are possible/);
  });

  it.each([
    [{ shards: 0 }, /^shards 0/],
    [{ passages: 7 }, /^passages 7: .*at least 8/],
    [{ passages: 1e9 }, /^passages 1000000000: at most/],
    [{ questions: 1.5 }, /^questions 1\.5/],
    [{ hops: [] }, /^hops: none/],
    [{ hops: [2, 9] }, /^hops 9/],
  ])("refuses %j", async (changes, message) => {
    const refused = generate(changes);
    await expect(refused).rejects.toThrow(InputError);
    await expect(refused).rejects.toThrow(message);
  });

  it("fills up with invented places to 100 000 passages", async () => {
    const large = await generate({ passages: 100_000, questions: 20, hops: [2] });
    const passages = parseDocument(large.document).flat();
    expect(passages).toHaveLength(100_000);
    expect(new Set(passages.map(({ text }) => text)).size).toBeGreaterThan(99_000);
    expect(large.questions).toHaveLength(20);
  }, 120_000);
});

describe("calibrate", () => {
  it("leaves out what the pipeline gets wrong", async () => {
    const [first, second] = set.questions;
    if (first === undefined || second === undefined) throw new Error("no questions");
    const wrong = { ...first, gold: "not this" };
    const candidates = [wrong, second];
    expect(await calibrate({ shards, candidates, wanted: 1, topK: 5 })).toEqual([second]);
    expect(await calibrate({ shards, candidates, wanted: null, topK: 5 })).toHaveLength(1);
    await expect(calibrate({ shards, candidates, wanted: 2, topK: 5 })).rejects.toThrow(/questions 2: only 1 are possible/);
  });
});
