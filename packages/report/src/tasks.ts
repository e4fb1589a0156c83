import type { AgentId, GradedTask, RunEventOf, TaskId } from "@failstorm/core";
import { exactMatch } from "@failstorm/core/scores.ts";
import type { RunRecord } from "./run.ts";
import type { Storm, Timeline } from "./timeline.ts";

/** A scheduled task and what the agents' events say became of it. */
export interface TaskResult {
  readonly task: GradedTask;
  /** CLOCK_MONOTONIC of the intended start. */
  readonly intendedAt: number;
  readonly deadlineAt: number;
  readonly starts: readonly RunEventOf<"task.started">[];
  readonly outcomes: readonly RunEventOf<"task.outcome">[];
  /** The earliest outcome: the one an asker would have got. Null: lost, or not due yet. */
  readonly first: RunEventOf<"task.outcome"> | null;
  /** The first outcome is the expected answer. */
  readonly right: boolean;
  /** Right, and within the deadline. Goodput counts these. */
  readonly good: boolean;
  /** From the intended start to the first outcome, by the event's own stamp. */
  readonly latencyMs: number | null;
  /** Conflicting: two outcomes with different answers. */
  readonly conflicting: boolean;
}

/** Grades every task of the schedule that belongs to the run (intended at or after the start of load), in order of start. */
export function gradeTasks(run: RunRecord, timeline: Timeline): TaskResult[] {
  const starts = Map.groupBy(timeline.index.of("task.started"), (event) => event.task);
  const outcomes = Map.groupBy(timeline.index.of("task.outcome"), (event) => event.task);
  const { deadlineMs } = run.config.tasks;
  return run.schedule.tasks
    .filter((task) => task.atMs >= timeline.loadFromMs)
    .map((task) => {
      const intendedAt = timeline.t0 + task.atMs;
      const own = outcomes.get(task.task) ?? [];
      const first = own[0] ?? null;
      const right = first !== null && isRight(first, task);
      const latencyMs = first === null ? null : first.t - intendedAt;
      return {
        task,
        intendedAt,
        deadlineAt: intendedAt + deadlineMs,
        starts: starts.get(task.task) ?? [],
        outcomes: own,
        first,
        right,
        good: right && latencyMs !== null && latencyMs <= deadlineMs,
        latencyMs,
        conflicting: new Set(own.filter((event) => event.status === "answered").map((event) => event.answer)).size > 1,
      };
    })
    .sort((a, b) => a.intendedAt - b.intendedAt);
}

/** Whether an answer was given, and the right one in the way the task is graded. */
export function isRight(
  { status, answer }: Pick<RunEventOf<"task.outcome">, "status" | "answer">,
  { expected, graded }: Pick<GradedTask, "expected" | "graded">,
): boolean {
  if (status !== "answered" || answer === null) return false;
  return graded === "normalised" ? exactMatch(answer, expected) : answer === expected;
}

/** A count of tasks and how many of them were good. */
export interface Goodput {
  readonly n: number;
  readonly good: number;
  /** good / n; null when there is no task. */
  readonly rate: number | null;
}

/** Goodput of the tasks whose intended start lies in [from, to), CLOCK_MONOTONIC. */
export function goodputIn(tasks: readonly TaskResult[], from: number, to: number): Goodput {
  const within = tasks.filter((task) => task.intendedAt >= from && task.intendedAt < to);
  const good = within.filter((task) => task.good).length;
  return { n: within.length, good, rate: within.length === 0 ? null : good / within.length };
}

/** Why a task counts as affected by a fault: its owner was a victim, or a holder that it needed was. */
export interface AffectedTask {
  readonly result: TaskResult;
  readonly victim: AgentId;
  /** The *before* stamp of that victim. */
  readonly before: number;
  readonly because: "owner" | "holder";
  /** Begun or due when its owner died, and not finished: what a storm catches in flight. */
  readonly orphaned: boolean;
}

/**
 * The tasks a storm affected.
 * - owner: it was running at a victim (last started there, no outcome by then); or its home owner is a victim and it was due
 *   but not begun, or fell due before that victim was back.
 * - holder: one of its steps was executing at a victim; or a message of it to a victim failed between the victim's fault
 *   and its return.
 */
export function affectedTasks(timeline: Timeline, storm: Storm, tasks: readonly TaskResult[]): AffectedTask[] {
  if (storm.fake) return [];
  const holders = lostHolders(timeline, storm);
  const affected: AffectedTask[] = [];
  for (const result of tasks) {
    const owner = ownerVictim(storm, result);
    if (owner !== null) {
      affected.push({ result, ...owner, because: "owner" });
      continue;
    }
    const holder = holders.get(result.task.task);
    if (holder !== undefined) affected.push({ result, ...holder, because: "holder", orphaned: false });
  }
  return affected;
}

function ownerVictim(storm: Storm, result: TaskResult): { victim: AgentId; before: number; orphaned: boolean } | null {
  for (const victim of storm.victims) {
    const { agent, inc, before, backAt } = victim;
    const found = { victim: agent, before };
    // What a killed process logged around its kill it did finish; a stopped one may go on much later.
    const byItself = (outcome: { src: string; inc: number }): boolean =>
      storm.kind !== "sigstop" && outcome.src === agent && outcome.inc === inc;
    const finished = result.outcomes.some((outcome) => outcome.t < before || byItself(outcome));
    if (finished) continue;
    const lastStart = result.starts.findLast((start) => start.t < before);
    if (lastStart !== undefined) {
      if (lastStart.src === agent && lastStart.inc === inc) return { ...found, orphaned: true };
    } else if (result.task.homeOwner === agent && result.intendedAt < backAt && result.intendedAt < storm.until) {
      return { ...found, orphaned: result.intendedAt < before };
    }
  }
  return null;
}

function lostHolders(timeline: Timeline, storm: Storm): Map<TaskId, { victim: AgentId; before: number }> {
  const victims = new Map(storm.victims.map((victim) => [victim.agent, victim]));
  const holders = new Map<TaskId, { victim: AgentId; before: number }>();
  const finishedAt = new Map(
    timeline.index.of("step.finished").map((event) => [`${event.src}/${event.inc}/${event.exec}`, event.t]),
  );
  for (const step of timeline.index.of("step.started")) {
    const victim = victims.get(step.src);
    if (victim === undefined || step.inc !== victim.inc || step.t >= victim.after) continue;
    if ((finishedAt.get(`${step.src}/${step.inc}/${step.exec}`) ?? Number.POSITIVE_INFINITY) < victim.backAt) continue;
    holders.set(step.task, { victim: victim.agent, before: victim.before });
  }
  for (const message of timeline.index.of("msg")) {
    const victim = victims.get(message.to);
    if (victim === undefined || message.task === null || message.error === null) continue;
    if (message.t < victim.before || message.t >= Math.min(victim.backAt, storm.until)) continue;
    if (!holders.has(message.task)) holders.set(message.task, { victim: victim.agent, before: victim.before });
  }
  return holders;
}
