import { accessSync, constants } from "node:fs";
import path from "node:path";
import treeKill from "tree-kill";

/** tree-kill lists children with `ps` and crashes its caller where there is none (small containers). */
const psExists = (): boolean =>
  (process.env["PATH"] ?? "").split(path.delimiter).some((folder) => {
    try {
      accessSync(path.join(folder, "ps"), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

/** SIGKILLs `pid` and its descendants; only `pid` where `ps` is missing. A process that is gone already is no error. */
export async function killTree(pid: number): Promise<void> {
  if (process.platform === "win32" || psExists()) {
    await new Promise<void>((resolve) => treeKill(pid, "SIGKILL", () => resolve()));
    return;
  }
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
