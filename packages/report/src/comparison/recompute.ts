import os from "node:os";
import { Worker } from "node:worker_threads";

/** Beyond this many at once the memory of the runs' events would count. */
const MAX_WORKERS = 4;

interface Answer {
  readonly problem: string | null;
}

/**
 * Computes `failstorm_metrics.json` of each of these run folders anew from its events, on all cores. Returns what went wrong, by
 * folder; a run without usable events stops no other, nor does one that its thread dies of.
 */
export async function recomputeMetrics(
  dirs: readonly string[],
  onProgress: (done: number, of: number) => void = () => {},
  thread: URL = new URL("recomputeWorker.ts", import.meta.url),
): Promise<Map<string, string>> {
  const waiting = [...dirs];
  const problems = new Map<string, string>();
  let done = 0;
  const work = async (): Promise<void> => {
    let worker = new Worker(thread);
    try {
      for (let dir = waiting.shift(); dir !== undefined; dir = waiting.shift()) {
        const { problem, isDead } = await ask(worker, dir);
        if (problem !== null) problems.set(dir, problem);
        if (isDead) worker = new Worker(thread);
        done += 1;
        onProgress(done, dirs.length);
      }
    } finally {
      await worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: Math.min(dirs.length, os.availableParallelism(), MAX_WORKERS) }, work));
  return problems;
}

/** A thread that dies of a run (a record too big for its memory) is that run's problem. */
function ask(worker: Worker, dir: string): Promise<{ readonly problem: string | null; readonly isDead: boolean }> {
  return new Promise((resolve) => {
    const settle = (outcome: { readonly problem: string | null; readonly isDead: boolean }): void => {
      worker.off("error", onError).off("exit", onExit).off("message", onMessage);
      resolve(outcome);
    };
    const died = (why: string): void => settle({ problem: `its computation ended: ${why}`, isDead: true });
    const onError = (error: unknown): void => died(error instanceof Error ? error.message : String(error));
    const onExit = (code: number): void => died(`exit code ${code}`);
    const onMessage = ({ problem }: Answer): void => settle({ problem, isDead: false });
    worker.on("error", onError).on("exit", onExit).on("message", onMessage);
    worker.postMessage(dir, []);
  });
}
