import { parentPort } from "node:worker_threads";
import { computeMetrics } from "../metrics.ts";
import { readRun } from "../run.ts";
import { writeMetrics } from "../writeMetrics.ts";

/** The thread behind `recomputeMetrics`: is told a run's folder, answers when its metrics are written. */
async function recompute(dir: string): Promise<void> {
  let problem: string | null = null;
  try {
    await writeMetrics(dir, computeMetrics(await readRun(dir)));
  } catch (error) {
    problem = error instanceof Error ? error.message : String(error);
  }
  parentPort?.postMessage({ problem }, []);
}

parentPort?.on("message", (dir: string) => void recompute(dir));
