import type { Readable } from "node:stream";
import type { BadLine, QuestionSource, QueueQuestion } from "./question.ts";
import { bareLine, parseQuestionLine } from "./questionLine.ts";

/** Ids that are remembered, to notice when one comes again; older ones are forgotten, since the stream may never end. */
const REMEMBERED_IDS = 100_000;
/** A line that does not end is no question but would fill the memory. */
const MAX_LINE_CHARACTERS = 1 << 20;

/**
 * Questions from a stream that may never end, one JSON object `{id, q}` a line. Back-pressure: it is read only while somebody asks for the
 * next question, so that the writer at the other end of the pipe waits (what is buffered is one chunk of the stream and its
 * `highWaterMark`). Lines that are no questions, ids seen among the last 100 000, and lines above 1 MiB are told to `onBad` and left out.
 */
export function questionStream(
  input: Readable,
  options: {
    readonly onBad: (bad: BadLine) => void /** The first question's number, where an earlier part was read already. */;
    readonly firstSeq?: number;
  },
): QuestionSource {
  return {
    kind: "stdin",
    count: null,
    fingerprint: null,
    questions: () => readQuestions(input, options.onBad, options.firstSeq ?? 0),
  };
}

async function* readQuestions(input: Readable, onBad: (bad: BadLine) => void, firstSeq: number): AsyncGenerator<QueueQuestion> {
  const recent = new Set<string>();
  let seq = firstSeq;
  for await (const { line, text } of numberedLines(input, onBad)) {
    if (text === "") continue;
    const parsed = parseQuestionLine(text);
    if (typeof parsed === "string") {
      onBad({ line, reason: parsed });
      continue;
    }
    if (recent.has(parsed.id)) {
      onBad({ line, reason: `the id ${JSON.stringify(parsed.id)} was there already` });
      continue;
    }
    recent.add(parsed.id);
    const [oldest] = recent;
    if (recent.size > REMEMBERED_IDS && oldest !== undefined) recent.delete(oldest);
    yield { seq, ...parsed };
    seq += 1;
  }
}

/** Lines with their numbers, without white space around them; the last one needs no newline. */
async function* numberedLines(
  input: Readable,
  onBad: (bad: BadLine) => void,
): AsyncGenerator<{ readonly line: number; readonly text: string }> {
  const decoder = new TextDecoder();
  let rest = "";
  let line = 1;
  let tooLong = false;
  for await (const chunk of input) {
    rest += typeof chunk === "string" ? chunk : decoder.decode(chunk as Uint8Array, { stream: true });
    let start = 0;
    for (let end = rest.indexOf("\n"); end !== -1; end = rest.indexOf("\n", start)) {
      if (!tooLong) yield { line, text: bareLine(rest.slice(start, end), line) };
      tooLong = false;
      start = end + 1;
      line += 1;
    }
    rest = tooLong ? "" : rest.slice(start);
    if (rest.length <= MAX_LINE_CHARACTERS) continue;
    onBad({ line, reason: `it has more than ${MAX_LINE_CHARACTERS} characters` });
    tooLong = true;
    rest = "";
  }
  rest += decoder.decode();
  if (!tooLong && rest !== "") yield { line, text: bareLine(rest, line) };
}
