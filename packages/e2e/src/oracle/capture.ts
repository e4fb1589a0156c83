import { spawn } from "node:child_process";
import { once } from "node:events";

/** What tcpdump itself says of a capture at its end. */
export interface CaptureTotals {
  readonly captured: number;
  readonly droppedByKernel: number;
}

export interface Capture {
  /** Ends the capture once the last packets are in the file. */
  stop(): Promise<CaptureTotals>;
}

/** Enough of every packet for the headers and words the oracle reads; lengths come from the IP headers. */
const SNAP_BYTES = 2048;
const KERNEL_BUFFER_KIB = 65_536;

const REMEDY =
  "the oracle captures packets on the loopback interface: install tcpdump (Debian: apt-get install tcpdump) and run as root";

/** Captures TCP on the loopback interface into `file`. Resolves when packets are being captured; throws with the remedy. */
export async function startCapture(file: string): Promise<Capture> {
  const args = ["-i", "lo", "-n", "-s", `${SNAP_BYTES}`, "-B", `${KERNEL_BUFFER_KIB}`, "--time-stamp-precision=nano"];
  const child = spawn("tcpdump", [...args, "-Z", "root", "-w", file, "tcp"], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  const listening = Promise.withResolvers<void>();
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
    if (said.includes("listening on")) listening.resolve();
  });
  const closed = once(child, "close").catch((cause: unknown) => {
    throw new Error(`tcpdump cannot be started: ${REMEDY}`, { cause });
  });
  await Promise.race([listening.promise, closed]);
  if (!said.includes("listening on")) throw new Error(`tcpdump failed: ${said.trim()}; ${REMEDY}`);
  return {
    async stop() {
      child.kill("SIGINT");
      await closed;
      const captured = /^(\d+) packets? captured/m.exec(said)?.[1];
      const dropped = /^(\d+) packets? dropped by kernel/m.exec(said)?.[1];
      if (captured === undefined || dropped === undefined) throw new Error(`tcpdump ended without its counts: ${said.trim()}`);
      return { captured: Number(captured), droppedByKernel: Number(dropped) };
    },
  };
}
