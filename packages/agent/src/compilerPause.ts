import { setFlagsFromString } from "node:v8";
import type { Cancel, Clock } from "@failstorm/core";

/** From the last sign of a death until the engine may compile again, ms: what a storm needs to be found out and followed. */
const PAUSE_MS = 200;
const COMPILERS = ["sparkplug", "maglev", "turbofan"] as const;

/**
 * Keeps the engine from compiling warm and hot functions anew while deaths are being found out; they go on as they are, interpreted if need be. It does that on threads of its own, which on few cores
 * take a quarter of the machine from all who are to notice, and from the dying, whose connections the kernel closes in their own time.
 */
export class CompilerPause {
  private resume: Cancel | null = null;
  private readonly clock: Clock;
  private readonly setFlag: (flag: string) => void;

  constructor(clock: Clock, setFlag: (flag: string) => void = setFlagsFromString) {
    this.clock = clock;
    this.setFlag = setFlag;
  }

  /** Begins it, or makes it longer. */
  extend(): void {
    if (this.resume === null) for (const optimiser of COMPILERS) this.setFlag(`--no-${optimiser}`);
    else this.resume();
    this.resume = this.clock.after(PAUSE_MS, () => {
      this.resume = null;
      for (const optimiser of COMPILERS) this.setFlag(`--${optimiser}`);
    });
  }
}
