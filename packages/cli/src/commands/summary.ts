import type { FailstormMetrics } from "@failstorm/report";
import type { CheckResult, Scenario } from "@failstorm/scenarios";

export interface Summary {
  readonly metrics: FailstormMetrics;
  readonly check: CheckResult;
}

/**
 * Everything that is derived from a run's events: merges them if that was not done, computes metrics and checks invariants, writes
 * failstorm_metrics.json. Throws InputError when the folder holds no run.
 */
export async function summarise(runDir: string, scenario: (name: string) => Scenario): Promise<Summary> {
  const [{ mergeEvents }, { computeMetrics, readRun, writeMetrics }] = await Promise.all([
    import("@failstorm/orchestrator"),
    import("@failstorm/report"),
  ]);
  await mergeEvents(runDir);
  const record = await readRun(runDir);
  const metrics = computeMetrics(record);
  await writeMetrics(runDir, metrics);
  return { metrics, check: scenario(record.config.scenario.name).checker(record) };
}
