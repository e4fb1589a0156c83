import type { RunRecord } from "./run.ts";
import { toMicroseconds } from "./spread.ts";
import type { Goodput, TaskResult } from "./tasks.ts";
import type { Storm } from "./timeline.ts";

/** Windows are never scaled with the run: shorter ones would hold too few tasks to tell a rate from chance. */
export const WINDOW_MIN_MS = 5000;
export const WINDOW_MIN_TASKS = 80;
/** Before the fault fewer will do: the bound below is the wider for it. `--fault-time 25` leaves about 54 at the defaults. */
export const PRE_MIN_TASKS = 40;
/** So many windows in a row make a steady state. */
export const WINDOWS_IN_A_ROW = 3;
/** At most this share of runs without a fault may fail one of their first WINDOWS_IN_A_ROW windows. */
export const FALSE_ALARM = 0.05;

export interface GoodputWindow {
  /** ms after the fault. */
  readonly from_ms: number;
  readonly to_ms: number;
  readonly n: number;
  readonly good: number;
  /** The least number of good tasks at which the window passes. */
  readonly needed: number;
}

export interface SteadyState {
  readonly ms: number | null;
  readonly reason: string | null;
  /** There were windows enough, and none passed in time. */
  readonly censored: boolean;
  readonly windows: readonly GoodputWindow[];
}

/**
 * The largest k with P(X < k) ≤ `alpha`, where X counts the good tasks of a window of `n` when `pre` was seen before the
 * fault and nothing changed. X is beta-binomial: a binomial whose rate has the Jeffreys posterior Beta(good + ½, bad + ½), so
 * that a rate estimated from few tasks gives a wider bound (a plug-in rate of 1 would fail every run with one bad task).
 */
export function neededGood(n: number, pre: { readonly n: number; readonly good: number }, alpha: number): number {
  const a = pre.good + 0.5;
  const b = pre.n - pre.good + 0.5;
  // P(X = 0) = B(a, n + b) / B(a, b) = Π (b + i) / (a + b + i); each next term by the ratio of neighbours.
  let log = 0;
  for (let i = 0; i < n; i++) log += Math.log((b + i) / (a + b + i));
  let below = 0;
  for (let k = 0; k < n; k++) {
    below += Math.exp(log);
    if (below > alpha) return k;
    log += Math.log(((n - k) * (a + k)) / ((k + 1) * (b + n - k - 1)));
  }
  return n;
}

/** The bound each window is held to, so that WINDOWS_IN_A_ROW of them together keep to FALSE_ALARM (Bonferroni). */
export const windowAlpha = FALSE_ALARM / WINDOWS_IN_A_ROW;

/**
 * When goodput was back: the start of the first of three consecutive windows at or above the threshold. Windows are disjoint,
 * from the fault on, by intended start, ≥ 5 s and ≥ 80 tasks; a window with a task whose deadline lies past the end of the
 * observation is censored.
 */
export function measureSteadyState(run: RunRecord, storm: Storm, tasks: readonly TaskResult[], pre: Goodput): SteadyState {
  if (pre.n < PRE_MIN_TASKS) {
    return {
      ms: null,
      reason: `only ${pre.n} tasks before the fault to compare with (${PRE_MIN_TASKS} needed)`,
      censored: false,
      windows: [],
    };
  }
  const lastStart = storm.until - run.config.tasks.deadlineMs;
  const windows = formWindows(storm.at, lastStart, tasks, (n) => neededGood(n, pre, windowAlpha));
  if (windows.length < WINDOWS_IN_A_ROW) {
    const reason =
      `only ${windows.length} full windows (of ≥ ${WINDOW_MIN_MS / 1000} s and ≥ ${WINDOW_MIN_TASKS} tasks, deadlines included) ` +
      `fit between the fault and the end; ${WINDOWS_IN_A_ROW} needed`;
    return { ms: null, reason, censored: false, windows };
  }
  for (let i = 0; i + WINDOWS_IN_A_ROW <= windows.length; i++) {
    const row = windows.slice(i, i + WINDOWS_IN_A_ROW);
    if (row.every((window) => window.good >= window.needed))
      return { ms: row[0]?.from_ms ?? null, reason: null, censored: false, windows };
  }
  return { ms: null, reason: `no ${WINDOWS_IN_A_ROW} windows in a row at or above the threshold`, censored: true, windows };
}

function formWindows(
  from: number,
  lastStart: number,
  tasks: readonly TaskResult[],
  needed: (n: number) => number,
): GoodputWindow[] {
  const due = tasks.filter((task) => task.intendedAt >= from);
  const windows: GoodputWindow[] = [];
  let start = from;
  let n = 0;
  let good = 0;
  let next = 0;
  for (;;) {
    // The shortest window that is long enough and holds enough: it ends at a whole WINDOW_MIN_MS, or just after its last task.
    let end = start + WINDOW_MIN_MS;
    for (; next < due.length; next++) {
      const task = due[next] as TaskResult;
      if (task.intendedAt >= end) {
        if (n >= WINDOW_MIN_TASKS) break;
        end = task.intendedAt + 0.001;
      }
      n += 1;
      good += task.good ? 1 : 0;
    }
    if (n < WINDOW_MIN_TASKS || end > lastStart) return windows;
    windows.push({ from_ms: toMicroseconds(start - from), to_ms: toMicroseconds(end - from), n, good, needed: needed(n) });
    start = end;
    n = 0;
    good = 0;
  }
}
