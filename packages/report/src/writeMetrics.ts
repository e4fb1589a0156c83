import path from "node:path";
import { type FailstormMetrics, metricsSchema } from "./schema.ts";
import { writeWholeFile } from "./wholeFile.ts";

export const METRICS_FILE = "failstorm_metrics.json";

/**
 * Writes `failstorm_metrics.json` into a run's folder: checked against its schema, and whole or not at all. Returns the path. Throws
 * RunError `METRICS_NOT_WRITTEN` (disk full, …).
 */
export async function writeMetrics(dir: string, metrics: FailstormMetrics): Promise<string> {
  const target = path.join(dir, METRICS_FILE);
  await writeWholeFile(target, `${JSON.stringify(metricsSchema.parse(metrics), null, 1)}\n`, "METRICS_NOT_WRITTEN");
  return target;
}
