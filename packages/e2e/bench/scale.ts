import type { RunEventOf } from "@failstorm/core";
import type { Bench, BenchContext, BenchOutcome, Check, DetailTable } from "./bench.ts";
import { profileOf, summarise } from "./loadProfile.ts";
import { type ProductRun, runProduct } from "./product.ts";
import { estimate, median } from "./statistics.ts";
import { stormOverFloor } from "./stormFloor.ts";
import { shown } from "./table.ts";

const SIZES = [8, 32, 64, 128, 200] as const;
const MONITORS = 3;
/** Of all agents together, per second: the same work whatever their number, so that two cores carry 200 of them. */
const TASKS_PER_SECOND = 2;
const MAX_RATIO = 1.5;
/** Messages per node and second may differ so much from one size to another. */
const CONSTANT = 0.2;
/** The floor is filled up to the agents' memory, but all of it together not above this. */
const MAX_FLOOR_BYTES = 14e9;
const LIVENESS_KINDS: ReadonlySet<string> = new Set(["probe", "gossip"]);

const orInfinite = (ms: number | null | undefined): number => ms ?? Number.POSITIVE_INFINITY;
const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);

/** A ring without restart; the timeline is longer for many, whose first seconds go to making links. */
const stormOf = (agents: number): string[] =>
  `--agents ${agents} --topology ring --monitors ${MONITORS} --no-restart --rate ${TASKS_PER_SECOND / agents} --fault-time 14 --runtime 24`.split(
    " ",
  );

interface Storm {
  readonly agents: number;
  readonly last: number;
  readonly floorLast: number;
  readonly livenessPerSecond: number;
  readonly livenessBytesPerSecond: number;
  readonly cpuShare: number;
  readonly rssBytes: number;
  readonly falsePositives: number;
  readonly lost: number;
}

/** Probes and gossip that an agent sent per second, and their bytes, in the seconds before the fault. */
function livenessOf({ record, metrics }: ProductRun): { perSecond: number; bytesPerSecond: number } {
  const until = Math.floor((metrics.at_ms ?? 0) / 1000);
  const from = until - 5;
  const seconds = record.events.filter(
    (event): event is RunEventOf<"msg.second"> =>
      event.ev === "msg.second" && event.second >= from && event.second < until && LIVENESS_KINDS.has(event.kind),
  );
  const per = (of: (event: RunEventOf<"msg.second">) => number): number =>
    seconds.reduce((sum, event) => sum + of(event), 0) / (until - from) / metrics.agent_count;
  return { perSecond: per(({ n }) => n), bytesPerSecond: per((event) => event.bytesSent + event.bytesReceived) };
}

async function storm(agents: number, seed: number, context: BenchContext): Promise<Storm> {
  const run = await runProduct([...stormOf(agents), "--transport-signals", "--seed", String(seed)], context);
  const profile = profileOf(run);
  const rssBytes = Math.min(summarise(profile.agents).rssBytes, MAX_FLOOR_BYTES / agents);
  const floorAgents = profile.agents.map((agent) => ({ ...agent, rssBytes: Math.min(agent.rssBytes, rssBytes) }));
  const floor = await stormOverFloor({ ...profile, agents: floorAgents }, seed, context, MONITORS);
  const { perSecond, bytesPerSecond } = livenessOf(run);
  const { detection_ms: detection, false_positives, tasks_lost } = run.metrics;
  run.discard();
  return {
    agents,
    last: orInfinite(detection?.reached === detection?.total ? detection?.last : null),
    floorLast: orInfinite(floor.last),
    livenessPerSecond: perSecond,
    livenessBytesPerSecond: bytesPerSecond,
    ...summarise(profile.agents),
    falsePositives: false_positives ?? Number.POSITIVE_INFINITY,
    lost: tasks_lost ?? Number.POSITIVE_INFINITY,
  };
}

function checksOf(agents: number, storms: readonly Storm[], { prng }: BenchContext): Check[] {
  const of = storms.filter((one) => one.agents === agents);
  const ratio = estimate(
    of,
    (sample) => median(sample.map(({ last }) => last)) / median(sample.map(({ floorLast }) => floorLast)),
    prng,
  );
  const falsePositives = of.reduce((sum, one) => sum + one.falsePositives, 0);
  return [
    {
      measure: `N = ${agents}: all know all / floor`,
      goal: `≤ ${MAX_RATIO} ×`,
      unit: "×",
      n: of.length,
      median: finite(ratio.value),
      interval: ratio.interval,
      met: ratio.value <= MAX_RATIO,
    },
    {
      measure: `N = ${agents}: false positives, all storms`,
      goal: "0",
      unit: "detections",
      n: of.length,
      median: finite(falsePositives),
      interval: null,
      met: falsePositives === 0,
    },
  ];
}

function costs(storms: readonly Storm[]): DetailTable {
  const rows = SIZES.flatMap((agents) => {
    const of = storms.filter((one) => one.agents === agents);
    const mid = (pick: (one: Storm) => number): number | null => finite(median(of.map(pick)));
    if (of.length === 0) return [];
    return [
      [
        String(agents),
        shown(mid(({ last }) => last)),
        shown(mid(({ floorLast }) => floorLast)),
        shown(mid((one) => one.livenessPerSecond)),
        shown(mid((one) => one.livenessBytesPerSecond)),
        shown((mid(({ cpuShare }) => cpuShare) ?? Number.NaN) * 100),
        shown((mid(({ rssBytes }) => rssBytes) ?? Number.NaN) / 1e6),
        shown(mid(({ lost }) => lost)),
      ],
    ];
  });
  const columns = ["N", "all know all, ms", "floor, ms", "messages /s", "bytes /s", "CPU, % of a core", "RSS, MB", "tasks lost"];
  return { title: "what it costs with N: liveness messages, bytes, CPU and memory per agent (medians)", columns, rows };
}

async function runScale(context: BenchContext): Promise<BenchOutcome> {
  const seeds = context.prng.fork("seeds");
  const storms: Storm[] = [];
  for (let repeat = 1; repeat <= context.repeats; repeat++) {
    for (const agents of SIZES) {
      const one = await storm(agents, seeds.int(1_000_000), context);
      storms.push(one);
      context.progress(
        `${repeat}/${context.repeats} N = ${agents}: all know all ${shown(finite(one.last))} ms, floor ${shown(finite(one.floorLast))} ms`,
      );
    }
  }
  const perSecond = SIZES.map((agents) =>
    median(storms.filter((one) => one.agents === agents).map((one) => one.livenessPerSecond)),
  );
  const spread = Math.max(...perSecond) / Math.min(...perSecond) - 1;
  return {
    checks: [
      ...SIZES.flatMap((agents) => checksOf(agents, storms, context)),
      {
        measure: "liveness messages per node and second, largest over smallest",
        goal: `≤ ${1 + CONSTANT} ×`,
        unit: "×",
        n: storms.length,
        median: 1 + spread,
        interval: null,
        met: spread <= CONSTANT,
      },
    ],
    details: [costs(storms)],
    notes: [
      `Agents: ${stormOf(8).slice(2).join(" ")} --transport-signals, the rate divided so that all sizes do ${TASKS_PER_SECOND} tasks a second together.`,
      `Floor: the same number of bare processes, each holding a stream to its ${MONITORS} ring successors, no gossip: it knows what its own streams say. Same memory (together at most ${MAX_FLOOR_BYTES / 1e9} GB), requests and CPU time as the agents.`,
    ],
    doubt: null,
    data: { storms },
  };
}

export const scale: Bench = {
  name: "scale",
  what: `${SIZES.join(", ")} agents on a ring, each monitoring ${MONITORS}, 30 % killed, --transport-signals: until all survivors know all victims`,
  goal: `≤ ${MAX_RATIO} × the floor of the same N; liveness messages per node and second constant within ${CONSTANT * 100} %`,
  run: runScale,
};

interface Limit {
  readonly name: string;
  readonly what: string;
  readonly limitMs: number;
  readonly variants: readonly (readonly string[])[];
}

/** Storms whose last detection has a limit in milliseconds. */
const limited = ({ name, what, limitMs, variants }: Limit): Bench => ({
  name,
  what,
  goal: `detection_ms.last ≤ ${limitMs} ms, no false positive`,
  async run(context) {
    const { repeats, prng, progress } = context;
    const seeds = prng.fork("seeds");
    const lasts = variants.map((): number[] => []);
    const falsePositives = variants.map(() => 0);
    for (let repeat = 1; repeat <= repeats; repeat++) {
      for (const [index, args] of variants.entries()) {
        const run = await runProduct([...args, "--seed", String(seeds.int(1_000_000))], context);
        const { detection_ms: detection, false_positives } = run.metrics;
        const last = orInfinite(detection?.reached === detection?.total ? detection?.last : null);
        lasts[index]?.push(last);
        falsePositives[index] = (falsePositives[index] ?? 0) + (false_positives ?? Number.POSITIVE_INFINITY);
        run.discard();
        progress(`${repeat}/${repeats} ${args.join(" ")}: ${shown(finite(last))} ms`);
      }
    }
    const checks = variants.flatMap((args, index): Check[] => {
      const values = lasts[index] ?? [];
      const { value, interval } = estimate(values, median, prng);
      const wrong = falsePositives[index] ?? 0;
      const label = args.slice(0, 6).join(" ");
      const common = { n: values.length, unit: "ms" };
      return [
        { ...common, measure: label, goal: `≤ ${limitMs} ms`, median: finite(value), interval, met: value <= limitMs },
        { ...common, measure: "… false positives", goal: "0", unit: "", median: finite(wrong), interval: null, met: wrong === 0 },
      ];
    });
    return { checks, details: [], notes: variants.map((args) => args.join(" ")), doubt: null, data: { lasts, falsePositives } };
  },
});

const few = ["--topology", "ring", "--monitors", "3", "--no-restart", "--fault-time", "12", "--runtime", "22"] as const;

export const heartbeat64: Bench = limited({
  name: "detection-64",
  what: "64 agents, heartbeats only, interval 500 ms, timeout 1.5 s, 30 % killed: the last survivor's knowledge",
  limitMs: 2200,
  variants: [["--agents", "64", "--rate", "0.03", ...few, "--heartbeat-interval", "0.5", "--heartbeat-timeout", "1.5"]],
});

export const sigstop: Bench = limited({
  name: "detection-sigstop",
  what: "30 % stopped (SIGSTOP), default heartbeats, 8 and 64 agents: the last survivor's knowledge",
  limitMs: 4200,
  variants: [
    ["--agents", "8", "--fault", "sigstop", "--fault-time", "8", "--runtime", "18"],
    ["--agents", "64", "--fault", "sigstop", "--rate", "0.03", ...few],
  ],
});
