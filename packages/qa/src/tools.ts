import type { Tool } from "@failstorm/core";
import { followChain } from "./chain.ts";
import { answerOpenQuestion, mentionsIn, rankSentences } from "./openQuestion.ts";
import { relationById } from "./relations.ts";
import { readSentence } from "./sentenceGrammar.ts";
import type { Hit } from "./shardStore.ts";
import { sentencesOf, terms } from "./text.ts";
import { type FoundSentence, type FoundTriple, toolInputs } from "./toolInputs.ts";

/** What a tool needs from outside. `lookupFragment` asks all shards and gives the merged ranking; only `search` uses it. */
export interface ToolPorts {
  lookupFragment(query: string, topK: number): Promise<Hit[]>;
}

const MAX_FACT_SENTENCES = 12;

/**
 * Runs one tool on an input that came from the network and gives an answer that can go back there as JSON. Rejects with
 * ToolInputError when the input is not the tool's, or with whatever `lookupFragment` rejects with.
 */
export async function runTool(tool: Tool, input: unknown, ports: ToolPorts): Promise<unknown> {
  return tools[tool](input, ports);
}

const tools: Readonly<Record<Tool, (input: unknown, ports: ToolPorts) => unknown>> = {
  search: async (input, ports) => {
    const { query, topK } = toolInputs.search(input, "search");
    return { hits: await ports.lookupFragment(query, topK) };
  },
  extract: (input) => {
    const read = toolInputs.extract(input, "extract");
    return { sentences: read.mode === "fact" ? extractFacts(read) : rankSentences(read.question, read.passages) };
  },
  triple: (input) => {
    const read = toolInputs.triple(input, "triple");
    return { triples: read.mode === "fact" ? readTriples(read) : mentionsIn(read.question, read.sentences) };
  },
  reason: (input) => {
    const read = toolInputs.reason(input, "reason");
    return read.mode === "fact"
      ? followChain(read.start, read.hops, read.triples)
      : answerOpenQuestion(read.question, read.sentences);
  },
};

/** The sentences that contain every word of the entity, those with more of the relation's words first. */
function extractFacts(input: { entity: string; relation: string; passages: readonly Hit[] }): FoundSentence[] {
  const wanted = terms(input.entity);
  const keywords = new Set(terms(relationById(input.relation)?.keywords ?? ""));
  const found: FoundSentence[] = [];
  for (const passage of input.passages) {
    for (const text of sentencesOf(passage.text)) {
      const present = new Set(terms(text));
      if (!wanted.every((term) => present.has(term))) continue;
      found.push({
        passage: passage.id,
        title: passage.title,
        text,
        score: [...keywords].filter((word) => present.has(word)).length,
      });
    }
  }
  // A stable sort: among equals the ranking of the passages decides.
  return found.toSorted((a, b) => b.score - a.score).slice(0, MAX_FACT_SENTENCES);
}

const readTriples = (input: { relation: string; sentences: readonly FoundSentence[] }): FoundTriple[] =>
  input.sentences.flatMap(({ passage, text }) =>
    readSentence(input.relation, text).map(({ subject, relation, object }) => ({ subject, relation, object, passage })),
  );
