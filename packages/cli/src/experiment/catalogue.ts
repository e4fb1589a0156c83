import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import {
  type FailstormMetrics,
  METRICS_FILE,
  METRICS_SCHEMA_VERSION,
  QUEUE_METRICS_FILE,
  QUEUE_METRICS_SCHEMA_VERSION,
  type QueueMetrics,
} from "@failstorm/report";
import { EXPERIMENT_FILE } from "@failstorm/report/comparison/experiment.ts";

/** A run as the list shows it; `metrics` null: it broke off, or goes on. */
export interface ListedRun {
  readonly dir: string;
  readonly startedAt: string;
  readonly manifest: Readonly<Record<string, unknown>>;
  readonly metrics: FailstormMetrics | null;
  /** Of a streaming queue; `metrics` is null then. */
  readonly queue: QueueMetrics | null;
}

function readJson(file: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(readFileSync(file, "utf8"));
    return typeof value === "object" ? (value as Record<string, unknown> | null) : null;
  } catch {
    return null;
  }
}

/** null when it is not there, is cut short, or is of another version: `failstorm report DIR` makes it anew. */
function readMetrics(file: string, version: number): unknown {
  const metrics = readJson(file);
  return metrics !== null && metrics["schemaVersion"] === version ? metrics : null;
}

export function readListed(dir: string): ListedRun {
  const manifest = readJson(path.join(dir, "manifest.json")) ?? {};
  const startedAt = typeof manifest["startedAt"] === "string" ? manifest["startedAt"] : statSync(dir).mtime.toISOString();
  return {
    dir,
    startedAt,
    manifest,
    metrics: readMetrics(path.join(dir, METRICS_FILE), METRICS_SCHEMA_VERSION) as FailstormMetrics | null,
    queue: readMetrics(path.join(dir, QUEUE_METRICS_FILE), QUEUE_METRICS_SCHEMA_VERSION) as QueueMetrics | null,
  };
}

/** The folders of the experiments of a results folder. */
export function experimentsIn(results: string): string[] {
  const dir = path.join(results, "experiments");
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .map((name) => path.join(dir, name))
    .filter((folder) => existsSync(path.join(folder, EXPERIMENT_FILE)));
}
