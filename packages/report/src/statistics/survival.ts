import { normalQuantile } from "./normal.ts";

/** How long something took; `censored`: not yet over when the observation ended at `time`. */
export interface Observation {
  readonly time: number;
  readonly censored: boolean;
}

/** One step of a survival curve: from `time` on (to the next step) the share `survival` has not got there. */
export interface SurvivalStep {
  readonly time: number;
  readonly survival: number;
  /** Greenwood's interval on the log-log scale (Kalbfleisch and Prentice, 1980), 95 %. */
  readonly low: number;
  readonly high: number;
  readonly atRisk: number;
  readonly events: number;
  readonly censored: number;
}

/** The product-limit estimate (Kaplan and Meier, 1958). Censored at an event's time: counted as still at risk then. */
export function kaplanMeier(observations: readonly Observation[], level = 0.95): SurvivalStep[] {
  const byTime = Map.groupBy(observations, (observation) => observation.time);
  const z = normalQuantile((1 + level) / 2);
  let atRisk = observations.length;
  let survival = 1;
  let greenwood = 0;
  const steps: SurvivalStep[] = [];
  for (const [time, group] of [...byTime.entries()].sort(([a], [b]) => a - b)) {
    const censored = group.filter((observation) => observation.censored).length;
    const events = group.length - censored;
    survival *= 1 - events / atRisk;
    if (events > 0 && atRisk > events) greenwood += events / (atRisk * (atRisk - events));
    steps.push({ time, survival, ...logLogInterval(survival, greenwood, z), atRisk, events, censored });
    atRisk -= group.length;
  }
  return steps;
}

function logLogInterval(survival: number, greenwood: number, z: number): { low: number; high: number } {
  if (survival <= 0 || survival >= 1 || greenwood === 0) return { low: survival, high: survival };
  const spread = (z * Math.sqrt(greenwood)) / Math.log(survival);
  return { low: survival ** Math.exp(-spread), high: survival ** Math.exp(spread) };
}

/** The earliest time by which at least the share `p` has got there; null when the curve does not fall so far. */
export function survivalQuantile(steps: readonly SurvivalStep[], p: number): number | null {
  return steps.find((step) => step.survival <= 1 - p + 1e-12)?.time ?? null;
}
