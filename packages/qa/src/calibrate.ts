import { InputError } from "@failstorm/core";
import type { Passage } from "./document.ts";
import { type Answer, answerQuestion, type PipelinePorts } from "./pipeline.ts";
import { exactMatch } from "@failstorm/core/scores.ts";
import { type Hit, mergeHits, ShardStore } from "./shardStore.ts";
import { runTool } from "./tools.ts";

/** A question with what only the grader may know. */
export interface Question {
  readonly id: string;
  readonly question: string;
  readonly gold: string;
  /** What the pipeline answers without faults; "" when it finds no answer. */
  readonly expected: string;
  readonly hops: number;
  /** Ids of the passages that answer it, in the order of the hops. */
  readonly evidence: readonly string[];
}

/** Answers questions in this process, over all shards: the same indexes, tools and merge as the agents', without agents. */
export function createLocalPipeline(
  shards: readonly (readonly Passage[])[],
  topK: number,
): (question: string) => Promise<Answer> {
  const store = new ShardStore();
  for (const [shard, passages] of shards.entries()) store.add(shard, passages, "home");
  // Many questions share a hop, and the ranking of a query never changes.
  const rankings = new Map<string, Hit[]>();
  const lookupFragment = async (query: string, wanted: number): Promise<Hit[]> => {
    const key = `${wanted} ${query}`;
    const hits =
      rankings.get(key) ??
      mergeHits(
        store.shards().map((shard) => store.lookup(shard, query, wanted)),
        wanted,
      );
    rankings.set(key, hits);
    return hits;
  };
  const ports: PipelinePorts = { callTool: async (tool, _step, input) => runTool(tool, input, { lookupFragment }) };
  return async (question) => answerQuestion(question, ports, { topK });
}

/**
 * The first `wanted` candidates that the pipeline answers right, from the right passages, over these shards without faults;
 * `expected` is its answer. Throws InputError, with how many there are, when there are fewer.
 */
export async function calibrate(options: {
  readonly shards: readonly (readonly Passage[])[];
  readonly candidates: Iterable<Question>;
  /** null: all of them, however few. */
  readonly wanted: number | null;
  /** Passages per search: the same as in the run, since another number may find another answer. */
  readonly topK: number;
}): Promise<Question[]> {
  const answer = createLocalPipeline(options.shards, options.topK);
  const admitted: Question[] = [];
  for (const candidate of options.candidates) {
    if (admitted.length === options.wanted) break;
    const given = await answer(candidate.question);
    if (given.answer === null || !exactMatch(given.answer, candidate.gold)) continue;
    if (candidate.evidence.some((id, index) => given.evidence[index] !== id)) continue;
    admitted.push({ ...candidate, expected: given.answer });
  }
  if (options.wanted !== null && admitted.length < options.wanted) {
    throw new InputError(
      `questions ${options.wanted}: only ${admitted.length} are possible over these passages; ask for fewer questions, or for more passages`,
    );
  }
  return admitted;
}
