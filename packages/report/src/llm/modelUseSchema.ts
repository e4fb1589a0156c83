import { LLM_STATUSES, MODEL_OUTCOMES } from "@failstorm/core";
import { z } from "zod";

const ms = z.number().nullable();
const count = z.number().int().nonnegative();

/** The section `llm` of `failstorm_metrics.json`; only of a run in which a model was asked. */
export const modelUseSchema = z
  .object({
    models: z.array(z.string()),
    calls: count.describe(
      "attempts at requests that ended, also those that failed; what a killed agent had under way is in no count and no sum",
    ),
    failed: count.describe("attempts without a whole reply"),
    by_status: z.partialRecord(z.enum(LLM_STATUSES), count),
    retries: count.describe("attempts beyond the first of a request"),
    prompt_tokens: count.describe("as the endpoint says"),
    completion_tokens: count,
    calls_without_tokens: count.describe(
      "attempts the model may have worked on (half replies, time-outs) without the endpoint saying its tokens: they are in no sum",
    ),
    cost: z
      .number()
      .nullable()
      .describe("by the configured price table, of the attempts whose tokens are known; null without a price for the model"),
    latency_ms: z
      .object({ n: count, mean: ms, p50: ms, p90: ms, p95: ms, p99: ms, p99_9: ms, max: ms })
      .describe("ms, whole replies, waiting for the rate limit left out"),
    steps: count.describe("steps or questions given to a model"),
    by_outcome: z.partialRecord(z.enum(MODEL_OUTCOMES), count),
    rounds: count.describe("replies in all steps"),
    function_calls: count,
    unknown_function_calls: count,
  })
  .describe("what the model was asked for, and what it cost");

export type ModelUse = z.infer<typeof modelUseSchema>;
