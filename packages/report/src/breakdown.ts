import type { AgentId } from "@failstorm/core";
import type { RunRecord } from "./run.ts";
import { type LatencySummary, summarise, toMicroseconds } from "./spread.ts";
import type { TaskResult } from "./tasks.ts";
import type { Timeline } from "./timeline.ts";
import { type MessageRow, messagesByKind } from "./traffic.ts";

export interface TaskSummary {
  readonly scheduled: number;
  readonly answered: number;
  readonly right: number;
  /** Right and in the deadline. */
  readonly good: number;
  readonly no_answer: number;
  readonly expired: number;
  readonly without_outcome: number;
  readonly goodput: number | null;
  /** Of right answers, from the intended start. */
  readonly latency_ms: LatencySummary;
}

export function summariseTasks(tasks: readonly TaskResult[]): TaskSummary {
  const count = (status: string): number => tasks.filter((task) => task.first?.status === status).length;
  const right = tasks.filter((task) => task.right);
  const good = tasks.filter((task) => task.good).length;
  return {
    scheduled: tasks.length,
    answered: count("answered"),
    right: right.length,
    good,
    no_answer: count("no_answer"),
    expired: count("expired"),
    without_outcome: tasks.filter((task) => task.first === null).length,
    goodput: tasks.length === 0 ? null : good / tasks.length,
    latency_ms: summarise(right.map((task) => task.latencyMs ?? 0)),
  };
}

export interface PhaseRow {
  readonly phase: string;
  /** ms after t=0, by intended start. */
  readonly from_ms: number;
  readonly to_ms: number;
  readonly tasks: TaskSummary;
  readonly messages: MessageRow[];
}

/**
 * The phases of the run by intended start: `warmup`; `pre` (ends a deadline before the fault, so that no task of it can meet the
 * fault); `exposed` (may be in flight when the fault comes); then per cycle `outage` (first 30 s after the fault) and `after`;
 * `tail` (deadline past the end: censored in goodput).
 */
export function phaseRows(run: RunRecord, timeline: Timeline, tasks: readonly TaskResult[]): PhaseRow[] {
  const { deadlineMs } = run.config.tasks;
  const end = timeline.endAt - timeline.t0;
  const marks: [string, number][] = [
    ["warmup", timeline.loadFromMs],
    ["pre", run.config.scenario.warmupMs],
  ];
  for (const [i, storm] of timeline.storms.entries()) {
    const fault = storm.at - timeline.t0;
    const cycle = timeline.storms.length > 1 ? `-${storm.cycle}` : "";
    // What is short is cut: the next storm, and the end, come when they come.
    const nextAt = timeline.storms[i + 1]?.at;
    const cut = (nextAt === undefined ? end : nextAt - timeline.t0) - deadlineMs;
    marks.push(
      [`exposed${cycle}`, fault - deadlineMs],
      [`outage${cycle}`, fault],
      [`after${cycle}`, Math.max(fault, Math.min(fault + 30_000, cut))],
    );
  }
  marks.push(["tail", end - deadlineMs]);
  const rows: PhaseRow[] = [];
  let from = 0;
  for (const [i, [phase, mark]] of marks.entries()) {
    from = Math.max(from, Math.min(mark, end));
    const to = Math.max(from, Math.min(marks[i + 1]?.[1] ?? end, end));
    if (to <= from) continue;
    const within = tasks.filter((task) => task.task.atMs >= from && task.task.atMs < to);
    rows.push({
      phase,
      from_ms: toMicroseconds(from),
      to_ms: toMicroseconds(to),
      tasks: summariseTasks(within),
      messages: messagesByKind(timeline, Math.floor(from / 1000), Math.floor(to / 1000)),
    });
  }
  return rows;
}

export interface AgentRow {
  readonly agent: AgentId;
  readonly incarnations: number;
  readonly victim: boolean;
  readonly home_tool: string | null;
  readonly tasks_home: number;
  readonly tasks_started: number;
  readonly outcomes: number;
  readonly steps: number;
  readonly messages: number;
  readonly bytes_sent: number;
  readonly bytes_received: number;
  readonly cpu_ms: number;
  readonly rss_bytes_max: number;
  readonly loop_lag_p99_ms_max: number | null;
  /** Time spent writing events per event, µs. */
  readonly event_us: number | null;
}

/** One row per agent; cumulative figures are of the last sample of each of its incarnations, added up. */
export function agentRows(timeline: Timeline, tasks: readonly TaskResult[]): AgentRow[] {
  const victims = new Set(
    timeline.storms.filter((storm) => !storm.fake).flatMap((storm) => storm.victims.map((victim) => victim.agent)),
  );
  const samples = Map.groupBy(timeline.index.of("process"), (event) => event.src);
  const countBySrc = (events: readonly { src: string }[]): Map<string, number> =>
    new Map([...Map.groupBy(events, (event) => event.src)].map(([src, own]) => [src, own.length]));
  const starts = countBySrc(timeline.index.of("task.started"));
  const outcomes = countBySrc(timeline.index.of("task.outcome"));
  const steps = countBySrc(timeline.index.of("step.started"));
  const home = Map.groupBy(tasks, (task) => task.task.homeOwner);
  return timeline.ids.map((agent) => {
    const own = samples.get(agent) ?? [];
    const last = [...Map.groupBy(own, (sample) => sample.inc).values()]
      .map((group) => group.at(-1))
      .filter((sample) => sample !== undefined);
    const sum = (pick: (sample: (typeof last)[number]) => number): number =>
      last.reduce((total, sample) => total + pick(sample), 0);
    const lives = timeline.lives.filter((life) => life.agent === agent);
    const events = sum((sample) => sample.counters.events);
    return {
      agent,
      incarnations: lives.length,
      victim: victims.has(agent),
      home_tool: lives[0]?.homeTool ?? null,
      tasks_home: home.get(agent)?.length ?? 0,
      tasks_started: starts.get(agent) ?? 0,
      outcomes: outcomes.get(agent) ?? 0,
      steps: steps.get(agent) ?? 0,
      messages: sum((sample) => sample.counters.messagesSent),
      bytes_sent: sum((sample) => sample.counters.bytesSent),
      bytes_received: sum((sample) => sample.counters.bytesReceived),
      cpu_ms: toMicroseconds(sum((sample) => sample.cpuMs)),
      rss_bytes_max: own.reduce((max, sample) => Math.max(max, sample.rssBytes), 0),
      loop_lag_p99_ms_max: own.length === 0 ? null : own.reduce((max, sample) => Math.max(max, sample.loopLagP99Ms), 0),
      event_us: events === 0 ? null : toMicroseconds(sum((sample) => sample.counters.eventUs) / events),
    };
  });
}

export const TASK_COLUMNS = ["task", "home_owner", "answered_by", "status", "good", "latency_ms", "attempts", "due_ms"] as const;

/** One short row per task, in the order of TASK_COLUMNS. */
export type TaskRow = [string, AgentId, AgentId | null, string, boolean, number | null, number, number];

export const taskRows = (tasks: readonly TaskResult[]): TaskRow[] =>
  tasks.map((task) => [
    task.task.task,
    task.task.homeOwner,
    task.first?.src ?? null,
    statusOf(task),
    task.good,
    task.latencyMs === null ? null : toMicroseconds(task.latencyMs),
    task.starts.length,
    toMicroseconds(task.task.atMs),
  ]);

function statusOf(task: TaskResult): string {
  if (task.first === null) return "none";
  if (task.first.status !== "answered") return task.first.status;
  return task.right ? "right" : "wrong";
}
