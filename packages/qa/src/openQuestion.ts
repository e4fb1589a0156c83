import type { Hit } from "./shardStore.ts";
import { fold, sentencesOf, terms } from "./text.ts";
import type { FoundSentence, FoundTriple } from "./toolInputs.ts";

// Questions that fit no form of the grammar: heuristics without a model, which answer a modest share of them.

const MAX_SENTENCES = 20;
const MAX_MENTIONS = 12;

// Capitalised words, joined by small words that occur within names; digits may follow ("Apollo 11").
const NAME = /\p{Lu}[\p{L}\p{N}'’.-]*(?:\s+(?:(?:of|the|and|de|von|van|for|in|on)\s+){0,2}[\p{Lu}\p{N}][\p{L}\p{N}'’.-]*)*/gu;

const trimmed = (span: string): string => span.replace(/['’]s$/, "").replace(/[.,'’-]+$/, "");

/** The names in a text, in order. */
const namesIn = (text: string): string[] => (text.match(NAME) ?? []).map(trimmed).filter((name) => name.length > 1);

/** Sentences of the passages, best first: shared words with the question, the title counted in, rarer words more. */
export function rankSentences(question: string, passages: readonly Hit[]): FoundSentence[] {
  const asked = new Set(terms(question));
  const rows = passages.flatMap((passage) =>
    sentencesOf(passage.text).map((text) => ({ passage, text, words: new Set([...terms(passage.title), ...terms(text)]) })),
  );
  const frequency = new Map<string, number>();
  for (const { words } of rows) for (const word of words) frequency.set(word, (frequency.get(word) ?? 0) + 1);
  const weight = (word: string): number => Math.log(1 + rows.length / (frequency.get(word) ?? 1));
  return rows
    .map(({ passage, text, words }) => {
      const shared = [...words].filter((word) => asked.has(word));
      const score = shared.reduce((sum, word) => sum + weight(word), 0) + passage.score / 20;
      return { passage: passage.id, title: passage.title, text, score };
    })
    .toSorted((a, b) => b.score - a.score)
    .slice(0, MAX_SENTENCES);
}

/** Names that the sentences bring up and the question does not: where a second search may look. */
export function mentionsIn(question: string, sentences: readonly FoundSentence[]): FoundTriple[] {
  const asked = fold(question);
  const found = new Map<string, FoundTriple>();
  for (const { passage, title, text } of sentences) {
    for (const object of [title, ...namesIn(text)]) {
      const key = fold(object);
      if (found.size >= MAX_MENTIONS || found.has(key) || asked.includes(key) || terms(object).length === 0) continue;
      found.set(key, { subject: title, relation: "mentions", object, passage });
    }
  }
  return [...found.values()];
}

interface Judged {
  readonly answer: string | null;
  readonly evidence: string[];
}

const EVIDENCE = 3;
const CLOSED = /^(?:are|is|were|was|do|does|did|has|have|had|can|could)\b/i;

/** A short answer out of the sentences; null when there is nothing to choose from. */
export function answerOpenQuestion(question: string, sentences: readonly FoundSentence[]): Judged {
  const best = [...new Set(sentences.map(({ passage }) => passage))].slice(0, EVIDENCE);
  if (sentences.length === 0) return { answer: null, evidence: [] };
  const options = CLOSED.test(question) ? null : optionsOf(question);
  if (options !== null) return { answer: chooseOption(question, options, sentences), evidence: best };
  if (CLOSED.test(question)) return { answer: yesOrNo(question, sentences), evidence: best };
  const span = bestSpan(question, sentences);
  if (span === null) return { answer: null, evidence: best };
  return { answer: span.text, evidence: [...new Set([span.passage, ...best])].slice(0, EVIDENCE) };
}

/** "…, X or Y?": the two to choose from. */
function optionsOf(question: string): readonly [string, string] | null {
  const match = /^(.+?),?\s+or\s+(?:the\s+)?([^?]+?)[\s?.]*$/i.exec(question);
  const left = namesIn(match?.[1] ?? "").at(-1);
  const right = namesIn(match?.[2] ?? "")[0];
  return left !== undefined && right !== undefined ? [left, right] : null;
}

const EARLIER = /\b(?:older|oldest|first|earlier|earliest|before)\b/i;
const LATER = /\b(?:younger|youngest|later|latest|last|recently|newer|newest|after)\b/i;

const about = (name: string, sentences: readonly FoundSentence[]): FoundSentence[] => {
  const wanted = terms(name);
  return sentences.filter(({ title }) => {
    const words = new Set(terms(title));
    return wanted.every((word) => words.has(word));
  });
};

const yearIn = (sentences: readonly FoundSentence[]): number | null => {
  const years = sentences.flatMap(({ text }) => text.match(/\b1[0-9]\d\d\b|\b20[0-2]\d\b/g) ?? []).map(Number);
  return years.length === 0 ? null : Math.min(...years);
};

function chooseOption(question: string, [left, right]: readonly [string, string], sentences: readonly FoundSentence[]): string {
  const [leftYear, rightYear] = [yearIn(about(left, sentences)), yearIn(about(right, sentences))];
  if (leftYear !== null && rightYear !== null && (EARLIER.test(question) || LATER.test(question))) {
    return leftYear < rightYear === EARLIER.test(question) ? left : right;
  }
  const support = (name: string): number => Math.max(0, ...about(name, sentences).map(({ score }) => score));
  return support(left) >= support(right) ? left : right;
}

const NATION_ENDING = /\b\p{Lu}\p{L}+(?:an|ish|ese|ic|ch)\b/gu;

/** So many letters of a word stand for its other forms (composers, composed). */
const STEM = 5;

/** "Are X and Y both/of the same …?": whether what is said of X and of Y shares the words that matter. */
function yesOrNo(question: string, sentences: readonly FoundSentence[]): string {
  const [left, right] = namesIn(question.replace(CLOSED, ""));
  if (left === undefined || right === undefined) return "yes";
  const [ofLeft, ofRight] = [about(left, sentences), about(right, sentences)];
  if (/\bsame (?:nationality|country)\b/i.test(question)) {
    const nations = (list: readonly FoundSentence[]): Set<string> =>
      new Set(list.flatMap(({ text }) => text.match(NATION_ENDING) ?? []));
    const rights = nations(ofRight);
    return [...nations(ofLeft)].some((nation) => rights.has(nation)) ? "yes" : "no";
  }
  const named = new Set([...terms(left), ...terms(right), "both", "same"]);
  const property = terms(question).filter((term) => !named.has(term));
  const stems = property.map((term) => term.slice(0, STEM));
  const holds = (list: readonly FoundSentence[]): boolean => {
    const words = list.flatMap(({ text }) => terms(text));
    return stems.some((stem) => words.some((word) => word.startsWith(stem)));
  };
  return holds(ofLeft) && holds(ofRight) ? "yes" : "no";
}

type Wanted = "year" | "date" | "number" | "place" | "person" | "name";

const ASKS: readonly (readonly [Wanted, RegExp])[] = [
  ["year", /\b(?:what|which) year\b/i],
  ["date", /\bwhen\b|\b(?:what|which) (?:date|day)\b/i],
  [
    "number",
    /\bhow (?:many|much|old|long|far|tall|high)\b|\bwhat (?:number|percentage|population)\b|\bpopulation of (?:what|how)\b/i,
  ],
  [
    "place",
    /\bwhere\b|\b(?:what|which)(?: \p{L}+){0,2} (?:city|town|country|county|state|village|region|island|province|borough)\b/iu,
  ],
  [
    "person",
    /\bwho(?:m|se)?\b|\b(?:what|which)(?: \p{L}+){0,3} (?:actor|actress|author|writer|director|singer|player|artist|politician)\b/iu,
  ],
];

const wantedBy = (question: string): Wanted => ASKS.find(([, pattern]) => pattern.test(question))?.[0] ?? "name";

const MONTH = "January|February|March|April|May|June|July|August|September|October|November|December";
const YEAR = /\b1[0-9]\d\d\b|\b20[0-2]\d\b/gu;
const PLACE = new RegExp(
  `(?<=\\b(?:in|at|near|to|from|of) (?:the )?(?:\\p{Ll}+ )?)(?:${NAME.source})(?:, ${NAME.source})?`,
  "gu",
);
const SPANS: Readonly<Record<Wanted, RegExp>> = {
  year: YEAR,
  date: new RegExp(`\\b(?:\\d{1,2} )?(?:${MONTH})(?: \\d{1,2},)? \\d{4}\\b|${YEAR.source}`, "gu"),
  number:
    /(?<![\d.,])(?!(?:1[0-9]|20)\d\d\b(?![.,]\d))\d+(?:[.,]\d+)*(?: (?:million|billion|thousand|percent|miles|feet|km|metres|meters))?/gu,
  place: PLACE,
  person: NAME,
  name: NAME,
};

const NO_NAME = new RegExp(`^(?:${MONTH}|during|after|before|since|although|while|both|also|american|united states)$`, "i");
const NATIONALITY = /^\p{Lu}\p{L}+(?:an|ish|ese|ic|ch)$/u;
const WORDS_OF_A_PERSON = /^\p{Lu}\S*(?: (?:\p{Lu}\S*|de|von|van|of)){1,3}$/u;

/** How well a span's shape suits what is asked for: a factor on its score. */
function fit(span: string, wanted: Wanted): number {
  if (NO_NAME.test(span) || NATIONALITY.test(span)) return 0.2;
  if (wanted === "person") return WORDS_OF_A_PERSON.test(span) ? 1 : 0.3;
  return 1;
}

const withoutRemark = (title: string): string => title.replace(/\s*\([^)]*\)$/, "");

function bestSpan(question: string, sentences: readonly FoundSentence[]): { text: string; passage: string } | null {
  const asked = fold(question);
  const wanted = wantedBy(question);
  const titles = wanted === "name" || wanted === "person";
  const totals = new Map<string, { text: string; passage: string; score: number }>();
  for (const [rank, { passage, title, text, score }] of sentences.entries()) {
    const spans = (text.match(SPANS[wanted]) ?? []).map(trimmed);
    for (const span of titles ? [withoutRemark(title), ...spans] : spans) {
      const key = fold(span);
      if (key === "" || asked.includes(key) || terms(span).length === 0) continue;
      const gain = (score * fit(span, wanted)) / (1 + rank);
      const known = totals.get(key);
      if (known === undefined) totals.set(key, { text: span, passage, score: gain });
      else known.score += gain;
    }
  }
  return [...totals.values()].toSorted((a, b) => b.score - a.score)[0] ?? null;
}
