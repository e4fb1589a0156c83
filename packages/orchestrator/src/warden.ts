import { startTimeOf } from "./launcher/processTable.ts";

/**
 * The warden: a process of its own whose only task is that no agent outlives the orchestrator. It reads `add <pid> <start time>`
 * and `remove <pid>` lines from stdin; when stdin ends — the orchestrator closed it, exited, crashed or was SIGKILLed — it
 * SIGKILLs every process still listed and exits. SIGKILL also ends stopped and hanging ones, which could not end themselves.
 *
 * Invariant: it never kills a process it was not told of. A listed pid whose start time differs has been reused.
 */
const listed = new Map<number, string>();
let rest = "";

for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => undefined);

process.stdin.setEncoding("utf8");
process.stdin.on("data", (chunk: string) => {
  const lines = (rest + chunk).split("\n");
  rest = lines.pop() ?? "";
  for (const line of lines) obey(line);
});
process.stdin.on("error", killListed);
process.stdin.on("end", killListed);

function obey(line: string): void {
  const [verb, pidText, startTime] = line.split(" ");
  const pid = Number(pidText);
  if (!Number.isSafeInteger(pid) || pid <= 1) return;
  if (verb === "add" && startTime !== undefined) listed.set(pid, startTime);
  if (verb === "remove") listed.delete(pid);
}

function killListed(): void {
  for (const [pid, startTime] of listed) {
    // "-": the start time could not be read (no /proc on this system), the pid alone must do.
    if (startTime !== "-" && startTimeOf(pid) !== startTime) continue;
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // gone already
    }
  }
  process.exit(0);
}
