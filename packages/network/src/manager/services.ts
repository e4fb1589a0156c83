import type { Cancel, Clock, Prng } from "@failstorm/core";
import type { NetworkLogger } from "../logger.ts";

/** What is done again and again while the network runs. */
export interface Services {
  /** One round after the other, `intervalMs` apart; the first after a random part of that: not all agents at once. */
  every(intervalMs: number, service: () => Promise<void>): void;
  stop(): void;
}

export function createServices({
  clock,
  prng,
  log,
}: {
  readonly clock: Clock;
  readonly prng: Prng;
  readonly log: NetworkLogger;
}): Services {
  const timers: Cancel[] = [];
  let stopped = false;

  const arm = (index: number, delayMs: number, round: () => Promise<void>): void => {
    if (!stopped) timers[index] = clock.after(delayMs, () => void round());
  };

  return {
    every(intervalMs, service) {
      const index = timers.length;
      const round = async (): Promise<void> => {
        try {
          await service();
        } catch (error) {
          log("error", "a service failed", { reason: error instanceof Error ? error.message : String(error) });
        }
        arm(index, intervalMs, round);
      };
      arm(index, prng.next() * intervalMs, round);
    },
    stop() {
      stopped = true;
      for (const cancel of timers) cancel();
    },
  };
}
