import { open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { RunError } from "@failstorm/core";
import { type FailstormMetrics, metricsSchema } from "./schema.ts";

export const METRICS_FILE = "failstorm_metrics.json";

/**
 * Writes `failstorm_metrics.json` into a run's folder: checked against its schema, to a temporary file, fsync, rename; a reader
 * sees the old file or the whole new one. Returns the path. Throws RunError `METRICS_NOT_WRITTEN` (disk full, …), leaving no
 * temporary file behind.
 */
export async function writeMetrics(dir: string, metrics: FailstormMetrics): Promise<string> {
  const target = path.join(dir, METRICS_FILE);
  const temporary = `${target}.${process.pid}.tmp`;
  const text = `${JSON.stringify(metricsSchema.parse(metrics), null, 1)}\n`;
  try {
    const file = await open(temporary, "w");
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, target);
    await syncFolder(dir);
    return target;
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    const message = error instanceof Error ? error.message : String(error);
    throw new RunError("METRICS_NOT_WRITTEN", `${target}: ${message}`, { cause: error });
  }
}

/** Makes the rename itself durable. */
async function syncFolder(dir: string): Promise<void> {
  const folder = await open(dir, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
