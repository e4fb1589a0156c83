import { setTimeout as sleepTimer } from "node:timers/promises";

/** Cancels a pending timer; calling it twice, or after the timer fired, does nothing. */
export type Cancel = () => void;

/**
 * The only source of time. All instants are milliseconds (fraction kept, 1 µs resolution) of CLOCK_MONOTONIC, which has
 * the same origin for every process of a host, so instants of different processes on one machine may be subtracted.
 */
export interface Clock {
  /** Milliseconds of CLOCK_MONOTONIC. */
  now(): number;
  /** Milliseconds since the Unix epoch; for humans and file names, never for intervals. */
  wall(): number;
  /** Runs `fn` once, `delayMs` from now (at least on the next turn of the loop). Does not keep a process alive by itself. */
  after(delayMs: number, fn: () => void): Cancel;
  /** Resolves after `delayMs`; rejects with the signal's reason when `signal` aborts first. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

const roundToMicroseconds = (ms: number): number => Math.round(ms * 1000) / 1000;

/** The machine's clock: `process.hrtime`, which is CLOCK_MONOTONIC on Linux (`performance.now()` has another origin). */
export const systemClock: Clock = {
  now: () => {
    const [seconds, nanoseconds] = process.hrtime();
    return roundToMicroseconds(seconds * 1000 + nanoseconds / 1e6);
  },
  wall: () => Date.now(),
  after: (delayMs, fn) => {
    const timer = setTimeout(fn, Math.max(0, delayMs));
    timer.unref();
    return () => clearTimeout(timer);
  },
  sleep: async (delayMs, signal) => {
    try {
      await sleepTimer(Math.max(0, delayMs), undefined, signal ? { signal } : {});
    } catch (error) {
      throw signal?.aborted ? signal.reason : error;
    }
  },
};

/** Runs `fn` once the input at hand is handled and all that follows from it without waiting: no time, and so no clock's. */
export const atEndOfTurn = (fn: () => void): void => void setImmediate(fn);

/**
 * Runs `exchange` with a signal that aborts after `ms`, for the reason of AbortSignal.timeout; whose own timer, though, goes off when the
 * exchange is long over too, which in a process that is mostly idle was a twentieth of all it did.
 */
export async function withTimeout<T>(clock: Clock, ms: number, exchange: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const cancel = clock.after(ms, () => {
    controller.abort(new DOMException("The operation was aborted due to timeout", "TimeoutError"));
  });
  try {
    return await exchange(controller.signal);
  } finally {
    cancel();
  }
}

interface Timer {
  at: number;
  order: number;
  fn: () => void;
}

/** A clock that moves only when told to; for unit tests. */
export class FakeClock implements Clock {
  private timers: Timer[] = [];
  private order = 0;
  private nowMs: number;

  constructor(startMs = 1_000_000) {
    this.nowMs = startMs;
  }

  now(): number {
    return this.nowMs;
  }

  wall(): number {
    return this.nowMs;
  }

  after(delayMs: number, fn: () => void): Cancel {
    const timer = { at: this.nowMs + Math.max(0, delayMs), order: this.order++, fn };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        cancel();
        reject(signal?.reason);
      };
      const cancel = this.after(delayMs, () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Moves time forward by `ms`, running every timer that falls due in order, with a turn of the micro-task queue after each. */
  async advance(ms: number): Promise<void> {
    const end = this.nowMs + ms;
    for (;;) {
      await this.settle();
      const due = this.timers.filter((timer) => timer.at <= end).toSorted((a, b) => a.at - b.at || a.order - b.order)[0];
      if (due === undefined) break;
      this.timers = this.timers.filter((timer) => timer !== due);
      this.nowMs = Math.max(this.nowMs, due.at);
      due.fn();
    }
    this.nowMs = end;
    await this.settle();
  }

  private async settle(): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  }
}
