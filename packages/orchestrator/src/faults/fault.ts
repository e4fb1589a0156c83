import type { Clock, FaultKind } from "@failstorm/core";
import type { LaunchedAgent } from "../launcher/launcher.ts";

/** One kind of fault. */
export interface Fault {
  readonly kind: FaultKind;
  readonly fake: boolean;
  /** Does it to one victim, synchronously; false when the victim was gone already. */
  strike(victim: LaunchedAgent): boolean;
  /** Takes it back; null when there is nothing to take back (the victim is dead, and may be started again). */
  readonly clear: ((victim: LaunchedAgent) => boolean) | null;
}

/** CLOCK_MONOTONIC ms right before and right after the system call. */
export interface Strike<Victim> {
  readonly victim: Victim;
  readonly before: number;
  readonly after: number;
  readonly sent: boolean;
}

/** Calls `act` for all victims back to back: nothing happens in between but reading the clock. */
export function strikeAll<Victim>(
  victims: readonly Victim[],
  clock: Clock,
  act: (victim: Victim) => boolean,
): readonly Strike<Victim>[] {
  return victims.map((victim) => {
    const before = clock.now();
    const sent = act(victim);
    return { victim, before, after: clock.now(), sent };
  });
}
