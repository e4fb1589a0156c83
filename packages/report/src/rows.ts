import { modelRows } from "./llm/modelRows.ts";
import type { FailstormMetrics } from "./schema.ts";

/** One line of the result table. `value` is ready to print; "–" when there is none, with the reason in `note`. */
export interface ResultRow {
  readonly measure: string;
  readonly value: string;
  readonly unit: string;
  readonly note: string;
  /** The measure's name in failstorm_metrics.json, for its definition and its events. */
  readonly key?: string;
}

const NONE = "–";
const number = (value: number, digits: number): string => value.toLocaleString("en-US", { maximumFractionDigits: digits });
const inMs = (value: number | null): string => (value === null ? NONE : number(value, value < 100 ? 1 : 0));
const percent = (value: number | null): string => (value === null ? NONE : number(value * 100, 2));

interface SpreadLike {
  readonly first: number | null;
  readonly p50: number | null;
  readonly last: number | null;
  readonly reached: number;
  readonly total: number;
}

const spreadText = (spread: SpreadLike | null): string =>
  spread === null || spread.reached === 0 ? NONE : [spread.first, spread.p50, spread.last].map(inMs).join(" / ");

/** The result table of a run in plain words: the first storm's measures, a line for each further storm, then what the whole run was like. */
export function resultRows(metrics: FailstormMetrics): ResultRow[] {
  return [...(metrics.storms.length === 0 ? [] : stormRows(metrics)), ...furtherStormRows(metrics), ...runRows(metrics)];
}

/** With more storms than this the table would be one of storms; the metrics and the page have them all. */
const MAX_FURTHER_STORMS = 9;

function furtherStormRows({ storms }: FailstormMetrics): ResultRow[] {
  const rows = storms.slice(1, 1 + MAX_FURTHER_STORMS).map((storm, i) => ({
    measure: `storm ${i + 2} of ${storms.length}`,
    value: [storm.detection_ms.last, storm.recovery_ms, storm.service_gap_ms].map(inMs).join(" / "),
    unit: "ms last detection / recovery / service gap",
    note: `at ${(storm.at_ms / 1000).toFixed(1)} s: ${storm.victims.length} victims, ${storm.orphaned_tasks} orphaned tasks${storm.too_small ? " (too few)" : ""}; the rows above are of storm 1`,
    key: `detection_ms-${storm.cycle}`,
  }));
  const more = storms.length - 1 - rows.length;
  if (more <= 0) return rows;
  return [...rows, { measure: "further storms", value: String(more), unit: "storms", note: "all are in failstorm_metrics.json" }];
}

function stormRows(metrics: FailstormMetrics): ResultRow[] {
  const why = (name: string): string => metrics.reasons[name] ?? "";
  const spread = (measure: string, name: string, value: SpreadLike | null, note: string): ResultRow => ({
    measure,
    value: spreadText(value),
    unit: "ms first / median / last",
    note: why(name) === "" ? `${note}, ${value?.reached} of ${value?.total}` : why(name),
    key: name,
  });
  const single = (measure: string, name: string, value: number | null, note: string): ResultRow => ({
    measure,
    value: inMs(value),
    unit: "ms",
    note: value === null ? why(name) : note,
    key: name,
  });
  const takeover = metrics.takeover_ms;
  return [
    {
      measure: "victims",
      value: String(metrics.victims?.length ?? 0),
      unit: "agents",
      note: victimsNote(metrics),
      key: "victims",
    },
    {
      measure: "orphaned tasks",
      value: String(metrics.orphaned_tasks),
      unit: "tasks",
      note: `${metrics.affected_tasks} affected in all`,
      key: "orphaned_tasks",
    },
    spread("detection", "detection_ms", metrics.detection_ms, "pairs of survivor and victim"),
    spread("transport notice", "transport_notice_ms", metrics.transport_notice_ms, "held-open streams closed by the kernel"),
    single("recovery", "recovery_ms", metrics.recovery_ms, "first byte of the first completed reconnect handshake"),
    single("reconnected", "reconnected_ms", metrics.reconnected_ms, "links equal the repaired topology"),
    single("reconnected, restarted included", "reconnected_all_ms", metrics.reconnected_all_ms, "links equal the whole topology"),
    spread("takeover of shards", "takeover_ms.shard", takeover?.shard ?? null, "first look-up served by the new owner"),
    spread("takeover of tools", "takeover_ms.tool", takeover?.tool ?? null, "first step done by the new holder"),
    spread("takeover of tasks", "takeover_ms.task", takeover?.task ?? null, "orphaned tasks answered right"),
    single("service gap", "service_gap_ms", metrics.service_gap_ms, "first right answer to an affected task"),
    single("steady state", "steady_state_ms", metrics.steady_state_ms, "goodput back within the calibrated threshold"),
    spread("rejoin", "rejoin_ms", metrics.rejoin_ms, "restarted victims, spawned until linked"),
    ...recoveredRows(metrics),
    ...costRows(metrics),
  ];
}

/** Only where the protocol can ask. */
function recoveredRows({ recovered_work }: FailstormMetrics): ResultRow[] {
  if (recovered_work === null) return [];
  const states = Object.entries(recovered_work.by_state).map(([state, n]) => `${n} ${state}`);
  return [
    {
      measure: "work asked for again",
      value: String(recovered_work.asked),
      unit: "tasks",
      note: `in flight at a victim, and asked of its next incarnation${states.length === 0 ? "" : `: ${states.join(", ")}`}`,
      key: "recovered_work",
    },
  ];
}

function victimsNote(metrics: FailstormMetrics): string {
  const who = metrics.victims?.map((victim) => victim.agent).join(", ") ?? "";
  const what = metrics.fake === true ? "fake fault, nothing sent" : metrics.kind;
  return `${what} at ${number((metrics.at_ms ?? 0) / 1000, 3)} s: ${who}`;
}

function costRows(metrics: FailstormMetrics): ResultRow[] {
  const bytes = metrics.bytes_reconnect;
  const ratio = bytes?.reconciliation.ratio ?? null;
  const causes = Object.entries(bytes?.by_cause ?? {}).filter(([, value]) => value > 0);
  const rates = metrics.success_rate;
  const work = metrics.duplicate_work;
  return [
    {
      measure: "bytes caused by the fault",
      key: "bytes_reconnect.total",
      value: number((bytes?.total ?? 0) / 1000, 1),
      unit: "kB",
      note: [
        ...causes.map(([cause, value]) => `${cause.replace("_", " ")} ${number(value / 1000, 1)}`),
        ...(ratio === null ? [] : [`attributed / on sockets ${number(ratio, 4)}`]),
      ].join(", "),
    },
    {
      measure: "all bytes of the survivors",
      key: "bytes_reconnect.window",
      value: `${number((bytes?.window.before ?? 0) / 1000, 0)} → ${number((bytes?.window.after ?? 0) / 1000, 0)}`,
      unit: "kB before → after",
      note: `${bytes?.window.seconds ?? 0} s each`,
    },
    {
      measure: "success-rate drop",
      key: "success_rate_drop",
      value: percent(metrics.success_rate_drop),
      unit: "%",
      note:
        metrics.success_rate_drop === null
          ? (metrics.reasons["success_rate_drop"] ?? "")
          : `${percent(rates?.pre.rate ?? null)} % of ${rates?.pre.n} before, ${percent(rates?.post.rate ?? null)} % of ${rates?.post.n} after`,
    },
    {
      measure: "duplicate work",
      key: "duplicate_work_ratio",
      value: percent(metrics.duplicate_work_ratio),
      unit: "%",
      note:
        metrics.duplicate_work_ratio === null
          ? (metrics.reasons["duplicate_work_ratio"] ?? "")
          : `${work?.duplicates} of ${work?.executions} executions; ${work?.redo_lost} redone because the first died`,
    },
  ];
}

function runRows(metrics: FailstormMetrics): ResultRow[] {
  const { whole, measured } = metrics.goodput;
  const latency = metrics.work.latency_ms;
  const rows: ResultRow[] = [
    {
      measure: "goodput",
      key: "goodput.measured.rate",
      value: percent(measured.rate),
      unit: "%",
      note: `${measured.good} of ${measured.n} tasks right in the deadline, warm-up left out`,
    },
    {
      measure: "latency",
      key: "work.latency_ms.p50",
      value: [latency.p50, latency.p95, latency.p99, latency.max].map(inMs).join(" / "),
      unit: "ms p50 / p95 / p99 / max",
      note: "right answers, from the intended start",
    },
    {
      measure: "tasks lost",
      value: String(metrics.tasks_lost),
      unit: "tasks",
      note: `of ${whole.n} scheduled`,
      key: "tasks_lost",
    },
    {
      measure: "false positives",
      key: "false_positives",
      value: String(metrics.false_positives),
      unit: "detections",
      note: `in ${number(metrics.detector_accuracy.link_hours, 3)} link-hours; ${metrics.detector_accuracy.gossip_adoptions} adopted by gossip`,
    },
    ...(metrics.prediction === undefined
      ? []
      : [
          {
            measure: "failures foretold",
            key: "prediction.recall",
            value: `${percent(metrics.prediction.precision)} / ${percent(metrics.prediction.recall)}`,
            unit: "% precision / recall",
            note: `${metrics.prediction.foreseen} of ${metrics.prediction.failures} failures; ${metrics.prediction.right} forecasts right, ${metrics.prediction.wrong} wrong, ${metrics.prediction.too_late} too late to be one`,
          },
        ]),
    {
      measure: "conflicting answers",
      value: String(metrics.conflicting_answers),
      unit: "tasks",
      note: "",
      key: "conflicting_answers",
    },
    {
      measure: "machine busy",
      key: "load.machine_busy",
      value: percent(metrics.load.machine_busy),
      unit: "%",
      note: metrics.saturated ? "SATURATED: do not compare" : "mean before the fault",
    },
    ...modelRows(metrics.llm),
  ];
  if (metrics.unexpected_exits.length > 0) {
    const who = metrics.unexpected_exits.map((exit) => exit.agent).join(", ");
    const value = String(metrics.unexpected_exits.length);
    rows.push({ measure: "unexpected exits", value, unit: "processes", note: who, key: "unexpected_exits" });
  }
  if (!metrics.valid) rows.push({ measure: "valid", value: "no", unit: "", note: metrics.invalid_because.join("; ") });
  return rows;
}

/** Who detected whom, when and how: one line per (survivor, victim) pair of each storm. */
export function detectionRows(metrics: FailstormMetrics): ResultRow[] {
  return metrics.storms.flatMap((storm) =>
    storm.detection_ms.pairs.map((pair) => ({
      measure: `${pair.survivor} noticed ${pair.victim}`,
      value: inMs(pair.ms),
      unit: "ms",
      note: pair.how ?? "never",
    })),
  );
}
