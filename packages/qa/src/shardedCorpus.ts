import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "@failstorm/core";
import { createLocalPipeline, type Question } from "./calibrate.ts";
import type { QuestionSet } from "./corpus.ts";
import { encodeDocument, type Passage } from "./document.ts";
import { type JsonLine, jsonLines, readInput } from "./jsonLines.ts";
import { DEFAULT_TOP_K } from "./pipeline.ts";
import { normalizeAnswer } from "@failstorm/core/scores.ts";
import { MAX_LENGTH } from "./toolInputs.ts";

const FORM = `{"group_id": 0, "question": "…?", "content": "Title: text | Title: text", "answer": "…"}`;
const SHARD_FILE = /^shard(0|[1-9]\d*)\.jsonl$/;

/** One line of one shard file. */
interface Row {
  readonly group: string;
  readonly question: string;
  readonly answer: string;
  readonly passages: readonly Passage[];
  readonly source: JsonLine;
}

/** The names of a folder's shard files in the order of their numbers; none when it has no such files. */
export async function shardFilesOf(dir: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(dir);
  } catch (error) {
    throw new InputError(
      `corpus ${dir}: cannot be read; name a folder with shard0.jsonl, shard1.jsonl, … or a generated data set`,
      {
        cause: error,
      },
    );
  }
  const numbers = names.flatMap((name) => SHARD_FILE.exec(name)?.[1] ?? []).map(Number);
  const missing = numbers.findIndex((_, index) => !numbers.includes(index));
  if (missing !== -1)
    throw new InputError(`corpus ${dir}: shard${missing}.jsonl is missing; the files must be numbered from 0 without gaps`);
  return numbers.map((_, index) => `shard${index}.jsonl`);
}

/**
 * Reads a HotpotQA-style corpus: files shard0.jsonl, shard1.jsonl, …; the lines n of all files are one group (same `group_id`),
 * whose passages together answer the group's questions. Each line may ask a question of its own (as in the published shards:
 * eight questions a group, each answered mostly from other agents' passages) or all may repeat the same one, which then counts once.
 * With another number of shards than files, the passages are dealt out anew. Gold evidence is not in the format: a question's
 * evidence are the passages of its group that contain the answer's words (none for yes and no). `expected` is the pipeline's
 * own answer without faults. Throws InputError naming file, line and remedy.
 */
export async function loadShardedCorpus(options: {
  readonly dir: string;
  readonly shards: number;
  readonly topK?: number;
  /** At most so many questions, the first ones; all of them when left out (finding their `expected` takes ~2.5 ms each). */
  readonly questions?: number;
}): Promise<QuestionSet> {
  const { dir, shards: shardCount } = options;
  const names = await shardFilesOf(dir);
  if (names.length === 0)
    throw new InputError(`corpus ${dir}: there is no shard0.jsonl; name a folder with shard0.jsonl, shard1.jsonl, …`);
  const files: Row[][] = [];
  for (const [shard, name] of names.entries()) {
    const file = join(dir, name);
    const bytes = await readInput(file, "check its permissions");
    files.push([...jsonLines(file, bytes, FORM)].map((line, row) => readRow(line, shard, row)));
  }
  checkGroups(dir, names, files);
  const held = files.map((rows) => rows.flatMap((row) => row.passages));
  const total = held.flat().length;
  if (total < shardCount)
    throw new InputError(`corpus ${dir}: ${total} passages do not fill ${shardCount} shards; use fewer agents`);
  const shards = held.length === shardCount ? held : dealOut(held.flat(), shardCount);
  const questions = await withExpectedAnswers(
    draftQuestions(files).slice(0, options.questions),
    shards,
    options.topK ?? DEFAULT_TOP_K,
  );
  return { document: encodeDocument(shards), shardCount, questions, calibrated: false };
}

function readRow(line: JsonLine, shard: number, row: number): Row {
  const { group_id: group, question, content, answer } = line.fields;
  if (typeof group !== "number" && typeof group !== "string") throw line.broken(`"group_id" is missing`);
  if (typeof question !== "string" || question.trim() === "") throw line.broken(`"question" must be a text that is not empty`);
  if (question.length > MAX_LENGTH.words) throw line.broken(tooLong("question", question, MAX_LENGTH.words));
  if (typeof answer !== "string") throw line.broken(`"answer" must be a text`);
  if (typeof content !== "string") throw line.broken(`"content" must be a text`);
  const passages: { id: string; title: string; text: string }[] = [];
  for (const piece of content.split(" | ").filter((text) => text.trim() !== "")) {
    const colon = piece.indexOf(": ");
    if (colon === -1) throw line.broken(`"content" has a passage without title: ${JSON.stringify(piece.slice(0, 60))}`);
    const [title, text] = [piece.slice(0, colon).trim(), piece.slice(colon + 1).trim()];
    const last = passages.at(-1);
    // Consecutive sentences of one article come with its title repeated.
    if (last !== undefined && last.title === title) last.text += ` ${text}`;
    else passages.push({ id: `q${row}.s${shard}.${passages.length}`, title, text });
  }
  for (const { title, text } of passages) {
    if (title.length > MAX_LENGTH.name) throw line.broken(tooLong("title of a passage", title, MAX_LENGTH.name));
    if (text.length > MAX_LENGTH.passage) throw line.broken(tooLong("text of a passage", text, MAX_LENGTH.passage));
  }
  return { group: String(group), question, answer, passages, source: line };
}

/** What the tools would refuse later, when nobody can tell any more where it came from. */
const tooLong = (what: string, text: string, most: number): string =>
  `the ${what} has ${text.length} characters, at most ${most} can be used (${JSON.stringify(text.slice(0, 40))} …)`;

function checkGroups(dir: string, names: readonly string[], files: readonly (readonly Row[])[]): void {
  const first = files[0] ?? [];
  if (first.length === 0) throw new InputError(`corpus ${dir}: shard0.jsonl has no question; add lines like ${FORM}`);
  const lines = new Map<string, number>();
  for (const { group, source } of first) {
    const before = lines.get(group);
    if (before !== undefined) throw source.broken(`its group_id ${group} is already that of line ${before}`);
    lines.set(group, source.line);
  }
  for (const [shard, rows] of files.entries()) {
    for (const [index, row] of rows.entries()) {
      const group = first[index]?.group;
      if (group !== undefined && group !== row.group) {
        throw row.source.broken(`its group_id is ${row.group}, that of the same line of shard0.jsonl is ${group}`);
      }
    }
    if (rows.length !== first.length) {
      throw new InputError(
        `corpus ${dir}: ${names[shard]} has ${rows.length} questions, shard0.jsonl has ${first.length}; every shard must have a line for every group`,
      );
    }
  }
}

/** Deals passages to shards in turn, so that a question's passages come to lie in different shards. */
export function dealOut(passages: readonly Passage[], shardCount: number): Passage[][] {
  const shards: Passage[][] = Array.from({ length: shardCount }, () => []);
  for (const [index, passage] of passages.entries()) shards[index % shardCount]?.push(passage);
  return shards;
}

function draftQuestions(files: readonly (readonly Row[])[]): Question[] {
  const drafts: Question[] = [];
  for (const [index] of (files[0] ?? []).entries()) {
    const group = files.flatMap((rows) => rows[index] ?? []);
    const passages = group.flatMap((row) => row.passages);
    const asked = new Map<string, Row>();
    for (const [shard, row] of group.entries()) {
      const same = asked.get(row.question);
      if (same === undefined) {
        asked.set(row.question, row);
        const evidence = answeringPassages(row.answer, passages).map(({ id }) => id);
        drafts.push({ id: `${row.group}.${shard}`, question: row.question, gold: row.answer, expected: "", hops: 2, evidence });
      } else if (same.answer !== row.answer) {
        throw row.source.broken("the same question has another answer in another shard");
      }
    }
  }
  return drafts;
}

function answeringPassages(answer: string, passages: readonly Passage[]): Passage[] {
  const gold = normalizeAnswer(answer);
  if (gold === "yes" || gold === "no" || gold === "") return [];
  return passages.filter(({ title, text }) => ` ${normalizeAnswer(`${title} ${text}`)} `.includes(` ${gold} `));
}

/** The same questions, each with what the pipeline answers over these shards without faults. */
export async function withExpectedAnswers(
  questions: readonly Question[],
  shards: readonly (readonly Passage[])[],
  topK: number,
): Promise<Question[]> {
  const answer = createLocalPipeline(shards, topK);
  const out: Question[] = [];
  for (const question of questions) out.push({ ...question, expected: (await answer(question.question)).answer ?? "" });
  return out;
}
