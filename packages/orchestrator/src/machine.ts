import { readFileSync } from "node:fs";
import os from "node:os";
import type { Clock, RunEventOf } from "@failstorm/core";

export interface MachineDescription {
  readonly cores: number;
  readonly cpuModel: string;
  readonly memoryBytes: number;
  readonly platform: string;
  readonly arch: string;
  readonly kernel: string;
  readonly node: string;
}

/** The machine as the manifest records it; nothing that names its owner (no host name, no user). */
export const describeMachine = (): MachineDescription => ({
  cores: os.cpus().length,
  cpuModel: os.cpus()[0]?.model ?? "unknown",
  memoryBytes: os.totalmem(),
  platform: os.platform(),
  arch: os.arch(),
  kernel: os.release(),
  node: process.version,
});

/** Time of all cores together since boot, in any one unit. */
interface CpuTimes {
  readonly total: number;
  readonly idle: number;
  readonly steal: number;
}

/** The first line of /proc/stat: proc(5) `cpu user nice system idle iowait irq softirq steal guest guest_nice`. */
export function parseProcStat(text: string): CpuTimes | null {
  const [name, ...fields] = text.slice(0, text.indexOf("\n")).split(/\s+/);
  const [user, nice, system, idle, iowait = 0, irq = 0, softirq = 0, steal = 0] = fields.map(Number);
  if (name !== "cpu" || user === undefined || nice === undefined || system === undefined || idle === undefined) return null;
  // guest and guest_nice are contained in user and nice.
  return { total: user + nice + system + idle + iowait + irq + softirq + steal, idle: idle + iowait, steal };
}

function readCpuTimes(): CpuTimes {
  if (os.platform() === "linux") {
    const times = parseProcStat(readFileSync("/proc/stat", "latin1"));
    if (times !== null) return times;
  }
  const totals = { total: 0, idle: 0, steal: 0 };
  for (const { times } of os.cpus()) {
    totals.total += times.user + times.nice + times.sys + times.idle + times.irq;
    totals.idle += times.idle;
  }
  return totals;
}

type MachineSample = Omit<RunEventOf<"machine">, "t" | "src" | "inc" | "seq">;

const share = (part: number, whole: number): number => (whole > 0 ? Math.round((part / whole) * 10_000) / 10_000 : 0);

/**
 * Samples the machine every `intervalMs` until `signal` aborts. All shares are of all cores together: `busy` without steal
 * (time the hypervisor gave to others), `orchestratorCpu` this process's own.
 */
export function sampleMachine(options: {
  readonly clock: Clock;
  readonly intervalMs: number;
  readonly signal: AbortSignal;
  readonly onSample: (sample: MachineSample) => void;
}): void {
  const { clock, intervalMs, signal, onSample } = options;
  const cores = os.cpus().length;
  let last = { cpu: readCpuTimes(), own: process.cpuUsage(), at: clock.now() };
  const sample = (): void => {
    if (signal.aborted) return;
    const now = { cpu: readCpuTimes(), own: process.cpuUsage(), at: clock.now() };
    const total = now.cpu.total - last.cpu.total;
    const steal = now.cpu.steal - last.cpu.steal;
    const ownMs = (now.own.user + now.own.system - last.own.user - last.own.system) / 1000;
    onSample({
      ev: "machine",
      busy: share(total - (now.cpu.idle - last.cpu.idle) - steal, total),
      steal: share(steal, total),
      orchestratorCpu: share(ownMs, (now.at - last.at) * cores),
      orchestratorRss: process.memoryUsage.rss(),
    });
    last = now;
    clock.after(intervalMs, sample);
  };
  clock.after(intervalMs, sample);
}
