import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { startCapture } from "./capture.ts";
import { type Outside, readOutside } from "./outside.ts";
import { startWatcher } from "./watcher.ts";

const FAILSTORM = path.resolve(import.meta.dirname, "../../../cli/src/main.ts");
const STDERR = 2;
/** The run was made, though an invariant may be broken: there is something to compare. */
const RUN_WAS_MADE = new Set([0, 3]);

/**
 * Starts `failstorm …args` as a child, watched from before its first process to after its last. Its own output goes to stderr.
 * Throws when the run failed, or when the oracle lacks a tool (the message says which, and the remedy).
 */
export async function observeRun(args: readonly string[]): Promise<Outside> {
  const dir = mkdtempSync(path.join(tmpdir(), "failstorm-oracle-"));
  const captureFile = path.join(dir, "loopback.pcap");
  try {
    const capture = await startCapture(captureFile);
    let totals = null;
    let sightings = null;
    let exitCode: number | null = null;
    try {
      const watcher = await startWatcher();
      try {
        const child = spawn(process.execPath, [FAILSTORM, ...args], { stdio: ["ignore", STDERR, STDERR] });
        const closed = once(child, "close");
        watcher.watch(child.pid ?? 0);
        [exitCode] = (await closed) as [number | null];
      } finally {
        sightings = await watcher.stop();
      }
    } finally {
      totals = await capture.stop();
    }
    if (!RUN_WAS_MADE.has(exitCode ?? -1)) throw new Error(`failstorm ${args.join(" ")} ended with exit code ${exitCode}`);
    return readOutside(sightings, captureFile, totals);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
