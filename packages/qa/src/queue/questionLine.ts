import type { QueueQuestion } from "./question.ts";

/** How a line of a question file looks; for messages. */
export const QUESTION_FORM = '{"id": "q1", "q": "Which city is the capital of France?"}';

const MAX_QUESTION_CHARACTERS = 100_000;

/** The question in a line, or what is wrong with it. `a`, the right answer, may be there. */
export function parseQuestionLine(text: string): Omit<QueueQuestion, "seq"> | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return "it is not JSON";
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "it is not a JSON object";
  const { id, q, a } = value as Record<string, unknown>;
  const name = typeof id === "number" ? String(id) : id;
  if (typeof name !== "string" || name.trim() === "") return '"id" must be a text or a number';
  if (typeof q !== "string" || q.trim() === "") return '"q" must be a text that is not empty';
  if (q.length > MAX_QUESTION_CHARACTERS) return `"q" has more than ${MAX_QUESTION_CHARACTERS} characters`;
  if (a !== undefined && a !== null && typeof a !== "string") return '"a" must be a text where it is given';
  return { id: name, q, gold: typeof a === "string" ? a : null };
}

const BOM = "\uFEFF";

/** A line without the byte order mark that Windows programs put before the first one, and without white space around it. */
export const bareLine = (text: string, line: number): string =>
  (line === 1 && text.startsWith(BOM) ? text.slice(1) : text).trim();
