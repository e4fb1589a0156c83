import { loadavg } from "node:os";
import type { Clock } from "@failstorm/core";
import { describeMachine, type MachineDescription } from "../../orchestrator/src/index.ts";
import { sampleMachine } from "../../orchestrator/src/machine.ts";

const LOOK_MS = 2000;

/** Above this share of the machine, other work than ours disturbs what is measured. */
export const QUIET_BUSY = 0.1;

export interface Surroundings extends MachineDescription {
  readonly loadAverage: readonly number[];
}

export const describeSurroundings = (): Surroundings => ({ ...describeMachine(), loadAverage: loadavg() });

/** How busy the machine is while nothing of ours runs: share of all cores, over two seconds. */
export function backgroundBusy(clock: Clock): Promise<number> {
  return new Promise((resolve) => {
    const stop = new AbortController();
    sampleMachine({
      clock,
      intervalMs: LOOK_MS,
      signal: stop.signal,
      onSample: ({ busy, steal }) => {
        stop.abort();
        resolve(busy + steal);
      },
    });
    // The sampler's timer does not keep the process alive by itself.
    void clock.sleep(LOOK_MS * 2);
  });
}
