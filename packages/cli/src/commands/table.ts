import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { InputError } from "@failstorm/core";
import type { FailstormMetrics } from "@failstorm/report";
import { METRICS_FILE, METRICS_SCHEMA_VERSION } from "@failstorm/report";
import Table from "cli-table3";
import { userFolder } from "../project.ts";
import { painter, useColor } from "../view/log.ts";

interface Headline {
  readonly measure: string;
  readonly unit: string;
  readonly pick: (metrics: FailstormMetrics) => number | null | undefined;
  /** Multiplies the value for display. */
  readonly factor?: number;
}

const HEADLINES: readonly Headline[] = [
  { measure: "orphaned tasks", unit: "tasks", pick: (m) => m.orphaned_tasks },
  { measure: "detection, first", unit: "ms", pick: (m) => m.detection_ms?.first },
  { measure: "detection, median", unit: "ms", pick: (m) => m.detection_ms?.p50 },
  { measure: "detection, last", unit: "ms", pick: (m) => m.detection_ms?.last },
  { measure: "transport notice, last", unit: "ms", pick: (m) => m.transport_notice_ms?.last },
  { measure: "recovery", unit: "ms", pick: (m) => m.recovery_ms },
  { measure: "reconnected", unit: "ms", pick: (m) => m.reconnected_ms },
  { measure: "takeover of tasks, last", unit: "ms", pick: (m) => m.takeover_ms?.task.last },
  { measure: "service gap", unit: "ms", pick: (m) => m.service_gap_ms },
  { measure: "steady state", unit: "ms", pick: (m) => m.steady_state_ms },
  { measure: "rejoin, last", unit: "ms", pick: (m) => m.rejoin_ms?.last },
  { measure: "bytes caused by the fault", unit: "kB", pick: (m) => m.bytes_reconnect?.total, factor: 0.001 },
  { measure: "success-rate drop", unit: "%", pick: (m) => m.success_rate_drop, factor: 100 },
  { measure: "duplicate work", unit: "%", pick: (m) => m.duplicate_work_ratio, factor: 100 },
  { measure: "goodput", unit: "%", pick: (m) => m.goodput.measured.rate, factor: 100 },
  { measure: "latency p50", unit: "ms", pick: (m) => m.work.latency_ms.p50 },
  { measure: "latency p99", unit: "ms", pick: (m) => m.work.latency_ms.p99 },
  { measure: "tasks lost", unit: "tasks", pick: (m) => m.tasks_lost },
  { measure: "false positives", unit: "detections", pick: (m) => m.false_positives },
  { measure: "machine busy", unit: "%", pick: (m) => m.load.machine_busy, factor: 100 },
];

/** `given`: a run's folder, or a file of metrics. Throws InputError when it is neither. */
function readMetrics(given: string): FailstormMetrics {
  const at = path.resolve(userFolder(), given);
  const file = existsSync(at) && statSync(at).isDirectory() ? path.join(at, METRICS_FILE) : at;
  if (!existsSync(file))
    throw new InputError(
      `table ${given}: no ${METRICS_FILE} there; give folders of finished runs (failstorm report DIR makes it)`,
    );
  try {
    const metrics = JSON.parse(readFileSync(file, "utf8")) as FailstormMetrics | null;
    if (metrics?.schemaVersion === METRICS_SCHEMA_VERSION) return metrics;
  } catch (cause) {
    throw new InputError(`table ${given}: is not readable as JSON; give folders of finished runs`, { cause });
  }
  throw new InputError(
    `table ${given}: holds no metrics of a run that this version can read; give folders of finished runs (failstorm report DIR makes them anew)`,
  );
}

export interface SummaryRow {
  readonly measure: string;
  readonly unit: string;
  readonly median: number | null;
  readonly min: number | null;
  readonly max: number | null;
  /** Runs in which the measure was reached. */
  readonly reached: number;
}

/** Median and range of each headline measure over the runs in which it was reached. */
export function summariseRuns(runs: readonly FailstormMetrics[]): SummaryRow[] {
  return HEADLINES.map(({ measure, unit, pick, factor = 1 }) => {
    const values = runs
      .flatMap((metrics) => pick(metrics) ?? [])
      .map((value) => value * factor)
      .toSorted((a, b) => a - b);
    const middle = values.slice(Math.ceil(values.length / 2) - 1, Math.floor(values.length / 2) + 1);
    const median = values.length === 0 ? null : middle.reduce((sum, value) => sum + value, 0) / middle.length;
    return { measure, unit, median, min: values[0] ?? null, max: values.at(-1) ?? null, reached: values.length };
  });
}

const shown = (value: number | null): string =>
  value === null ? "–" : value.toLocaleString("en-US", { maximumFractionDigits: Math.abs(value) < 100 ? 2 : 0 });

/** `failstorm table DIR…`: one table over repeated runs. */
export function table(given: readonly string[]): number {
  const runs = given.map(readMetrics);
  const paint = painter(useColor(process.stdout));
  const rows = new Table({
    head: ["measure", "median", "range", "unit", "reached in"].map((word) => paint("bold", word)),
    style: { head: [], border: [], compact: true },
    colAligns: ["left", "right", "right", "left", "right"],
  });
  for (const { measure, unit, median, min, max, reached } of summariseRuns(runs))
    rows.push([
      measure,
      shown(median),
      min === null ? "–" : `${shown(min)} … ${shown(max)}`,
      unit,
      `${reached} of ${runs.length}`,
    ]);
  process.stdout.write(`${rows.toString()}\n`);
  const kinds = new Set(runs.map(({ scenario, protocol, agent_count }) => `${scenario} / ${protocol} / ${agent_count} agents`));
  process.stdout.write(`${runs.length} runs: ${[...kinds].join("; ")}; seeds ${runs.map(({ seed }) => seed).join(", ")}\n`);
  const count = (what: string, is: (metrics: FailstormMetrics) => boolean): void => {
    const seeds = runs.filter(is).map(({ seed }) => seed);
    if (seeds.length > 0) process.stdout.write(`${what}: ${seeds.length} of ${runs.length} (seeds ${seeds.join(", ")})\n`);
  };
  count("not valid", ({ valid }) => !valid);
  count("saturated", ({ saturated }) => saturated);
  count("partial", ({ partial }) => partial);
  if (kinds.size > 1) process.stdout.write("these runs differ in kind: do not read them as repeats\n");
  return 0;
}
