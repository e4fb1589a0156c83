import type { NewEvent } from "@failstorm/core";
import type { LoopLag } from "./loopLag.ts";
import type { Recorder } from "./recorder.ts";

/** Records a `process` event every `intervalMs`: memory, CPU, event-loop lag, counters; with it go the messages of the seconds that are over. */
export function sampleProcess(options: {
  readonly lag: LoopLag;
  readonly recorder: Recorder;
  readonly intervalMs: number;
  readonly tasksInFlight: () => number;
  readonly socketTotals: () => { bytesSent: number; bytesReceived: number };
  /** The protocol's own counters, if it has any. */
  readonly protocolCounters: () => Readonly<Record<string, number>> | undefined;
}): { sample(): void; stop(): void } {
  const { lag, recorder } = options;
  // How late a starting process was is no sample.
  lag.takeP99();
  let stopped = false;
  const look = (): NewEvent => {
    const cpu = process.cpuUsage();
    const sockets = options.socketTotals();
    const protocol = options.protocolCounters();
    return {
      ev: "process",
      ...(protocol === undefined ? {} : { protocol }),
      rssBytes: process.memoryUsage.rss(),
      cpuMs: (cpu.user + cpu.system) / 1000,
      loopLagP99Ms: Math.round(lag.takeP99() * 100) / 100,
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
    lag.clock.after(options.intervalMs, () => {
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
    },
  };
}
