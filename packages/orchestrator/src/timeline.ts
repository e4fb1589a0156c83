import type { Clock, PlannedFault, RunConfig } from "@failstorm/core";
import { sleepUntil } from "./waiting.ts";

/** What happens when, ms after t=0. Equal times: in the order given. */
export type Moment =
  | { readonly atMs: number; readonly kind: "phase"; readonly phase: "normal" }
  | { readonly atMs: number; readonly kind: "strike"; readonly fault: PlannedFault }
  /** Restart of the dead, SIGCONT for the stopped. */
  | { readonly atMs: number; readonly kind: "restore"; readonly fault: PlannedFault };

/** Everything between the start of the load and the end of the run, in order of time. */
export function planMoments(faults: readonly PlannedFault[], loadFromMs: number, scenario: RunConfig["scenario"]): Moment[] {
  const moments: Moment[] = [{ atMs: loadFromMs, kind: "phase", phase: "normal" }];
  const { recoveryDurationMs, runtimeMs } = scenario;
  for (const fault of faults) {
    moments.push({ atMs: fault.atMs, kind: "strike", fault });
    if (fault.restartAtMs !== null) moments.push({ atMs: fault.restartAtMs, kind: "restore", fault });
    if (recoveryDurationMs === null) continue;
    const calmAtMs = fault.atMs + recoveryDurationMs;
    const interrupted = faults.some((other) => other.atMs > fault.atMs && other.atMs <= calmAtMs);
    if (!interrupted) moments.push({ atMs: calmAtMs, kind: "phase", phase: "normal" });
  }
  return moments.filter((moment) => moment.atMs < runtimeMs).toSorted((a, b) => a.atMs - b.atMs);
}

/** Lets each moment happen at its time, then waits for the end. Rejects with the signal's reason when it aborts first. */
export async function runMoments(options: {
  readonly moments: readonly Moment[];
  readonly t0: number;
  readonly runtimeMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly act: (moment: Moment) => void;
}): Promise<void> {
  const { moments, t0, runtimeMs, clock, signal, act } = options;
  for (const moment of moments) {
    await sleepUntil(clock, t0 + moment.atMs, signal);
    act(moment);
  }
  await sleepUntil(clock, t0 + runtimeMs, signal);
}
