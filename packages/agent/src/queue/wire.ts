import type { Part, Payload } from "@failstorm/core";

/** One question as it travels. */
export interface AskedQuestion {
  readonly seq: number;
  readonly id: string;
  readonly q: string;
  readonly attempt: number;
}

export interface GivenAnswer {
  readonly seq: number;
  /** null: none was found. */
  readonly answer: string | null;
}

/** What a coordinator is told to do. */
export type Command = "status" | "dispatch";

/** What arrives at an agent of a queue: a command, questions of a coordinator of ours, or a stranger's words, which are one question. */
export type Incoming =
  | { readonly kind: "command"; readonly command: Command }
  | { readonly kind: "questions"; readonly questions: readonly AskedQuestion[] }
  | { readonly kind: "text"; readonly text: string };

/** A longer answer is none: it would fill the results. */
export const MAX_ANSWER_CHARACTERS = 100_000;

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
const asCommand = (value: unknown): Command | null => (value === "status" || value === "dispatch" ? value : null);

function asQuestion(value: unknown): AskedQuestion | null {
  if (!isObject(value)) return null;
  const { seq, id, q, attempt = 1 } = value;
  const sound = typeof seq === "number" && typeof id === "string" && typeof q === "string" && typeof attempt === "number";
  return sound ? { seq, id, q, attempt } : null;
}

const partsOf = (payload: Payload): readonly Part[] =>
  "parts" in payload ? payload.parts : [{ kind: "text", text: payload.text }];

const textOf = (parts: readonly Part[]): string =>
  parts
    .map((part) => (part.kind === "text" ? part.text : ""))
    .join("")
    .trim();

/** null: nothing that an agent of a queue understands. */
export function readIncoming(payload: Payload): Incoming | null {
  const parts = partsOf(payload);
  const data = parts.find((part) => part.kind === "data")?.data;
  if (isObject(data)) {
    const command = asCommand(data["command"]);
    if (command !== null) return { kind: "command", command };
    if (Array.isArray(data["questions"])) {
      const questions = data["questions"].map(asQuestion);
      return questions.length > 0 && questions.every((question) => question !== null) ? { kind: "questions", questions } : null;
    }
  }
  const text = textOf(parts);
  if (text === "") return null;
  const command = asCommand(text.toLowerCase());
  return command === null ? { kind: "text", text } : { kind: "command", command };
}

export const questionsPayload = (questions: readonly AskedQuestion[]): Payload => ({
  parts: [{ kind: "data", data: { questions } }],
});

export const answersPart = (answers: readonly GivenAnswer[]): Part => ({ kind: "data", data: { answers } });

/** What a worker's answer comes to: answers, perhaps to some of the questions only, or why it is none. */
export type ReadAnswer = { readonly answers: readonly GivenAnswer[] } | { readonly garbage: string };

function asAnswer(value: unknown): GivenAnswer | null {
  if (!isObject(value)) return null;
  const { seq, answer } = value;
  const isAnswer = answer === null || (typeof answer === "string" && answer.length <= MAX_ANSWER_CHARACTERS);
  return typeof seq === "number" && isAnswer ? { seq, answer } : null;
}

/** Reads the answer to `asked`: our own form, or a stranger's words where one question was asked. What nobody asked is left out. */
export function readAnswer(asked: readonly { readonly seq: number }[], parts: readonly Part[], text: string): ReadAnswer {
  const data = parts.find((part) => part.kind === "data" && isObject(part.data) && Array.isArray(part.data["answers"]));
  if (data?.kind === "data") {
    const listed = (data.data as { answers: unknown[] }).answers.map(asAnswer);
    const seqs = new Set(asked.map(({ seq }) => seq));
    return { answers: listed.filter((answer) => answer !== null).filter(({ seq }) => seqs.has(seq)) };
  }
  const words = text.trim();
  const [only, ...more] = asked;
  if (only === undefined || more.length > 0) return { garbage: "it has no list of answers" };
  if (words === "") return { garbage: "it has no words" };
  if (words.length > MAX_ANSWER_CHARACTERS) return { garbage: `it has ${words.length} characters` };
  return { answers: [{ seq: only.seq, answer: words }] };
}
