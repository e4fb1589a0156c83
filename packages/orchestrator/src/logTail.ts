import { open } from "node:fs/promises";

const TAIL_BYTES = 4096;
const TAIL_LINES = 15;

/** " Its log ends:\n…", the last lines of a log file; or a remark that there is nothing to show. Never rejects. */
export async function logTail(path: string): Promise<string> {
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(TAIL_BYTES), position: Math.max(0, size - TAIL_BYTES) });
    const lines = buffer.toString("utf8", 0, bytesRead).trimEnd().split("\n").slice(-TAIL_LINES).join("\n");
    return lines === "" ? ` Its log ${path} is empty.` : ` Its log ${path} ends:\n${lines}`;
  } catch {
    return ` It has no log at ${path}.`;
  }
}
