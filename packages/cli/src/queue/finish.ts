import { closeSync, existsSync, openSync, readFileSync, readSync, writeFileSync } from "node:fs";
import path from "node:path";
import { StringDecoder } from "node:string_decoder";
import { InputError, type RunEvent } from "@failstorm/core";
import type { Outcome } from "@failstorm/orchestrator";
import type { QueueMetrics } from "@failstorm/report";
import type { CheckResult } from "@failstorm/scenarios";
import { shownPath } from "../commands/config.ts";
import { formatLine, log, painter, useColor } from "../view/log.ts";
import { renderTable } from "../view/resultTable.ts";
import { type QueueRunFile, readRunFile, writeRunFile } from "./folder.ts";

/** The results as one document. */
const RESULTS_DOCUMENT = "queue_results.json";
const FILE_COLUMNS = 160;
export const INVARIANT_BROKEN = 3;

export interface QueueSummary {
  readonly metrics: QueueMetrics;
  readonly check: CheckResult;
}

/** Everything that is derived from a queue's events and results: metrics, invariants, the results as one document. `ended`: null = as the events say. */
export async function summariseQueue(
  runDir: string,
  run: QueueRunFile,
  ended: Pick<Outcome, "status" | "reason"> | null,
): Promise<QueueSummary> {
  const [{ mergeEvents }, { writeQueueMetrics, QUEUE_RESULTS_FILE }, { checkQueue }, { writeResultsDocument }] =
    await Promise.all([
      import("@failstorm/orchestrator"),
      import("@failstorm/report"),
      import("@failstorm/scenarios"),
      import("@failstorm/qa"),
    ]);
  await mergeEvents(runDir);
  const journal = path.join(runDir, QUEUE_RESULTS_FILE);
  // A queue that was interrupted before it had opened has none.
  if (!existsSync(journal)) writeFileSync(journal, "");
  const outcome = ended ?? outcomeIn(path.join(runDir, "events.ndjson"));
  const { metrics } = await writeQueueMetrics(runDir);
  const isWhole = outcome.status === "done" && !metrics.partial;
  const check = checkQueue({
    results: jsonLines(journal, (value) => value as { seq: number; id: string; status: "answered" }),
    questions: metrics.questions,
    whole: isWhole,
    events: checkedEvents(path.join(runDir, "events.ndjson")),
  });
  const { scenario, queue } = run.config;
  await writeResultsDocument(journal, path.join(runDir, RESULTS_DOCUMENT), {
    format: "failstorm-queue-results",
    version: 1,
    run_id: path.basename(runDir),
    protocol: scenario.protocol,
    seed: scenario.seed,
    status: outcome.status,
    reason: outcome.reason,
    complete: isWhole,
    sessions: run.sessions,
    queue,
    metrics,
  });
  // A queue that was closed over results that are not there is to be gone on with.
  writeRunFile(runDir, { ...run, complete: isWhole && (metrics.missing ?? 0) === 0 });
  return { metrics, check };
}

function* jsonLines<T>(file: string, read: (value: unknown) => T): Generator<T | null> {
  for (const line of linesOf(file)) {
    if (line === "") continue;
    try {
      yield read(JSON.parse(line));
    } catch {
      yield null;
    }
  }
}

/** How a run ended, by its last word; one whose orchestrator was killed has none. */
function outcomeIn(file: string): Pick<Outcome, "status" | "reason"> {
  let last: RunEvent | null = null;
  for (const line of linesOf(file)) if (line.includes('"ev":"run.finished"')) last = JSON.parse(line) as RunEvent;
  if (last?.ev === "run.finished") return { status: last.status, reason: last.reason };
  return { status: "interrupted", reason: "its orchestrator ended without a word" };
}

const CHUNK_BYTES = 1 << 20;

/** Piece by piece: an endless queue's events are more than one text can hold. */
function* linesOf(file: string): Generator<string> {
  if (!existsSync(file)) return;
  const fd = openSync(file, "r");
  try {
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    const decoder = new StringDecoder("utf8");
    let rest = "";
    for (let n = readSync(fd, buffer); n > 0; n = readSync(fd, buffer)) {
      const lines = (rest + decoder.write(buffer.subarray(0, n))).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
    if (rest !== "") yield rest;
  } finally {
    closeSync(fd);
  }
}

/** What the invariants are about; most lines are messages and need not be parsed. */
const CHECKED_EVENT = /"ev":"(?:queue\.|worker\.|fault\.injected"|agent\.exited"|agent\.ready")/;

function* checkedEvents(file: string): Generator<RunEvent> {
  for (const line of linesOf(file)) if (CHECKED_EVENT.test(line)) yield JSON.parse(line) as RunEvent;
}

/** Writes the result to stdout, broken invariants to stderr. */
export async function printQueue(
  { metrics, check }: QueueSummary,
  options: { readonly runDir: string; readonly json: boolean; readonly quiet: boolean; readonly published: boolean },
): Promise<void> {
  const { runDir, json, quiet, published } = options;
  const { publishedQueueRows, PUBLISHED_QUEUE, QUEUE_METRICS_FILE, queueRows } = await import("@failstorm/report");
  for (const violation of check.violations) log("ERROR", `invariant broken: ${violation.invariant}: ${violation.message}`);
  if (json) {
    process.stdout.write(readFileSync(path.join(runDir, QUEUE_METRICS_FILE)));
    return;
  }
  const paint = painter(useColor(process.stdout));
  const columns = process.stdout.isTTY ? process.stdout.columns : FILE_COLUMNS;
  const say = (level: "SUCCESS" | "WARNING" | "INFO", text: string): void =>
    void process.stdout.write(`${formatLine({ level, tag: null, text }, paint)}\n`);
  process.stdout.write(`${renderTable(queueRows(metrics), columns, paint)}\n`);
  if (published) {
    const rows = publishedQueueRows(metrics, PUBLISHED_QUEUE);
    if (rows.length === 0) say("INFO", `${metrics.protocol} is not in the published table (${PUBLISHED_QUEUE.source})`);
    else process.stdout.write(`${renderTable(rows, columns, paint)}\n`);
    for (const difference of PUBLISHED_QUEUE.differences) say("INFO", difference);
  }
  for (const { invariant, message } of check.warnings) say("WARNING", `${invariant}: ${message}`);
  if (quiet) return;
  if (check.violations.length === 0 && !metrics.partial) say("SUCCESS", "every question has its one result");
  say("INFO", `results ${shownPath(path.join(runDir, RESULTS_DOCUMENT))}`);
}

/** A queue's metrics, results and table again, from what was recorded. Returns the exit code. */
export async function reportQueue(runDir: string, json: boolean): Promise<number> {
  const run = readRunFile(runDir);
  if (run === null) throw new InputError(`report ${runDir}: is no folder of a queue`);
  const summary = await summariseQueue(runDir, run, null);
  await printQueue(summary, { runDir, json, quiet: false, published: false });
  return summary.check.violations.length > 0 ? INVARIANT_BROKEN : 0;
}
