import { readFileSync } from "node:fs";

/**
 * When a process started, in the kernel's clock ticks since boot (proc(5), /proc/pid/stat field 22): with the pid, it names a
 * process for good. null where there is no /proc or no such process.
 */
export function startTimeOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // Field 2, the command name, is in parentheses and may hold anything; the rest is split by single spaces, from field 3 on.
    return (
      stat
        .slice(stat.lastIndexOf(")") + 2)
        .split(" ")
        .at(19) ?? null
    );
  } catch {
    return null;
  }
}
