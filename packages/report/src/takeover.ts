import type { RunRecord } from "./run.ts";
import { type Measured, standingClaims } from "./reconnection.ts";
import { type Spread, spreadOf, toMicroseconds } from "./spread.ts";
import { type AffectedTask, isRight } from "./tasks.ts";
import type { Storm, Timeline, Victim } from "./timeline.ts";

export interface Takeover {
  readonly shard: Spread;
  readonly tool: Spread;
  readonly task: Spread;
}

/**
 * From a victim's *before* stamp to the first service of what it left: each shard and each tool seat that was claimed or
 * served (its home shard always counts; its tool when no survivor has that tool), and each orphaned task, which must be
 * answered *right*.
 */
export function measureTakeover(timeline: Timeline, storm: Storm, affected: readonly AffectedTask[]): Takeover {
  return {
    shard: spreadOf(storm.victims.flatMap((victim) => servedAfter(timeline, storm, victim, "shard"))),
    tool: spreadOf(storm.victims.flatMap((victim) => servedAfter(timeline, storm, victim, "tool"))),
    task: spreadOf(affected.filter((task) => task.orphaned).map((task) => rightAfter(storm, task, "by a new owner"))),
  };
}

type SeatEvent = { kind: string; id: string; from: string; fromInc: number; t: number; src: string };

/** Which claims and services are of a shard or tool seat that the victim left: its own, and those it had itself taken over before. */
export function seatsOf(timeline: Timeline, storm: Storm, victim: Victim): (event: SeatEvent) => boolean {
  const held = new Set(
    standingClaims(timeline, victim.before)
      .filter((claim) => claim.src === victim.agent && claim.inc === victim.inc)
      .map(({ kind, id, from, fromInc }) => `${kind} ${id} ${from} ${fromInc}`),
  );
  return ({ kind, id, from, fromInc, t, src }) =>
    kind !== "task" &&
    ((from === victim.agent && fromInc === victim.inc) || held.has(`${kind} ${id} ${from} ${fromInc}`)) &&
    src !== victim.agent &&
    t >= victim.before &&
    t <= storm.until;
}

function servedAfter(timeline: Timeline, storm: Storm, victim: Victim, kind: "shard" | "tool"): (number | null)[] {
  const home = timeline.lives.find((life) => life.agent === victim.agent && life.inc === victim.inc);
  const byId = new Map<string, number | null>();
  if (kind === "shard" && !storm.fake && typeof home?.shard === "number") byId.set(String(home.shard), null);
  const isSeat = seatsOf(timeline, storm, victim);
  const concerns = (event: SeatEvent): boolean => event.kind === kind && isSeat(event);
  for (const claim of timeline.index.of("takeover.claimed")) if (concerns(claim)) byId.set(claim.id, null);
  for (const served of timeline.index.of("takeover.served")) {
    if (concerns(served) && (byId.get(served.id) ?? null) === null) byId.set(served.id, toMicroseconds(served.t - victim.before));
  }
  if (byId.size > 0 || storm.fake) return [...byId.values()];
  const stillHeld = kind === "tool" && storm.survivors.some((life) => life.homeTool === home?.homeTool);
  return stillHeld ? [] : [null];
}

/** ms from the victim's stamp to the earliest right outcome of the wanted sort after it, or null. */
function rightAfter(storm: Storm, affected: AffectedTask, wanted: "by a new owner" | "in its deadline"): number | null {
  const { result, before } = affected;
  const victim = storm.victims.find((victim) => victim.agent === affected.victim);
  const fits = (event: { src: string; inc: number; t: number }): boolean =>
    wanted === "in its deadline" ? event.t <= result.deadlineAt : event.src !== victim?.agent || event.inc !== victim.inc;
  const outcome = result.outcomes.find(
    (event) => event.t >= before && event.t <= storm.until && isRight(event, result.task) && fits(event),
  );
  return outcome === undefined ? null : toMicroseconds(outcome.t - before);
}

/** From the *before* stamp to the first right answer, in its deadline, to a task whose owner or needed holder died. */
export function measureServiceGap(storm: Storm, affected: readonly AffectedTask[]): Measured {
  const none = (reason: string, censored: boolean): Measured => ({ value: null, reason, censored });
  if (storm.fake) return none("nothing was interrupted: the fault was fake, no signal was sent", false);
  if (affected.length === 0) return none("no task's owner or holder was hit", false);
  const served = affected.map((task) => rightAfter(storm, task, "in its deadline")).filter((ms) => ms !== null);
  if (served.length === 0) return none(`none of the ${affected.length} affected tasks was answered right in its deadline`, true);
  return { value: Math.min(...served), reason: null };
}

/** Executions of steps, sorted by what they were for. */
export interface DuplicateWork {
  readonly executions: number;
  /** Beside another execution of the same step that was completed, or that ran at the same time. */
  readonly duplicates: number;
  /** Necessary: every earlier execution had died with its executor. */
  readonly redo_lost: number;
  /** After an earlier execution that failed (an error of the tool), none completed. */
  readonly redo_failed: number;
  readonly steps: number;
}

interface Execution {
  readonly from: number;
  /** Its end: finished, or its executor's death; Infinity when neither is recorded. */
  readonly to: number;
  readonly fate: "completed" | "failed" | "lost" | "open";
}

/** Counts executions per (task, step) over the tasks that `counts` accepts. */
export function countDuplicates(timeline: Timeline, counts: (task: string) => boolean): DuplicateWork {
  const finished = new Map(timeline.index.of("step.finished").map((event) => [`${event.src}/${event.inc}/${event.exec}`, event]));
  const goneAt = new Map(timeline.lives.map((life) => [`${life.agent}/${life.inc}`, life.goneAt]));
  const groups = new Map<string, Execution[]>();
  for (const start of timeline.index.of("step.started")) {
    if (!counts(start.task)) continue;
    const end = finished.get(`${start.src}/${start.inc}/${start.exec}`);
    const death = goneAt.get(`${start.src}/${start.inc}`) ?? Number.POSITIVE_INFINITY;
    const execution: Execution =
      end !== undefined
        ? { from: start.t, to: end.t, fate: end.ok ? "completed" : "failed" }
        : { from: start.t, to: death, fate: Number.isFinite(death) ? "lost" : "open" };
    const group = `${start.task} ${start.step}`;
    groups.set(group, [...(groups.get(group) ?? []), execution]);
  }
  const total = { executions: 0, duplicates: 0, redo_lost: 0, redo_failed: 0, steps: groups.size };
  for (const group of groups.values()) {
    total.executions += group.length;
    for (let i = 1; i < group.length; i++) {
      total[repeatKind(group[i] as Execution, group.slice(0, i))] += 1;
    }
  }
  return total;
}

/** What a repeated execution was; `earlier` began before it. */
function repeatKind(repeat: Execution, earlier: readonly Execution[]): "duplicates" | "redo_lost" | "redo_failed" {
  if (earlier.some((other) => other.fate === "completed" || other.to > repeat.from)) return "duplicates";
  return earlier.some((other) => other.fate === "lost") ? "redo_lost" : "redo_failed";
}

/** Whether the storm was big enough to measure anything, by the tasks it caught in flight. */
export const MIN_ORPHANED_TASKS = 5;

export const isTooSmall = (run: RunRecord, storm: Storm, affected: readonly AffectedTask[]): boolean =>
  !storm.fake && run.config.scenario.killCount > 0 && affected.filter((task) => task.orphaned).length < MIN_ORPHANED_TASKS;
