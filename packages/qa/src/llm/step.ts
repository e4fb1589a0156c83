import { type ModelOutcome, TOOLS, type Tool } from "@failstorm/core";
import type { Hit } from "../shardStore.ts";
import { object, oneOf } from "../schema.ts";
import { relationById } from "../relations.ts";
import { toolInputs } from "../toolInputs.ts";
import { runTool, type ToolPorts } from "../tools.ts";
import { converse, type ModelFunction } from "./conversation.ts";
import { LOOKUP_PARAMETERS, lookupFunction } from "./functions.ts";
import type { Model, Purpose } from "./model.ts";
import { emptyOutputs, type KnownPassages, outputReaders } from "./results.ts";

/** What a shard worker's model has at hand. */
export interface StepPorts extends ToolPorts {
  /** The best passages of the shards this agent holds itself. */
  lookupOwn(query: string, topK: number): Promise<readonly Hit[]>;
  /** Has another agent do a step with its tool; null where none may be asked: while answering such a message. */
  readonly sendMessage: ((tool: Tool, input: unknown) => Promise<unknown>) | null;
}

export interface ModelStep {
  /** What the tool gives; without a result, what it gives when it finds nothing. */
  readonly output: unknown;
  readonly outcome: ModelOutcome;
  readonly rounds: number;
  readonly calls: number;
  readonly unknownCalls: number;
}

/** What each tool is for, in the words the model is told. */
const DUTIES: Readonly<Record<Tool, string>> = {
  search:
    'Find the passages that serve the query. Result: {"passages": ["id", …]}, the best first, at most topK of those you have seen.',
  extract:
    'Pick, word by word, the sentences of the passages that say what is asked (entity and relation, or question). Result: {"sentences": [{"passage": "id", "text": "…"}]}, the best first.',
  triple:
    'Read the facts in the sentences. Result: {"triples": [{"subject": "…", "relation": "…", "object": "…", "passage": "id"}]}. With a relation given, every triple has that relation, its subject and object being names as they stand in the sentence.',
  reason:
    'Answer. From start follow the hops over the triples (forward: subject to object; inverse: object to subject), or answer the question from the sentences. Result: {"answer": "…" or null, "evidence": ["id of a passage", …]}: the shortest name or number, null when it does not follow.',
};

/** What the relations of a step mean, in a sentence each: a name alone does not tell which end is the subject. */
function explainRelations(input: unknown): string[] {
  const { relation, hops = [] } = input as { relation?: string; hops?: readonly { relation: string }[] };
  const ids = new Set([...(relation === undefined ? [] : [relation]), ...hops.map((hop) => hop.relation)]);
  return [...ids].flatMap((id) => {
    const form = relationById(id)?.forms[0];
    return form === undefined ? [] : [`The relation "${id}", with {S} for the subject and {O} for the object: ${form}`];
  });
}

const instructionsFor = (tool: Tool, input: unknown): string =>
  [
    `You are one of several agents that answer questions together. You serve the tool ${tool}. The user's message is a step of a question for it, as JSON.`,
    DUTIES[tool],
    ...explainRelations(input),
    "You may call functions first. Your last message must be the result, as one JSON object and nothing else.",
  ].join("\n");

/**
 * Does a tool's step with a model: it may look into the agent's own shards (`lookup_fragment`), ask other agents (`send_message`) and use
 * the tool's deterministic form (by the tool's name), and then says the result, of which only counts what can be checked: passages it has
 * seen, sentences that stand in them, passages of the input. A model without a result is an outcome; the step's output is then empty.
 *
 * Rejects with ToolInputError when the input is not the tool's.
 */
export async function runToolWithModel(
  tool: Tool,
  input: unknown,
  options: { readonly model: Model; readonly purpose: Purpose; readonly signal: AbortSignal; readonly ports: StepPorts },
): Promise<ModelStep> {
  const { model, purpose, signal, ports } = options;
  const known = passagesOf(toolInputs[tool](input, tool));
  const see = (hits: readonly Hit[]): readonly Hit[] => {
    for (const hit of hits) known.set(hit.id, hit);
    return hits;
  };
  const functions: ModelFunction[] = [
    lookupFunction(async (query, topK) => see(await ports.lookupOwn(query, topK))),
    homeTool(tool, input, { lookupFragment: async (query, topK) => [...see(await ports.lookupFragment(query, topK))] }),
    ...(ports.sendMessage === null ? [] : [messageFunction(tool, ports.sendMessage, see)]),
  ];
  const ended = await converse({
    model,
    purpose,
    signal,
    instructions: instructionsFor(tool, input),
    input: JSON.stringify(input),
    functions,
    read: (value) => outputReaders[tool](value, input, known),
  });
  const { result, outcome, rounds, calls, unknownCalls } = ended;
  return { output: result ?? emptyOutputs[tool], outcome, rounds, calls, unknownCalls };
}

/** The passages a step brings with it. Of those it only names, the text is not known. */
function passagesOf(input: object): KnownPassages {
  const {
    passages = [],
    sentences = [],
    triples = [],
  } = input as {
    passages?: readonly Hit[];
    sentences?: readonly { passage: string; title: string; text: string; score: number }[];
    triples?: readonly { passage: string }[];
  };
  const known: KnownPassages = new Map();
  for (const { passage } of triples) known.set(passage, { id: passage, title: "", text: "", score: 0 });
  for (const { passage, title, text, score } of sentences) known.set(passage, { id: passage, title, text, score });
  for (const hit of passages) known.set(hit.id, hit);
  return known;
}

/** The tool itself: called without an input it takes the step's. */
const homeTool = (tool: Tool, input: unknown, ports: ToolPorts): ModelFunction => ({
  name: tool,
  description:
    tool === "search"
      ? "Your own tool: asks the holders of all shards and merges their rankings. Without parameters it takes the step's input."
      : "Your own tool, in its plain form without a model. Without parameters it takes the step's input.",
  parameters:
    tool === "search"
      ? { ...LOOKUP_PARAMETERS, required: [] }
      : { type: "object", properties: { input: { type: "object", description: "in place of the step's" } } },
  run: async (given) => {
    if (tool !== "search") return runTool(tool, (given as { input?: unknown } | null)?.input ?? input, ports);
    const { query, top_k: topK } = (given ?? {}) as { query?: unknown; top_k?: unknown };
    const { query: asked, topK: wanted } = toolInputs.search(input, "search");
    return runTool(tool, { query: query ?? asked, topK: topK ?? wanted }, ports);
  },
});

const readMessage = object({ tool: oneOf(TOOLS), input: (value: unknown): unknown => value });

/** `send_message`: another agent's help. What it sends back is checked for passages only where it is a search's answer. */
const messageFunction = (
  own: Tool,
  send: NonNullable<StepPorts["sendMessage"]>,
  see: (hits: readonly Hit[]) => readonly Hit[],
): ModelFunction => ({
  name: "send_message",
  description:
    "Asks an agent that serves another tool. Inputs: search {query, topK}; extract {mode: open, question, passages}; triple {mode: open, question, sentences}; reason {mode: open, question, sentences}.",
  parameters: {
    type: "object",
    properties: { tool: { type: "string", enum: TOOLS.filter((tool) => tool !== own) }, input: { type: "object" } },
    required: ["tool", "input"],
  },
  run: async (given) => {
    const { tool, input } = readMessage(given, "send_message");
    // Checked here, so that a nonsensical message costs no other agent a step.
    toolInputs[tool](input, "input");
    const output = await send(tool, input);
    if (tool === "search") see((output as { hits: readonly Hit[] }).hits);
    return output;
  },
});
