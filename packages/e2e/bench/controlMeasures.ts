import type { FailstormMetrics } from "@failstorm/report";

/** What a measure is about; an experiment says which kinds it may move. */
export type MeasureKind = "bytes" | "duplicates" | "other";

export interface Measure {
  readonly name: string;
  readonly kind: MeasureKind;
  readonly of: (metrics: FailstormMetrics) => number | null;
}

const total = (metrics: FailstormMetrics, of: (row: FailstormMetrics["messages"][number]) => number): number =>
  metrics.messages.reduce((sum, row) => sum + of(row), 0);

const allBytes = (metrics: FailstormMetrics): number => total(metrics, (row) => row.bytes_sent + row.bytes_received);

/** Everything of a run that a reader would compare two protocols by. */
export const MEASURES: readonly Measure[] = [
  { name: "bytes of the run", kind: "bytes", of: allBytes },
  { name: "bytes per message", kind: "bytes", of: (m) => allBytes(m) / total(m, (row) => row.n) },
  { name: "bytes_reconnect", kind: "bytes", of: (m) => m.bytes_reconnect?.total ?? null },
  { name: "duplicate_work_ratio", kind: "duplicates", of: (m) => m.duplicate_work_ratio },
  { name: "duplicates of the run", kind: "duplicates", of: (m) => m.duplicate_work_whole_run.duplicates },
  { name: "steps deduplicated", kind: "duplicates", of: (m) => m.steps_deduplicated },
  { name: "detection_ms.p50", kind: "other", of: (m) => m.detection_ms?.p50 ?? null },
  { name: "detection_ms.last", kind: "other", of: (m) => m.detection_ms?.last ?? null },
  { name: "recovery_ms", kind: "other", of: (m) => m.recovery_ms },
  { name: "reconnected_ms", kind: "other", of: (m) => m.reconnected_ms },
  { name: "takeover_ms.shard.p50", kind: "other", of: (m) => m.takeover_ms?.shard.p50 ?? null },
  { name: "takeover_ms.tool.p50", kind: "other", of: (m) => m.takeover_ms?.tool.p50 ?? null },
  { name: "takeover_ms.task.p50", kind: "other", of: (m) => m.takeover_ms?.task.p50 ?? null },
  { name: "service_gap_ms", kind: "other", of: (m) => m.service_gap_ms },
  { name: "steady_state_ms", kind: "other", of: (m) => m.steady_state_ms },
  { name: "rejoin_ms.last", kind: "other", of: (m) => m.rejoin_ms?.last ?? null },
  { name: "success_rate_drop", kind: "other", of: (m) => m.success_rate_drop },
  { name: "goodput", kind: "other", of: (m) => m.goodput.whole.rate },
  { name: "latency mean", kind: "other", of: (m) => m.work.latency_ms.mean },
  { name: "latency p95", kind: "other", of: (m) => m.work.latency_ms.p95 },
  { name: "messages", kind: "other", of: (m) => total(m, (row) => row.n) },
  { name: "steps", kind: "other", of: (m) => m.duplicate_work_whole_run.steps },
  { name: "redo_lost", kind: "other", of: (m) => m.duplicate_work_whole_run.redo_lost },
  { name: "orphaned tasks", kind: "other", of: (m) => m.orphaned_tasks },
  { name: "false positives", kind: "other", of: (m) => m.false_positives },
  { name: "tasks lost", kind: "other", of: (m) => m.tasks_lost },
];
