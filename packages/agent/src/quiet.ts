import type { Clock } from "@failstorm/core";
import { Lull } from "./lull.ts";

/**
 * Lets those wait who would act upon signs that come in a bunch, until no further sign has come for a while; then all act in one go. `silenceMs` is
 * looked up with the first sign; 0: nobody waits. None waits longer than `mostSilences` times that after the first sign. For as long again nobody
 * waits at all: such a sign is not early but read late, by a process that got no core, and would wait for its turn once more for each step.
 */
export class Quiet {
  private waiting: (() => void)[] = [];
  private silenceMs = 0;
  private until = 0;
  /** From then on a sign is the first again. */
  private overAt = Number.NEGATIVE_INFINITY;
  private readonly lull: Lull;
  private readonly clock: Clock;
  private readonly options: { readonly silenceMs: () => number; readonly mostSilences: number };

  constructor(clock: Clock, options: Quiet["options"]) {
    this.clock = clock;
    this.options = options;
    this.lull = new Lull(clock, () => this.end());
  }

  /** A sign. */
  note(): void {
    const now = this.clock.now();
    if (now >= this.overAt && !this.lull.isAwaited) {
      this.silenceMs = this.options.silenceMs();
      const mostMs = this.silenceMs * this.options.mostSilences;
      this.until = now + mostMs;
      this.overAt = this.until + mostMs;
    }
    if (now < this.until) this.lull.sign(this.silenceMs, this.until - now);
  }

  /** Calls `act` when it is quiet: at once when it has been. */
  wait(act: () => void): void {
    if (this.lull.isAwaited) this.waiting.push(act);
    else act();
  }

  private end(): void {
    const { waiting } = this;
    this.waiting = [];
    for (const act of waiting) act();
  }
}
