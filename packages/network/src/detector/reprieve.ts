import { NEVER } from "./peer.ts";
import type { DetectorOptions } from "./types.ts";

/**
 * A closed stream where each holds one to every other may be the first of many, which all survivors learn of at the same time: then the next round of probes is
 * left out, so that on few cores finding the dead is not held up by asking the living. At most once in a timeout; a silent death in that time is found an
 * interval later.
 */
export class Reprieve {
  private notBefore = NEVER;
  private readonly options: DetectorOptions;

  constructor(options: DetectorOptions) {
    this.options = options;
  }

  /** A stream was closed; answers whether to leave out the next round. */
  begins(now: number): boolean {
    const { allSignalled = false, transportSignals, timeoutMs } = this.options;
    if (!allSignalled || !transportSignals || now < this.notBefore) return false;
    this.notBefore = now + timeoutMs;
    return true;
  }
}
