import { setFlagsFromString } from "node:v8";
import type { Clock } from "@failstorm/core";
import { Lull } from "./lull.ts";

/** From the last sign of a death until the engine may compile again, ms: what a storm needs to be found out and followed, which takes … */
const PAUSE_MS = 200;
/** … as many times as long as there are so many agents, of whom some get no core for as long. */
const PAUSE_AGENTS = 16;
/** A pause that is made longer again and again ends after so long, ms, and none follows for as long: such signs are of a network that cannot keep up. */
const MOST_MS = 10_000;
const COMPILERS = ["sparkplug", "maglev", "turbofan"] as const;

/**
 * Keeps the engine from compiling warm and hot functions anew while deaths are being found out; they go on as they are, interpreted if need
 * be. It does that on threads of its own, which on few cores take a quarter of the machine from all who are to notice, and from the dying,
 * whose connections the kernel closes in their own time.
 */
export class CompilerPause {
  private readonly lull: Lull;
  private readonly setFlag: (flag: string) => void;
  private readonly pauseMs: number;
  private readonly clock: Clock;
  private beganAt = 0;
  private notBefore = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, agents: number, setFlag: (flag: string) => void = setFlagsFromString) {
    this.clock = clock;
    this.setFlag = setFlag;
    this.pauseMs = PAUSE_MS * Math.max(1, agents / PAUSE_AGENTS);
    this.lull = new Lull(clock, () => this.end());
  }

  /** Begins it, or makes it longer. */
  extend(): void {
    const now = this.clock.now();
    if (now < this.notBefore) return;
    if (!this.lull.isAwaited) {
      this.beganAt = now;
      for (const compiler of COMPILERS) this.setFlag(`--no-${compiler}`);
    }
    this.lull.sign(this.pauseMs, MOST_MS);
  }

  private end(): void {
    const now = this.clock.now();
    if (now >= this.beganAt + MOST_MS) this.notBefore = now + MOST_MS;
    for (const compiler of COMPILERS) this.setFlag(`--${compiler}`);
  }
}
