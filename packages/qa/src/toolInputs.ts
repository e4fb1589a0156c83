import { byMode, finiteNumber, list, object, oneOf, text, wholeNumber } from "./schema.ts";

// Limits keep a damaged or hostile message from costing more than a step may.
/** Characters of a name (an id, a title, an entity), of a question or query, of a passage. */
export const MAX_LENGTH = { name: 500, words: 10_000, passage: 200_000 } as const;
const name = text(MAX_LENGTH.name);
const words = text(MAX_LENGTH.words);
const passageText = text(MAX_LENGTH.passage);
const MAX_HITS = 1000;
const MAX_SENTENCES = 200;
const MAX_HOPS = 8;

const hit = object({ id: name, title: name, text: passageText, score: finiteNumber });
const sentence = object({ passage: name, title: name, text: passageText, score: finiteNumber });
const triple = object({ subject: passageText, relation: name, object: passageText, passage: name });
const hop = object({ relation: name, direction: oneOf(["forward", "inverse"]) });

/** What each tool takes. `fact`: a question with a plan, hop by hop; `open`: any other question. */
export const toolInputs = {
  search: object({ query: words, topK: wholeNumber(1, MAX_HITS) }),
  extract: byMode({
    fact: object({ entity: name, relation: name, passages: list(hit, MAX_HITS) }),
    open: object({ question: words, passages: list(hit, MAX_HITS) }),
  }),
  triple: byMode({
    fact: object({ relation: name, sentences: list(sentence, MAX_SENTENCES) }),
    open: object({ question: words, sentences: list(sentence, MAX_SENTENCES) }),
  }),
  reason: byMode({
    fact: object({ start: name, hops: list(hop, MAX_HOPS), triples: list(triple, MAX_SENTENCES) }),
    open: object({ question: words, sentences: list(sentence, MAX_SENTENCES) }),
  }),
};

/** What each tool gives back; read by the pipeline, since it too comes from the network. */
export const toolOutputs = {
  search: object({ hits: list(hit, MAX_HITS) }),
  extract: object({ sentences: list(sentence, MAX_SENTENCES) }),
  triple: object({ triples: list(triple, MAX_SENTENCES) }),
  reason: object({
    answer: (value: unknown, path: string): string | null => (value === null ? null : words(value, path)),
    evidence: list(name, MAX_SENTENCES),
  }),
};

/** A sentence taken from a passage, and how well it suits what was asked. */
export type FoundSentence = ReturnType<typeof sentence>;

/** A triple and the passage it was read in. */
export type FoundTriple = ReturnType<typeof triple>;
