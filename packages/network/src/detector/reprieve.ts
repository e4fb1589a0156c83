import { NEVER, type Peer } from "./peer.ts";
import type { DetectorOptions } from "./types.ts";

/**
 * A closed stream where each holds one to every other may be the first of many, which all survivors learn of at the same time: then the next round of probes is
 * left out, so that on few cores finding the dead is not held up by asking the living. Once in a timeout, and never two rounds one after the other; a silent
 * death in that time is found an interval later.
 */
export class Reprieve {
  private notBefore = NEVER;
  private readonly options: DetectorOptions;

  constructor(options: DetectorOptions) {
    this.options = options;
  }

  /** A stream to this peer was closed; answers whether to leave out the next round. False when the detector made nothing of it. */
  begins(closed: Peer | undefined, now: number): boolean {
    const { allSignalled = false, transportSignals, intervalMs, timeoutMs } = this.options;
    if (!allSignalled || !transportSignals || now < this.notBefore || closed === undefined) return false;
    const { phase } = closed;
    const closedAt = phase.name === "suspect" ? phase.closedAt : closed.closed?.at;
    if (closedAt !== now) return false;
    this.notBefore = now + Math.max(timeoutMs, 2 * intervalMs);
    return true;
  }
}
