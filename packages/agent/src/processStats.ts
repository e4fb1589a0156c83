import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Clock, NewEvent } from "@failstorm/core";
import type { Recorder } from "./recorder.ts";

/** Coarse on purpose: each look wakes the process. A resolution of 10 ms doubled an idle agent's CPU, one of 40 was still a twentieth of it. */
const LAG_RESOLUTION_MS = 100;

/** Records a `process` event every `intervalMs`: memory, CPU, event-loop lag, counters; with it go the messages of the seconds that are over. */
export function sampleProcess(options: {
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly intervalMs: number;
  readonly tasksInFlight: () => number;
  readonly socketTotals: () => { bytesSent: number; bytesReceived: number };
  /** The protocol's own counters, if it has any. */
  readonly protocolCounters: () => Readonly<Record<string, number>> | undefined;
}): { sample(): void; stop(): void } {
  const { clock, recorder } = options;
  const lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  lag.enable();
  let stopped = false;
  const look = (): NewEvent => {
    const cpu = process.cpuUsage();
    const sockets = options.socketTotals();
    const p99 = lag.count === 0 ? 0 : Math.max(0, lag.percentile(99) / 1e6 - LAG_RESOLUTION_MS);
    lag.reset();
    const protocol = options.protocolCounters();
    return {
      ev: "process",
      ...(protocol === undefined ? {} : { protocol }),
      rssBytes: process.memoryUsage.rss(),
      cpuMs: (cpu.user + cpu.system) / 1000,
      loopLagP99Ms: Math.round(p99 * 100) / 100,
      tasksInFlight: options.tasksInFlight(),
      counters: {
        ...recorder.counters,
        socketBytesSent: sockets.bytesSent,
        socketBytesReceived: sockets.bytesReceived,
        events: recorder.stats.events,
        eventUs: Math.round(recorder.stats.writeUs),
      },
    };
  };
  const sample = (): void => recorder.sample(look);
  const arm = (): void => {
    clock.after(options.intervalMs, () => {
      if (stopped) return;
      sample();
      arm();
    });
  };
  arm();
  return {
    sample,
    stop: () => {
      stopped = true;
      lag.disable();
    },
  };
}
