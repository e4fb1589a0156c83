import { open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { removeAbandoned, RunError } from "@failstorm/core";

/**
 * Writes a file to a temporary one, fsync, rename: a reader sees the old file or the whole new one. Throws RunError with `code` (disk
 * full, …), leaving no temporary file behind; one that a killed program has left is removed.
 */
export async function writeWholeFile(target: string, content: string | Uint8Array, code: string): Promise<void> {
  const temporary = `${target}.${process.pid}.tmp`;
  try {
    const file = await open(temporary, "w");
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, target);
    await syncFolder(path.dirname(target));
    await removeAbandoned(target);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    const message = error instanceof Error ? error.message : String(error);
    throw new RunError(code, `${target}: ${message}`, { cause: error });
  }
}

/** Makes the rename itself durable. */
async function syncFolder(dir: string): Promise<void> {
  const folder = await open(dir, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
