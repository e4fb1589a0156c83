import type { Clock } from "@failstorm/core";

const MINUTE_MS = 60_000;

export interface RateLimit {
  /** Resolves when the next request may go; first come, first served. Rejects with the signal's reason, and then uses no turn up. */
  wait(signal: AbortSignal): Promise<void>;
  /** Lets no request go for this long from now. */
  pause(ms: number): void;
}

/** Which of how many processes that keep a limit together, without a word between them. */
export interface Share {
  readonly index: number;
  readonly of: number;
}

/** Whole requests a minute: of spaced by 2/3 of a minute a minute can have two. */
const wholeOf = (perMinute: number): number => (perMinute < 1 ? perMinute : Math.floor(perMinute));

/**
 * Requests evenly spaced, so that no minute has more than `perMinute` of all processes together; null = no limit but the pauses. Each
 * process has an equal, whole number of requests a minute. Where that is none, they take turns by the clock, which all processes of a
 * machine share: else each would make its one request of some minutes in the same minute.
 */
export function createRateLimit(clock: Clock, perMinute: number | null, share: Share = { index: 0, of: 1 }): RateLimit {
  const own = perMinute === null ? Number.POSITIVE_INFINITY : wholeOf(perMinute / share.of);
  const intervalMs = MINUTE_MS / own;
  const takesTurns = own < 1 && share.of > 1;
  const offsetMs = (intervalMs * (share.index % share.of)) / share.of;
  /** The first moment from `ms` on at which a request may go. The little that is taken off is the error of the division. */
  const turnFrom = (ms: number): number =>
    takesTurns ? offsetMs + Math.ceil((ms - offsetMs) / intervalMs - 1e-9) * intervalMs : ms;
  let nextAt = clock.now();
  let last: Promise<unknown> = Promise.resolve();
  const takeTurn = async (signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted();
    nextAt = turnFrom(Math.max(nextAt, clock.now()));
    // A pause may begin during a wait.
    for (let waitMs = nextAt - clock.now(); waitMs > 0; waitMs = nextAt - clock.now()) await clock.sleep(waitMs, signal);
    nextAt = (takesTurns ? nextAt : Math.max(nextAt, clock.now())) + intervalMs;
  };
  return {
    async wait(signal) {
      signal.throwIfAborted();
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
      nextAt = turnFrom(Math.max(nextAt, clock.now() + ms));
    },
  };
}
