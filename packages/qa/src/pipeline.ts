import type { Tool } from "@failstorm/core";
import { followHop } from "./chain.ts";
import { type Plan, type PlannedHop, planQuestion } from "./questionGrammar.ts";
import { relationById } from "./relations.ts";
import type { Schema } from "./schema.ts";
import { type FoundSentence, type FoundTriple, MAX_LENGTH, toolOutputs } from "./toolInputs.ts";

/** How the pipeline has its steps done: by whichever agent serves the tool. */
export interface PipelinePorts {
  /** `step` is unique within a question: `1.search`, `1.extract`, `1.triple`, `2.search`, …, `reason`. */
  callTool(tool: Tool, step: string, input: unknown): Promise<unknown>;
}

export interface Answer {
  /** null: none was found. */
  readonly answer: string | null;
  /** Ids of the passages that carry the answer, in the order of the hops. */
  readonly evidence: readonly string[];
}

/** How many passages a search asks for, unless configured. */
export const DEFAULT_TOP_K = 5;

/** For questions without a plan: a first search, and one that follows what the first found. */
const OPEN_HOPS = 2;
const MAX_BRIDGES = 3;
const MAX_OPEN_SENTENCES = 60;

/**
 * Answers a question from its words alone. Rejects with whatever `callTool` rejects with, or with ToolInputError when a tool
 * answered with something that is not its answer.
 */
export async function answerQuestion(
  question: string,
  ports: PipelinePorts,
  options: { readonly topK?: number } = {},
): Promise<Answer> {
  const topK = options.topK ?? DEFAULT_TOP_K;
  const plan = planQuestion(question);
  return plan === null || plan.start.length > MAX_LENGTH.name
    ? answerFreely(question, ports, topK)
    : followPlan(plan, ports, topK);
}

async function call<T>(ports: PipelinePorts, tool: Tool, step: string, input: unknown, output: Schema<T>): Promise<T> {
  return output(await ports.callTool(tool, step, input), step);
}

async function followPlan(plan: Plan, ports: PipelinePorts, topK: number): Promise<Answer> {
  const triples: FoundTriple[] = [];
  let entity = plan.start;
  for (const [index, hop] of plan.hops.entries()) {
    const found = await findTriples(entity, hop, index + 1, ports, topK);
    const end = followHop(entity, hop, found);
    // A broken chain still goes to the reasoner: that there is no answer is its verdict, and tells how far the evidence goes.
    if (end === null || end.name.length > MAX_LENGTH.name) break;
    triples.push(...found.filter((triple) => triple.passage === end.passage));
    entity = end.name;
  }
  return call(ports, "reason", "reason", { mode: "fact", start: plan.start, hops: plan.hops, triples }, toolOutputs.reason);
}

async function findTriples(
  entity: string,
  hop: PlannedHop,
  number: number,
  ports: PipelinePorts,
  topK: number,
): Promise<FoundTriple[]> {
  const { relation } = hop;
  // Named twice, the entity outweighs the relation's words, of which any one form has only some.
  const query = `${entity} ${entity} ${relationById(relation)?.keywords ?? ""}`.trim();
  const { hits } = await call(ports, "search", `${number}.search`, { query, topK }, toolOutputs.search);
  const { sentences } = await call(
    ports,
    "extract",
    `${number}.extract`,
    { mode: "fact", entity, relation, passages: hits },
    toolOutputs.extract,
  );
  const { triples } = await call(ports, "triple", `${number}.triple`, { mode: "fact", relation, sentences }, toolOutputs.triple);
  return triples;
}

async function answerFreely(question: string, ports: PipelinePorts, topK: number): Promise<Answer> {
  const sentences = new Map<string, FoundSentence>();
  let query = question;
  for (let hop = 1; hop <= OPEN_HOPS; hop++) {
    const { hits } = await call(ports, "search", `${hop}.search`, { query, topK }, toolOutputs.search);
    const extracted = await call(
      ports,
      "extract",
      `${hop}.extract`,
      { mode: "open", question, passages: hits },
      toolOutputs.extract,
    );
    const mentioned = await call(
      ports,
      "triple",
      `${hop}.triple`,
      { mode: "open", question, sentences: extracted.sentences },
      toolOutputs.triple,
    );
    for (const sentence of extracted.sentences) sentences.set(`${sentence.passage} ${sentence.text}`, sentence);
    const bridges = new Set(mentioned.triples.map((triple) => triple.object));
    query = [question, ...[...bridges].slice(0, MAX_BRIDGES)].join(" ").slice(0, MAX_LENGTH.words);
  }
  const best = [...sentences.values()].toSorted((a, b) => b.score - a.score).slice(0, MAX_OPEN_SENTENCES);
  return call(ports, "reason", "reason", { mode: "open", question, sentences: best }, toolOutputs.reason);
}
