import { WORK_STATES } from "@failstorm/core";
import { z } from "zod";
import { TASK_COLUMNS } from "./breakdown.ts";
import { modelUseSchema } from "./llm/modelUseSchema.ts";
import { mixSchema } from "./meta/mixSchema.ts";
import { FAULT_CAUSES } from "./traffic.ts";

/** Raised when a field is removed or changes its meaning; new fields do not raise it. */
export const METRICS_SCHEMA_VERSION = 1;

const ms = z.number().nullable();
const count = z.number().int().nonnegative();
const rate = z.number().min(0).max(1).nullable();

const spread = z
  .object({ first: ms, p50: ms, last: ms, reached: count, total: count })
  .describe("ms; members that never got there count as infinitely late, so `last` is null unless reached = total");

const latency = z
  .object({ n: count, mean: ms, p50: ms, p90: ms, p95: ms, p99: ms, p99_9: ms, max: ms })
  .describe("ms; a percentile p is null when n < 1 / (1 - p)");

const goodput = z.object({ n: count, good: count, rate }).describe("good = right and in the deadline; n = tasks of the schedule");

const how = z.enum(["probe", "gossip", "transport", "incarnation"]);

const reasons = z
  .record(z.string(), z.string())
  .describe("for every measure of this object that is null: why, by the measure's name (dotted for a part of one)");

const duplicateWork = z.object({
  executions: count,
  steps: count,
  duplicates: count.describe("beside another execution of the same (task, step) that completed or ran at the same time"),
  redo_lost: count.describe("every earlier execution had died with its executor: necessary"),
  redo_failed: count.describe("an earlier execution had failed by itself"),
});

const pairedDifference = z
  .object({
    n: count,
    run: rate,
    control: rate,
    difference: z.number().nullable().describe("control - run, goodput of the same tasks of the schedule"),
    only_run: count,
    only_control: count,
  })
  .describe("against a run of the same schedule without a fault, over the tasks of the post window");

/** What one fault (cycle) did. */
export const stormSchema = z.object({
  cycle: z.number().int(),
  kind: z.enum(["sigkill", "sigstop", "sigterm"]),
  fake: z.boolean().describe("the marker only; no signal was sent"),
  at_ms: z.number().describe("first victim's stamp before kill(2), ms after the run's t=0"),
  until_ms: z.number().describe("end of the interval these measures look at, ms after the fault"),
  victims: z.array(
    z.object({
      agent: z.string(),
      incarnation: z.number().int(),
      before: z.number().describe("CLOCK_MONOTONIC ms before its kill(2)"),
      after: z.number(),
    }),
  ),
  survivors: z.array(z.string()),
  orphaned_tasks: count.describe("tasks of victims, due and unfinished at the fault"),
  affected_tasks: count.describe("tasks whose owner or needed holder was a victim"),
  detection_ms: spread.extend({
    by_how: z.partialRecord(how, spread),
    pairs: z.array(z.object({ survivor: z.string(), victim: z.string(), ms, how: how.nullable() })),
  }),
  transport_notice_ms: spread.describe("ms; total: pairs of a victim and a survivor that monitors it"),
  recovery_ms: ms,
  reconnected_ms: ms.describe("links equal those of the repaired topology among the survivors"),
  reconnected_watched_ms: z
    .number()
    .optional()
    .describe("how long reconnected_ms was watched for: until the first victim was back, or until_ms"),
  reconnected_all_ms: ms.describe("links equal those of the topology with the restarted victims"),
  takeover_ms: z.object({ shard: spread, tool: spread, task: spread.describe("right answers to orphaned tasks") }),
  service_gap_ms: ms,
  steady_state_ms: ms,
  steady_state_windows: z.array(
    z.object({
      from_ms: z.number(),
      to_ms: z.number(),
      n: count,
      good: count,
      needed: count.describe("good tasks needed to pass"),
    }),
  ),
  recovered_work: z
    .object({ asked: count, by_state: z.partialRecord(z.enum(WORK_STATES), count) })
    .nullable()
    .describe(
      "work in flight at a victim when contact was lost, which survivors asked its next incarnation for while they reconnected, and what they were told; null: nobody could ask",
    ),
  rejoin_ms: spread.extend({
    victims: z.array(z.tuple([z.string(), ms])),
    watched_ms: ms
      .optional()
      .describe("how long one that never rejoined was watched for, from its spawn; the longest; null when all did"),
  }),
  bytes_reconnect: z
    .object({
      total: z.number(),
      by_cause: z.record(z.enum(FAULT_CAUSES), z.number()),
      window: z
        .object({ seconds: count, before: count, after: count })
        .describe("all bytes of the survivors, whatever their cause"),
      reconciliation: z.object({ attributed: z.number(), on_sockets: z.number(), ratio: z.number().nullable() }),
    })
    .describe("TCP payload bytes on the survivors' client sockets, both directions; victims' sockets are excluded"),
  success_rate_drop: z.number().nullable().describe("(pre - post) / pre of goodput"),
  success_rate: z.object({ pre: goodput, post: goodput, after_steady_state: goodput, paired: pairedDifference.nullable() }),
  duplicate_work_ratio: rate.describe(
    "duplicates / executions, over the fault-affected tasks and those taken over from a victim that had finished them",
  ),
  duplicate_work: duplicateWork,
  censored: z
    .array(z.string())
    .describe("measures that are null because the observation ended before they were reached: longer than until_ms, not unknown"),
  too_small: z.boolean().describe("fewer than 5 orphaned tasks: nothing was at stake"),
  reasons,
});

const messageRow = z.object({
  kind: z.string(),
  n: count,
  failed: count,
  bytes_sent: z.number(),
  bytes_received: z.number(),
  round_trips: z.number(),
  mean_ms: ms,
  max_ms: ms,
  recorded_ms: latency,
});

const taskSummary = z.object({
  scheduled: count,
  answered: count,
  right: count,
  good: count,
  no_answer: count,
  expired: count,
  without_outcome: count,
  goodput: rate,
  latency_ms: latency,
});

const headline = stormSchema.omit({ reasons: true }).shape;
type Headline = { [Key in keyof typeof headline]: z.ZodNullable<(typeof headline)[Key]> };

/** `failstorm_metrics.json`. The measures of the first storm stand at the top level; all storms in `storms`. */
export const metricsSchema = z
  .object({
    schemaVersion: z.literal(METRICS_SCHEMA_VERSION),
    run_id: z.string(),
    scenario: z.string(),
    protocol: z.string(),
    seed: z.number(),
    agent_count: count,
    partial: z.boolean(),
    partial_reason: z.string().nullable(),
    valid: z.boolean().describe("false: the numbers must not be compared; why is in invalid_because"),
    invalid_because: z.array(z.string()),
    saturated: z.boolean().describe("machine > 60 % busy between warm-up and fault, or loop lag p99 > 20 ms"),
    load: z.object({
      machine_busy: z.number().nullable().describe("mean between the end of warm-up and the fault"),
      machine_busy_max: z.number().nullable(),
      orchestrator_cpu: z.number().nullable(),
      loop_lag_p99_ms: ms.describe("the worst agent's median, over its samples in that time, of the p99 in a sample interval"),
      loop_lag_p99_ms_max: ms.describe("the largest of those samples"),
      steal: rate.describe("mean share of the machine's time that the hypervisor gave to others, load to end"),
      foreign: rate.describe("mean share of the machine's time taken by processes that are no part of the run, load to end"),
    }),
    ...(Object.fromEntries(Object.entries(headline).map(([key, schema]) => [key, schema.nullable()])) as Headline),
    reasons,
    storms: z.array(stormSchema),
    tasks_lost: count.describe(
      "scheduled tasks without an outcome logged by an agent, those not due at the end of a partial run left out",
    ),
    tasks_lost_ids: z.array(z.string()),
    false_positives: count,
    detector_accuracy: z.object({
      false_positives: count,
      gossip_adoptions: count,
      by_how: z.record(how, count),
      link_hours: z.number(),
      per_link_hour: z.number().nullable(),
      t_mr_ms: ms,
      t_m_ms: ms,
      p_a: rate,
    }),
    prediction: z
      .object({
        predictions: count,
        right: count,
        wrong: count,
        too_late: count.describe("said when the peer had failed already: neither right nor wrong"),
        undecided: count.describe("the record ends within the horizon"),
        precision: rate.describe("right / (right + wrong)"),
        failures: count,
        foreseen: count,
        recall: rate.describe("foreseen / failures; of a process that is killed in good health nothing can be foretold"),
        horizon_ms: z.number(),
        lead_ms: spread.describe("from the first right forecast to the failure"),
      })
      .optional()
      .describe("only with network.predictive"),
    goodput: z.object({ whole: goodput, measured: goodput.describe("from the end of warm-up to a deadline before the end") }),
    work: taskSummary,
    latency_histogram: z
      .array(z.tuple([count, count]))
      .describe("right answers in buckets of at most 1/64 relative width (statistics/histogram.ts): [bucket, count]"),
    schedule_sha256: z.string().describe("of the tasks' times, owners and questions: equal where runs had the same work"),
    answers: z
      .object({ calibrated: z.boolean(), answered: count, exact_match: rate, token_f1: rate, evidence_recall: rate })
      .describe("exact match, token F1 and evidence recall as HotpotQA defines them, means over the tasks that were answered"),
    conflicting_answers: count,
    late_outcomes: count.describe("outcomes beyond the first of a task"),
    duplicate_work_whole_run: duplicateWork,
    steps_deduplicated: count.describe("step requests answered by the protocol's own idempotency"),
    unexpected_exits: z.array(
      z.object({
        agent: z.string(),
        incarnation: z.number().nullable(),
        code: z.number().nullable(),
        signal: z.string().nullable(),
      }),
    ),
    events: z.object({ n: count, bad_lines: count, warnings: count, errors: count }),
    phases: z.array(
      z.object({ phase: z.string(), from_ms: z.number(), to_ms: z.number(), tasks: taskSummary, messages: z.array(messageRow) }),
    ),
    messages: z.array(messageRow),
    agents: z.array(
      z.object({
        agent: z.string(),
        incarnations: count,
        victim: z.boolean(),
        home_tool: z.string().nullable(),
        tasks_home: count,
        tasks_started: count,
        outcomes: count,
        steps: count,
        messages: count,
        bytes_sent: z.number(),
        bytes_received: z.number(),
        cpu_ms: z.number(),
        rss_bytes_max: z.number(),
        loop_lag_p99_ms_max: ms,
        event_us: z.number().nullable(),
      }),
    ),
    meta: mixSchema.optional(),
    llm: modelUseSchema.optional(),
    tasks: z.object({
      columns: z.array(z.enum(TASK_COLUMNS)),
      rows: z.array(z.tuple([z.string(), z.string(), z.string().nullable(), z.string(), z.boolean(), ms, count, z.number()])),
    }),
  })
  .describe("Failstorm metrics, recomputed from the run's events. Times in ms; a measure that was not reached is null, never 0.");

export type FailstormMetrics = z.infer<typeof metricsSchema>;
export type StormMetrics = z.infer<typeof stormSchema>;

/** The JSON schema (2020-12) of `failstorm_metrics.json`. */
export const metricsJsonSchema = (): Record<string, unknown> => ({ ...z.toJSONSchema(metricsSchema) });
