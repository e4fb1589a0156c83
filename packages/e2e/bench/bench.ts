import type { Clock, Prng } from "@failstorm/core";

/** What the runner gives a bench. */
export interface BenchContext {
  /** Interleaved repeats (pairs of product and floor). */
  readonly repeats: number;
  readonly clock: Clock;
  /** Forked by the bench's name: the same seed gives the same storms and the same resamples. */
  readonly prng: Prng;
  /** A folder for runs and files; also the results folder of the runs, so that all share one compile cache. */
  readonly workDir: string;
  /** Aborts when the user wants to stop. */
  readonly signal: AbortSignal;
  readonly progress: (line: string) => void;
}

/** One measured number beside its goal. */
export interface Check {
  readonly measure: string;
  /** In words, with the limit; "" = no goal, shown for the reader. */
  readonly goal: string;
  readonly unit: string;
  readonly n: number;
  /** null = not reached in at least half of the repeats. */
  readonly median: number | null;
  /** 95 %, bootstrap; null where there is none to give. */
  readonly interval: readonly [number, number] | null;
  /** null = no goal. */
  readonly met: boolean | null;
}

/** Numbers behind the checks, to be printed under them. */
export interface DetailTable {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface BenchOutcome {
  readonly checks: readonly Check[];
  readonly details: readonly DetailTable[];
  /** How it was measured and what the reader has to know to judge it. */
  readonly notes: readonly string[];
  /** Why the verdicts decide nothing, beside too few repeats; null when there is no reason. */
  readonly doubt: string | null;
  /** Every single measurement. */
  readonly data: unknown;
}

/** A benchmark is a value. A floor, where there is one, is measured in the same run, turn by turn with the product. */
export interface Bench {
  readonly name: string;
  readonly what: string;
  readonly goal: string;
  run(context: BenchContext): Promise<BenchOutcome>;
}

/** With fewer repeats a verdict is marked as not conclusive. */
export const CONCLUSIVE_REPEATS = 20;
