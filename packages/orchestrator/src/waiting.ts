import type { Clock } from "@failstorm/core";

/** Waits for conditions over state that changes in callbacks. */
export interface Waiting {
  /** Something may have changed: looks at every pending condition again. */
  changed(): void;
  /**
   * Resolves true as soon as `condition` holds, false at `deadline` (CLOCK_MONOTONIC ms); rejects with the signal's reason when
   * it aborts first.
   */
  until(condition: () => boolean, deadline: number, signal?: AbortSignal): Promise<boolean>;
}

export function createWaiting(clock: Clock): Waiting {
  const pending = new Set<() => void>();
  return {
    changed: () => {
      for (const look of pending) look();
    },
    until: async (condition, deadline, signal) => {
      signal?.throwIfAborted();
      if (condition()) return true;
      const met = new AbortController();
      const look = (): void => {
        if (condition()) met.abort(met);
      };
      pending.add(look);
      try {
        await sleepUntil(clock, deadline, signal === undefined ? met.signal : AbortSignal.any([signal, met.signal]));
        return condition();
      } catch (error) {
        if (error === met) return true;
        throw error;
      } finally {
        pending.delete(look);
      }
    },
  };
}

/**
 * Resolves at `at` (CLOCK_MONOTONIC ms), never before: node's timers count whole milliseconds and may fire a fraction early.
 * Rejects with the signal's reason when it aborts first.
 */
export async function sleepUntil(clock: Clock, at: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  for (let left = at - clock.now(); left > 0; left = at - clock.now()) await clock.sleep(left, signal);
}
