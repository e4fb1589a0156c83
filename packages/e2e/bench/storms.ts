import type { Bench, BenchContext, BenchOutcome, Check } from "./bench.ts";
import { profileOf, summarise } from "./loadProfile.ts";
import { type ProductRun, runProduct } from "./product.ts";
import { estimate, median } from "./statistics.ts";
import { compareLoad, type FloorStorm, type Load, stormOverFloor } from "./stormFloor.ts";
import { shown } from "./table.ts";

const MAX_RATIO = 1.5;
const MAX_RATIO_BOUND = 2;
const MAX_RECOVERY_MS = 25;
const GRACE_MS = 200;

/** A storm without restart, as short as it can be with warm code; nothing is scaled. */
const SHORT_STORM = ["--agents", "8", "--fault-time", "8", "--runtime", "14", "--no-restart"] as const;

const orInfinite = (ms: number | null | undefined): number => ms ?? Number.POSITIVE_INFINITY;
/** JSON knows no infinity, and neither does the table: not reached. */
const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);

const facts = ({ metrics, broken }: ProductRun): Record<string, unknown> => ({
  run: metrics.run_id,
  seed: metrics.seed,
  victims: metrics.victims?.map(({ agent }) => agent),
  detectionMs: metrics.detection_ms?.pairs.map(({ ms }) => ms),
  transportNoticeMs: metrics.transport_notice_ms,
  falsePositives: metrics.false_positives,
  machineBusy: metrics.load.machine_busy,
  broken,
});

interface Pair {
  readonly last: number;
  readonly first: number;
  readonly recovery: number;
  readonly noticeLast: number;
  readonly floor: FloorStorm;
  readonly agents: Load;
  readonly floorAgents: Load;
  readonly facts: Record<string, unknown>;
}

/** One run of the product, then the same storm (same victims, same load per agent) over the floor. */
async function runPair(seed: number, context: BenchContext): Promise<Pair> {
  const run = await runProduct([...SHORT_STORM, "--transport-signals", "--seed", String(seed)], context);
  const profile = profileOf(run);
  const { detection_ms: detection, recovery_ms, transport_notice_ms: notice } = run.metrics;
  const floor = await stormOverFloor(profile, seed, context);
  run.discard();
  return {
    last: orInfinite(detection?.last),
    first: orInfinite(detection?.first),
    recovery: orInfinite(recovery_ms),
    noticeLast: orInfinite(notice?.last),
    floor,
    agents: summarise(profile.agents),
    floorAgents: summarise(floor.agents),
    facts: facts(run),
  };
}

function transportChecks(pairs: readonly Pair[], { prng }: BenchContext): Check[] {
  const n = pairs.length;
  const floorLast = (pair: Pair): number => orInfinite(pair.floor.last);
  const informative = (measure: string, of: (pair: Pair) => number): Check => {
    const { value, interval } = estimate(pairs.map(of), median, prng);
    return { measure, goal: "", unit: "ms", n, median: finite(value), interval, met: null };
  };
  const ratio = estimate(pairs, (sample) => median(sample.map((pair) => pair.last)) / median(sample.map(floorLast)), prng);
  const recovery = estimate(pairs, (sample) => median(sample.map((pair) => pair.recovery - floorLast(pair))), prng);
  const bound = ratio.interval?.[1] ?? Number.POSITIVE_INFINITY;
  return [
    {
      measure: "detection_ms.last / floor",
      goal: `≤ ${MAX_RATIO} ×, bound ≤ ${MAX_RATIO_BOUND} ×`,
      unit: "×",
      n,
      median: finite(ratio.value),
      interval: ratio.interval,
      met: ratio.value <= MAX_RATIO && (n < 2 || bound <= MAX_RATIO_BOUND),
    },
    {
      measure: "recovery_ms − floor's last",
      goal: `≤ ${MAX_RECOVERY_MS} ms`,
      unit: "ms",
      n,
      median: finite(recovery.value),
      interval: recovery.interval,
      met: recovery.value <= MAX_RECOVERY_MS,
    },
    informative("detection_ms.last", (pair) => pair.last),
    informative("floor's last", floorLast),
    informative("transport_notice_ms.last (same run)", (pair) => pair.noticeLast),
    informative("detection_ms.first", (pair) => pair.first),
    informative("floor's first", (pair) => pair.floor.first),
    informative("recovery_ms", (pair) => pair.recovery),
  ];
}

async function runTransport(context: BenchContext): Promise<BenchOutcome> {
  const pairs: Pair[] = [];
  const seeds = context.prng.fork("seeds");
  for (let repeat = 1; repeat <= context.repeats; repeat++) {
    const pair = await runPair(seeds.int(1_000_000), context);
    pairs.push(pair);
    context.progress(
      `${repeat}/${context.repeats}: detected last ${shown(pair.last)} ms, recovery ${shown(pair.recovery)} ms, floor ${shown(pair.floor.first)} … ${shown(pair.floor.last)} ms`,
    );
  }
  const { note, doubt } = compareLoad(pairs);
  return {
    checks: transportChecks(pairs, context),
    details: [],
    notes: [
      `Agents: ${SHORT_STORM.join(" ")} --transport-signals, a process each run, nothing scaled.`,
      "Floor: after each run the same storm (same number of processes, same victims) over bare processes: node:http, a socket held open per link, no logic but noting its close. Each is brought to the memory, the requests (kinds, rates, sizes, time open) and the CPU time its agent had in the 4 s before the fault; CPU time that bare requests do not use is spent in slices of 2 ms.",
      note,
    ],
    doubt,
    data: { pairs },
  };
}

export const detectionTransport: Bench = {
  name: "detection-transport",
  what: "--transport-signals, 30 % killed: detection and recovery against bare processes of equal memory and load",
  goal: `detection_ms.last ≤ ${MAX_RATIO} × the floor, upper bound of the ratio's interval ≤ ${MAX_RATIO_BOUND}; recovery_ms ≤ floor + ${MAX_RECOVERY_MS} ms`,
  run: runTransport,
};

async function runHeartbeat(context: BenchContext): Promise<BenchOutcome> {
  const { repeats, prng, progress } = context;
  const seeds = prng.fork("seeds");
  const storms: { last: number; facts: Record<string, unknown> }[] = [];
  let limitMs = 0;
  for (let repeat = 1; repeat <= repeats; repeat++) {
    const run = await runProduct([...SHORT_STORM, "--seed", String(seeds.int(1_000_000))], context);
    const { heartbeatTimeoutMs, heartbeatIntervalMs } = run.record.config.network;
    limitMs = heartbeatTimeoutMs + heartbeatIntervalMs + GRACE_MS;
    storms.push({ last: orInfinite(run.metrics.detection_ms?.last), facts: facts(run) });
    run.discard();
    progress(`${repeat}/${repeats}: detected last ${shown(storms.at(-1)?.last ?? null)} ms`);
  }
  const lasts = storms.map(({ last }) => last);
  const { value, interval } = estimate(lasts, median, prng);
  const worst = Math.max(...lasts);
  const goal = `≤ ${limitMs} ms`;
  const common = { goal, unit: "ms", n: lasts.length };
  return {
    checks: [
      { ...common, measure: "detection_ms.last, median", median: finite(value), interval, met: value <= limitMs },
      { ...common, measure: "detection_ms.last, worst storm", median: finite(worst), interval: null, met: worst <= limitMs },
    ],
    details: [],
    notes: [`${SHORT_STORM.join(" ")}: default heartbeats, transport signals recorded but not acted upon.`],
    doubt: null,
    data: { storms },
  };
}

export const detectionHeartbeat: Bench = {
  name: "detection-heartbeat",
  what: "heartbeats only, 30 % killed: the last survivor's detection",
  goal: "detection_ms.last ≤ timeout + interval + 0.2 s",
  run: runHeartbeat,
};
