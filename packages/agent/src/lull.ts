import type { Cancel, Clock } from "@failstorm/core";

/**
 * The end of a bunch of signs: `onEnd` is called once no further sign has come for a while. However many come there is one timer, which is looked
 * after only when it goes off: in a storm each timer costs all survivors a bit of the same few cores.
 */
export class Lull {
  private timer: Cancel | null = null;
  private endsAt = 0;
  private latestAt = 0;
  private readonly clock: Clock;
  private readonly onEnd: () => void;

  constructor(clock: Clock, onEnd: () => void) {
    this.clock = clock;
    this.onEnd = onEnd;
  }

  /** A sign has come, and the bunch is not over. */
  get isAwaited(): boolean {
    return this.timer !== null;
  }

  /** A sign: it is over `silenceMs` from now unless another comes, but in any case `mostMs`, as the first of the bunch has it, after that first one. */
  sign(silenceMs: number, mostMs = Number.POSITIVE_INFINITY): void {
    const now = this.clock.now();
    if (this.timer === null) this.latestAt = now + mostMs;
    this.endsAt = Math.min(now + silenceMs, this.latestAt);
    if (this.timer === null) this.arm();
  }

  /** Nothing is waited for any more. */
  cancel(): void {
    this.timer?.();
    this.timer = null;
  }

  private arm(): void {
    const leftMs = Math.max(0, Math.ceil(this.endsAt - this.clock.now()));
    this.timer = this.clock.after(leftMs, () => {
      if (this.clock.now() < this.endsAt) this.arm();
      else this.readFirst();
    });
  }

  /** Signs that came while this process had to wait for a core are read after the timers of this turn of the loop, and before those of the next. */
  private readFirst(): void {
    const { endsAt } = this;
    this.timer = this.clock.after(0, () => {
      this.timer = null;
      if (this.endsAt === endsAt) this.onEnd();
      else this.arm();
    });
  }
}
