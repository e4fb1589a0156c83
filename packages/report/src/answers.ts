import type { TaskResult } from "./tasks.ts";

/** Answers against the gold answers, as question-answering data sets score them; fault effects are in goodput, not here. */
export interface AnswerQuality {
  readonly answered: number;
  readonly exact_match: number | null;
  readonly token_f1: number | null;
  /** Share of the gold evidence that the answers named, mean over tasks that have any. */
  readonly evidence_recall: number | null;
}

/** SQuAD / HotpotQA normalisation: lower case, no punctuation, no articles, single spaces. */
export const normalise = (text: string): string[] =>
  text
    .toLowerCase()
    .replace(/[!-/:-@[-`{-~]/g, "")
    .replace(/\b(a|an|the)\b/g, " ")
    .split(/\s+/)
    .filter((word) => word !== "");

function tokenF1(answer: readonly string[], gold: readonly string[]): number {
  const special = new Set(["yes", "no", "noanswer"]);
  const differs = answer.join(" ") !== gold.join(" ");
  if (differs && (special.has(answer.join(" ")) || special.has(gold.join(" ")))) return 0;
  const left = [...gold];
  let common = 0;
  for (const word of answer) {
    const at = left.indexOf(word);
    if (at === -1) continue;
    left.splice(at, 1);
    common += 1;
  }
  return common === 0 ? 0 : (2 * common) / (answer.length + gold.length);
}

const mean = (values: readonly number[]): number | null =>
  values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;

/** Scores the first outcome of every task that was answered. */
export function scoreAnswers(tasks: readonly TaskResult[]): AnswerQuality {
  const answered = tasks.filter((task) => task.first?.status === "answered" && task.first.answer !== null);
  const pairs = answered.map((task) => ({ answer: normalise(task.first?.answer ?? ""), gold: normalise(task.task.gold) }));
  const recalls = answered
    .filter((task) => task.task.evidence.length > 0)
    .map((task) => {
      const named = new Set(task.first?.evidence);
      return task.task.evidence.filter((id) => named.has(id)).length / task.task.evidence.length;
    });
  return {
    answered: answered.length,
    exact_match: mean(pairs.map(({ answer, gold }) => (answer.join(" ") === gold.join(" ") ? 1 : 0))),
    token_f1: mean(pairs.map(({ answer, gold }) => tokenF1(answer, gold))),
    evidence_recall: mean(recalls),
  };
}
