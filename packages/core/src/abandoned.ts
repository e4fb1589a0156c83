import { readdir, rm } from "node:fs/promises";
import path from "node:path";

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** Removes the temporary files of `target` (`TARGET.PID.tmp`) whose writers are no more. Nothing happens where the folder cannot be read. */
export async function removeAbandoned(target: string): Promise<void> {
  const folder = path.dirname(target);
  for (const name of await readdir(folder).catch(() => [])) {
    const [, pid] = name.startsWith(`${path.basename(target)}.`) ? (/\.(\d+)\.tmp$/.exec(name) ?? []) : [];
    if (pid !== undefined && !isRunning(Number(pid))) await rm(path.join(folder, name), { force: true });
  }
}
