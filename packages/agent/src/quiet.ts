import type { Cancel, Clock } from "@failstorm/core";

/**
 * Lets those wait who would act upon signs that come in a bunch, until no further sign has come for a while; then all act in one go. `silenceMs` is
 * looked up with the first sign; 0: nobody waits. None waits longer than `mostSilences` times that after the first sign.
 */
export class Quiet {
  private waiting: (() => void)[] = [];
  private silenceMs = 0;
  private until = 0;
  private ending: Cancel | null = null;
  private readonly clock: Clock;
  private readonly options: { readonly silenceMs: () => number; readonly mostSilences: number };

  constructor(clock: Clock, options: Quiet["options"]) {
    this.clock = clock;
    this.options = options;
  }

  /** A sign. */
  note(): void {
    const now = this.clock.now();
    if (this.ending === null) {
      this.silenceMs = this.options.silenceMs();
      this.until = now + this.silenceMs * this.options.mostSilences;
    }
    if (this.silenceMs === 0) return;
    this.ending?.();
    const leftMs = Math.max(0, Math.min(this.silenceMs, this.until - now));
    this.ending = this.clock.after(Math.ceil(leftMs), () => this.end());
  }

  /** Resolves when it is quiet: at once when it has been. */
  wait(): Promise<void> {
    if (this.ending === null) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  private end(): void {
    this.ending = null;
    const { waiting } = this;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }
}
