import type { Claims, EventLine } from "./claims.ts";
import { EQUAL, type Row, row } from "./row.ts";
import type { Storm } from "./storm.ts";

/** The time after a fault that success_rate_drop looks at. */
const POST_HORIZON_MS = 30_000;

/** Goodput out of the schedule file and the task.outcome lines alone. */
export function compareGoodput(claims: Claims, storm: Storm | null): Row[] {
  const { t0, loadFromMs, deadlineMs, warmupMs, metrics, schedule } = claims;
  const first = new Map<string, EventLine>();
  for (const event of claims.events)
    if (event.ev === "task.outcome" && !first.has(event["task"] as string)) first.set(event["task"] as string, event);
  const tasks = schedule.tasks
    .filter(({ atMs }) => atMs >= loadFromMs)
    .map(({ task, atMs, expected }) => {
      const outcome = first.get(task);
      const right = outcome?.["status"] === "answered" && outcome["answer"] === expected;
      return { intendedAt: t0 + atMs, lost: outcome === undefined, good: right && outcome.t <= t0 + atMs + deadlineMs };
    });
  const within = (from: number, to: number): { n: number; good: number } => {
    const some = tasks.filter(({ intendedAt }) => intendedAt >= from && intendedAt < to);
    return { n: some.length, good: some.filter(({ good }) => good).length };
  };
  const rows = [row("tasks_lost", "tasks", metrics.tasks_lost, tasks.filter(({ lost }) => lost).length, EQUAL)];
  if (storm === null) return rows;
  const pre = within(t0 + warmupMs, storm.at - deadlineMs);
  const postEnd = Math.min(storm.at + POST_HORIZON_MS, storm.until - deadlineMs);
  const post = within(storm.at - deadlineMs, postEnd);
  const rates = [pre.good / pre.n, post.good / post.n] as const;
  // Before the next storm, or the end, no task that was due after this one may have had its deadline.
  const drop = postEnd <= storm.at ? Number.NaN : (rates[0] - rates[1]) / rates[0];
  const shown = (goodput: { n: number; good: number } | undefined): string | null =>
    goodput === undefined ? null : `${goodput.good} of ${goodput.n}`;
  return [
    ...rows,
    row("goodput before", "tasks", shown(metrics.success_rate?.pre), shown(pre), EQUAL),
    row("goodput after", "tasks", shown(metrics.success_rate?.post), shown(post), EQUAL),
    row("success_rate_drop", "share", metrics.success_rate_drop, Number.isFinite(drop) ? drop : null, {
      kind: "within",
      units: 1e-9,
    }),
  ];
}
