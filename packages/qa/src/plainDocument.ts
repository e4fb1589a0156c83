import { InputError } from "@failstorm/core";
import type { Question } from "./calibrate.ts";
import type { QuestionSet } from "./corpus.ts";
import { encodeDocument, type Passage } from "./document.ts";
import { jsonLines, readInput } from "./jsonLines.ts";
import { DEFAULT_TOP_K } from "./pipeline.ts";
import { dealOut, withExpectedAnswers } from "./shardedCorpus.ts";
import { sentencesOf } from "./text.ts";
import { MAX_LENGTH } from "./toolInputs.ts";

const MAX_PASSAGE_CHARACTERS = 600;
const FORM = `{"id": "…", "question": "…?", "answer": "…"}`;

/**
 * A plain-text document (UTF-8), split into passages at blank lines and headings and, where paragraphs are long, between sentences, where
 * sentences are, between words; the last heading (a line that starts with #) is a passage's title. Questions come from a JSON Lines file. `expected` is the pipeline's own answer
 * without faults. Throws InputError naming file, line and remedy.
 */
export async function loadDocument(options: {
  readonly file: string;
  readonly questionsFile: string;
  readonly shards: number;
  readonly topK?: number;
  /** At most so many questions, the first ones; all of them when left out (finding their `expected` takes ~2.5 ms each). */
  readonly questions?: number;
}): Promise<QuestionSet> {
  const { file, questionsFile, shards: shardCount } = options;
  const bytes = await readInput(file, "name a text file that exists");
  const passages = splitText(decode(file, bytes));
  if (passages.length < shardCount) {
    throw new InputError(
      `document ${file}: ${passages.length} passages do not fill ${shardCount} shards; use fewer agents or a longer document`,
    );
  }
  const drafts = readQuestions(questionsFile, await readInput(questionsFile, "name a JSON Lines file with questions"));
  const shards = dealOut(passages, shardCount);
  const questions = await withExpectedAnswers(drafts.slice(0, options.questions), shards, options.topK ?? DEFAULT_TOP_K);
  return { document: encodeDocument(shards), shardCount, questions, calibrated: false };
}

function decode(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new InputError(`document ${file}: it is not UTF-8 text; convert it first`, { cause: error });
  }
}

function splitText(text: string): Passage[] {
  const passages: Passage[] = [];
  let heading = "";
  let paragraph: string[] = [];
  const endParagraph = (): void => {
    for (const piece of pieces(paragraph.join(" ")))
      passages.push({ id: `d${String(passages.length).padStart(6, "0")}`, title: heading, text: piece });
    paragraph = [];
  };
  for (const line of text.split(/\r\n?|\n/).map((raw) => raw.trim())) {
    const isHeading = line.startsWith("#");
    if (line === "" || isHeading) endParagraph();
    if (isHeading) heading = line.replace(/^#+\s*/, "").slice(0, MAX_LENGTH.name);
    else if (line !== "") paragraph.push(line);
  }
  endParagraph();
  return passages;
}

/** Of a sentence: as many whole words as fit, or, of a longer word, as many characters. */
const WORDS = new RegExp(`.{1,${MAX_PASSAGE_CHARACTERS}}(?:\\s+|$)|.{1,${MAX_PASSAGE_CHARACTERS}}`, "gsu");

function pieces(paragraph: string): string[] {
  const out: string[] = [];
  for (const sentence of sentencesOf(paragraph).flatMap((one) => (one.match(WORDS) ?? []).map((part) => part.trim()))) {
    const last = out.at(-1);
    if (last === undefined || last.length + sentence.length > MAX_PASSAGE_CHARACTERS) out.push(sentence);
    else out[out.length - 1] = `${last} ${sentence}`;
  }
  return out;
}

function readQuestions(file: string, bytes: Uint8Array): Question[] {
  const questions: Question[] = [];
  const ids = new Set<string>();
  for (const { line, fields, broken } of jsonLines(file, bytes, FORM)) {
    const question = fields["question"] ?? fields["q"];
    const { answer, id = `line-${line}` } = fields;
    if (typeof question !== "string" || question.trim() === "") throw broken(`"question" must be a text that is not empty`);
    if (question.length > MAX_LENGTH.words)
      throw broken(`"question" has ${question.length} characters; at most ${MAX_LENGTH.words} can be used`);
    if (typeof answer !== "string" || answer.trim() === "") throw broken(`"answer" must be a text that is not empty`);
    if (typeof id !== "string" && typeof id !== "number") throw broken(`"id" must be a text or a number`);
    if (ids.has(String(id))) throw broken(`the id ${JSON.stringify(id)} is already taken`);
    ids.add(String(id));
    questions.push({ id: String(id), question, gold: answer, expected: "", hops: 1, evidence: [] });
  }
  if (questions.length === 0) throw new InputError(`${file}: there is no question in it; add lines like ${FORM}`);
  return questions;
}
