import type { RunConfig, RunPlan } from "@failstorm/core";
import type { CheckResult, CheckedRun } from "./checker.ts";

/** A scenario is a value: what is decided before a run, and what is looked at after it. */
export interface Scenario {
  readonly name: string;
  /** Workload and timeline, from the configuration and its seed alone. Throws InputError. */
  plan(config: RunConfig): Promise<RunPlan>;
  /** The invariants of a finished or broken-off run. */
  checker(run: CheckedRun): CheckResult;
}
