import type { ModelOutcome } from "@failstorm/core";
import type { Answer } from "../pipeline.ts";
import type { Hit } from "../shardStore.ts";
import { converse } from "./conversation.ts";
import { lookupFunction } from "./functions.ts";
import type { Model, Purpose } from "./model.ts";
import { readAnswer } from "./results.ts";

/** What a model made of a question: an answer, or none (`answer` null) and why. */
export interface ModelAnswer extends Answer {
  readonly outcome: ModelOutcome;
  /** Replies it took, functions it called, and calls of functions that are not there. */
  readonly rounds: number;
  readonly calls: number;
  readonly unknownCalls: number;
}

const INSTRUCTIONS = [
  "You answer questions.",
  'Your last message must be one JSON object and nothing else: {"answer": "…", "evidence": ["…"]}.',
  "answer: the shortest answer in words, a name or a number, without a sentence around it; null when you do not know.",
  "evidence: ids of the passages that say so; [] when there are none.",
].join("\n");

/**
 * Has the model answer a question, with `lookup_fragment` over the passages at hand when `lookup` is given. Never rejects: a model that
 * fails, talks nonsense, calls what is not there, or is not done when `signal` aborts is an answer null with its outcome. Evidence is what
 * it cites of the passages it has seen.
 */
export async function answerWithModel(
  question: string,
  options: {
    readonly model: Model;
    readonly purpose: Purpose;
    readonly signal: AbortSignal;
    readonly lookup?: (query: string, topK: number) => Promise<readonly Hit[]>;
  },
): Promise<ModelAnswer> {
  const { model, purpose, signal, lookup } = options;
  const seen = new Set<string>();
  const look = async (query: string, topK: number): Promise<readonly Hit[]> => {
    const hits = (await lookup?.(query, topK)) ?? [];
    for (const { id } of hits) seen.add(id);
    return hits;
  };
  const ended = await converse({
    model,
    purpose,
    signal,
    instructions: INSTRUCTIONS,
    input: question,
    functions: lookup === undefined ? [] : [lookupFunction(look)],
    read: (value): Answer => {
      const { answer, evidence } = readAnswer(value);
      return { answer, evidence: evidence.filter((id) => seen.has(id)) };
    },
  });
  const { outcome, rounds, calls, unknownCalls } = ended;
  return { ...(ended.result ?? { answer: null, evidence: [] }), outcome, rounds, calls, unknownCalls };
}
