import { readFileSync } from "node:fs";
import { type QueueSpec, RunError } from "@failstorm/core";
import {
  answerQuestion,
  answerWithModel,
  type Hit,
  mergeHits,
  openModel,
  parseDocument,
  runTool,
  ShardStore,
  takeLlmKey,
} from "@failstorm/qa";
import type { RoleParts } from "../role.ts";
import type { AskedQuestion } from "./wire.ts";

/** Answers a question; null: it found no answer. */
export type AnswerEngine = (question: AskedQuestion, signal: AbortSignal) => Promise<string | null>;

type Lookup = (query: string, topK: number) => Promise<Hit[]>;
/** So many rankings are kept: many questions share a hop, and the ranking of a query never changes. */
const KEPT_RANKINGS = 5000;

/** Loads what the role's engine needs. Throws RunError. */
export async function loadEngine(parts: RoleParts<QueueSpec>): Promise<AnswerEngine> {
  const { spec, clock, prng } = parts;
  const { queue } = spec.config;
  // Taken out of the environment whatever answers here.
  const engine = await engineOf(parts, takeLlmKey(process.env));
  const thinkTimeMs = queue?.thinkTimeMs ?? 0;
  if (thinkTimeMs === 0 || queue?.engine === "llm") return engine;
  return async (question, signal) => {
    await clock.sleep(prng.fork(`think/${question.id}/${question.attempt}`).exponential(thinkTimeMs));
    return engine(question, signal);
  };
}

async function engineOf(parts: RoleParts<QueueSpec>, apiKey: string | null): Promise<AnswerEngine> {
  const { config, documentPath } = parts.spec;
  const lookup = documentPath === null ? null : loadPassages(documentPath);
  switch (config.queue?.engine) {
    case "echo":
      return async ({ q }) => q;
    case "llm":
      return modelEngine(parts, lookup, apiKey);
    default: {
      if (lookup === null) throw new RunError("NO_DOCUMENT", "the corpus engine has no passages to answer from");
      return async ({ q }) => {
        const callTool = async (tool: Parameters<typeof runTool>[0], _step: string, input: unknown): Promise<unknown> =>
          runTool(tool, input, { lookupFragment: lookup });
        return (await answerQuestion(q, { callTool }, { topK: config.qa.topK })).answer;
      };
    }
  }
}

/** Looks up in the whole document: every shard of it. */
function loadPassages(documentPath: string): Lookup {
  const store = new ShardStore();
  for (const [shard, passages] of parseDocument(readFileSync(documentPath)).entries()) store.add(shard, passages, "home");
  const rankings = new Map<string, Hit[]>();
  return async (query, topK) => {
    const key = `${topK} ${query}`;
    const known = rankings.get(key);
    if (known !== undefined) return known;
    const hits = mergeHits(
      store.shards().map((shard) => store.lookup(shard, query, topK)),
      topK,
    );
    if (rankings.size >= KEPT_RANKINGS) rankings.clear();
    rankings.set(key, hits);
    return hits;
  };
}

function modelEngine(parts: RoleParts<QueueSpec>, lookup: Lookup | null, apiKey: string | null): AnswerEngine {
  const { spec, self, clock, prng, recorder } = parts;
  const { llm, queue } = spec.config;
  if (llm === null) throw new RunError("NO_MODEL", "the llm engine has no model: configure llm.type and llm.model");
  const model = openModel({
    config: llm,
    apiKey,
    clock,
    prng: prng.fork(`llm/${self.agentId}`),
    share: { index: spec.index, of: Math.max(1, queue?.workers ?? 1) },
    onCall: (event) => recorder.event(event),
    onProblem: (message) => recorder.event({ ev: "log", level: "warning", message }),
  });
  return async ({ id, q }, signal) => {
    const purpose = { task: id, step: "answer" };
    // Nobody waits for an answer any longer than this, and a model that goes on costs.
    const until = queue === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(queue.deadlineMs))]);
    const ended = await answerWithModel(q, { model, purpose, signal: until, ...(lookup === null ? {} : { lookup }) });
    const { answer, outcome, rounds, calls, unknownCalls } = ended;
    recorder.event({ ev: "llm.step", ...purpose, outcome, rounds, calls, unknownCalls });
    return answer;
  };
}
