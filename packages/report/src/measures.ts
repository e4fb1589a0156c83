import type { FailstormMetrics } from "./schema.ts";

export type MeasureUnit = "ms" | "%" | "kB" | "tasks" | "detections" | "tasks/s";

/** One number of a run that runs are compared by. */
export interface Measure {
  /** Its path in failstorm_metrics.json; also how it is named on the command line. */
  readonly key: string;
  readonly label: string;
  readonly unit: MeasureUnit;
  readonly definition: string;
  /** Which way is good; null: neither, it describes the storm. */
  readonly better: "lower" | "higher" | null;
  /** In the unit of the file (ms, bytes, share); null = not reached or not there. */
  readonly pick: (metrics: FailstormMetrics) => number | null;
  /** Of a measure that is a statistic over members: the members that got there, and all. */
  readonly spread?: (metrics: FailstormMetrics) => { readonly reached: number; readonly total: number } | null;
  /** Of a measure that is watched for another time than `until_ms` after the fault: for how long, when it was not reached; ms. */
  readonly watched?: (metrics: FailstormMetrics) => number | null;
  /** Multiplies what `pick` gives to come to `unit`. */
  readonly factor: number;
  /** The key of `reasons` that says why it is null. */
  readonly reasonKey: string;
}

type Given = Omit<Measure, "factor" | "reasonKey"> & { readonly reasonKey?: string };

const FACTORS: Readonly<Partial<Record<MeasureUnit, number>>> = { "%": 100, kB: 0.001 };

const measure = (given: Given): Measure => ({
  ...given,
  factor: FACTORS[given.unit] ?? 1,
  reasonKey: given.reasonKey ?? given.key,
});

const FROM = "Counted from the stamp of CLOCK_MONOTONIC that was taken just before the victim's kill(2).";

const RECOVERY: readonly Measure[] = [
  measure({
    key: "service_gap_ms",
    label: "Service gap",
    unit: "ms",
    better: "lower",
    definition: `Until the first right answer, in its deadline, to a task whose owner or needed holder died. ${FROM}`,
    pick: (m) => m.service_gap_ms,
  }),
  measure({
    key: "detection_ms.first",
    label: "Detection, first",
    unit: "ms",
    better: "lower",
    definition: `Until the first survivor declared a victim dead (not merely suspect). ${FROM}`,
    pick: (m) => m.detection_ms?.first ?? null,
    spread: (m) => m.detection_ms,
    reasonKey: "detection_ms",
  }),
  measure({
    key: "detection_ms.p50",
    label: "Detection, median",
    unit: "ms",
    better: "lower",
    definition: `Median over all pairs of a survivor and a victim of the time until that survivor declared that victim dead, or learned of its newer incarnation. ${FROM}`,
    pick: (m) => m.detection_ms?.p50 ?? null,
    spread: (m) => m.detection_ms,
    reasonKey: "detection_ms",
  }),
  measure({
    key: "detection_ms.last",
    label: "Detection, last",
    unit: "ms",
    better: "lower",
    definition: `Until the last pair of a survivor and a victim had its detection; none when a survivor never noticed. ${FROM}`,
    pick: (m) => m.detection_ms?.last ?? null,
    spread: (m) => m.detection_ms,
    reasonKey: "detection_ms",
  }),
  measure({
    key: "transport_notice_ms.p50",
    label: "Transport notice, median",
    unit: "ms",
    better: "lower",
    definition: `Until the survivor's kernel closed the held-open connection to the victim, median over the pairs. Recorded always, acted upon only with --transport-signals: the floor of the same run. ${FROM}`,
    pick: (m) => m.transport_notice_ms?.p50 ?? null,
    spread: (m) => m.transport_notice_ms,
    reasonKey: "transport_notice_ms",
  }),
  measure({
    key: "recovery_ms",
    label: "Recovery",
    unit: "ms",
    better: "lower",
    definition: `Until the first byte of the first reconnect handshake that completed: with a victim's new incarnation, with its replacement, or with a new neighbour. ${FROM}`,
    pick: (m) => m.recovery_ms,
  }),
  measure({
    key: "reconnected_ms",
    label: "Reconnected",
    unit: "ms",
    better: "lower",
    definition: `Until the survivors' links equal those of the repaired topology, which the reader of the events computes from who lived, and everybody has greeted the replacements. ${FROM}`,
    pick: (m) => m.reconnected_ms,
    watched: (m) => m.reconnected_watched_ms ?? null,
  }),
  measure({
    key: "takeover_ms.task.p50",
    label: "Takeover of tasks, median",
    unit: "ms",
    better: "lower",
    definition: `Median over the orphaned tasks of the time until a new owner answered them right; tasks that never were count as infinitely late. ${FROM}`,
    pick: (m) => m.takeover_ms?.task.p50 ?? null,
    spread: (m) => m.takeover_ms?.task ?? null,
    reasonKey: "takeover_ms.task",
  }),
  measure({
    key: "steady_state_ms",
    label: "Steady state",
    unit: "ms",
    better: "lower",
    definition:
      "From the fault to the start of the first of three consecutive windows (each ≥ 5 s and ≥ 80 tasks) with goodput at or above the threshold that at most 5 % of runs without a fault fail.",
    pick: (m) => m.steady_state_ms,
  }),
  measure({
    key: "rejoin_ms.last",
    label: "Rejoin, last",
    unit: "ms",
    better: "lower",
    definition: "Restarted victims: from the spawn of the new process to the last handshake that completed all of its links.",
    pick: (m) => m.rejoin_ms?.last ?? null,
    spread: (m) => m.rejoin_ms,
    watched: (m) => m.rejoin_ms?.watched_ms ?? null,
    reasonKey: "rejoin_ms",
  }),
];

const COST: readonly Measure[] = [
  measure({
    key: "success_rate_drop",
    label: "Success-rate drop",
    unit: "%",
    better: "lower",
    definition:
      "(before − after) / before of goodput. Goodput: tasks answered right in their deadline, of all the tasks the schedule has, those of dead agents included.",
    pick: (m) => m.success_rate_drop,
  }),
  measure({
    key: "bytes_reconnect.total",
    label: "Bytes caused by the fault",
    unit: "kB",
    better: "lower",
    definition:
      "TCP payload (headers included) on the survivors' client sockets, both directions, that only the fault gave rise to: handshakes, retries, re-replication, takeovers, excess heartbeats.",
    pick: (m) => m.bytes_reconnect?.total ?? null,
    reasonKey: "bytes_reconnect",
  }),
  measure({
    key: "bytes_per_task",
    label: "Traffic per task",
    unit: "kB",
    better: "lower",
    definition: "All bytes that the agents' requests moved in the run, whatever their cause, divided by the tasks scheduled.",
    pick: (m) => {
      const bytes = m.messages.reduce((sum, row) => sum + row.bytes_sent + row.bytes_received, 0);
      return m.work.scheduled === 0 ? null : bytes / m.work.scheduled;
    },
  }),
  measure({
    key: "duplicate_work_ratio",
    label: "Duplicate work",
    unit: "%",
    better: "lower",
    definition:
      "Of all executions of steps of the affected tasks, those beside another attempt of the same (task, step) that completed or ran at the same time. A repeat whose first attempt died with its executor is necessary and not counted.",
    pick: (m) => m.duplicate_work_ratio,
  }),
];

const RUN: readonly Measure[] = [
  measure({
    key: "goodput.measured.rate",
    label: "Goodput",
    unit: "%",
    better: "higher",
    definition:
      "Tasks answered right in their deadline, of all tasks scheduled from the end of warm-up to a deadline before the end.",
    pick: (m) => m.goodput.measured.rate,
    reasonKey: "goodput",
  }),
  measure({
    key: "work.latency_ms.p50",
    label: "Latency p50",
    unit: "ms",
    better: "lower",
    definition: "Median time of right answers from the intended start of their task (open loop), over the whole run.",
    pick: (m) => m.work.latency_ms.p50,
  }),
  measure({
    key: "work.latency_ms.p99",
    label: "Latency p99",
    unit: "ms",
    better: "lower",
    definition: "The time from the intended start within which 99 of 100 right answers came, over the whole run.",
    pick: (m) => m.work.latency_ms.p99,
  }),
  measure({
    key: "orphaned_tasks",
    label: "Orphaned tasks",
    unit: "tasks",
    better: null,
    definition: "Tasks of victims that were due and unfinished at the fault: what the storm caught in flight.",
    pick: (m) => m.orphaned_tasks,
  }),
  measure({
    key: "tasks_lost",
    label: "Tasks lost",
    unit: "tasks",
    better: "lower",
    definition:
      "Scheduled tasks for which no agent logged any outcome (answered, wrong, expired). 0 always, or something is broken.",
    pick: (m) => m.tasks_lost,
  }),
  measure({
    key: "false_positives",
    label: "False positives",
    unit: "detections",
    better: "lower",
    definition:
      "Own verdicts of death on a (peer, incarnation) that had received no fatal signal and no SIGSTOP; what was adopted by gossip is counted apart.",
    pick: (m) => m.false_positives,
  }),
];

/** Every measure that runs are compared by, in the order in which they are shown. */
export const MEASURES: readonly Measure[] = [...RECOVERY, ...COST, ...RUN];

export const findMeasure = (key: string): Measure | undefined => MEASURES.find((measure) => measure.key === key);

/** The measure's value in its unit. */
export function valueOf(measure: Measure, metrics: FailstormMetrics): number | null {
  const value = measure.pick(metrics);
  return value === null ? null : value * measure.factor;
}

/** Three significant figures or whole numbers, thousands apart; "–" for none. */
export function formatValue(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return "–";
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits });
}

/** With its unit; times of a second and more in seconds. */
export function formatWithUnit(value: number | null, unit: MeasureUnit): string {
  if (value === null) return "–";
  if (unit === "ms" && Math.abs(value) >= 1000)
    return `${(value / 1000).toLocaleString("en-US", { maximumFractionDigits: 2, minimumFractionDigits: 2 })} s`;
  if (unit === "kB" && Math.abs(value) >= 1000) return `${formatValue(value / 1000)} MB`;
  return unit === "tasks" || unit === "detections" ? formatValue(value) : `${formatValue(value)} ${unit}`;
}
