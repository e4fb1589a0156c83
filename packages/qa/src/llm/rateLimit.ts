import type { Clock } from "@failstorm/core";

const MINUTE_MS = 60_000;

export interface RateLimit {
  /** Resolves when the next request may go; first come, first served. Rejects with the signal's reason, and then uses no turn up. */
  wait(signal: AbortSignal): Promise<void>;
  /** Lets no request go for this long from now. */
  pause(ms: number): void;
}

/** Requests evenly spaced, so that no minute has more than `perMinute`; null = no limit but the pauses. */
export function createRateLimit(clock: Clock, perMinute: number | null): RateLimit {
  const intervalMs = perMinute === null ? 0 : MINUTE_MS / perMinute;
  let nextAt = clock.now();
  let last: Promise<unknown> = Promise.resolve();
  const takeTurn = async (signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted();
    // A pause may begin during a wait.
    for (let waitMs = nextAt - clock.now(); waitMs > 0; waitMs = nextAt - clock.now()) await clock.sleep(waitMs, signal);
    nextAt = Math.max(nextAt, clock.now()) + intervalMs;
  };
  return {
    async wait(signal) {
      const turn = last.then(() => takeTurn(signal));
      last = turn.catch(() => {});
      const { promise: aborted, reject } = Promise.withResolvers<never>();
      const onAbort = (): void => reject(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        await Promise.race([turn, aborted]);
      } finally {
        signal.removeEventListener("abort", onAbort);
      }
    },
    pause(ms) {
      nextAt = Math.max(nextAt, clock.now() + ms);
    },
  };
}
