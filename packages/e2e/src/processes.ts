import { readdirSync, readFileSync } from "node:fs";
import { systemClock } from "@failstorm/core";

const LOOK_AGAIN_MS = 20;

interface ProcessEntry {
  readonly parent: number;
  /** `Z`: it has ended, and only its parent has not asked for its exit code; it holds no port, file or memory any more. */
  readonly isZombie: boolean;
}

/** `/proc/<pid>/stat`: pid (name) state ppid …; the name may contain anything. null when there is no such process. */
function lookUp(pid: number): ProcessEntry | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const [state = "", parent = ""] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { parent: Number(parent), isZombie: state === "Z" };
  } catch {
    return null;
  }
}

export function isRunning(pid: number): boolean {
  const entry = lookUp(pid);
  return entry !== null && !entry.isZombie;
}

/** Every process that `pid` started, and those that these started. */
export function descendantsOf(pid: number): number[] {
  const pids = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  const children = Map.groupBy(pids, (child) => lookUp(child)?.parent ?? 0);
  const found: number[] = [];
  for (let level = [pid]; level.length > 0; ) {
    level = level.flatMap((parent) => children.get(parent) ?? []);
    found.push(...level);
  }
  return found;
}

/** The running processes with `text` in their command line; agents have the path of their run's folder in theirs. */
export function processesNaming(text: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return pid !== process.pid && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text) && isRunning(pid);
      } catch {
        return false;
      }
    });
}

/** Resolves as soon as `check` gives something else than null or false; throws when that has not happened in time. */
export async function eventually<T>(what: string, withinMs: number, check: () => T | null | false): Promise<T> {
  const deadline = systemClock.now() + withinMs;
  for (;;) {
    const value = check();
    if (value !== null && value !== false) return value;
    if (systemClock.now() >= deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await systemClock.sleep(LOOK_AGAIN_MS);
  }
}

/** Resolves when none of `pids` runs any more. */
export async function allGone(pids: readonly number[], withinMs: number): Promise<void> {
  await eventually(`the end of ${pids.join(", ")}`, withinMs, () => pids.every((pid) => !isRunning(pid)));
}
