import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import path from "node:path";
import { type NewEvent, openEventLog, type RunEvent } from "@failstorm/core";
import type { BenchContext } from "./bench.ts";

/** What one event cost, µs: by the clock, and in CPU time of this thread, which other work on the machine does not lengthen. */
export interface Cost {
  readonly wallUs: number;
  readonly cpuUs: number;
}

export interface EventCostPair {
  readonly log: Cost;
  readonly bare: Cost;
}

const EVENTS = 2000;

function costOf(count: number, act: () => void, { clock }: BenchContext): Cost {
  const cpuBefore = process.threadCpuUsage();
  const from = clock.now();
  act();
  const wallMs = clock.now() - from;
  const cpu = process.threadCpuUsage(cpuBefore);
  return { wallUs: (wallMs * 1000) / count, cpuUs: (cpu.user + cpu.system) / count };
}

const asNew = ({ t: _t, src: _src, inc: _inc, seq: _seq, ...event }: RunEvent): NewEvent => event;

/** Writes with the event log, then the same bytes with nothing but writeSync. */
function measurePair(events: readonly RunEvent[], context: BenchContext): EventCostPair {
  const { clock, workDir } = context;
  const [logged, bare] = [path.join(workDir, "event-cost.ndjson"), path.join(workDir, "event-cost-bare.ndjson")];
  const news = events.map(asNew);
  const written: Buffer[] = [];
  const log = openEventLog({ path: logged, src: "agent-0", incarnation: 1, clock });
  const logCost = costOf(news.length, () => news.forEach((event) => log.write(event)), context);
  log.close();
  for (const event of events) written.push(Buffer.from(`${JSON.stringify(event)}\n`));
  const fd = openSync(bare, "a");
  const bareCost = costOf(written.length, () => written.forEach((line) => writeSync(fd, line)), context);
  closeSync(fd);
  for (const file of [logged, bare]) rmSync(file, { force: true });
  return { log: logCost, bare: bareCost };
}

/** Interleaved blocks of `openEventLog().write` and of bare writes of the same lines: those that agents wrote in a real run. */
export function measureEventCost(events: readonly RunEvent[], context: BenchContext): EventCostPair[] {
  const lines = events.filter(({ src }) => src !== "orchestrator").slice(0, EVENTS);
  measurePair(lines, context); // warms the code; not counted
  return Array.from({ length: context.repeats }, () => measurePair(lines, context));
}
