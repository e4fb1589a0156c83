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
