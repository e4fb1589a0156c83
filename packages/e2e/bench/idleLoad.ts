import { readFileSync } from "node:fs";
import path from "node:path";
import type { RunEventOf } from "@failstorm/core";
import { describeMachine } from "../../orchestrator/src/index.ts";
import { type Bench, type BenchContext, type BenchOutcome, type Check, CONCLUSIVE_REPEATS } from "./bench.ts";
import { type EventCostPair, measureEventCost } from "./eventCost.ts";
import { type ProductRun, runProduct } from "./product.ts";
import { estimate, mean, median } from "./statistics.ts";

const MAX_BUSY = 0.6;
const MAX_ORCHESTRATOR_CORE = 0.05;
const MAX_EVENT_US = 20;
const MAX_EVENT_BYTES = 15e6;

/** With few repeats: the default run with a shorter timeline. Long enough for the same three intervals of recording. */
const SHORT = ["--fault-time", "16", "--runtime", "24", "--no-restart"] as const;

/** Of the default run: recorded per second, singly before the fault, singly after it. */
const DEFAULT_SECONDS = { aggregated: 80, before: 10, after: 30 } as const;

interface Span {
  readonly from: number;
  readonly to: number;
}

const within =
  ({ from, to }: Span) =>
  ({ t }: { readonly t: number }): boolean =>
    t >= from && t < to;

const eventsFile = ({ dir }: ProductRun): Buffer => readFileSync(path.join(dir, "events.ndjson"));

/** Bytes of the events that fall into a span, per second. */
function bytesPerSecond(file: Buffer, span: Span): number {
  const inSpan = within(span);
  let bytes = 0;
  for (const line of file.toString("utf8").split("\n"))
    if (line !== "" && inSpan(JSON.parse(line) as { t: number })) bytes += Buffer.byteLength(line) + 1;
  return (bytes * 1000) / (span.to - span.from);
}

/** What a default run would have written, from the rates in the three kinds of intervals of a shorter one. */
function scaledBytes(run: ProductRun, t0: number, faultAt: number): number {
  const file = eventsFile(run);
  const [singlyFrom, singlyTo] = [faultAt - 10_000, t0 + run.record.config.scenario.runtimeMs];
  const loadAt = t0 + (run.record.events.find((event) => event.ev === "run.load")?.loadFromMs ?? 0);
  return (
    bytesPerSecond(file, { from: loadAt, to: singlyFrom }) * DEFAULT_SECONDS.aggregated +
    bytesPerSecond(file, { from: singlyFrom, to: faultAt }) * DEFAULT_SECONDS.before +
    bytesPerSecond(file, { from: faultAt, to: singlyTo }) * DEFAULT_SECONDS.after
  );
}

/** The last word of each incarnation about what its events cost, µs an event. */
function eventUsOf(run: ProductRun): number[] {
  const last = new Map<string, RunEventOf<"process">>();
  for (const event of run.record.events) if (event.ev === "process") last.set(`${event.src}#${event.inc}`, event);
  return [...last.values()].map(({ counters }) => counters.eventUs / counters.events);
}

type Goal = Pick<Check, "measure" | "unit"> & { readonly limit: number; readonly goal: string };

function judged(
  values: readonly number[],
  statistic: (sample: readonly number[]) => number,
  { prng }: BenchContext,
  { limit, ...goal }: Goal,
): Check {
  const { value, interval } = estimate(values, statistic, prng);
  return { ...goal, n: values.length, median: value, interval, met: value <= limit };
}

const shareOfTime = (limit: number): string => `≤ ${limit * 100} %`;

function runChecks(run: ProductRun, isShort: boolean, context: BenchContext): Check[] {
  const { events, config } = run.record;
  const t0 = events.find((event) => event.ev === "run.load")?.t0 ?? 0;
  const faultAt = t0 + (run.metrics.at_ms ?? 0);
  const machine = events.filter((event) => event.ev === "machine");
  const before = machine.filter(within({ from: t0 + config.scenario.warmupMs, to: faultAt }));
  const whole = machine.filter(within({ from: t0, to: t0 + config.scenario.runtimeMs }));
  const { cores } = describeMachine();
  const bytes = isShort ? scaledBytes(run, t0, faultAt) : eventsFile(run).byteLength;
  return [
    judged(
      before.map(({ busy }) => busy * 100),
      mean,
      context,
      {
        measure: "machine before the fault, mean",
        goal: shareOfTime(MAX_BUSY),
        limit: MAX_BUSY * 100,
        unit: "% of all cores",
      },
    ),
    judged(
      whole.map(({ orchestratorCpu }) => orchestratorCpu * cores * 100),
      mean,
      context,
      {
        measure: "orchestrator over the run, mean",
        goal: shareOfTime(MAX_ORCHESTRATOR_CORE),
        limit: MAX_ORCHESTRATOR_CORE * 100,
        unit: "% of one core",
      },
    ),
    judged(eventUsOf(run), median, context, {
      measure: "an event in the run, by agent",
      goal: `≤ ${MAX_EVENT_US} µs`,
      limit: MAX_EVENT_US,
      unit: "µs",
    }),
    {
      measure: isShort ? "events of a default run, scaled estimate" : "events of a default run",
      goal: `≤ ${MAX_EVENT_BYTES / 1e6} MB`,
      unit: "MB",
      n: 1,
      median: bytes / 1e6,
      interval: null,
      met: bytes <= MAX_EVENT_BYTES,
    },
  ];
}

function eventChecks(pairs: readonly EventCostPair[], context: BenchContext): Check[] {
  const { prng } = context;
  const of = (pick: (pair: EventCostPair) => number): number[] => pairs.map(pick);
  const ratio = estimate(
    pairs,
    (sample) => median(sample.map(({ log }) => log.cpuUs)) / median(sample.map(({ bare }) => bare.cpuUs)),
    prng,
  );
  const shown = (measure: string, values: readonly number[]): Check => {
    const { value, interval } = estimate(values, median, prng);
    return { measure, goal: "", unit: "µs", n: values.length, median: value, interval, met: null };
  };
  return [
    judged(
      of(({ log }) => log.wallUs),
      median,
      context,
      {
        measure: "event log, one event",
        goal: `≤ ${MAX_EVENT_US} µs`,
        limit: MAX_EVENT_US,
        unit: "µs",
      },
    ),
    shown(
      "event log, CPU time of one event",
      of(({ log }) => log.cpuUs),
    ),
    shown(
      "bare write of the same bytes",
      of(({ bare }) => bare.wallUs),
    ),
    {
      measure: "event log / bare write, CPU time",
      goal: "",
      unit: "×",
      n: pairs.length,
      median: ratio.value,
      interval: ratio.interval,
      met: null,
    },
  ];
}

async function run(context: BenchContext): Promise<BenchOutcome> {
  const isShort = context.repeats < CONCLUSIVE_REPEATS;
  const seed = String(context.prng.fork("seed").int(1_000_000));
  context.progress(isShort ? "one run with a shorter timeline, about 35 s" : "one default run, about 130 s");
  const product = await runProduct(["--agents", "8", "--seed", seed, ...(isShort ? SHORT : [])], context);
  const pairs = measureEventCost(product.record.events, context);
  const checks = [...runChecks(product, isShort, context), ...eventChecks(pairs, context)];
  const { metrics } = product;
  product.discard();
  return {
    checks,
    details: [],
    notes: [
      isShort
        ? `One run of the defaults but for ${SHORT.join(" ")}; bytes of a default run estimated from its rates: per second as between load and full recording × 80 s, as in the 10 s before the fault × 10 s, as after it × 30 s.`
        : "One default run, 120 s. Its intervals are bootstraps over its one-second samples, or its agents.",
      "An event in the run: time by the clock around serialising and write(2), as each agent counted it; what else the machine does lengthens it. Event log against bare write: blocks of 2000 events of the run, turn by turn, in this process.",
    ],
    doubt: metrics.saturated ? "the run was saturated" : null,
    data: { run: metrics.run_id, load: metrics.load, events: metrics.events, eventCost: pairs },
  };
}

export const idleLoad: Bench = {
  name: "idle-load",
  what: "what the defaults cost: machine, orchestrator, events",
  goal: `machine ≤ ${MAX_BUSY * 100} % busy before the fault, orchestrator ≤ ${MAX_ORCHESTRATOR_CORE * 100} % of a core, an event ≤ ${MAX_EVENT_US} µs, events of a run ≤ ${MAX_EVENT_BYTES / 1e6} MB`,
  run,
};
