import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { InputError } from "@failstorm/core";

const LOCK_FILE = "compare.pid";
const MAIN = path.join("cli", "src", "main.ts");

/** Whether a process of this id lives and is one of ours with `word` on its command line: ids are given again to others. */
export function isRunning(pid: number, word: string = MAIN): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    // Where there is no /proc the id has to do.
    return !existsSync("/proc/self/cmdline") || readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0").some(has(word));
  } catch {
    return false;
  }
}

const has =
  (word: string) =>
  (argument: string): boolean =>
    argument === word || argument.endsWith(word);

/**
 * Keeps two calls from making the runs of one experiment at the same time: they would disturb each other, and take each other's runs
 * for theirs. Returns what gives it free. A lock that a killed call left is taken over. Throws InputError.
 */
export function lockExperiment(dir: string, name: string): () => void {
  const file = path.join(dir, LOCK_FILE);
  for (let attempt = 1; ; attempt++) {
    try {
      writeFileSync(file, String(process.pid), { flag: "wx" });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST" || attempt > 2) throw error;
    }
    const holder = Number(existsSync(file) ? readFileSync(file, "utf8") : "");
    if (holder > 0 && isRunning(holder))
      throw new InputError(
        `${name}: another call is making the runs of this experiment (process ${holder}); wait for its end, end it, or give another --name`,
      );
    rmSync(file, { force: true });
  }
}
