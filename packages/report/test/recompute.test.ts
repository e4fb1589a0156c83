import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { recomputeMetrics } from "../src/comparison/recompute.ts";

test("a run that its thread dies of is that run's problem, and the others are computed", async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "failstorm-recompute-"));
  try {
    const thread = path.join(dir, "thread.mjs");
    writeFileSync(
      thread,
      `import { parentPort } from "node:worker_threads";
       parentPort.on("message", (run) => {
         if (run === "throws") throw new Error("out of memory");
         if (run === "exits") process.exit(7);
         parentPort.postMessage({ problem: run === "bad" ? "no events" : null });
       });`,
    );
    const runs = ["a", "throws", "b", "exits", "bad", "c", "throws"];
    const progress: number[] = [];
    const problems = await recomputeMetrics(runs, (done) => progress.push(done), pathToFileURL(thread));
    expect(Object.fromEntries(problems)).toEqual({
      throws: "its computation ended: out of memory",
      exits: "its computation ended: exit code 7",
      bad: "no events",
    });
    expect(progress.at(-1)).toBe(runs.length);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
