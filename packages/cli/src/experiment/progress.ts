import type { PlannedRun } from "@failstorm/report/comparison/experiment.ts";

/** Start of the agents, broadcast, drain and the report of a run, before any was made. */
const OVERHEAD_MS = 15_000;

/** `1 h 05 min`, `4 min 10 s`, `12 s`. */
export function formatDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 === 0 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** What is left of an experiment, from how long its runs took so far. */
export interface Progress {
  /** A run was made in so many ms. */
  note(variant: string, wallMs: number): void;
  /** ms that these runs will take. */
  remaining(runs: readonly PlannedRun[]): number;
}

/** `runtimes`: the length of a run of each variant, ms, from its configuration. */
export function createProgress(runtimes: ReadonlyMap<string, number>): Progress {
  const overheads: number[] = [];
  const mean = (): number =>
    overheads.length === 0 ? OVERHEAD_MS : overheads.reduce((sum, ms) => sum + ms, 0) / overheads.length;
  return {
    note: (variant, wallMs) => overheads.push(wallMs - (runtimes.get(variant) ?? 0)),
    remaining: (runs) => runs.reduce((sum, { variant }) => sum + (runtimes.get(variant) ?? 0) + mean(), 0),
  };
}
