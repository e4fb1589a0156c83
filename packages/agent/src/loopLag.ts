import type { Clock } from "@failstorm/core";

/**
 * How late the event loop gets to what is due: each of the process's own timers says so when it goes off. A monitor of its own (`monitorEventLoopDelay`)
 * has to wake the process for each look, which in an idle agent was two of five wake-ups at ten looks a second.
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
          this.latenesses.push(Math.max(0, clock.now() - dueAt));
          fn();
        });
      },
    };
  }

  /** The 99th percentile (nearest rank) of the timers that went off since the last call, ms; 0 when none did. */
  takeP99(): number {
    const sorted = this.latenesses.toSorted((a, b) => a - b);
    this.latenesses = [];
    return sorted[Math.ceil(sorted.length * 0.99) - 1] ?? 0;
  }
}
