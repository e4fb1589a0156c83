import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { InputError } from "@failstorm/core";
import type { BadLine, QuestionSource, QueueQuestion } from "./question.ts";
import { HashSet, hashOf } from "./idHashes.ts";
import { bareLine, parseQuestionLine, QUESTION_FORM } from "./questionLine.ts";

const SHOWN = 5;

/**
 * A JSON Lines file of questions, `{id, q}` and perhaps `a` (the right answer) a line; empty lines and a byte order mark are left out. It is read
 * once now, to find out what is wrong before anything starts, and again, line by line, as questions are taken.
 *
 * Throws InputError: cannot be read; holds no question; lines that are no questions, or ids that are there already, the first of them by
 * number and how many there are. `skipBad`: these are left out instead, and are in `bad` (at most the first 1 000, `badCount` has all).
 */
export async function openQuestionFile(
  file: string,
  options: { readonly skipBad?: boolean } = {},
): Promise<{ readonly source: QuestionSource; readonly bad: readonly BadLine[]; readonly badCount: number }> {
  // Hardly ever are two ids suspected to be the same; only then are the suspects looked at again, by name.
  const first = await scan(file, new Set());
  const { count, bad, badCount, fingerprint } = first.suspects.size === 0 ? first : await scan(file, first.suspects);
  if (count === 0 && badCount === 0)
    throw new InputError(`${file}: holds no question (the file is empty); a line looks like ${QUESTION_FORM}`);
  if (badCount > 0 && options.skipBad !== true) throw new InputError(badLines(file, bad, badCount));
  if (count === 0) throw new InputError(`${file}: holds no question: ${badLines(file, bad, badCount)}`);
  const source: QuestionSource = {
    kind: "file",
    count,
    fingerprint,
    async *questions() {
      for await (const entry of entries(file, first.suspects)) if (!("reason" in entry)) yield entry;
    },
  };
  return { source, bad, badCount };
}

interface Scan {
  readonly count: number;
  readonly bad: readonly BadLine[];
  readonly badCount: number;
  readonly fingerprint: string;
  /** Hashes that more than one id has. */
  readonly suspects: ReadonlySet<number>;
}

async function scan(file: string, known: ReadonlySet<number>): Promise<Scan> {
  const bad: BadLine[] = [];
  let badCount = 0;
  let count = 0;
  const seen = new HashSet();
  const suspects = new Set<number>();
  const sum = createHash("sha256");
  for await (const entry of entries(file, known)) {
    if ("reason" in entry) {
      badCount += 1;
      if (bad.length < MAX_KEPT) bad.push(entry);
      continue;
    }
    count += 1;
    sum.update(`${JSON.stringify([entry.id, entry.q, entry.gold])}\n`);
    const hash = hashOf(entry.id);
    if (!seen.add(hash)) suspects.add(hash);
  }
  return { count, bad, badCount, fingerprint: `sha256:${sum.digest("hex")}`, suspects };
}

const MAX_KEPT = 1000;

function badLines(file: string, bad: readonly BadLine[], count: number): string {
  const shown = bad.slice(0, SHOWN).map(({ line, reason }) => `line ${line}: ${reason}`);
  const more = count > SHOWN ? `; and ${count - SHOWN} more` : "";
  const lines = count === 1 ? "1 line is" : `${count} lines are`;
  return `${file}: ${lines} not a question: ${shown.join("; ")}${more}; mend them, or leave them out with --skip-bad-lines; a line looks like ${QUESTION_FORM}`;
}

/** The questions of the file, numbered without gaps, and the lines that are none. Only ids with a hash in `suspects` can be repeated. */
async function* entries(file: string, suspects: ReadonlySet<number>): AsyncGenerator<QueueQuestion | BadLine> {
  const ids = new Map<string, number>();
  let line = 0;
  let seq = 0;
  for await (const raw of linesOf(file)) {
    line += 1;
    const text = bareLine(raw, line);
    if (text === "") continue;
    const parsed = parseQuestionLine(text);
    if (typeof parsed === "string") {
      yield { line, reason: parsed };
      continue;
    }
    const before = ids.get(parsed.id);
    if (before !== undefined) {
      yield { line, reason: `the id ${JSON.stringify(parsed.id)} is on line ${before} already` };
      continue;
    }
    if (suspects.size > 0 && suspects.has(hashOf(parsed.id))) ids.set(parsed.id, line);
    yield { seq, ...parsed };
    seq += 1;
  }
}

async function* linesOf(file: string): AsyncGenerator<string> {
  const stream = createReadStream(file, { encoding: "utf8" });
  const lines = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
  try {
    // readline does not pass on what went wrong with its input.
    stream.once("error", () => lines.close());
    for await (const line of lines) yield line;
    if (stream.errored !== null) throw stream.errored;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InputError(`${file}: cannot be read (${why}); give a file of questions, a line looks like ${QUESTION_FORM}`, {
      cause: error,
    });
  } finally {
    lines.close();
    stream.destroy();
  }
}
