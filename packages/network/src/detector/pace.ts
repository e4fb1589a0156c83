/*
 * How often a link has to be probed, and how long a silence may last, so that a death is found in a given time and a live peer is hardly ever
 * taken for dead: configured from what is wanted and what is measured, as in Chen, Toueg, Aguilera: "On the Quality of Service of Failure
 * Detectors" (IEEE ToC 51(5), 2002). Round trips are smoothed as TCP does it (RFC 6298).
 */

/** What a link needs, as measured so far. */
export interface Pace {
  /** Between two probes, ms. */
  readonly intervalMs: number;
  /** The silence that means death, ms. */
  readonly timeoutMs: number;
  answered(roundTripMs: number): void;
  /** A probe was due before the last one was answered. */
  missed(): void;
}

/** A live peer's probes all fail, one after the other, with at most this probability. */
const MISTAKE = 1e-6;
const MIN_PROBES = 2;
const MAX_PROBES = 8;
/** Of the configured interval and timeout. */
const INTERVAL_BOUNDS = { least: 1 / 4, most: 2 };
const TIMEOUT_BOUNDS = { least: 1 / 2, most: 2 };
/** RFC 6298. */
const RTT_GAIN = 1 / 8;
const VARIANCE_GAIN = 1 / 4;
const VARIANCES = 4;
/** The share of probes lost is that of about the last 1 / gain. */
const LOSS_GAIN = 1 / 32;
/** Below that, a loss is taken to be chance. */
const LEAST_LOSS = 1 / 1000;

const clamp = (value: number, least: number, most: number): number => Math.min(most, Math.max(least, value));

/** Starts as configured; `timeoutMs` is the time in which a death is to be found, and exceeded only where round trips or loss force it. */
export function createPace(intervalMs: number, timeoutMs: number): Pace {
  let smoothedMs: number | null = null;
  let varianceMs = 0;
  let loss = 0;
  let pace = { intervalMs, timeoutMs };

  const update = (): void => {
    const roundTripMs = (smoothedMs ?? 0) + VARIANCES * varianceMs;
    const probes = clamp(Math.ceil(Math.log(MISTAKE) / Math.log(Math.max(loss, LEAST_LOSS))), MIN_PROBES, MAX_PROBES);
    const wantedMs = (timeoutMs - roundTripMs) / probes;
    const interval = Math.round(clamp(wantedMs, intervalMs * INTERVAL_BOUNDS.least, intervalMs * INTERVAL_BOUNDS.most));
    const timeout = Math.round(
      clamp(probes * interval + roundTripMs, timeoutMs * TIMEOUT_BOUNDS.least, timeoutMs * TIMEOUT_BOUNDS.most),
    );
    pace = { intervalMs: interval, timeoutMs: timeout };
  };
  const note = (missed: number): void => {
    loss += (missed - loss) * LOSS_GAIN;
    update();
  };
  return {
    get intervalMs() {
      return pace.intervalMs;
    },
    get timeoutMs() {
      return pace.timeoutMs;
    },
    answered(roundTripMs) {
      if (smoothedMs === null) varianceMs = roundTripMs / 2;
      else varianceMs += (Math.abs(roundTripMs - smoothedMs) - varianceMs) * VARIANCE_GAIN;
      smoothedMs = smoothedMs === null ? roundTripMs : smoothedMs + (roundTripMs - smoothedMs) * RTT_GAIN;
      note(0);
    },
    missed: () => note(1),
  };
}
