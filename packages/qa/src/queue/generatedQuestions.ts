import { createHash } from "node:crypto";
import { InputError, type Prng } from "@failstorm/core";
import { generateCorpus } from "../corpus.ts";
import type { QuestionSource, QueueQuestion } from "./question.ts";

export interface GeneratedQueue {
  readonly source: QuestionSource;
  /** What the answers are in; every worker of the queue needs the whole of it. */
  readonly document: Uint8Array;
  /** Different questions; when more are asked for, they come round again under new ids. */
  readonly distinct: number;
}

/** Enough that answers cannot be guessed from the last ones; generating and checking them takes a second. */
const MAX_DISTINCT = 1000;

/**
 * `count` questions of the corpus generator with their right answers, each answered right by the pipeline when nothing goes wrong. Same
 * count and seed: same questions. Throws InputError when count or passages cannot be met.
 */
export async function generateQueue(options: {
  readonly prng: Prng;
  readonly count: number;
  readonly passages: number;
  readonly hops: readonly number[];
  readonly topK?: number;
  /** Different questions, at most; absent = 1 000. */
  readonly distinct?: number;
}): Promise<GeneratedQueue> {
  const { prng, count, passages, hops, topK } = options;
  if (!Number.isInteger(count) || count < 1)
    throw new InputError(`questions ${count}: must be a whole number, at least 1; 1000 suit a default queue`);
  const distinct = Math.min(count, options.distinct ?? MAX_DISTINCT);
  const set = await generateCorpus({
    prng,
    shards: 1,
    passages,
    questions: distinct,
    hops,
    ...(topK === undefined ? {} : { topK }),
  });
  const hash = createHash("sha256").update(`${count}\n`);
  for (const { question, gold } of set.questions) hash.update(`${JSON.stringify([question, gold])}\n`);
  const source: QuestionSource = {
    kind: "generated",
    count,
    fingerprint: `sha256:${hash.digest("hex")}`,
    async *questions() {
      for (let seq = 0; seq < count; seq++) {
        const asked = set.questions[seq % distinct];
        if (asked !== undefined)
          yield { seq, id: queueQuestionId(seq), q: asked.question, gold: asked.gold } satisfies QueueQuestion;
      }
    },
  };
  return { source, document: set.document, distinct };
}

const queueQuestionId = (seq: number): string => `q-${String(seq + 1).padStart(6, "0")}`;
