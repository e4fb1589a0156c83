import { createArrivalHistory, deviationsFor, phiOf } from "./phiAccrual.ts";

/*
 * What a link's round trips foretell of its peer. Two signs, both by the peer's own history: a probe has been waiting for its answer for so
 * long that one is hardly to be expected any more (phi as in phiAccrual.ts, of round trips, with a lower threshold than that of a death); or
 * round trips grow and, if they go on so, will soon be as long as makes a peer suspect (Holt's linear smoothing: "Forecasting seasonals and
 * trends by exponentially weighted moving averages", 1957). A process that dies in good health gives neither sign beforehand.
 */

export type ForecastReason = "phi" | "latency";

/** `score`: phi, or the foretold round trip over the one that makes a peer suspect. */
export interface Forecast {
  readonly reason: ForecastReason;
  readonly score: number;
}

type State =
  /** rising: answers in a row that foretold a failure. */
  | { readonly name: "calm"; rising: number }
  /** quick: answers in a row that were as quick as those of a healthy peer. */
  | { readonly name: "foretold"; quick: number };

/** The forecast of one link, for one incarnation of the peer. */
export interface LinkForecast {
  probed(now: number): void;
  answered(sentAt: number, now: number): void;
  /** Any other sign of life: nobody is waited for any more. */
  heard(): void;
  /** This agent was not listening for so long: that is no silence of the peer. */
  forgive(ms: number): void;
  /** What the link gives to fear, now; null = nothing. */
  fear(now: number): Forecast | null;
  /** The same, once for each time: when it has lasted, and was not told yet. */
  foretell(now: number): Forecast | null;
  /** When waiting will have become a sign; null = nobody is waited for, or it has been told. */
  readonly fearAt: number | null;
}

const PHI = 4;
const DEVIATIONS = deviationsFor(PHI);
const WINDOW = 100;
/** Of the interval: what is taken for a round trip and its spread before any was measured, and the least spread. */
const EXPECTED_SHARE = 1 / 8;
/** Of the interval: round trips as long as that make a peer suspect (periodic.ts); waiting is no sign before it either. */
const OVERDUE_SHARE = 1 / 4;
const LEVEL_GAIN = 0.3;
const TREND_GAIN = 0.3;
/** Answers ahead. */
const HORIZON = 5;
/** Answers in a row that must foretell the same: one slow answer is chance. */
const PERSISTENT = 3;
/** Before so many answers a link has no history. */
const MIN_ANSWERS = 8;
/** What is usual on this link follows slowly, and its extremes (so many times the usual spread above) more slowly still. */
const USUAL_GAIN = 1 / 32;
const SPREAD_GAIN = 1 / 16;
const UNUSUAL = 4;
const EXTREME_SHARE = 1 / 8;

/** Round trips of a link as usual, and as they are now with their trend per answer. */
function createTrend(spreadMs: number) {
  let answers = 0;
  let usual = 0;
  let spread = spreadMs;
  let level = 0;
  let slope = 0;
  return {
    add(roundTripMs: number): void {
      answers += 1;
      if (answers === 1) {
        usual = roundTripMs;
        level = roundTripMs;
        return;
      }
      const before = level;
      level += LEVEL_GAIN * (roundTripMs - level) + (1 - LEVEL_GAIN) * slope;
      slope += TREND_GAIN * (level - before - slope);
      const extreme = usual + UNUSUAL * spread;
      const share = roundTripMs > extreme ? EXTREME_SHARE : 1;
      const tame = Math.min(roundTripMs, extreme);
      spread += share * SPREAD_GAIN * (Math.abs(tame - usual) - spread);
      usual += share * USUAL_GAIN * (tame - usual);
    },
    /** The round trip to be expected `HORIZON` answers on; 0 while nothing is out of the usual. */
    ahead(): number {
      const isUnusual = answers >= MIN_ANSWERS && slope > 0 && level > usual + UNUSUAL * spread;
      return isUnusual ? level + HORIZON * slope : 0;
    },
  };
}

export function createLinkForecast(intervalMs: number): LinkForecast {
  const expectedMs = intervalMs * EXPECTED_SHARE;
  const overdueMs = intervalMs * OVERDUE_SHARE;
  const history = createArrivalHistory(expectedMs, expectedMs, WINDOW);
  const trend = createTrend(expectedMs / UNUSUAL);
  let waiting: number[] = [];
  let state: State = { name: "calm", rising: 0 };

  const deviation = (): number => Math.max(history.stdDeviation, expectedMs);
  /** Whole milliseconds, so that a timer meets it. */
  const patienceMs = (): number => Math.ceil(overdueMs + history.mean + DEVIATIONS * deviation());
  const waitingSign = (now: number): Forecast | null => {
    const since = waiting[0];
    if (since === undefined || now - since < patienceMs()) return null;
    return { reason: "phi", score: phiOf((now - since - overdueMs - history.mean) / deviation()) };
  };
  const risingSign = (): Forecast | null => {
    const score = trend.ahead() / overdueMs;
    return score >= 1 ? { reason: "latency", score } : null;
  };

  return {
    probed: (now) => void waiting.push(now),
    answered(sentAt, now) {
      waiting = waiting.filter((at) => at > sentAt);
      const roundTripMs = now - sentAt;
      history.add(roundTripMs);
      trend.add(roundTripMs);
      if (state.name === "calm") state.rising = risingSign() === null ? 0 : state.rising + 1;
      else if (roundTripMs >= overdueMs / 2) state.quick = 0;
      else if (++state.quick >= PERSISTENT) state = { name: "calm", rising: 0 };
    },
    heard: () => void (waiting = []),
    forgive: (ms) => void (waiting = waiting.map((at) => at + ms)),
    fear: (now) => waitingSign(now) ?? risingSign(),
    foretell(now) {
      if (state.name === "foretold") return null;
      const sign = waitingSign(now) ?? (state.rising >= PERSISTENT ? risingSign() : null);
      if (sign !== null) state = { name: "foretold", quick: 0 };
      return sign;
    },
    get fearAt() {
      return state.name === "foretold" || waiting[0] === undefined ? null : waiting[0] + patienceMs();
    },
  };
}
