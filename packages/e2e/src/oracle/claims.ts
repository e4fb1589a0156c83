import { readFileSync } from "node:fs";
import path from "node:path";

/** A line of events.ndjson: the fields the oracle reads. */
export interface EventLine {
  readonly t: number;
  readonly src: string;
  readonly inc: number;
  readonly seq: number;
  readonly ev: string;
  readonly [field: string]: unknown;
}

export interface FaultLine {
  readonly agent: string;
  readonly agentInc: number;
  readonly pid: number;
  readonly cycle: number;
  readonly fake: boolean;
  readonly kind: string;
  readonly before: number;
  readonly after: number;
}

interface Spread {
  readonly first: number | null;
  readonly p50: number | null;
  readonly last: number | null;
}

interface Goodput {
  readonly n: number;
  readonly good: number;
}

/** The figures of failstorm_metrics.json that the oracle recomputes. */
export interface ClaimedMetrics {
  /** The machine was too busy for its figures to be compared. */
  readonly saturated: boolean;
  readonly at_ms: number | null;
  readonly transport_notice_ms: Spread | null;
  readonly recovery_ms: number | null;
  readonly bytes_reconnect: {
    readonly by_cause: Readonly<Record<string, number>>;
    readonly window: { readonly seconds: number; readonly before: number; readonly after: number };
  } | null;
  readonly success_rate: { readonly pre: Goodput; readonly post: Goodput } | null;
  readonly success_rate_drop: number | null;
  readonly tasks_lost: number;
}

export interface ScheduledTask {
  readonly task: string;
  readonly atMs: number;
  readonly expected: string;
}

/** `schedule.json`: what was decided before the run. */
export interface Schedule {
  readonly tasks: readonly ScheduledTask[];
  readonly faults: readonly {
    readonly kind: string;
    readonly atMs: number;
    readonly victims: readonly string[];
    readonly fake: boolean;
    readonly restartAtMs: number | null;
  }[];
}

/** What the harness says of its run: the side to be checked. */
export interface Claims {
  readonly metrics: ClaimedMetrics;
  readonly schedule: Schedule;
  readonly events: readonly EventLine[];
  readonly faults: readonly FaultLine[];
  readonly t0: number;
  readonly loadFromMs: number;
  readonly protocol: string;
  readonly runtimeMs: number;
  readonly warmupMs: number;
  readonly deadlineMs: number;
  readonly recoveryDurationMs: number | null;
}

/** Reads a run's folder. Throws when it is not that of a run that came to its end. */
export function readClaims(runDir: string): Claims {
  const read = (name: string): string => readFileSync(path.join(runDir, name), "utf8");
  const events = read("events.ndjson")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as EventLine)
    .sort((a, b) => a.t - b.t || (a.src < b.src ? -1 : a.src > b.src ? 1 : a.inc - b.inc || a.seq - b.seq));
  const only = (ev: string): EventLine => {
    const found = events.find((event) => event.ev === ev);
    if (found === undefined) throw new Error(`${runDir}: events.ndjson has no ${ev}`);
    return found;
  };
  const load = only("run.load") as EventLine & { t0: number; loadFromMs: number };
  const { config } = only("run.started") as EventLine & {
    config: {
      scenario: { protocol: string; runtimeMs: number; warmupMs: number; recoveryDurationMs: number | null };
      tasks: { deadlineMs: number };
    };
  };
  const { protocol, runtimeMs, warmupMs, recoveryDurationMs } = config.scenario;
  return {
    metrics: JSON.parse(read("failstorm_metrics.json")) as ClaimedMetrics,
    schedule: JSON.parse(read("schedule.json")) as Schedule,
    events,
    faults: events.filter((event) => event.ev === "fault.injected") as unknown as FaultLine[],
    t0: load.t0,
    loadFromMs: load.loadFromMs,
    protocol,
    runtimeMs,
    warmupMs,
    recoveryDurationMs,
    deadlineMs: config.tasks.deadlineMs,
  };
}
