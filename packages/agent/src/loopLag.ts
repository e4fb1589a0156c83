import type { Clock } from "@failstorm/core";

/**
 * How late the event loop gets to what is due: the timers of this clock say so when they go off, and so do its sleeps. A monitor of its own
 * (`monitorEventLoopDelay`) has to wake the process for each look, which in an idle agent was two of five wake-ups at ten looks a second.
 */
export class LoopLag {
  /** The clock whose timers are looked at. */
  readonly clock: Clock;
  private latenesses: number[] = [];

  constructor(clock: Clock) {
    this.clock = {
      ...clock,
      after: (delayMs, fn) => {
        // A timer counts whole milliseconds, and at least one.
        const dueAt = clock.now() + Math.max(1, delayMs);
        return clock.after(delayMs, () => {
          this.note(dueAt);
          fn();
        });
      },
      sleep: async (delayMs, signal) => {
        const dueAt = clock.now() + Math.max(1, delayMs);
        await clock.sleep(delayMs, signal);
        this.note(dueAt);
      },
    };
  }

  private note(dueAt: number): void {
    this.latenesses.push(Math.max(0, this.clock.now() - dueAt));
  }

  /** The 99th percentile (nearest rank) of the timers that went off since the last call, ms; 0 when none did. */
  takeP99(): number {
    const sorted = this.latenesses.toSorted((a, b) => a - b);
    this.latenesses = [];
    return sorted[Math.ceil(sorted.length * 0.99) - 1] ?? 0;
  }
}
