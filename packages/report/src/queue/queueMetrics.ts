import path from "node:path";
import type { RunEventOf } from "@failstorm/core";
import { ModelUseTally } from "../llm/modelUse.ts";
import type { ModelUse } from "../llm/modelUseSchema.ts";
import { writeWholeFile } from "../wholeFile.ts";
import { CrashWatch } from "./crashWatch.ts";
import { Column, describe, describeCorrected, quantile } from "./numbers.ts";
import { eventFiles, QUEUE_RESULTS_FILE, streamEvents, streamResults } from "./queueFiles.ts";
import { QUEUE_METRICS_SCHEMA_VERSION, type QueueMetrics, queueMetricsSchema } from "./queueSchema.ts";
import { QuestionTable } from "./questionTable.ts";
import { type CoordinatorTally, QueueTally } from "./tally.ts";
import { bytesOf, crashRows, protocolRows, sharesOf, sumCodes, workerRows } from "./workerTables.ts";

export const QUEUE_METRICS_FILE = "queue_metrics.json";

const MAX_BINS = 3600;
/** Failures of a worker that was reached: its answer is an error, none, or none to this question. */
const ANSWER_FAILURES = new Set(["remote", "garbage", "missing"]);

/** CLOCK_MONOTONIC ms. */
interface Session {
  readonly at: number;
  /** null: no question was left to be asked. */
  firstDispatchAt: number | null;
}

/** What is looked at of the configuration in `run.started`. */
interface StartedConfig {
  readonly scenario?: { readonly name?: string; readonly protocol?: string; readonly seed?: number };
  readonly queue?: { readonly rate?: number | null };
}

interface QueueRecord {
  /** The run's starts: the first, and every resumption of an interrupted one. */
  readonly sessions: readonly Session[];
  readonly started: RunEventOf<"run.started"> | null;
  readonly tally: QueueTally;
  readonly root: CoordinatorTally | null;
  readonly table: QuestionTable;
  readonly crashes: CrashWatch;
  readonly modelUse: ModelUse | null;
  readonly badLines: number;
}

/**
 * Every measure of a streaming queue, from the run's events and its results file alone, line by line: memory holds some numbers per
 * question, never the files. Throws InputError when `dir` is no run's folder.
 */
export async function computeQueueMetrics(dir: string): Promise<QueueMetrics> {
  const record = await read(dir);
  const { started, tally, root, table } = record;
  const config = (started?.config ?? {}) as StartedConfig;
  // What an earlier session has recorded stands first in the file; its clock may have been that of another boot.
  const recordedBefore = Math.min(table.size, root?.opened[0]?.recorded ?? 0);
  const times = timesOf(table, recordedBefore, root?.firstDispatchAt ?? null, resumptions(record.sessions));
  const counts = countsOf(table, recordedBefore);
  const opened = root?.opened[0];
  const questions = opened?.questions ?? (root?.closed ? table.size : null);
  const coordinators = [...tally.coordinators.values()];
  const total = (pick: (own: CoordinatorTally) => number): number => coordinators.reduce((sum, own) => sum + pick(own), 0);
  const bytes = bytesOf(tally, coordinators, table.size - recordedBefore);
  const workers = workerRows(coordinators);
  const codes = sumCodes(coordinators.map((own) => own.failures));
  const metrics: QueueMetrics = {
    schemaVersion: QUEUE_METRICS_SCHEMA_VERSION,
    run_id: started?.runId ?? path.basename(dir),
    scenario: config.scenario?.name ?? "queue",
    protocol: config.scenario?.protocol ?? opened?.workers[0]?.protocol ?? "unknown",
    seed: config.scenario?.seed ?? null,
    coordinator: root?.src ?? null,
    source: opened?.source ?? null,
    batch: opened?.batch ?? null,
    partial: root?.closed == null,
    questions,
    missing: questions === null ? null : Math.max(0, questions - table.size),
    ...counts,
    rejected_lines: root?.rejected ?? 0,
    repeated_lines: table.repeated,
    only_in_events: table.onlyInEvents,
    ...times.measures,
    rate_per_s: config.queue?.rate ?? null,
    // By a schedule nothing is omitted: a question is due whether anybody pulls it or not.
    latency_corrected_ms: typeof config.queue?.rate === "number" ? null : times.measures.latency_corrected_ms,
    timeouts: codes["timeout"] ?? 0,
    errors: codes,
    network_errors: Object.entries(codes).reduce((sum, [code, n]) => sum + (ANSWER_FAILURES.has(code) ? 0 : n), 0),
    attempts: { ...counts.attempts, messages: root?.messages ?? 0, retries: total(({ retries }) => retries) },
    duplicates: { n: total((own) => own.duplicates), same_answer: total((own) => own.duplicatesSame) },
    quarantines: workers.reduce((sum, row) => sum + row.quarantines, 0),
    sessions: Math.max(1, record.sessions.length),
    restarts: Math.max(0, (root?.opened.length ?? 0) - Math.max(1, record.sessions.length)),
    balance: sharesOf(workers, coordinators),
    workers,
    protocols: protocolRows(workers),
    bytes,
    ...(record.modelUse === null ? {} : { llm: record.modelUse }),
    crashes: crashRows(record.crashes.effects(), coordinators, times.startAt),
    bad_lines: record.badLines,
    reasons: {},
  };
  return { ...metrics, reasons: reasonsOf(metrics) };
}

/** Computes, checks against the schema and writes `queue_metrics.json` into the run's folder, whole or not at all. Throws RunError `METRICS_NOT_WRITTEN`. */
export async function writeQueueMetrics(dir: string): Promise<{ readonly file: string; readonly metrics: QueueMetrics }> {
  const metrics = queueMetricsSchema.parse(await computeQueueMetrics(dir));
  const file = path.join(dir, QUEUE_METRICS_FILE);
  await writeWholeFile(file, `${JSON.stringify(metrics, null, 1)}\n`, "METRICS_NOT_WRITTEN");
  return { file, metrics };
}

async function read(dir: string): Promise<QueueRecord> {
  const files = await eventFiles(dir);
  let badLines = 0;
  const onBad = (): void => {
    badLines += 1;
  };
  const faults: RunEventOf<"fault.injected">[] = [];
  let started: QueueRecord["started"] = null;
  const sessions: Session[] = [];
  const tally = new QueueTally();
  for await (const event of streamEvents(files, { only: ["run.started", "fault.injected", "queue.opened"] })) {
    if (event.ev === "fault.injected" && !event.fake) faults.push(event);
    else if (event.ev === "run.started") {
      started ??= event;
      sessions.push({ at: event.t, firstDispatchAt: null });
    } else tally.add(event);
  }
  // Who is whose worker has to be known before the results of the first coordinator can be told from those of others.
  const rootSrc = tally.root()?.src ?? null;
  const protocolOf = new Map([...(tally.root()?.workers.values() ?? [])].map((worker) => [worker.worker, worker.protocol]));
  const table = new QuestionTable();
  for await (const result of streamResults(path.join(dir, QUEUE_RESULTS_FILE), onBad)) table.addResult(result);
  const crashes = new CrashWatch(faults.sort((a, b) => a.before - b.before));
  const firstDispatch = new Map<string, number>();
  const modelUse = new ModelUseTally();
  for await (const event of streamEvents(files, { only: ["queue.", "worker.", "msg.second", "llm."], onBad })) {
    modelUse.add(event);
    if (event.ev !== "queue.opened") tally.add(event);
    crashes.add(event);
    if (event.src !== rootSrc) continue;
    if (event.ev === "queue.dispatched") {
      const session = sessions.findLast(({ at }) => at <= event.t);
      if (session !== undefined) session.firstDispatchAt ??= event.t;
      for (const question of event.questions) {
        const before = firstDispatch.get(question);
        // Nobody waits while an interrupted run is not going on: what was open then is due anew.
        if (before === undefined || sessions.some(({ at }) => at > before && at <= event.t)) firstDispatch.set(question, event.t);
      }
    } else if (event.ev === "queue.result") {
      table.addEvent(event, event.worker === null ? null : (protocolOf.get(event.worker) ?? null));
      settle(table, firstDispatch, event.question);
    }
  }
  for (const question of firstDispatch.keys()) settle(table, firstDispatch, question);
  return { sessions, started, tally, root: tally.root(), table, crashes, modelUse: modelUse.result(), badLines };
}

/** When questions left again, in each session but the first. */
const resumptions = (sessions: readonly Session[]): number[] =>
  sessions.slice(1).flatMap(({ firstDispatchAt }) => (firstDispatchAt === null ? [] : [firstDispatchAt]));

function settle(table: QuestionTable, firstDispatch: Map<string, number>, question: string): void {
  const at = firstDispatch.get(question);
  firstDispatch.delete(question);
  if (at !== undefined) table.dispatched(question, at);
}

type Counts = Pick<
  QueueMetrics,
  "recorded" | "recorded_before" | "answered" | "no_answer" | "failed" | "success_rate" | "correctness"
> & {
  readonly attempts: Pick<QueueMetrics["attempts"], "retried_questions" | "max" | "mean">;
};

function countsOf(table: QuestionTable, recordedBefore: number): Counts {
  const n = { answered: 0, no_answer: 0, failed: 0 };
  let [graded, right, attempts, most, retried] = [0, 0, 0, 0, 0];
  for (const row of table.rows()) {
    n[row.status] += 1;
    if (row.right !== null) graded += 1;
    if (row.right === true) right += 1;
    attempts += row.attempts;
    most = Math.max(most, row.attempts);
    if (row.attempts > 1) retried += 1;
  }
  return {
    recorded: table.size,
    recorded_before: recordedBefore,
    ...n,
    success_rate: table.size === 0 ? null : n.answered / table.size,
    correctness: { graded, right, rate: graded === 0 ? null : right / graded },
    attempts: { retried_questions: retried, max: most, mean: table.size === 0 ? null : attempts / table.size },
  };
}

type TimeMeasures = Pick<
  QueueMetrics,
  "total_ms" | "paused_ms" | "throughput_per_s" | "latency_ms" | "latency_corrected_ms" | "service_ms" | "longest_gap" | "per_bin"
>;

/** The first `skipped` questions of the table are left out. */
function timesOf(
  table: QuestionTable,
  skipped: number,
  firstDispatchAt: number | null,
  resumedAt: readonly number[],
): { readonly startAt: number; readonly measures: TimeMeasures } {
  const latency = new Column();
  const service = new Column();
  const firstTries = new Column();
  const finished = new Column();
  let startAt = firstDispatchAt ?? Number.POSITIVE_INFINITY;
  for (const row of table.rows(skipped)) {
    finished.push(row.finishedAt);
    if (firstDispatchAt === null) startAt = Math.min(startAt, row.intendedAt);
    if (row.status === "failed") continue;
    latency.push(row.finishedAt - row.intendedAt);
    if (Number.isNaN(row.sentAt)) continue;
    service.push(row.finishedAt - row.sentAt);
    if (row.attempts === 1) firstTries.push(row.finishedAt - row.sentAt);
  }
  const ends = finished.sorted();
  const pauses = pausesOf(ends, startAt, resumedAt);
  const paused = pauses.reduce((sum, { from, to }) => sum + to - from, 0);
  const total = ends.length === 0 ? null : Math.max(0, (ends.at(-1) ?? 0) - startAt - paused);
  const pace = firstTries.length === 0 ? null : quantile(firstTries.sorted(), 0.5);
  return {
    startAt,
    measures: {
      total_ms: total === null ? null : round(total),
      throughput_per_s: total === null || total === 0 ? null : (ends.length / total) * 1000,
      latency_ms: describe(latency),
      latency_corrected_ms: describeCorrected(latency, pace),
      service_ms: describe(service),
      paused_ms: round(paused),
      longest_gap: longestGap(ends, startAt, pauses),
      per_bin: binsOf(ends, startAt, (total ?? 0) + paused),
    },
  };
}

const round = (ms: number): number => Math.round(ms * 1000) / 1000;

interface Pause {
  readonly from: number;
  readonly to: number;
}

/** From the last result before each resumption until questions left again. */
function pausesOf(ends: Float64Array, startAt: number, resumedAt: readonly number[]): Pause[] {
  return resumedAt
    .filter((to) => to > startAt && to < (ends.at(-1) ?? Number.NEGATIVE_INFINITY))
    .map((to) => ({ from: Math.max(startAt, ends.findLast((at) => at <= to) ?? startAt), to }));
}

function longestGap(ends: Float64Array, startAt: number, pauses: readonly Pause[]): QueueMetrics["longest_gap"] {
  if (ends.length === 0) return null;
  let gap = { ms: 0, from: startAt };
  let before = startAt;
  for (const at of ends) {
    const began = before;
    const from = pauses.find((pause) => pause.from === began)?.to ?? began;
    if (at - from > gap.ms) gap = { ms: at - from, from };
    before = at;
  }
  return { ms: round(gap.ms), from_ms: round(gap.from - startAt) };
}

function binsOf(ends: Float64Array, startAt: number, total: number): QueueMetrics["per_bin"] {
  const binMs = Math.max(1, Math.ceil(total / 1000 / MAX_BINS)) * 1000;
  const results = Array.from({ length: ends.length === 0 ? 0 : Math.floor(total / binMs) + 1 }, () => 0);
  for (const at of ends) {
    const bin = Math.min(results.length - 1, Math.max(0, Math.floor((at - startAt) / binMs)));
    results[bin] = (results[bin] ?? 0) + 1;
  }
  return { bin_ms: binMs, results };
}

function reasonsOf(metrics: QueueMetrics): Record<string, string> {
  const reasons: Record<string, string> = {};
  if (metrics.total_ms === null) reasons["total_ms"] = "no question was finished in this run";
  if (metrics.correctness.rate === null) reasons["correctness.rate"] = "the questions have no gold answers";
  if (metrics.latency_corrected_ms === null) {
    const byPace = "no question was answered at its first attempt: there is no pace to correct by";
    reasons["latency_corrected_ms"] =
      metrics.rate_per_s === null ? byPace : "the questions were due by a schedule: nothing is omitted";
  }
  if (metrics.questions === null) reasons["questions"] = "an endless stream";
  for (const [name, needed] of [
    ["p50", 1],
    ["p90", 10],
    ["p95", 20],
    ["p99", 100],
    ["p99_9", 1000],
  ] as const) {
    if (metrics.latency_ms[name] === null)
      reasons[`latency_ms.${name}`] = `${metrics.latency_ms.n} answers, at least ${needed} needed`;
  }
  return reasons;
}
