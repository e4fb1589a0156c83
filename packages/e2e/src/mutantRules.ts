import type { Mutant } from "@failstorm/core";
import type { FailstormMetrics } from "@failstorm/report";
import { words } from "./runCli.ts";

/** The storm of the tests, which every mutant has to show in: victims come back, so that what the ledger is for is needed too. */
export const stormRun = (seed: number, mutant: Mutant | null): string[] => [
  ...words(`--agents 6 --kill-count 2 --seed ${seed} --json`),
  ...words("--runtime 20 --fault-time 8 --restart-after 4 --set scenario.warmup=1"),
  ...words("--rate 1.5 --deadline 6 --heartbeat-interval 0.5 --heartbeat-timeout 1.5"),
  ...(mutant === null ? [] : ["--mutant", mutant]),
];

/** What breaking one mechanism must do to a measure that is named beforehand. */
export interface MutantRule {
  readonly mutant: Mutant;
  readonly measure: string;
  /** Written down before the runs it is applied to; the unmutated runs of the same seeds tell how often it is red for nothing. */
  readonly threshold: string;
  readonly read: (metrics: FailstormMetrics) => number | null;
  readonly isRed: (metrics: FailstormMetrics) => boolean;
}

/** Share of executions for fault-affected tasks. */
const MAX_DUPLICATE_RATIO = 0.1;
/** Share of the goodput before the fault. */
const MAX_SUCCESS_DROP = 0.1;

const shardsTakenOver = ({ takeover_ms }: FailstormMetrics): number | null => takeover_ms?.shard.first ?? null;

export const MUTANT_RULES: readonly MutantRule[] = [
  {
    mutant: "takeover-off",
    measure: "takeover_ms.shard.first",
    threshold: "null: no victim's shard is ever served by somebody else",
    read: shardsTakenOver,
    isRed: (metrics) => shardsTakenOver(metrics) === null,
  },
  {
    mutant: "ledger-off",
    measure: "duplicate_work_ratio",
    threshold: `above ${MAX_DUPLICATE_RATIO}`,
    read: (metrics) => metrics.duplicate_work_ratio,
    isRed: (metrics) => (metrics.duplicate_work_ratio ?? 0) > MAX_DUPLICATE_RATIO,
  },
  {
    mutant: "retry-off",
    measure: "success_rate_drop",
    threshold: `above ${MAX_SUCCESS_DROP}`,
    read: (metrics) => metrics.success_rate_drop,
    isRed: (metrics) => (metrics.success_rate_drop ?? 0) > MAX_SUCCESS_DROP,
  },
  {
    mutant: "drop-orphans",
    measure: "tasks_lost",
    threshold: "above 0",
    read: (metrics) => metrics.tasks_lost,
    isRed: (metrics) => metrics.tasks_lost > 0,
  },
];
