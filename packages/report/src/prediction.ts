import type { RunRecord } from "./run.ts";
import { type Spread, spreadOf, toMicroseconds } from "./spread.ts";
import type { Timeline } from "./timeline.ts";

/** How good the forecasts of failing links were (network.predictive). */
export interface PredictionQuality {
  /** Forecasts, each by one agent of one peer. */
  readonly predictions: number;
  /** The peer failed after it, within the horizon. */
  readonly right: number;
  /** It did not. */
  readonly wrong: number;
  /** Said when the peer had failed already: no forecast, and neither right nor wrong. */
  readonly too_late: number;
  /** The record ends within the horizon. */
  readonly undecided: number;
  readonly precision: number | null;
  readonly failures: number;
  /** Failures that somebody foretold. */
  readonly foreseen: number;
  readonly recall: number | null;
  readonly horizon_ms: number;
  /** From the first right forecast of a failure to the failure. */
  readonly lead_ms: Spread;
}

/** A forecast is right when the peer fails within so many heartbeat intervals. */
const HORIZON_INTERVALS = 30;

/**
 * A failure is a fatal signal or a SIGSTOP that was really sent, or an exit that nobody asked for. Null where nothing was to be foretold.
 * Of a process that is killed in good health there is nothing to foretell: its recall is 0 by rights.
 */
export function measurePrediction(run: RunRecord, timeline: Timeline): PredictionQuality | null {
  if (run.config.network.predictive !== true) return null;
  const horizonMs = run.config.network.heartbeatIntervalMs * HORIZON_INTERVALS;
  const failedAt = failures(timeline);
  const firstRight = new Map<string, number>();
  const count = { right: 0, wrong: 0, too_late: 0, undecided: 0 };
  const predictions = timeline.index.of("link.predicted");
  for (const { t, peer, peerInc } of predictions) {
    const key = `${peer}/${peerInc}`;
    const at = failedAt.get(key) ?? Number.POSITIVE_INFINITY;
    if (t >= at) count.too_late += 1;
    else if (at - t <= horizonMs) {
      count.right += 1;
      firstRight.set(key, Math.min(firstRight.get(key) ?? t, t));
    } else if (t + horizonMs > timeline.endAt) count.undecided += 1;
    else count.wrong += 1;
  }
  const decided = count.right + count.wrong;
  return {
    predictions: predictions.length,
    ...count,
    precision: decided === 0 ? null : count.right / decided,
    failures: failedAt.size,
    foreseen: firstRight.size,
    recall: failedAt.size === 0 ? null : firstRight.size / failedAt.size,
    horizon_ms: horizonMs,
    lead_ms: spreadOf([...firstRight].map(([key, t]) => toMicroseconds((failedAt.get(key) ?? t) - t))),
  };
}

/** When each incarnation failed, by `agent/incarnation`. */
function failures({ index, lives }: Timeline): Map<string, number> {
  const at = new Map<string, number>();
  for (const { agent, inc, goneAt, goneBy } of lives) if (goneBy === "unexpected") at.set(`${agent}/${inc}`, goneAt);
  for (const fault of index.of("fault.injected")) {
    const key = `${fault.agent}/${fault.agentInc}`;
    if (!fault.fake && !at.has(key)) at.set(key, fault.before);
  }
  return at;
}
