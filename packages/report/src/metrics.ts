import { createHash } from "node:crypto";
import { noticedWithinMs } from "@failstorm/core";
import { agentRows, phaseRows, summariseTasks, TASK_COLUMNS, taskRows } from "./breakdown.ts";
import { scoreAnswers } from "./answers.ts";
import { measureLoad } from "./load.ts";
import { createHistogram } from "./statistics/histogram.ts";
import { measureAccuracy } from "./detectorAccuracy.ts";
import { measureModelUse } from "./llm/modelUse.ts";
import { measureMix } from "./meta/mix.ts";
import { measurePrediction } from "./prediction.ts";
import type { RunRecord } from "./run.ts";
import { type FailstormMetrics, METRICS_SCHEMA_VERSION, type StormMetrics, stormSchema } from "./schema.ts";
import { type LatencySummary, toMicroseconds } from "./spread.ts";
import { type Control, measureStorm } from "./storm.ts";
import { countDuplicates, MIN_ORPHANED_TASKS } from "./takeover.ts";
import { type Goodput, goodputIn, gradeTasks, type TaskResult } from "./tasks.ts";
import { readTimeline, type Storm, type Timeline } from "./timeline.ts";
import { messagesByKind } from "./traffic.ts";

const MAX_BUSY = 0.6;
const MAX_LOOP_LAG_MS = 20;
/** A fault that came so much later than planned struck other work than that of the schedule. Never scaled. */
const MAX_LATE_MS = 1000;

/**
 * Every measure of a run, from its record alone; pure. `control`: a run of the same schedule without a fault, for the paired
 * difference.
 */
export function computeMetrics(run: RunRecord, extra: { readonly control?: RunRecord } = {}): FailstormMetrics {
  const timeline = readTimeline(run);
  const tasks = gradeTasks(run, timeline);
  const measuredFrom = timeline.t0 + run.config.scenario.warmupMs;
  const lastStart = timeline.endAt - run.config.tasks.deadlineMs;
  const firstFault = timeline.storms[0]?.at ?? timeline.endAt;
  const pre = goodputIn(tasks, measuredFrom, firstFault - run.config.tasks.deadlineMs);
  const control: Control | null =
    extra.control === undefined ? null : { tasks: gradeTasks(extra.control, readTimeline(extra.control)) };
  const storms = timeline.storms.map((storm) => measureStorm({ run, timeline, storm, tasks, pre, control }));
  const due = timeline.partial === null ? tasks : tasks.filter((task) => task.deadlineAt + noticeMs(run) <= timeline.lastEventAt);
  const lost = due.filter((task) => task.first === null).map((task) => task.task.task);
  const accuracy = measureAccuracy(run, timeline);
  const prediction = measurePrediction(run, timeline);
  const load = measureLoad(run, timeline, measuredFrom, firstFault);
  const invalid = invalidBecause(run, timeline, storms);
  const meta = measureMix(run, timeline, tasks);
  const llm = measureModelUse(timeline.index);
  const measured = goodputIn(tasks, measuredFrom, lastStart);
  const work = summariseTasks(due);
  return {
    schemaVersion: METRICS_SCHEMA_VERSION,
    run_id: run.runId,
    scenario: run.config.scenario.name,
    protocol: run.config.scenario.protocol,
    seed: run.config.scenario.seed,
    agent_count: run.config.scenario.agentCount,
    partial: timeline.partial !== null,
    partial_reason: timeline.partial,
    valid: invalid.length === 0,
    invalid_because: invalid,
    saturated: (load.machine_busy ?? 0) > MAX_BUSY || (load.loop_lag_p99_ms ?? 0) > MAX_LOOP_LAG_MS,
    load,
    ...headlineOf(storms),
    reasons: { ...(storms[0]?.reasons ?? { storms: noStormReason(run, timeline) }), ...runReasons(measured, work.latency_ms) },
    storms,
    tasks_lost: lost.length,
    tasks_lost_ids: lost,
    false_positives: accuracy.false_positives,
    detector_accuracy: accuracy,
    ...(prediction === null ? {} : { prediction }),
    goodput: {
      whole: goodputIn(due, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY),
      measured,
    },
    work,
    latency_histogram: latencyHistogram(due),
    schedule_sha256: hashSchedule(run),
    answers: { calibrated: run.schedule.calibrated, ...scoreAnswers(tasks) },
    conflicting_answers: tasks.filter((task) => task.conflicting).length,
    late_outcomes: tasks.reduce((sum, task) => sum + Math.max(0, task.outcomes.length - 1), 0),
    duplicate_work_whole_run: countDuplicates(timeline, () => true),
    steps_deduplicated: timeline.index.of("step.deduplicated").length,
    ...recordFacts(run, timeline),
    ...(meta === null ? {} : { meta }),
    ...(llm === null ? {} : { llm }),
    ...tables(run, timeline, tasks),
  };
}

/** Why what is said of the whole run is null. */
function runReasons(measured: Goodput, latency: LatencySummary): Record<string, string> {
  const reasons: Record<string, string> = {};
  if (measured.rate === null)
    reasons["goodput"] = "no task was intended between the end of warm-up and a deadline before the end";
  for (const [name, needed] of [
    ["p50", 1],
    ["p99", 100],
  ] as const)
    if (latency[name] === null) reasons[`work.latency_ms.${name}`] = `${latency.n} right answers, at least ${needed} needed`;
  return reasons;
}

function latencyHistogram(tasks: readonly TaskResult[]): [number, number][] {
  const histogram = createHistogram();
  for (const task of tasks) if (task.right && task.latencyMs !== null) histogram.record(task.latencyMs);
  return histogram.data().map(([bucket, n]) => [bucket, n]);
}

/** Runs with the same hash had the same questions at the same times with the same home owners. */
function hashSchedule({ schedule }: RunRecord): string {
  const hash = createHash("sha256");
  for (const { task, atMs, homeOwner, questionId } of schedule.tasks) hash.update(`${task} ${atMs} ${homeOwner} ${questionId}\n`);
  return hash.digest("hex");
}

/** How long after its deadline an outcome may be logged: the owner's death has to be noticed first. */
const noticeMs = ({ config }: RunRecord): number => noticedWithinMs(config.network) + 2000;

type Headline = { [Key in keyof Omit<StormMetrics, "reasons">]: StormMetrics[Key] | null };

/** The first storm's measures, or null for each when there was none. */
function headlineOf(storms: readonly StormMetrics[]): Headline {
  const first = storms[0];
  const names = Object.keys(stormSchema.shape).filter((name) => name !== "reasons") as (keyof Headline)[];
  return Object.fromEntries(names.map((name) => [name, first?.[name] ?? null])) as unknown as Headline;
}

function noStormReason(run: RunRecord, timeline: Timeline): string {
  const planned = run.schedule.faults.some((fault) => fault.victims.length > 0);
  if (!planned) return "no fault was planned in this run";
  return timeline.partial === null ? "the planned fault was not injected" : "the record ends before the fault";
}

function invalidBecause(run: RunRecord, timeline: Timeline, storms: readonly StormMetrics[]): string[] {
  const because: string[] = [];
  if (timeline.partial !== null) because.push(`partial: ${timeline.partial}`);
  if (!Number.isFinite(timeline.loadFromMs)) because.push("the load never started");
  // A line cut short by the death of its writer is left out when the files are merged; what is broken in here has been recorded whole.
  const damaged = run.badLines.filter(({ file }) => file === "events.ndjson").length;
  if (damaged > 0) because.push(`damaged: ${damaged} lines of events.ndjson cannot be read`);
  if (storms.length === 0 && run.schedule.faults.some((fault) => fault.victims.length > 0))
    because.push(noStormReason(run, timeline));
  for (const storm of timeline.partial === null ? timeline.storms : []) because.push(...untimely(run, timeline, storm));
  for (const storm of storms) {
    if (storm.too_small) {
      because.push(
        `storm too small (cycle ${storm.cycle}): ${storm.orphaned_tasks} orphaned tasks, at least ${MIN_ORPHANED_TASKS} needed`,
      );
    }
  }
  return because;
}

/** A fault that came long after its time, or when not even a prompt survivor could have noticed it before the observation ended. */
function untimely({ config, schedule }: RunRecord, { t0 }: Timeline, storm: Storm): string[] {
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  const planned = schedule.faults.filter(({ cycle }) => cycle === storm.cycle).map(({ atMs }) => atMs);
  const late = storm.at - t0 - Math.min(...planned);
  const left = storm.until - storm.at;
  const { heartbeatIntervalMs, heartbeatTimeoutMs, transportSignals } = config.network;
  // A closed connection tells at once; a process that stands still closes none.
  const needed = heartbeatIntervalMs + (transportSignals && storm.kind !== "sigstop" ? 0 : heartbeatTimeoutMs);
  return [
    ...(late > MAX_LATE_MS ? [`late fault (cycle ${storm.cycle}): it came ${seconds(late)} after its scheduled time`] : []),
    ...(left < needed
      ? [`storm too short (cycle ${storm.cycle}): ${seconds(left)} were observed, and noticing alone may take ${seconds(needed)}`]
      : []),
  ];
}

function recordFacts(run: RunRecord, timeline: Timeline): Pick<FailstormMetrics, "unexpected_exits" | "events"> {
  const logs = timeline.index.of("log");
  return {
    unexpected_exits: timeline.index
      .of("agent.exited")
      .filter((exit) => exit.cause === "unexpected")
      .map(({ agent, agentInc, code, signal }) => ({ agent, incarnation: agentInc, code, signal })),
    events: {
      n: run.events.length,
      bad_lines: run.badLines.length,
      warnings: logs.filter((log) => log.level === "warning").length,
      errors: logs.filter((log) => log.level === "error").length,
    },
  };
}

function tables(
  run: RunRecord,
  timeline: Timeline,
  tasks: readonly TaskResult[],
): Pick<FailstormMetrics, "phases" | "messages" | "agents" | "tasks"> {
  const lastSecond = Math.ceil(toMicroseconds(timeline.lastEventAt - timeline.t0) / 1000) + 1;
  return {
    phases: phaseRows(run, timeline, tasks),
    messages: messagesByKind(timeline, Number.NEGATIVE_INFINITY, lastSecond),
    agents: agentRows(timeline, tasks),
    tasks: { columns: [...TASK_COLUMNS], rows: taskRows(tasks) },
  };
}
