import { MEASURES, type Measure } from "../measures.ts";
import type { FailstormMetrics } from "../schema.ts";
import type { HistogramData } from "../statistics/histogram.ts";

/** A measure of a run: reached, not reached when the observation ended (in the measure's unit), or not there at all. */
export type Observed =
  | { readonly kind: "value"; readonly value: number }
  | { readonly kind: "censored"; readonly after: number }
  | { readonly kind: "missing"; readonly reason: string };

/** What comparisons keep of a run: some kB in place of its MBs of events. */
export interface RunDigest {
  readonly runId: string;
  readonly protocol: string;
  readonly agents: number;
  readonly seed: number;
  readonly valid: boolean;
  readonly invalidBecause: readonly string[];
  /** The machine was too busy to tell the protocol from it. */
  readonly saturated: boolean;
  /** Something else than the run was at work; why, in words. */
  readonly disturbed: readonly string[];
  readonly load: FailstormMetrics["load"];
  readonly victims: readonly string[];
  readonly scheduleHash: string;
  readonly observed: Readonly<Record<string, Observed>>;
  /** ms after the kill of every (survivor, victim) pair; null = never. */
  readonly detections: readonly (number | null)[];
  readonly detectionHorizonMs: number;
  readonly histogram: HistogramData;
  /** Task → right in time, of the tasks around the fault, for the difference to a run without one. */
  readonly good: ReadonlyMap<string, boolean>;
  readonly windows: PublishedWindows | null;
}

/** The windows of the published fail-storm table: 60 s before the fault, and up to 60 s after the last reconnection. */
export interface PublishedWindows {
  readonly pre: Window;
  readonly post: Window | null;
  readonly recoverySeconds: number | null;
}

interface Window {
  readonly n: number;
  readonly good: number;
  readonly meanLatencySeconds: number | null;
}

/** Above these the run had company. The harness itself, and the kernel's work for it, account for some percent. */
export const MAX_FOREIGN = 0.15;
export const MAX_STEAL = 0.02;

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

export function disturbances({ load }: FailstormMetrics): string[] {
  const because: string[] = [];
  if ((load.foreign ?? 0) > MAX_FOREIGN) because.push(`other processes took ${percent(load.foreign ?? 0)} of the machine`);
  if ((load.steal ?? 0) > MAX_STEAL) because.push(`the hypervisor took ${percent(load.steal ?? 0)} of it`);
  return because;
}

/** What a run says of a measure. */
export function observe(measure: Measure, metrics: FailstormMetrics): Observed {
  const value = measure.pick(metrics);
  if (value !== null) return { kind: "value", value: value * measure.factor };
  const isCensored =
    measure.spread === undefined ? metrics.censored?.includes(measure.key) === true : wasCutOff(measure, metrics);
  if (isCensored && metrics.until_ms !== null) return { kind: "censored", after: measure.watched?.(metrics) ?? metrics.until_ms };
  return {
    kind: "missing",
    reason: metrics.reasons[measure.reasonKey] ?? metrics.reasons["storms"] ?? "not measured in this run",
  };
}

/** A spread has no value where the statistic falls upon a member that never got there. */
function wasCutOff(measure: Measure, metrics: FailstormMetrics): boolean {
  const spread = measure.spread?.(metrics) ?? null;
  return spread !== null && spread.total > 0 && metrics.fake !== true;
}

const PUBLISHED_WINDOW_MS = 60_000;

function publishedWindows(metrics: FailstormMetrics): PublishedWindows | null {
  const { at_ms: at, until_ms: until, reconnected_all_ms: back } = metrics;
  if (at === null || until === null) return null;
  const columns = metrics.tasks.columns;
  const [due, good, latency] = [columns.indexOf("due_ms"), columns.indexOf("good"), columns.indexOf("latency_ms")];
  const window = (from: number, to: number): Window => {
    const rows = metrics.tasks.rows.filter((row) => Number(row[due]) >= from && Number(row[due]) < to);
    const latencies = rows.flatMap((row) => (row[good] === true ? [Number(row[latency])] : []));
    const sum = latencies.reduce((total, ms) => total + ms, 0);
    return {
      n: rows.length,
      good: latencies.length,
      meanLatencySeconds: latencies.length === 0 ? null : sum / latencies.length / 1000,
    };
  };
  return {
    pre: window(at - PUBLISHED_WINDOW_MS, at),
    post: back === null ? null : window(at + back, Math.min(at + back + PUBLISHED_WINDOW_MS, at + until)),
    recoverySeconds: back === null ? null : back / 1000,
  };
}

/** Takes from a run's metrics what comparisons need. */
export function digestRun(metrics: FailstormMetrics): RunDigest {
  const { columns, rows } = metrics.tasks;
  const [task, good] = [columns.indexOf("task"), columns.indexOf("good")];
  return {
    runId: metrics.run_id,
    protocol: metrics.protocol,
    agents: metrics.agent_count,
    seed: metrics.seed,
    valid: metrics.valid,
    invalidBecause: metrics.invalid_because,
    saturated: metrics.saturated,
    disturbed: disturbances(metrics),
    load: metrics.load,
    victims: metrics.victims?.map((victim) => victim.agent) ?? [],
    scheduleHash: metrics.schedule_sha256,
    observed: Object.fromEntries(MEASURES.map((measure) => [measure.key, observe(measure, metrics)])),
    detections: metrics.detection_ms?.pairs.map((pair) => pair.ms) ?? [],
    detectionHorizonMs: metrics.until_ms ?? 0,
    histogram: metrics.latency_histogram,
    good: new Map(rows.map((row) => [String(row[task]), row[good] === true])),
    windows: publishedWindows(metrics),
  };
}
