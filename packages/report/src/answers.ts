import { evidenceRecall, exactMatch, tokenF1 } from "@failstorm/core/scores.ts";
import type { TaskResult } from "./tasks.ts";

/** Answers against the gold answers, as question-answering data sets score them; fault effects are in goodput, not here. */
export interface AnswerQuality {
  readonly answered: number;
  readonly exact_match: number | null;
  readonly token_f1: number | null;
  /** Share of the gold evidence that the answers named, mean over tasks that have any. */
  readonly evidence_recall: number | null;
}

const mean = (values: readonly number[]): number | null =>
  values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;

/** Scores the first outcome of every task that was answered; the means are over those, not over all questions. */
export function scoreAnswers(tasks: readonly TaskResult[]): AnswerQuality {
  const answered = tasks.flatMap(({ first, task }) =>
    first?.status === "answered" && first.answer !== null ? [{ answer: first.answer, evidence: first.evidence, task }] : [],
  );
  return {
    answered: answered.length,
    exact_match: mean(answered.map(({ answer, task }) => Number(exactMatch(answer, task.gold)))),
    token_f1: mean(answered.map(({ answer, task }) => tokenF1(answer, task.gold))),
    evidence_recall: mean(
      answered.map(({ evidence, task }) => evidenceRecall(evidence, task.evidence)).filter((recall) => recall !== null),
    ),
  };
}
