import { noticedWithinMs, type RunEventOf } from "@failstorm/core";
import { type Evidence, refTo, type Violation, writerKey } from "./checkedRun.ts";

/** An expired task is logged by whoever owns it then: perhaps only after its dead owner was noticed, and a sweep. */
const NOTICE_SLACK_MS = 2000;
/** The agent looks at its clock, then writes the event. */
const START_SLACK_MS = 50;

/**
 * Every scheduled task has an outcome that an agent logged. Of a run that broke off only those are asked for whose deadline,
 * and the time to notice a dead owner, had passed.
 */
export function checkTasksLost({ run, of, tasks, t0, whole, lastEventAt }: Evidence): Violation[] {
  if (t0 === null) return [];
  const patienceMs = run.config.tasks.deadlineMs + noticedWithinMs(run.config.network) + NOTICE_SLACK_MS;
  const known = new Set(of("task.outcome").map((event) => event.task));
  const starts = Map.groupBy(of("task.started"), (event) => event.task);
  return tasks
    .filter((task) => !known.has(task.task) && (whole || t0 + task.atMs + patienceMs < lastEventAt))
    .map((task) => ({
      invariant: "no-task-lost",
      message: `${task.task} (home owner ${task.homeOwner}, due at ${(task.atMs / 1000).toFixed(3)} s) has no outcome`,
      events: (starts.get(task.task) ?? []).map(refTo),
    }));
}

/** An outcome comes from an incarnation that had started that attempt; only an expiry may come without. None is of an unknown task. */
export function checkOutcomes({ of, run }: Evidence): Violation[] {
  const started = new Map(of("task.started").map((event) => [`${writerKey(event)}/${event.task}/${event.attempt}`, event]));
  const scheduled = new Set(run.schedule.tasks.map((task) => task.task));
  return of("task.outcome").flatMap((outcome) => {
    if (!scheduled.has(outcome.task)) {
      const message = `${outcome.src} logged an outcome of ${outcome.task}, which is not in the schedule`;
      return [{ invariant: "outcome-of-scheduled-task", message, events: [refTo(outcome)] }];
    }
    const start = started.get(`${writerKey(outcome)}/${outcome.task}/${outcome.attempt}`);
    if (outcome.status === "expired" || (start !== undefined && start.seq < outcome.seq)) return [];
    const message = `${outcome.src} logged ${outcome.status} for attempt ${outcome.attempt} of ${outcome.task}, which it had not started`;
    return [{ invariant: "outcome-after-start", message, events: [refTo(outcome)] }];
  });
}

/** Expired tasks are never started. */
export function checkExpiredStarts({ of, run, t0 }: Evidence): Violation[] {
  if (t0 === null) return [];
  const deadlines = new Map(run.schedule.tasks.map((task) => [task.task, t0 + task.atMs + run.config.tasks.deadlineMs]));
  return of("task.started")
    .filter((start) => start.t > (deadlines.get(start.task) ?? Number.POSITIVE_INFINITY) + START_SLACK_MS)
    .map((start) => ({
      invariant: "expired-never-started",
      message: `${start.src} started ${start.task} after its deadline`,
      events: [refTo(start)],
    }));
}

/** A finished execution was started, once, by the same incarnation, for the same step, and finishes once. */
export function checkSteps({ of }: Evidence): Violation[] {
  const violations: Violation[] = [];
  const open = new Map<string, RunEventOf<"step.started">>();
  for (const start of of("step.started")) {
    const key = `${writerKey(start)}/${start.exec}`;
    const other = open.get(key);
    if (other !== undefined) {
      const message = `${start.src} used execution number ${start.exec} twice`;
      violations.push({ invariant: "executions-numbered-once", message, events: [refTo(other), refTo(start)] });
    }
    open.set(key, start);
  }
  const closed = new Set<string>();
  for (const finish of of("step.finished")) {
    const key = `${writerKey(finish)}/${finish.exec}`;
    const start = open.get(key);
    const fits = start !== undefined && start.task === finish.task && start.step === finish.step && start.seq < finish.seq;
    if (!fits || closed.has(key)) {
      const message = `${finish.src} finished execution ${finish.exec} (${finish.task}/${finish.step}) ${fits ? "twice" : "without starting it"}`;
      violations.push({ invariant: "finish-after-start", message, events: [refTo(finish)] });
    }
    closed.add(key);
  }
  return violations;
}

/**
 * The ledger's canonical outcomes and the logged ones agree: each entry is an outcome that its owner logged, and every task with
 * a logged outcome has an entry, unless all who logged it were struck (their entry may not have got out) or did so too late.
 */
export function checkLedger({ of, run, whole }: Evidence): Violation[] {
  const final = of("ledger.final").find((event) => event.outcomes !== null);
  if (final === undefined) return [];
  const entries = new Map(Object.entries(final.outcomes ?? {}));
  const struck = new Set(
    of("fault.injected")
      .filter((event) => !event.fake)
      .map((event) => `${event.agent}/${event.agentInc}`),
  );
  const outcomes = of("task.outcome");
  const settledAt = final.t - settleMs(run.config.network.ledgerSyncMs);
  const logged = new Set(outcomes.map((event) => `${event.task}=${event.status}|${event.src}|${event.inc}|${event.attempt}`));
  const violations: Violation[] = [];
  for (const [task, entry] of entries) {
    if (logged.has(`${task}=${entry}`)) continue;
    const message = `the ledger has ${entry} for ${task}, which nobody logged`;
    violations.push({ invariant: "ledger-agrees", message, events: [refTo(final)] });
  }
  // In a run that was broken off, the last entries had no time to get about.
  if (!whole) return violations;
  for (const [task, own] of Map.groupBy(outcomes, (event) => event.task)) {
    const known = entries.has(task) || own.every((event) => struck.has(writerKey(event)) || event.t > settledAt);
    if (known) continue;
    const message = `${task} has a logged outcome but no entry in the ledger of ${final.src}`;
    violations.push({ invariant: "ledger-agrees", message, events: [...own.map(refTo), refTo(final)] });
  }
  return violations;
}

/** Time that anti-entropy is given to bring the last entries to everybody. */
const settleMs = (syncMs: number): number => 3 * syncMs + 1000;

/** How the agents' ledgers compare at the end; null when they are equal. */
function ledgerDifference({
  of,
  run,
}: Evidence): { readonly missing: number; readonly recent: number; readonly explained: boolean } | null {
  const finals = of("ledger.final");
  if (new Set(finals.map((event) => event.digest)).size < 2) return null;
  const sizes = finals.map((event) => event.entries);
  const missing = Math.max(...sizes) - Math.min(...sizes);
  const since = (finals[0]?.t ?? 0) - settleMs(run.config.network.ledgerSyncMs);
  const recent = [...of("task.outcome"), ...of("task.started")].filter((event) => event.t > since).length;
  // Ledgers of one size and different content are not explained by entries still under way.
  return { missing, recent, explained: missing > 0 && missing <= recent };
}

/** All agents alive at the end have the same ledger, but for entries made too shortly before to have reached everybody. */
export function checkLedgersEqual(evidence: Evidence): Violation[] {
  const difference = ledgerDifference(evidence);
  if (difference === null || difference.explained || !evidence.whole) return [];
  const message = `the ledgers differ at the end by ${difference.missing} entries, of which ${difference.recent} can have been under way`;
  return [{ invariant: "ledgers-equal", message, events: evidence.of("ledger.final").map(refTo) }];
}

export function warnOfLedgerLag(evidence: Evidence): Violation[] {
  const difference = ledgerDifference(evidence);
  if (difference === null || !difference.explained) return [];
  const message = `the ledgers differ at the end by ${difference.missing} entries; the last ${difference.recent} were made too late to reach everybody`;
  return [{ invariant: "ledgers-equal", message, events: evidence.of("ledger.final").map(refTo) }];
}

export function warnOfUncheckedLedger({ of, whole }: Evidence): Violation[] {
  const finals = of("ledger.final");
  if (!whole || finals.some((event) => event.outcomes !== null)) return [];
  const message =
    "no agent that wrote its whole ledger lived to the end: whether the ledger agrees with what was logged is not known";
  return [{ invariant: "ledger-agrees", message, events: finals.map(refTo) }];
}
