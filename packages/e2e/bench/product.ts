import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { projectRoot } from "@failstorm/cli";
import { RunError } from "@failstorm/core";
import { type FailstormMetrics, metricsSchema, readRun, type RunRecord } from "@failstorm/report";
import type { BenchContext } from "./bench.ts";

const CLI = path.join(projectRoot, "packages", "cli", "src", "main.ts");
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;
const INVARIANT_BROKEN = 3;

/** A finished run of the product, as its user would have started it. */
export interface ProductRun {
  readonly metrics: FailstormMetrics;
  readonly record: RunRecord;
  readonly dir: string;
  /** Whether the checker found a broken invariant. */
  readonly broken: boolean;
  /** Removes the run's folder. */
  discard(): void;
}

/** Runs `failstorm` with these options, in a process of its own. Throws RunError when it fails; its folder is then left. */
export async function runProduct(args: readonly string[], { workDir, signal }: BenchContext): Promise<ProductRun> {
  const all = [CLI, ...args, "--json", "--quiet", "--base-port", "0", "--results", workDir];
  const { stdout, exitCode } = await collect(all, signal);
  const metrics = metricsSchema.parse(JSON.parse(stdout));
  const dir = path.join(workDir, metrics.scenario, metrics.protocol, metrics.run_id);
  return {
    metrics,
    dir,
    record: await readRun(dir),
    broken: exitCode === INVARIANT_BROKEN,
    discard: () => rmSync(dir, { recursive: true, force: true }),
  };
}

async function collect(args: readonly string[], signal: AbortSignal): Promise<{ stdout: string; exitCode: number }> {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: MAX_OUTPUT_BYTES, signal });
    return { stdout, exitCode: 0 };
  } catch (error) {
    signal.throwIfAborted();
    const { code, stdout, stderr } = error as { code?: number; stdout?: string; stderr?: string };
    if (code === INVARIANT_BROKEN && stdout !== undefined) return { stdout, exitCode: code };
    throw new RunError("BENCH_RUN_FAILED", `failstorm ${args.slice(1).join(" ")} ended with ${code}: ${stderr ?? ""}`, {
      cause: error,
    });
  }
}
