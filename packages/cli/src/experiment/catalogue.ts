import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { type FailstormMetrics, METRICS_FILE, QUEUE_METRICS_FILE, type QueueMetrics } from "@failstorm/report";
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
    return JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  } catch {
    return null;
  }
}

export function readListed(dir: string): ListedRun {
  const manifest = readJson(path.join(dir, "manifest.json")) ?? {};
  const startedAt = typeof manifest["startedAt"] === "string" ? manifest["startedAt"] : statSync(dir).mtime.toISOString();
  return {
    dir,
    startedAt,
    manifest,
    metrics: readJson(path.join(dir, METRICS_FILE)) as FailstormMetrics | null,
    queue: readJson(path.join(dir, QUEUE_METRICS_FILE)) as QueueMetrics | null,
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
