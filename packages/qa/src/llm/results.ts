import type { Answer } from "../pipeline.ts";
import { list, object, text } from "../schema.ts";

const MAX_ANSWER = 1_000;
const MAX_EVIDENCE = 200;

const evidence = list(text(500), MAX_EVIDENCE);
const shortAnswer = text(MAX_ANSWER);

/** `{answer, evidence}`; a number is an answer too, evidence may be missing. Throws ToolInputError. */
export function readAnswer(value: unknown): Answer {
  const { answer, evidence: cited } = object({
    answer: (given: unknown, path: string): string | null =>
      given === null ? null : shortAnswer(typeof given === "number" ? String(given) : given, path),
    evidence: (given: unknown, path: string): string[] => (given === undefined || given === null ? [] : evidence(given, path)),
  })(value, "result");
  return { answer: answer?.trim() === "" ? null : (answer?.trim() ?? null), evidence: cited };
}
