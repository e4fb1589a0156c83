import { NEVER, type Peer } from "./peer.ts";
import type { DetectorOptions } from "./types.ts";

/** For each so many agents, or part of that, a round more is left out: finding the dead takes 200 on two cores two seconds. */
const AGENTS_A_ROUND = 100;

/**
 * How many rounds of probes are left out among so many agents, where a peer's silence may last so long, ms: so that a live one is still asked within that,
 * but at least one.
 */
export function roundsLeftOut(agents: number, intervalMs: number, patienceMs: number): number {
  const bearable = Math.max(1, Math.floor(patienceMs / intervalMs) - 1);
  return Math.min(bearable, Math.ceil(agents / AGENTS_A_ROUND));
}

/** When the detector believed a signal of the peer's end, or what else it was declared dead by. */
function signalledAt({ phase, closed }: Peer): number | null {
  if (phase.name === "dead") return phase.declaredAt;
  return phase.name === "suspect" ? phase.closedAt : (closed?.at ?? null);
}

/**
 * A closed stream where each holds one to every other may be the first of many, which all survivors learn of at the same time: then the next rounds of probes
 * are left out, so that on few cores finding the dead is not held up by asking the living. One round of up to 100 agents, more where there are more, as far as
 * a live peer is still asked within the timeout; once in a timeout, and never so many again right after. A silent death in that time is found
 * as many intervals later.
 */
export class Reprieve {
  private notBefore = NEVER;
  private readonly options: DetectorOptions;

  constructor(options: DetectorOptions) {
    this.options = options;
  }

  /** How many rounds of probes to leave out of a peer whose silence may last so long. Of swim, which asks one peer a period, one period is. */
  rounds(intervalMs: number, patienceMs: number): number {
    return roundsLeftOut(this.options.peers.length + 1, intervalMs, patienceMs);
  }

  /** A stream to this peer was closed, or both; answers whether to leave out the next rounds. False when the detector made nothing of it. */
  begins(closed: Peer | undefined, now: number): boolean {
    const { allSignalled = false, transportSignals, intervalMs, timeoutMs } = this.options;
    if (!allSignalled || !transportSignals || now < this.notBefore || closed === undefined) return false;
    if (signalledAt(closed) !== now) return false;
    this.notBefore = now + Math.max(timeoutMs, (this.rounds(intervalMs, timeoutMs) + 1) * intervalMs);
    return true;
  }
}
