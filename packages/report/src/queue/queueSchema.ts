import { z } from "zod";
import { modelUseSchema } from "../llm/modelUseSchema.ts";

/** Raised when a field is removed or changes its meaning; new fields do not raise it. */
export const QUEUE_METRICS_SCHEMA_VERSION = 1;

const ms = z.number().nullable();
const count = z.number().int().nonnegative();
const rate = z.number().min(0).max(1).nullable();

const distribution = z
  .object({ n: count, mean: ms, min: ms, max: ms, std: ms, p50: ms, p90: ms, p95: ms, p99: ms, p99_9: ms })
  .describe("ms; std of the sample (n - 1); a percentile p is null when n < 1 / (1 - p)");

const corrected = distribution.extend({
  interval_ms: z.number().describe("the pace that is assumed: the median service time"),
  missing: count.describe("samples added for questions that would have been pulled meanwhile"),
});

const balance = z
  .object({
    n: count,
    variance: z.number().nullable(),
    std: z.number().nullable(),
    gini: z.number().nullable(),
    min_share: rate,
    max_share: rate,
  })
  .describe("of the shares of answered questions, those who answered none included; population variance; Gini 0 = all the same");

const byCode = z.record(z.string(), count);

const worker = z.object({
  worker: z.string(),
  protocol: z.string(),
  fed_by: z.string(),
  external: z.boolean(),
  answered: count,
  share: rate,
  messages: count,
  questions_sent: count,
  failures: count,
  failures_by_code: byCode,
  duplicates: count,
  quarantines: count,
  quarantine_ms: z.number().describe("spent in quarantine, where it returned"),
  service_mean_ms: ms,
  bytes_per_question: z.number().nullable(),
});

const perProtocol = z.object({
  protocol: z.string(),
  workers: count,
  answered: count,
  share: rate,
  failures: count,
  service_mean_ms: ms,
  bytes_per_question: z.number().nullable(),
});

const crash = z.object({
  agent: z.string(),
  role: z.enum(["worker", "coordinator"]),
  coordinator: z.string().describe("whose events tell"),
  kind: z.enum(["sigkill", "sigstop", "sigterm"]),
  cycle: z.number().int(),
  at_ms: z.number().describe("stamp before the kill(2), ms after the first question left"),
  in_flight: count.describe("questions on their way to the victim (worker) or to anybody (coordinator)"),
  noticed_ms: ms.describe("first failed message at the victim"),
  noticed_by: z.string().nullable(),
  quarantined_ms: ms,
  returned_ms: ms.describe("worker: out of quarantine; coordinator: opened again from its journal"),
  redispatched: count,
  redispatch_first_ms: ms,
  redispatch_last_ms: ms,
  finished: count.describe("of those in flight"),
  finished_last_ms: ms,
  duplicates: count.describe("of those in flight: answered twice, recorded once"),
  gap_ms: ms.describe("until the first result of any question: how long the stream stood still"),
});

/** `queue_metrics.json`. */
export const queueMetricsSchema = z
  .object({
    schemaVersion: z.literal(QUEUE_METRICS_SCHEMA_VERSION),
    run_id: z.string(),
    scenario: z.string(),
    protocol: z.string(),
    seed: z.number().nullable(),
    coordinator: z.string().nullable(),
    source: z.enum(["generated", "file", "stdin"]).nullable(),
    batch: z.union([count, z.literal("auto")]).nullable(),
    rate_per_s: z.number().nullable().describe("questions due per second (open loop); null = as fast as workers are free"),
    partial: z.boolean().describe("the queue was not closed: interrupted, starved, or still going on"),
    questions: count.nullable().describe("of the source; null = an endless stream"),
    recorded: count.describe("questions with a result"),
    recorded_before: count.describe("of these, by an earlier run that this one went on from; not in the times"),
    missing: count
      .nullable()
      .describe("questions without a result: 0 unless partial; null = an endless stream that was not ended"),
    answered: count,
    no_answer: count,
    failed: count.describe("every attempt was used up"),
    rejected_lines: count,
    repeated_lines: count.describe("lines of the results about a question that had one: 0 always"),
    only_in_events: count.describe("results that the events know and the results file does not: 0 unless it was lost"),
    sessions: count.describe("1, and one more for each resumption of an interrupted run"),
    paused_ms: z.number().describe("from the last result before an interruption until questions left again; in no other measure"),
    total_ms: ms.describe("first question out to last result, pauses left out"),
    throughput_per_s: z.number().nullable().describe("results / total"),
    success_rate: rate.describe("answered / recorded"),
    correctness: z
      .object({ graded: count, right: count, rate })
      .describe("answers equal to the gold answer once normalised / questions with a gold answer that are recorded"),
    latency_ms: distribution.describe(
      "from the intended start: when it was due by the schedule (open loop), else when it was first pulled, also by a coordinator that died since; answered and no_answer",
    ),
    latency_corrected_ms: corrected.nullable().describe("the same, corrected for coordinated omission"),
    service_ms: distribution.describe("from the leaving of the message that brought the answer: what hides retries and stalls"),
    longest_gap: z
      .object({ ms: z.number(), from_ms: z.number() })
      .nullable()
      .describe("longest time without a result, and when it began, ms after the first question left"),
    per_bin: z.object({ bin_ms: z.number(), results: z.array(count) }).describe("results by time since the first question left"),
    attempts: z.object({ messages: count, retried_questions: count, retries: count, max: count, mean: z.number().nullable() }),
    timeouts: count,
    errors: byCode.describe("failed attempts by code, whatever failed"),
    network_errors: count.describe(
      "of these: refused, reset, timeout, aborted, unhealthy, unknown_agent, protocol; the others are bad answers",
    ),
    duplicates: z.object({ n: count, same_answer: count }).describe("answers beyond the first: counted, not recorded"),
    quarantines: count,
    restarts: count.describe("of the coordinator, from its journal"),
    balance: z.object({ by_worker: balance, by_protocol: balance }),
    workers: z.array(worker),
    protocols: z.array(perProtocol),
    bytes: z.object({
      sent: z.number(),
      received: z.number(),
      per_question: z
        .number()
        .nullable()
        .describe("TCP payload of all messages with questions, failed ones included, / recorded"),
      other: z.record(z.string(), z.number()).describe("of the coordinators' other messages, by kind"),
    }),
    llm: modelUseSchema.optional(),
    crashes: z.array(crash),
    bad_lines: count.describe("lines of events or results that could not be read"),
    reasons: z.record(z.string(), z.string()).describe("for measures that are null: why"),
  })
  .meta({ title: "Metrics of a failstorm streaming queue" });

export type QueueMetrics = z.infer<typeof queueMetricsSchema>;
