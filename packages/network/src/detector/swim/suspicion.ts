import type { Beliefs } from "../beliefs.ts";
import type { Peer } from "../peer.ts";
import type { DetectorOptions } from "../types.ts";

/**
 * A suspicion that so many others confirm lasts half the timeout (what a peer may stall, and the stall began before the suspicion), one that nobody
 * does the whole of it, and longer both where false ones took long to be refuted of late. Expected of those who watch the peer, too, is only every
 * second one: in a storm some of them are dead.
 */
const CONFIRMATIONS = 3;
const MIN_SUSPICION_SHARE = 1 / 2;

/**
 * How long a suspicion lasts before it is a death (Lifeguard: Dadgar, Phillips, Currey, DSN 2018, "LHA Suspicion"): the fewer agents have
 * found the peer silent independently, the longer, as one alone may be in trouble itself. From `maxMs` without any confirmation it falls
 * logarithmically to `minMs` with as many as can be expected.
 */
export function suspicionMs(confirmations: number, expected: number, minMs: number, maxMs: number): number {
  if (expected === 0) return maxMs;
  const share = Math.log(confirmations + 1) / Math.log(expected + 1);
  return Math.max(minMs, maxMs - share * (maxMs - minMs));
}

/** Of a false suspicion: so many times what it took to be refuted, later ones last at the least … */
const REFUTATION_TIMES = 2;
/** … and with each interval that passes it has less to say. */
const REMEMBERED_SHARE = 15 / 16;

/**
 * How long it takes of late until a false suspicion is refuted. Who was wrong waits longer the next time (Chandra, Toueg: "Unreliable failure detectors
 * for reliable distributed systems", JACM 1996, fig. 10). There each learns for each peer, and for good, so that false suspicions come to an end. Here it
 * is two timeouts at the most, for all peers, and forgotten in time: they become fewer while the network is slow, and whoever stalls for longer is still
 * taken for dead.
 */
export class RefutationTimes {
  private readonly intervalMs: number;
  private readonly timeoutMs: number;
  private notedMs = 0;
  private notedAt = 0;

  constructor({ intervalMs, timeoutMs }: DetectorOptions) {
    this.intervalMs = intervalMs;
    this.timeoutMs = timeoutMs;
  }

  /** What took longer than the timeout, maybe by a stall of this agent's own, counts as that. */
  note(ms: number, now: number): void {
    const countedMs = Math.min(ms, this.timeoutMs);
    if (countedMs < this.recentMs(now)) return;
    this.notedMs = countedMs;
    this.notedAt = now;
  }

  /** The least that a suspicion lasts that began at `at`; ms. What is learnt while it runs prolongs it, what is forgotten does not shorten it. */
  leastMs(at: number): number {
    return Math.max(this.timeoutMs * MIN_SUSPICION_SHARE, Math.round(REFUTATION_TIMES * this.recentMs(at)));
  }

  private recentMs(at: number): number {
    return this.notedMs * REMEMBERED_SHARE ** (Math.max(0, at - this.notedAt) / this.intervalMs);
  }
}

/** How long the suspicion of a peer lasts by what is known now; ms. */
export function patience({ timeoutMs }: DetectorOptions, beliefs: Beliefs, times: RefutationTimes): (peer: Peer) => number {
  return ({ phase, suspectedAt }) => {
    const confirmations = phase.name === "suspect" && phase.by !== null ? phase.by.size - 1 : 0;
    // As many as this agent watches watch each: the suspect is none of the living.
    const alive = beliefs.monitored.filter((peer) => peer.phase.name === "alive").length;
    const otherWatchers = beliefs.monitored.length === 0 ? beliefs.peers.size : Math.max(1, alive - 1);
    const expected = Math.min(CONFIRMATIONS, beliefs.peers.size - 1, Math.ceil(otherWatchers / 2));
    const leastMs = times.leastMs(suspectedAt);
    return suspicionMs(confirmations, expected, leastMs, Math.max(leastMs, timeoutMs));
  };
}

/** Lifeguard's local health multiplier: what is awry with this agent itself makes it more patient with the others. */
export interface LocalHealth {
  /** At least 1; by how much probes are slower and waited for longer. */
  readonly multiplier: number;
  better(): void;
  worse(): void;
}

const MAX_MULTIPLIER = 8;

export function createLocalHealth(): LocalHealth {
  let multiplier = 1;
  return {
    get multiplier() {
      return multiplier;
    },
    better() {
      multiplier = Math.max(1, multiplier - 1);
    },
    worse() {
      multiplier = Math.min(MAX_MULTIPLIER, multiplier + 1);
    },
  };
}
