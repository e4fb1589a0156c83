// The scores of the official HotpotQA evaluation script (hotpot_evaluate_v1.py, Yang et al. 2018).

/** Lower case, without ASCII punctuation, articles and repeated white space. */
export function normalizeAnswer(answer: string): string {
  return answer
    .toLowerCase()
    .replaceAll(/[!"#$%&'()*+,\-./:;<=>?@[\\\]^_`{|}~]/g, "")
    .replaceAll(/(?<![\p{L}\p{N}_])(a|an|the)(?![\p{L}\p{N}_])/gu, " ")
    .split(/\s+/)
    .filter((word) => word !== "")
    .join(" ");
}

/** Whether the two are equal once normalised. */
export const exactMatch = (answer: string, gold: string): boolean => normalizeAnswer(answer) === normalizeAnswer(gold);

const CLOSED_ANSWERS = new Set(["yes", "no", "noanswer"]);

/** Harmonic mean of the precision and recall of the normalised words, 0…1. Yes, no and noanswer are right or wrong as a whole. */
export function tokenF1(answer: string, gold: string): number {
  const given = normalizeAnswer(answer);
  const wanted = normalizeAnswer(gold);
  if (given !== wanted && (CLOSED_ANSWERS.has(given) || CLOSED_ANSWERS.has(wanted))) return 0;
  const left = new Map<string, number>();
  const wantedWords = wanted.split(" ");
  for (const word of wantedWords) left.set(word, (left.get(word) ?? 0) + 1);
  const givenWords = given.split(" ");
  let same = 0;
  for (const word of givenWords) {
    const count = left.get(word) ?? 0;
    if (count === 0) continue;
    left.set(word, count - 1);
    same += 1;
  }
  if (same === 0 || given === "" || wanted === "") return 0;
  const precision = same / givenWords.length;
  const recall = same / wantedWords.length;
  return (2 * precision * recall) / (precision + recall);
}

/** The share of the gold evidence that was found, 0…1; null when there is no gold evidence to find. */
export function evidenceRecall(found: readonly string[], gold: readonly string[]): number | null {
  const wanted = new Set(gold);
  if (wanted.size === 0) return null;
  const had = new Set(found);
  return [...wanted].filter((id) => had.has(id)).length / wanted.size;
}
