import type { RunRecord } from "./run.ts";
import { measureDetection, measureTransportNotice } from "./detection.ts";
import {
  type Measured,
  measureReconnected,
  measureRecoveredWork,
  measureRecovery,
  measureRejoin,
  repairWatchedMs,
} from "./reconnection.ts";
import type { StormMetrics } from "./schema.ts";
import type { Spread } from "./spread.ts";
import { toMicroseconds } from "./spread.ts";
import { measureSteadyState } from "./steadyState.ts";
import { affectedTasks, type Goodput, goodputIn, type TaskResult } from "./tasks.ts";
import { countDuplicates, isTooSmall, measureServiceGap, measureTakeover } from "./takeover.ts";
import type { Storm, Timeline } from "./timeline.ts";
import { measureFaultBytes } from "./traffic.ts";

/** Post window of success_rate_drop: to so long after the fault (never scaled), or to a deadline before the end. */
const POST_HORIZON_MS = 30_000;

/** Intended starts in it are the time around and after the fault. CLOCK_MONOTONIC, [from, to). */
export function postWindow(run: RunRecord, storm: Storm): { readonly from: number; readonly to: number } {
  const { deadlineMs } = run.config.tasks;
  const from = storm.at - deadlineMs;
  return { from, to: Math.max(from, Math.min(storm.at + POST_HORIZON_MS, storm.until - deadlineMs)) };
}

/** A run of the same schedule without a fault, graded. */
export interface Control {
  readonly tasks: readonly TaskResult[];
}

/** All measures of one storm. `pre`: goodput between the end of warm-up and a deadline before the first fault. */
export function measureStorm(options: {
  readonly run: RunRecord;
  readonly timeline: Timeline;
  readonly storm: Storm;
  readonly tasks: readonly TaskResult[];
  readonly pre: Goodput;
  readonly control: Control | null;
}): StormMetrics {
  const { run, timeline, storm, tasks, pre, control } = options;
  const reasons: Record<string, string> = {};
  const censored: string[] = [];
  const value = (name: string, measured: Measured): number | null => {
    if (measured.reason === null) return measured.value;
    reasons[name] = storm.fake ? `${FAKE}; ${measured.reason}` : measured.reason;
    if (measured.censored && !storm.fake) censored.push(name);
    return null;
  };
  const affected = affectedTasks(timeline, storm, tasks);
  const steady = measureSteadyState(run, storm, tasks, pre);
  if (steady.reason !== null) reasons["steady_state_ms"] = steady.reason;
  if (steady.censored) censored.push("steady_state_ms");
  const success = measureSuccess(run, storm, tasks, pre, control, steady.ms);
  if (success.reason !== null) reasons["success_rate_drop"] = success.reason;
  if (success.rates.paired === null) reasons["success_rate.paired"] = "no run of the same schedule without a fault was given";
  const affectedIds = new Set([...affected.map((task) => task.result.task.task), ...redoneTasks(timeline, storm)]);
  const work = countDuplicates(timeline, (task) => affectedIds.has(task));
  if (work.executions === 0) reasons["duplicate_work_ratio"] = storm.fake ? FAKE : "no step of an affected task was executed";
  const detection_ms = measureDetection(timeline, storm);
  const transport_notice_ms = measureTransportNotice(run, timeline, storm);
  const takeover_ms = measureTakeover(timeline, storm, affected);
  const rejoin_ms = measureRejoin(run, timeline, storm);
  const recovered_work = measureRecoveredWork(timeline, storm);
  if (recovered_work === null)
    reasons["recovered_work"] = storm.fake
      ? FAKE
      : "no victim that came back was asked: nothing was in flight there, the protocol has no way to ask, or nobody came back";
  explainSpreads(reasons, storm, { detection_ms, transport_notice_ms, rejoin_ms, ...prefixed(takeover_ms) });
  return {
    cycle: storm.cycle,
    kind: storm.kind,
    fake: storm.fake,
    at_ms: toMicroseconds(storm.at - timeline.t0),
    until_ms: toMicroseconds(storm.until - storm.at),
    victims: storm.victims.map(({ agent, inc, before, after }) => ({ agent, incarnation: inc, before, after })),
    survivors: storm.survivors.map((life) => life.agent),
    orphaned_tasks: affected.filter((task) => task.orphaned).length,
    affected_tasks: affected.length,
    detection_ms: { ...detection_ms, pairs: [...detection_ms.pairs] },
    transport_notice_ms,
    recovery_ms: value("recovery_ms", measureRecovery(timeline, storm, run)),
    reconnected_ms: value("reconnected_ms", measureReconnected(run, timeline, storm, false)),
    reconnected_watched_ms: repairWatchedMs(timeline, storm),
    reconnected_all_ms: value("reconnected_all_ms", measureReconnected(run, timeline, storm, true)),
    takeover_ms,
    service_gap_ms: value("service_gap_ms", measureServiceGap(storm, affected)),
    steady_state_ms: steady.ms,
    steady_state_windows: [...steady.windows],
    recovered_work,
    rejoin_ms: { ...rejoin_ms, victims: rejoin_ms.victims.map(([agent, ms]): [string, number | null] => [agent, ms]) },
    bytes_reconnect: measureFaultBytes(timeline, storm),
    success_rate_drop: success.drop,
    success_rate: success.rates,
    duplicate_work_ratio: work.executions === 0 ? null : work.duplicates / work.executions,
    duplicate_work: work,
    too_small: isTooSmall(run, storm, affected),
    censored,
    reasons,
  };
}

const FAKE = "the fault was fake: no signal was sent";

const prefixed = (takeover: { shard: Spread; tool: Spread; task: Spread }): Record<string, Spread> => ({
  "takeover_ms.shard": takeover.shard,
  "takeover_ms.tool": takeover.tool,
  "takeover_ms.task": takeover.task,
});

const NOBODY: Readonly<Record<string, string>> = {
  detection_ms: "there was no pair of a survivor and a victim",
  transport_notice_ms: "no survivor recorded that the kernel closed its connection to a victim",
  rejoin_ms: "no victim was started again within the interval",
  "takeover_ms.shard": "no shard was orphaned",
  "takeover_ms.tool": "no tool seat was claimed: every tool was still held by a survivor",
  "takeover_ms.task": "no task was orphaned",
};

function explainSpreads(reasons: Record<string, string>, storm: Storm, spreads: Readonly<Record<string, Spread>>): void {
  for (const [name, { reached, total }] of Object.entries(spreads)) {
    if (reached === total && total > 0) continue;
    if (storm.fake && reached === 0) reasons[name] = FAKE;
    else
      reasons[name] =
        total === 0
          ? (NOBODY[name] ?? "nothing to measure")
          : `${total - reached} of ${total} never got there within the interval`;
  }
}

interface Success {
  readonly drop: number | null;
  readonly reason: string | null;
  readonly rates: StormMetrics["success_rate"];
}

function measureSuccess(
  run: RunRecord,
  storm: Storm,
  tasks: readonly TaskResult[],
  pre: Goodput,
  control: Control | null,
  steadyMs: number | null,
): Success {
  const { from, to } = postWindow(run, storm);
  const post = goodputIn(tasks, from, to);
  const lastStart = storm.until - run.config.tasks.deadlineMs;
  const after_steady_state = goodputIn(tasks, storm.at + (steadyMs ?? Number.POSITIVE_INFINITY), lastStart);
  const within = tasks.filter((task) => task.intendedAt >= from && task.intendedAt < to);
  const rates = { pre, post, after_steady_state, paired: control === null ? null : pairWith(within, control) };
  if (pre.rate === null || pre.good === 0) return { drop: null, reason: "no good task before the fault", rates };
  // Those that were due before the fault alone say nothing of what came after it.
  if (to <= storm.at || post.rate === null)
    return { drop: null, reason: "no task that was due after the fault had its deadline before the end", rates };
  return { drop: (pre.rate - post.rate) / pre.rate, reason: null, rates };
}

function pairWith(tasks: readonly TaskResult[], control: Control): NonNullable<StormMetrics["success_rate"]["paired"]> {
  const controlGood = new Map(control.tasks.map((task) => [task.task.task, task.good]));
  const pairs = tasks
    .filter((task) => controlGood.has(task.task.task))
    .map((task) => [task.good, controlGood.get(task.task.task) === true]);
  const n = pairs.length;
  const run = pairs.filter(([ours]) => ours).length;
  const theirs = pairs.filter(([, other]) => other).length;
  return {
    n,
    run: n === 0 ? null : run / n,
    control: n === 0 ? null : theirs / n,
    difference: n === 0 ? null : (theirs - run) / n,
    only_run: pairs.filter(([ours, other]) => ours && !other).length,
    only_control: pairs.filter(([ours, other]) => other && !ours).length,
  };
}

/** Tasks that a victim had finished, but that were done again because nobody had heard of it: all their work is the fault's duplicate. */
export function redoneTasks(timeline: Timeline, storm: Storm): string[] {
  if (storm.fake) return [];
  const struck = new Set(storm.victims.map((victim) => victim.agent));
  return timeline.index
    .of("takeover.claimed")
    .filter((event) => event.kind === "task" && struck.has(event.from) && event.t >= storm.at && event.t <= storm.until)
    .map((event) => event.id);
}
