import type { Tool } from "@failstorm/core";
import type { Answer } from "../pipeline.ts";
import { list, object, text, ToolInputError } from "../schema.ts";
import type { Hit } from "../shardStore.ts";
import { toolInputs } from "../toolInputs.ts";

const MAX_ANSWER = 1_000;
const MAX_ITEMS = 200;

const name = text(500);
const words = text(10_000);
const shortAnswer = text(MAX_ANSWER);
const optional =
  <T>(schema: (value: unknown, path: string) => T, otherwise: T) =>
  (value: unknown, path: string): T =>
    value === undefined || value === null ? otherwise : schema(value, path);

/** What a model has seen of the corpus in this step, by id. */
export type KnownPassages = Map<string, Hit>;

/** `{answer, evidence}`; a number is an answer too, evidence may be missing. Throws ToolInputError. */
export function readAnswer(value: unknown): Answer {
  const { answer, evidence } = object({
    answer: (given: unknown, path: string): string | null =>
      given === null ? null : shortAnswer(typeof given === "number" ? String(given) : given, path),
    evidence: optional<string[]>(list(name, MAX_ITEMS), []),
  })(value, "result");
  const trimmed = answer?.trim() ?? "";
  return { answer: trimmed === "" ? null : trimmed, evidence };
}

const chosenPassages = object({ passages: list(name, MAX_ITEMS) });
const quotedSentences = object({ sentences: list(object({ passage: name, text: words }), MAX_ITEMS) });
const readTriples = object({
  triples: list(object({ subject: words, relation: optional(name, ""), object: words, passage: name }), MAX_ITEMS),
});

const flat = (given: string): string => given.replaceAll(/\s+/g, " ").trim();

/** Keeps what can be checked; says so to the model when nothing of what it gave can be. */
function checked<T>(given: readonly unknown[], kept: T[], wanted: string): T[] {
  if (given.length > 0 && kept.length === 0) throw new ToolInputError(`result: none of these is ${wanted}`);
  return kept;
}

/** From a model's result to the tool's output. Each throws ToolInputError, for the model to read. */
export const outputReaders: Readonly<Record<Tool, (value: unknown, input: unknown, known: KnownPassages) => unknown>> = {
  search: (value, input, known) => {
    const { topK } = toolInputs.search(input, "search");
    const { passages } = chosenPassages(value, "result");
    const hits = [...new Set(passages)].flatMap((id) => known.get(id) ?? []);
    return { hits: checked(passages, hits, "a passage you have seen").slice(0, topK) };
  },
  extract: (value, _input, known) => {
    const { sentences } = quotedSentences(value, "result");
    const kept = sentences.flatMap(({ passage, text: quoted }, index) => {
      const source = known.get(passage);
      if (source === undefined || flat(quoted) === "" || !flat(source.text).includes(flat(quoted))) return [];
      return [{ passage, title: source.title, text: quoted, score: sentences.length - index }];
    });
    return { sentences: checked(sentences, kept, "a sentence of its passage") };
  },
  triple: (value, input, known) => {
    const read = toolInputs.triple(input, "triple");
    const { triples } = readTriples(value, "result");
    const kept = triples
      .filter(({ passage }) => known.has(passage))
      .map(({ subject, relation, object: end, passage }) => ({
        subject,
        relation: read.mode === "fact" ? read.relation : relation,
        object: end,
        passage,
      }));
    return { triples: checked(triples, kept, "of a passage you have seen") };
  },
  reason: (value, _input, known) => {
    const { answer, evidence } = readAnswer(value);
    return { answer, evidence: evidence.filter((id) => known.has(id)) };
  },
};

/** What each tool gives when it has found nothing. */
export const emptyOutputs: Readonly<Record<Tool, unknown>> = {
  search: { hits: [] },
  extract: { sentences: [] },
  triple: { triples: [] },
  reason: { answer: null, evidence: [] },
};
