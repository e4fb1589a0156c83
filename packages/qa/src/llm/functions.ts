import { object, text, wholeNumber } from "../schema.ts";
import type { Hit } from "../shardStore.ts";
import type { ModelFunction } from "./conversation.ts";

const MAX_TOP_K = 20;
const DEFAULT_TOP_K = 5;

const readLookup = object({
  query: text(10_000),
  top_k: (value: unknown, path: string): number =>
    value === undefined || value === null ? DEFAULT_TOP_K : wholeNumber(1, MAX_TOP_K)(value, path),
});

export const LOOKUP_PARAMETERS = {
  type: "object",
  properties: {
    query: { type: "string", description: "words to look for" },
    top_k: { type: "integer", minimum: 1, maximum: MAX_TOP_K, description: `passages to return, ${DEFAULT_TOP_K} by default` },
  },
  required: ["query"],
} as const;

/** `lookup_fragment`: the best passages of what this worker holds itself. */
export const lookupFunction = (lookup: (query: string, topK: number) => Promise<readonly Hit[]>): ModelFunction => ({
  name: "lookup_fragment",
  description: "Looks words up in the passages you hold yourself. Returns the best ones: id, title, text, score.",
  parameters: LOOKUP_PARAMETERS,
  run: async (input) => {
    const { query, top_k: topK } = readLookup(input, "lookup_fragment");
    return lookup(query, topK);
  },
});
