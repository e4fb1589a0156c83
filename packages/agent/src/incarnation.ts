import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import path from "node:path";

const FILE = "incarnation";

/**
 * Counts this start: reads the incarnation of the workspace, adds one, and returns it only when the new number is on disk
 * (fsync of file and folder), so that no two starts ever carry the same number.
 */
export function nextIncarnation(workspaceDir: string): number {
  const file = path.join(workspaceDir, FILE);
  let previous = 0;
  try {
    previous = Number(readFileSync(file, "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  if (!Number.isSafeInteger(previous) || previous < 0) throw new Error(`${file}: holds no incarnation number`);
  const next = previous + 1;
  const temporary = `${file}.${process.pid}`;
  const fd = openSync(temporary, "w");
  writeSync(fd, String(next));
  fsyncSync(fd);
  closeSync(fd);
  renameSync(temporary, file);
  const folder = openSync(workspaceDir, "r");
  fsyncSync(folder);
  closeSync(folder);
  return next;
}
