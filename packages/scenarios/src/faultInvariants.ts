import type { PlannedFault } from "@failstorm/core";
import { type Evidence, refTo, type Violation } from "./checkedRun.ts";

/** Fewer orphaned tasks than this, and a storm measures nothing. */
const MIN_ORPHANED_TASKS = 5;
const MAX_BUSY = 0.6;
const MAX_LOOP_LAG_MS = 20;
/** A fault may not come earlier than planned; stamps are rounded to a µs. */
const EARLY_MS = 0.01;

/** Load starts only when every agent has stored the same document and indexed its shard. */
export function checkIndexed({ of, t0, run }: Evidence): Violation[] {
  const load = of("run.load")[0];
  if (load === undefined || t0 === null) return [];
  const loadAt = t0 + load.loadFromMs;
  const indexed = new Set(
    of("shard.indexed")
      .filter((event) => event.role === "home" && event.t <= loadAt)
      .map((event) => event.src),
  );
  const violations: Violation[] = [];
  if (indexed.size < run.config.scenario.agentCount) {
    const message = `${indexed.size} of ${run.config.scenario.agentCount} agents had indexed their shard when load started`;
    violations.push({ invariant: "indexed-before-load", message, events: [refTo(load)] });
  }
  const stored = of("document.stored");
  const other = stored.find((event) => event.sha256 !== stored[0]?.sha256);
  if (other !== undefined) {
    violations.push({ invariant: "one-document", message: `${other.src} stored another document`, events: [refTo(other)] });
  }
  return violations;
}

/** What was struck is what schedule.json says, when it says; of a run that ended before a fault, that fault is not asked for. */
export function checkFaultsAsPlanned(evidence: Evidence): Violation[] {
  const { of, run, t0, whole, lastEventAt } = evidence;
  const injected = of("fault.injected");
  const expected = run.schedule.faults.filter(
    (fault) => whole || (t0 !== null && lastEventAt > t0 + fault.atMs && injected.some((event) => event.cycle === fault.cycle)),
  );
  const violations = expected.flatMap((fault) => checkFault(evidence, fault));
  for (const event of injected) {
    const planned = run.schedule.faults.some((fault) => fault.cycle === event.cycle && fault.victims.includes(event.agent));
    if (planned) continue;
    const message = `${event.agent} was struck in cycle ${event.cycle}, which the schedule does not say`;
    violations.push({ invariant: "faults-as-planned", message, events: [refTo(event)] });
  }
  return violations;
}

function checkFault({ of, t0 }: Evidence, fault: PlannedFault): Violation[] {
  const events = of("fault.injected").filter((event) => event.cycle === fault.cycle && event.kind === fault.kind);
  const missed = fault.victims.filter((victim) => !events.some((event) => event.agent === victim));
  const violations: Violation[] = [];
  if (missed.length > 0) {
    const message = `cycle ${fault.cycle}: ${missed.join(", ")} should have been struck (${fault.kind}) and was not`;
    violations.push({ invariant: "faults-as-planned", message, events: events.map(refTo) });
  }
  for (const event of events) {
    if (event.fake !== fault.fake) {
      const message = `${event.agent}: fake is ${event.fake}, planned ${fault.fake}`;
      violations.push({ invariant: "faults-as-planned", message, events: [refTo(event)] });
    }
    if (t0 !== null && event.before < t0 + fault.atMs - EARLY_MS) {
      const message = `${event.agent} was struck ${(t0 + fault.atMs - event.before).toFixed(3)} ms before its time`;
      violations.push({ invariant: "faults-as-planned", message, events: [refTo(event)] });
    }
    if (event.after < event.before) {
      violations.push({ invariant: "stamps-enclose-kill", message: `${event.agent}: after < before`, events: [refTo(event)] });
    }
  }
  return violations;
}

/** In a run whose faults are fake, no agent exits but by order. */
export function checkFakeFault({ of, run }: Evidence): Violation[] {
  if (run.schedule.faults.length === 0 || !run.schedule.faults.every((fault) => fault.fake)) return [];
  return of("agent.exited")
    .filter((exit) => exit.cause !== "stop")
    .map((exit) => ({
      invariant: "fake-fault-kills-nobody",
      message: `${exit.agent} exited (${exit.signal ?? exit.code}) in a run without a real fault`,
      events: [refTo(exit)],
    }));
}

/** Exits that nobody ordered are no victims; they are shown, since they spoil every comparison. */
export function warnOfExits({ of }: Evidence): Violation[] {
  return of("agent.exited")
    .filter((exit) => exit.cause === "unexpected")
    .map((exit) => ({
      invariant: "no-unexpected-exit",
      message: `${exit.agent} exited by itself (${exit.signal ?? `code ${exit.code}`})`,
      events: [refTo(exit)],
    }));
}

/** A storm must catch work in flight. Orphaned: of a victim, due or begun before its stamp, without an outcome by then. */
export function warnOfSmallStorm({ of, run, tasks, t0 }: Evidence): Violation[] {
  if (t0 === null) return [];
  const starts = Map.groupBy(of("task.started"), (event) => event.task);
  const finished = Map.groupBy(of("task.outcome"), (event) => event.task);
  const cycles = Map.groupBy(
    of("fault.injected").filter((event) => !event.fake),
    (event) => event.cycle,
  );
  return [...cycles].flatMap(([cycle, faults]) => {
    let orphaned = 0;
    for (const { task, homeOwner, atMs } of tasks) {
      for (const fault of faults) {
        // A victim that ends in order (SIGTERM), or within the stamps of its kill, may yet finish what it has begun.
        const byItself = (event: { src: string; inc: number }): boolean =>
          fault.kind !== "sigstop" && event.src === fault.agent && event.inc === fault.agentInc;
        if (t0 + atMs >= fault.before) continue;
        if (finished.get(task)?.some((event) => event.t < fault.before || byItself(event))) continue;
        const last = starts.get(task)?.findLast((event) => event.t < fault.before);
        const owner = last === undefined ? { src: homeOwner, inc: fault.agentInc } : last;
        if (owner.src === fault.agent && owner.inc === fault.agentInc) orphaned += 1;
      }
    }
    if (orphaned >= MIN_ORPHANED_TASKS || run.config.scenario.killCount === 0) return [];
    const message = `cycle ${cycle} orphaned ${orphaned} tasks, at least ${MIN_ORPHANED_TASKS} are needed`;
    return [{ invariant: "storm-big-enough", message, events: faults.map(refTo) }];
  });
}

/** Between warm-up and the first fault: machine ≤ 60 % busy, and the worst agent's median of its sampled p99 loop lags ≤ 20 ms. */
export function warnOfSaturation({ of, run, t0, lastEventAt }: Evidence): Violation[] {
  if (t0 === null) return [];
  const from = t0 + run.config.scenario.warmupMs;
  const to = of("fault.injected")[0]?.before ?? Math.min(t0 + run.config.scenario.runtimeMs, lastEventAt);
  const within = (event: { t: number }): boolean => event.t >= from && event.t < to;
  const machine = of("machine").filter(within);
  const busy = machine.reduce((sum, event) => sum + event.busy, 0) / Math.max(1, machine.length);
  const warnings: Violation[] = [];
  if (busy > MAX_BUSY) {
    const message = `the machine was ${(busy * 100).toFixed(0)} % busy before the fault (at most ${MAX_BUSY * 100} %)`;
    warnings.push({ invariant: "machine-not-saturated", message, events: [] });
  }
  for (const [agent, samples] of Map.groupBy(of("process").filter(within), (event) => event.src)) {
    const lags = samples.map((sample) => sample.loopLagP99Ms).sort((a, b) => a - b);
    const median = lags[Math.floor((lags.length - 1) / 2)] ?? 0;
    if (median <= MAX_LOOP_LAG_MS) continue;
    const message = `${agent}: event-loop lag p99 is ${median.toFixed(1)} ms (at most ${MAX_LOOP_LAG_MS} ms)`;
    warnings.push({ invariant: "machine-not-saturated", message, events: [] });
  }
  return warnings;
}
