import { z } from "zod";

/**
 * One line of a queue's results file (`queue_results.jsonl`): a question that is finished, for good. The file is the coordinator's
 * journal as well: a line is written with write(2) before anything else is told, and a coordinator that starts again asks only
 * what is not in it.
 */
export const queueResultSchema = z.object({
  /** Place of the question in its source, from 0 without gaps: what a restarted coordinator knows it by. */
  seq: z.number().int().nonnegative(),
  id: z.string(),
  /** answered: an answer was given (right or wrong is for the reader to grade); no_answer: the worker found none; failed: every attempt was used up. */
  status: z.enum(["answered", "no_answer", "failed"]),
  answer: z.string().nullable(),
  /** The right answer, where the source gives one. No worker sees it. */
  gold: z.string().nullable(),
  /** Who answered; of a failed question, who failed last. */
  worker: z.string().nullable(),
  protocol: z.string().nullable(),
  /** Messages this question was in, up to and with the one that finished it. */
  attempts: z.number().int().nonnegative(),
  /** Of a failed question: the last failure, a CommErrorCode, `garbage` or `missing`. */
  code: z.string().nullable(),
  /** CLOCK_MONOTONIC ms: when the question was due for the first time; latency counts from there, whatever came between. */
  intendedAt: z.number(),
  /** When the message that finished it left; null when none did. */
  sentAt: z.number().nullable(),
  finishedAt: z.number(),
  /** The coordinator's incarnation. */
  inc: z.number().int(),
});
export type QueueResult = z.infer<typeof queueResultSchema>;
