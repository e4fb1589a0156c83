import os from "node:os";
import { Worker } from "node:worker_threads";

/** Beyond this many at once the memory of the runs' events would count. */
const MAX_WORKERS = 4;

interface Answer {
  readonly dir: string;
  readonly problem: string | null;
}

/**
 * Computes `failstorm_metrics.json` of each of these run folders anew from its events, on all cores. Returns what went wrong, by
 * folder; a run without usable events stops no other.
 */
export async function recomputeMetrics(
  dirs: readonly string[],
  onProgress: (done: number, of: number) => void = () => {},
): Promise<Map<string, string>> {
  const waiting = [...dirs];
  const problems = new Map<string, string>();
  let done = 0;
  const work = async (): Promise<void> => {
    const worker = new Worker(new URL("recomputeWorker.ts", import.meta.url));
    try {
      for (let dir = waiting.shift(); dir !== undefined; dir = waiting.shift()) {
        const { problem } = await ask(worker, dir);
        if (problem !== null) problems.set(dir, problem);
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

function ask(worker: Worker, dir: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    worker.once("error", reject);
    worker.once("message", (answer: Answer) => {
      worker.off("error", reject);
      resolve(answer);
    });
    worker.postMessage(dir, []);
  });
}
