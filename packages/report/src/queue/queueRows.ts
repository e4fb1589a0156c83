import { modelRows } from "../llm/modelRows.ts";
import type { ResultRow } from "../rows.ts";
import type { PublishedQueue } from "./published.ts";
import type { QueueMetrics } from "./queueSchema.ts";

const NONE = "–";
const number = (value: number | null, digits: number): string =>
  value === null ? NONE : value.toLocaleString("en-US", { maximumFractionDigits: digits });
const inMs = (value: number | null): string => number(value, value !== null && value < 100 ? 2 : 0);
const percent = (value: number | null): string => number(value === null ? null : value * 100, 2);

/** The result table of a queue in plain words. */
export function queueRows(metrics: QueueMetrics): ResultRow[] {
  return [
    ...workRows(metrics),
    ...timeRows(metrics),
    ...troubleRows(metrics),
    ...balanceRows(metrics),
    ...modelRows(metrics.llm),
    ...metrics.crashes.flatMap(crashRows),
  ];
}

function workRows(metrics: QueueMetrics): ResultRow[] {
  const { correctness, recorded, missing, questions } = metrics;
  const of = questions === null ? "of a stream" : `of ${number(questions, 0)}`;
  const before = metrics.recorded_before === 0 ? "" : `, ${number(metrics.recorded_before, 0)} of them by an earlier run`;
  const rows: ResultRow[] = [
    { measure: "questions recorded", key: "recorded", value: number(recorded, 0), unit: "questions", note: `${of}${before}` },
    {
      measure: "total time",
      key: "total_ms",
      value: number(metrics.total_ms === null ? null : metrics.total_ms / 1000, 2),
      unit: "s",
      note:
        metrics.reasons["total_ms"] ??
        `first question out to last result${metrics.paused_ms > 0 ? `, ${metrics.sessions} sessions, pauses left out` : ""}`,
    },
    { measure: "throughput", key: "throughput_per_s", value: number(metrics.throughput_per_s, 1), unit: "questions/s", note: "" },
    {
      measure: "success",
      key: "success_rate",
      value: percent(metrics.success_rate),
      unit: "%",
      note: `${metrics.answered} answered, ${metrics.no_answer} without an answer, ${metrics.failed} failed`,
    },
    {
      measure: "correctness",
      key: "correctness.rate",
      value: percent(correctness.rate),
      unit: "%",
      note: metrics.reasons["correctness.rate"] ?? `${correctness.right} of ${correctness.graded} equal to the gold answer`,
    },
  ];
  if (missing !== null && missing > 0)
    rows.push({
      measure: "missing",
      key: "missing",
      value: number(missing, 0),
      unit: "questions",
      note: "without a result: resume the run",
    });
  return rows;
}

function timeRows(metrics: QueueMetrics): ResultRow[] {
  const { latency_ms: latency, latency_corrected_ms: corrected, service_ms: service, longest_gap: gap } = metrics;
  const tail = (of: {
    p50: number | null;
    p90: number | null;
    p95: number | null;
    p99: number | null;
    p99_9: number | null;
  }): string => [of.p50, of.p90, of.p95, of.p99, of.p99_9].map(inMs).join(" / ");
  return [
    {
      measure: "latency",
      key: "latency_ms.mean",
      value: [latency.mean, latency.std, latency.min, latency.max].map(inMs).join(" / "),
      unit: "ms mean / std / min / max",
      note: `${number(latency.n, 0)} questions, from the intended start`,
    },
    { measure: "latency", key: "latency_ms.p50", value: tail(latency), unit: "ms p50 / p90 / p95 / p99 / p99.9", note: "" },
    {
      measure: "latency, corrected",
      key: "latency_corrected_ms",
      value: corrected === null ? NONE : tail(corrected),
      unit: "ms p50 / p90 / p95 / p99 / p99.9",
      note:
        metrics.reasons["latency_corrected_ms"] ??
        `for coordinated omission: ${number(corrected?.missing ?? 0, 0)} pulls added at one per ${inMs(corrected?.interval_ms ?? null)} ms`,
    },
    {
      measure: "service",
      key: "service_ms.p50",
      value: tail(service),
      unit: "ms p50 / p90 / p95 / p99 / p99.9",
      note: "last attempt only",
    },
    {
      measure: "longest gap",
      key: "longest_gap.ms",
      value: inMs(gap?.ms ?? null),
      unit: "ms",
      note: gap === null ? "" : `without any result, from ${number(gap.from_ms / 1000, 2)} s`,
    },
  ];
}

function troubleRows(metrics: QueueMetrics): ResultRow[] {
  const codes = Object.entries(metrics.errors).map(([code, n]) => `${code} ${n}`);
  const { attempts, duplicates, quarantines, restarts } = metrics;
  return [
    {
      measure: "retries",
      key: "attempts.retries",
      value: number(attempts.retries, 0),
      unit: "attempts",
      note: `${attempts.retried_questions} questions, at most ${attempts.max} attempts`,
    },
    { measure: "time-outs", key: "timeouts", value: number(metrics.timeouts, 0), unit: "attempts", note: "" },
    {
      measure: "errors",
      key: "errors",
      value: number(
        Object.values(metrics.errors).reduce((a, b) => a + b, 0),
        0,
      ),
      unit: "attempts",
      note: codes.length === 0 ? "" : `${metrics.network_errors} of the network; ${codes.join(", ")}`,
    },
    {
      measure: "duplicates",
      key: "duplicates.n",
      value: number(duplicates.n, 0),
      unit: "answers",
      note: "beyond the first, not recorded",
    },
    {
      measure: "quarantines",
      key: "quarantines",
      value: number(quarantines, 0),
      unit: "",
      note: `${restarts} restarts of the coordinator`,
    },
  ];
}

function balanceRows(metrics: QueueMetrics): ResultRow[] {
  const { by_worker: workers, by_protocol: protocols } = metrics.balance;
  const rows: ResultRow[] = [
    {
      measure: "load balance",
      key: "balance.by_worker.gini",
      value: [workers.gini, workers.variance].map((value) => number(value, 5)).join(" / "),
      unit: "Gini / variance of shares",
      note: `${workers.n} workers, ${percent(workers.min_share)} to ${percent(workers.max_share)} % each`,
    },
  ];
  if (protocols.n > 1)
    rows.push({
      measure: "load balance of protocols",
      key: "balance.by_protocol.gini",
      value: [protocols.gini, protocols.variance].map((value) => number(value, 5)).join(" / "),
      unit: "Gini / variance of shares",
      note: metrics.protocols.map((own) => `${own.protocol} ${percent(own.share)} %`).join(", "),
    });
  rows.push({
    measure: "bytes",
    key: "bytes.per_question",
    value: number(metrics.bytes.per_question, 0),
    unit: "bytes/question",
    note: `${number(metrics.bytes.sent, 0)} sent, ${number(metrics.bytes.received, 0)} received; retries included`,
  });
  return rows;
}

function crashRows(crash: QueueMetrics["crashes"][number]): ResultRow[] {
  const who = `${crash.agent} killed`;
  const at = `${crash.kind} at ${number(crash.at_ms / 1000, 2)} s`;
  const first: ResultRow =
    crash.role === "coordinator"
      ? {
          measure: who,
          key: "crashes",
          value: inMs(crash.returned_ms),
          unit: "ms to the reopened queue",
          note: `${at}; ${crash.in_flight} questions in flight`,
        }
      : {
          measure: who,
          key: "crashes",
          value: [crash.noticed_ms, crash.quarantined_ms].map(inMs).join(" / "),
          unit: "ms noticed / quarantined",
          note: `${at}, by ${crash.noticed_by ?? "nothing: no message failed"}; ${crash.in_flight} questions in flight`,
        };
  return [
    first,
    {
      measure: `${who}: gap`,
      key: "crashes",
      value: [crash.gap_ms, crash.finished_last_ms].map(inMs).join(" / "),
      unit: "ms to the next result / to the last in flight",
      note: `${crash.redispatched} sent again, ${crash.finished} of ${crash.in_flight} finished, ${crash.duplicates} answered twice and recorded once`,
    },
  ];
}

const inS = (ms: number | null): string => number(ms === null ? null : ms / 1000, ms !== null && ms < 10_000 ? 3 : 1);
const PUBLISHED_UNIT = "s total / mean / min / max / std";

/** The published table of a queue with a run of ours above it: one row each. */
export function publishedQueueRows(metrics: QueueMetrics, published: PublishedQueue): ResultRow[] {
  const { latency_ms: latency, workers, answered, recorded } = metrics;
  const ours = {
    measure: `ours: ${metrics.protocol}`,
    value: [metrics.total_ms, latency.mean, latency.min, latency.max, latency.std].map(inS).join(" / "),
    unit: PUBLISHED_UNIT,
    note: answeredNote(answered, recorded, sharesText(workers.map((worker) => worker.answered))),
  };
  const theirs = published.rows.map((row) => ({
    measure: `published: ${row.protocol}`,
    value: [row.total_ms, row.mean_ms, row.min_ms, row.max_ms, row.std_ms].map(inS).join(" / "),
    unit: PUBLISHED_UNIT,
    note: answeredNote(row.answered, row.questions, row.per_worker === null ? "" : sharesText(row.per_worker)),
  }));
  return [ours, ...theirs];
}

const sharesText = (counts: readonly number[]): string => (counts.length > 8 ? "" : `, ${counts.join("/")} per worker`);

const answeredNote = (answered: number | null, of: number, shares: string): string =>
  `${answered === null ? `${of} questions` : `${answered} of ${of} answered`}${shares}`;
