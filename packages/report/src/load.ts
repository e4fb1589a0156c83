import type { RunRecord } from "./run.ts";
import type { FailstormMetrics } from "./schema.ts";
import type { Timeline } from "./timeline.ts";

const mean = (values: readonly number[]): number | null =>
  values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;

const largest = (values: readonly number[]): number | null =>
  values.length === 0 ? null : values.reduce((a, b) => Math.max(a, b));

/** How busy machine and agents were in [from, to), between the end of warm-up and the fault; steal and strangers over the whole load. */
export function measureLoad(run: RunRecord, timeline: Timeline, from: number, to: number): FailstormMetrics["load"] {
  const within = (event: { t: number }): boolean => event.t >= from && event.t < to;
  const machine = timeline.index.of("machine").filter(within);
  const samples = timeline.index.of("process").filter(within);
  const medians = [...Map.groupBy(samples, (sample) => sample.src).values()].map((own) => {
    const sorted = own.map((sample) => sample.loopLagP99Ms).sort((a, b) => a - b);
    return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
  });
  return {
    machine_busy: mean(machine.map((event) => event.busy)),
    machine_busy_max: largest(machine.map((event) => event.busy)),
    orchestrator_cpu: mean(machine.map((event) => event.orchestratorCpu)),
    loop_lag_p99_ms: largest(medians),
    loop_lag_p99_ms_max: largest(samples.map((sample) => sample.loopLagP99Ms)),
    ...strangers(run, timeline),
  };
}

function coresOf({ manifest }: RunRecord): number | null {
  const machine = manifest?.["machine"];
  const cores = typeof machine === "object" && machine !== null ? (machine as Record<string, unknown>)["cores"] : null;
  return typeof cores === "number" && cores > 0 ? cores : null;
}

/** What the hypervisor and other processes took while the load was on: what was busy less what the run's processes used. */
function strangers(run: RunRecord, timeline: Timeline): Pick<FailstormMetrics["load"], "steal" | "foreign"> {
  const from = timeline.t0 + timeline.loadFromMs;
  const within = (event: { t: number }): boolean => event.t >= from && event.t <= timeline.endAt;
  const machine = timeline.index.of("machine").filter(within);
  const steal = mean(machine.map((event) => event.steal));
  const cores = coresOf(run);
  const busy = mean(machine.map((event) => event.busy - event.orchestratorCpu));
  if (cores === null || busy === null) return { steal, foreign: null };
  const lives = Map.groupBy(timeline.index.of("process"), (event) => `${event.src}/${event.inc}`);
  let cpuMs = 0;
  for (const samples of lives.values()) {
    const before = samples.findLast((sample) => sample.t < from)?.cpuMs ?? 0;
    cpuMs += Math.max(0, (samples.findLast((sample) => sample.t <= timeline.endAt)?.cpuMs ?? 0) - before);
  }
  const own = cpuMs / ((timeline.endAt - from) * cores);
  return { steal, foreign: Math.min(1, Math.max(0, busy - own)) };
}
