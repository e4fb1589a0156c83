import { type FailstormMetrics, PAGE_FILE } from "@failstorm/report";
import type { CheckResult, Scenario } from "@failstorm/scenarios";
import { log } from "../view/log.ts";

export interface Summary {
  readonly metrics: FailstormMetrics;
  readonly check: CheckResult;
}

/**
 * Everything that is derived from a run's events: merges them if that was not done, computes metrics and checks invariants, writes
 * failstorm_metrics.json and report.html. Throws InputError when the folder holds no run.
 */
export async function summarise(runDir: string, scenario: (name: string) => Scenario): Promise<Summary> {
  const [{ mergeEvents }, { computeMetrics, readRun, writeMetrics, writeRunPage }] = await Promise.all([
    import("@failstorm/orchestrator"),
    import("@failstorm/report"),
  ]);
  await mergeEvents(runDir);
  const record = await readRun(runDir);
  const metrics = computeMetrics(record);
  await writeMetrics(runDir, metrics);
  const check = scenario(record.config.scenario.name).checker(record);
  try {
    await writeRunPage(runDir, { run: record, metrics, violations: check.violations });
  } catch (error) {
    // The numbers are safe by now: a picture of them that cannot be made is no reason to fail the run.
    log("WARNING", `no ${PAGE_FILE} could be made: ${error instanceof Error ? error.message : String(error)}`);
  }
  return { metrics, check };
}
