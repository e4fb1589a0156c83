import type { AgentId } from "@failstorm/core";
import type { Peer } from "./peer.ts";
import { PeriodicDetector } from "./periodic.ts";
import type { DetectorOptions, FailureDetector } from "./types.ts";

/*
 * The phi accrual failure detector (Hayashibara, Défago, Yared, Katayama: "The φ Accrual Failure Detector", SRDS 2004). From the history
 * of the intervals between a peer's answers it estimates how likely an answer is still to come after a silence of t:
 * phi(t) = -log10(P(interval > t)), intervals taken as normal. Dead is who exceeds the threshold. phi grows with t, so the silence at which
 * it gets there is known beforehand, and the detector is a periodic one whose patience follows the link.
 */

export interface PhiOptions {
  /** One wrong verdict in 10^threshold silences, were intervals normal. 8 is what Akka and Cassandra use. */
  readonly threshold?: number;
  /** Intervals remembered of each peer. */
  readonly windowSize?: number;
  /** The standard deviation is not taken to be less, ms; default a tenth of the interval. */
  readonly minStdDeviationMs?: number;
  /** A pause of the peer that is no death, whatever the history, ms; default half the timeout. */
  readonly acceptablePauseMs?: number;
}

/** Intervals between answers: the last `windowSize` of them. */
export interface ArrivalHistory {
  add(intervalMs: number): void;
  readonly mean: number;
  readonly stdDeviation: number;
}

/** Starts as two intervals, `estimateMs` ± `deviationMs`, so that something is known before anything was heard (as in Akka). */
export function createArrivalHistory(estimateMs: number, deviationMs: number, windowSize: number): ArrivalHistory {
  const intervals = [estimateMs - deviationMs, estimateMs + deviationMs];
  let next = 0;
  let sum = 0;
  let squares = 0;
  const update = (): void => {
    sum = intervals.reduce((total, interval) => total + interval, 0);
    const mean = sum / intervals.length;
    squares = intervals.reduce((total, interval) => total + (interval - mean) ** 2, 0);
  };
  update();
  return {
    add(intervalMs) {
      if (intervals.length < windowSize) intervals.push(intervalMs);
      else {
        intervals[next] = intervalMs;
        next = (next + 1) % windowSize;
      }
      update();
    },
    get mean() {
      return sum / intervals.length;
    },
    get stdDeviation() {
      return Math.sqrt(squares / intervals.length);
    },
  };
}

/** phi of a silence that lies `z` standard deviations above the mean: logistic approximation of the normal distribution, as in Akka. */
export function phiOf(z: number): number {
  const odds = z * (1.5976 + 0.070566 * z * z);
  return Math.log10(1 + Math.exp(Math.min(odds, 700)));
}

/** The inverse of `phiOf`, by bisection. */
export function deviationsFor(phi: number): number {
  let low = -20;
  let high = 20;
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (phiOf(middle) < phi) low = middle;
    else high = middle;
  }
  return high;
}

const DEFAULT_THRESHOLD = 8;
const DEFAULT_WINDOW = 100;
const MIN_STD_SHARE = 1 / 10;
const PAUSE_SHARE = 1 / 2;
/** Of the interval: answers closer together are those to probes sent out of turn, and say nothing of the link. */
const MIN_SAMPLE_SHARE = 1 / 4;

/** The `phi-accrual` failure detector. Silence counts from the last sign of life of any sort; the history is that of answers to probes. */
export function createPhiAccrualDetector(options: DetectorOptions & { readonly phi?: PhiOptions }): FailureDetector {
  const { intervalMs, timeoutMs, phi = {} } = options;
  const { threshold = DEFAULT_THRESHOLD, windowSize = DEFAULT_WINDOW } = phi;
  const { minStdDeviationMs = intervalMs * MIN_STD_SHARE, acceptablePauseMs = timeoutMs * PAUSE_SHARE } = phi;
  const deviations = deviationsFor(threshold);
  const links = new Map<AgentId, { incarnation: number; answeredAt: number | null; history: ArrivalHistory }>();

  const linkOf = (peer: Peer) => {
    let link = links.get(peer.id);
    if (link === undefined || link.incarnation !== peer.incarnation) {
      const history = createArrivalHistory(intervalMs, minStdDeviationMs, windowSize);
      links.set(peer.id, (link = { incarnation: peer.incarnation, answeredAt: null, history }));
    }
    return link;
  };
  const deathMs = (peer: Peer): number => {
    const { history } = linkOf(peer);
    return Math.ceil(history.mean + deviations * Math.max(history.stdDeviation, minStdDeviationMs) + acceptablePauseMs);
  };
  return new PeriodicDetector(options, {
    deathMs,
    forget: (peer) => void links.delete(peer),
    answered(peer, _sentAt, now) {
      const link = linkOf(peer);
      const { answeredAt } = link;
      const sinceLastMs = answeredAt === null ? null : now - answeredAt;
      if (sinceLastMs !== null && sinceLastMs < intervalMs * MIN_SAMPLE_SHARE) return;
      link.answeredAt = now;
      // Silence that this agent's own delays made, or a time in which the peer was dead or not asked, is no interval of the link.
      if (answeredAt === null || answeredAt < peer.leftOutAt || peer.forgivenMs > 0) return;
      if (now - answeredAt <= deathMs(peer)) link.history.add(now - answeredAt);
    },
  });
}
