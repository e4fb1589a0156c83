import type { Charts } from "../charts/render.ts";
import type { RunRecord } from "../run.ts";
import type { FailstormMetrics } from "../schema.ts";
import type { TaskResult } from "../tasks.ts";
import type { Storm, Timeline } from "../timeline.ts";

/** A broken invariant, as the scenario's checker names it. */
export interface BrokenInvariant {
  readonly invariant: string;
  readonly message: string;
}

/** What every part of a run's page is made from. */
export interface RunView {
  readonly run: RunRecord;
  readonly metrics: FailstormMetrics;
  readonly violations: readonly BrokenInvariant[];
  readonly timeline: Timeline;
  readonly tasks: readonly TaskResult[];
  readonly charts: Charts;
}

/** Seconds after the run's t=0. */
export const secondsAt = (timeline: Timeline, t: number): number => Math.round(t - timeline.t0) / 1000;

/** From the first victim's stamp to the last victim's return, or the end of what the storm's measures look at. */
export function outage(timeline: Timeline, storm: Storm): { readonly from: number; readonly to: number } {
  const back = storm.fake ? [storm.at] : storm.victims.map((victim) => victim.backAt);
  return { from: secondsAt(timeline, storm.at), to: secondsAt(timeline, Math.min(storm.until, Math.max(storm.at, ...back))) };
}
