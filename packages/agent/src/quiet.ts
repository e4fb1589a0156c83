import type { Clock } from "@failstorm/core";
import { Lull } from "./lull.ts";

/**
 * Lets those wait who would act upon signs that come in a bunch, until no further sign has come for a while; then all act in one go. `silenceMs` is
 * looked up with the first sign; 0: nobody waits. None waits longer than `mostSilences` times that after the first sign.
 */
export class Quiet {
  private waiting: (() => void)[] = [];
  private silenceMs = 0;
  private until = 0;
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
    if (!this.lull.isAwaited) {
      this.silenceMs = this.options.silenceMs();
      this.until = this.clock.now() + this.silenceMs * this.options.mostSilences;
    }
    if (this.silenceMs > 0) this.lull.sign(this.silenceMs, this.until);
  }

  /** Resolves when it is quiet: at once when it has been. */
  wait(): Promise<void> {
    if (!this.lull.isAwaited) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  private end(): void {
    const { waiting } = this;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }
}
