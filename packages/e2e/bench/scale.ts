import { writeFileSync } from "node:fs";
import path from "node:path";
import { InputError, type RunEventOf } from "@failstorm/core";
import { MAX_SIGNALLED } from "../../agent/src/topology.ts";
import type { Bench, BenchContext, BenchOutcome, Check } from "./bench.ts";
import { profileOf, summarise } from "./loadProfile.ts";
import { type ProductRun, runProduct } from "./product.ts";
import { costTable, markdownOf, plotOf, type SizeCosts } from "./scaleReport.ts";
import { estimate, median } from "./statistics.ts";
import { compareLoad, type Load, stormOverFloor } from "./stormFloor.ts";
import { shown } from "./table.ts";

const MONITORS = 3;
/** To how many others each holds a stream; null: to all. The agents and the floor alike. */
const streamsOf = (agents: number): number | null => (agents <= MAX_SIGNALLED ? null : MONITORS);
/** `FAILSTORM_SCALE=8,16` measures other sizes. */
const SIZES = sizesFrom(process.env.FAILSTORM_SCALE ?? "8,32,64,128,200");
const MAX_RATIO = 1.5;
/** Of a core, an agent of as many as follows, next to no tasks to do. */
const MAX_IDLE_CORE = 0.01;
const IDLE_AT = 64;
/** Messages per node and second may differ so much from one size to another. */
const CONSTANT = 0.2;
/** The floor is filled up to the agents' memory, but all of it together not above this. */
const MAX_FLOOR_BYTES = 14e9;
/** Tasks per second and agent: the least that can be configured. */
const MIN_RATE = 0.0001;
const LIVENESS_KINDS: ReadonlySet<string> = new Set(["probe", "gossip"]);
/** What each agent sends is taken from so long before the fault, s. */
const LOOK_BACK_S = 5;

function sizesFrom(list: string): readonly number[] {
  const sizes = list.split(",").map(Number);
  if (!sizes.every((size) => Number.isInteger(size) && size > MONITORS))
    throw new InputError(`FAILSTORM_SCALE ${list}: must be numbers of agents above ${MONITORS}, for example 8,16`);
  return sizes;
}

const orInfinite = (ms: number | null | undefined): number => ms ?? Number.POSITIVE_INFINITY;
const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);

/**
 * A look-up visits every agent, hop by hop: a task costs as many messages as there are agents, so the rate falls with their square, and all
 * sizes relay about the same (as far as the least rate there is allows). The document goes around the ring hop by hop before the load starts.
 */
export function stormOf(agents: number): string[] {
  const rate = Math.max(MIN_RATE, 16 / agents ** 2);
  const faultTime = Math.ceil(12 + 0.4 * agents);
  const runtime = Math.ceil(faultTime + 10 + 0.05 * agents);
  return `--agents ${agents} --topology ring --monitors ${MONITORS} --ttl ${Math.max(15, agents)} --no-restart --rate ${rate} --fault-time ${faultTime} --runtime ${runtime}`.split(
    " ",
  );
}

interface Sent {
  readonly perSecond: number;
  readonly bytesPerSecond: number;
}

interface Storm {
  readonly agents: number;
  readonly last: number;
  readonly floorLast: number;
  readonly liveness: Sent;
  readonly all: Sent;
  readonly cpuShare: number;
  readonly rssBytes: number;
  /** Just before the kill; the agents' memory as the floor was to have it, which may be less than it was. */
  readonly load: { readonly agents: Load; readonly floorAgents: Load };
  readonly falsePositives: number;
  readonly lost: number;
}

/** What an agent sent per second in the last seconds before the fault but one, which the victims took with them; and the bytes of that in both directions. */
function sentBefore({ record, metrics }: ProductRun, kinds: ReadonlySet<string> | null): Sent {
  const until = Math.floor((metrics.at_ms ?? 0) / 1000) - 1;
  const from = until - LOOK_BACK_S;
  const seconds = record.events.filter(
    (event): event is RunEventOf<"msg.second"> =>
      event.ev === "msg.second" && event.second >= from && event.second < until && (kinds?.has(event.kind) ?? true),
  );
  const per = (of: (event: RunEventOf<"msg.second">) => number): number =>
    seconds.reduce((sum, event) => sum + of(event), 0) / LOOK_BACK_S / metrics.agent_count;
  return { perSecond: per(({ n }) => n), bytesPerSecond: per((event) => event.bytesSent + event.bytesReceived) };
}

async function storm(agents: number, seed: number, context: BenchContext): Promise<Storm> {
  const run = await runProduct([...stormOf(agents), "--transport-signals", "--seed", String(seed)], context);
  const profile = profileOf(run);
  const rssBytes = Math.min(summarise(profile.agents).rssBytes, MAX_FLOOR_BYTES / agents);
  const floorAgents = profile.agents.map((agent) => ({ ...agent, rssBytes: Math.min(agent.rssBytes, rssBytes) }));
  const floor = await stormOverFloor({ ...profile, agents: floorAgents }, seed, context, streamsOf(agents));
  const { detection_ms: detection, false_positives, tasks_lost } = run.metrics;
  const [liveness, all] = [sentBefore(run, LIVENESS_KINDS), sentBefore(run, null)];
  run.discard();
  return {
    agents,
    last: orInfinite(detection?.reached === detection?.total ? detection?.last : null),
    floorLast: orInfinite(floor.last),
    liveness,
    all,
    ...summarise(profile.agents),
    load: { agents: summarise(floorAgents), floorAgents: summarise(floor.agents) },
    falsePositives: false_positives ?? Number.POSITIVE_INFINITY,
    lost: tasks_lost ?? Number.POSITIVE_INFINITY,
  };
}

const ratioOf = (storms: readonly Storm[]): number =>
  median(storms.map(({ last }) => last)) / median(storms.map(({ floorLast }) => floorLast));

function checksOf(agents: number, of: readonly Storm[], { prng }: BenchContext): Check[] {
  const ratio = estimate(of, ratioOf, prng);
  const falsePositives = of.reduce((sum, one) => sum + one.falsePositives, 0);
  const idle = estimate(of, (sample) => 100 * median(sample.map(({ cpuShare }) => cpuShare)), prng);
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
    {
      measure: `N = ${agents}: CPU of an agent before the fault`,
      goal: agents === IDLE_AT ? `≤ ${MAX_IDLE_CORE * 100} %` : "",
      unit: "% of a core",
      n: of.length,
      median: finite(idle.value),
      interval: idle.interval,
      met: agents === IDLE_AT ? idle.value <= MAX_IDLE_CORE * 100 : null,
    },
  ];
}

/** Medians over the storms of one size. */
function costsOf(agents: number, of: readonly Storm[]): SizeCosts {
  const mid = (pick: (one: Storm) => number): number | null => finite(median(of.map(pick)));
  return {
    agents,
    last: mid(({ last }) => last),
    floorLast: mid(({ floorLast }) => floorLast),
    ratio: finite(ratioOf(of)),
    livenessMessages: mid(({ liveness }) => liveness.perSecond),
    livenessBytes: mid(({ liveness }) => liveness.bytesPerSecond),
    messages: mid(({ all }) => all.perSecond),
    bytes: mid(({ all }) => all.bytesPerSecond),
    cpuShare: mid(({ cpuShare }) => cpuShare),
    rssBytes: mid(({ rssBytes }) => rssBytes),
    lost: mid(({ lost }) => lost),
  };
}

/** The table for the documents, and the picture of it, beside the results. */
async function writeFiles(costs: readonly SizeCosts[], { workDir }: BenchContext): Promise<string> {
  const dir = path.dirname(workDir);
  writeFileSync(path.join(dir, "scale.md"), markdownOf(costs));
  writeFileSync(path.join(dir, "scale.svg"), await plotOf(costs));
  return path.relative(process.cwd(), dir);
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
  const bySize = SIZES.map((agents) => ({ agents, of: storms.filter((one) => one.agents === agents) }));
  const costs = bySize.map(({ agents, of }) => costsOf(agents, of));
  const loads = bySize.map(({ agents, of }) => ({ agents, ...compareLoad(of.map(({ load }) => load)) }));
  const doubts = loads.flatMap(({ agents, doubt }) => (doubt === null ? [] : [`N = ${agents}: ${doubt}`]));
  const perSecond = costs.map(({ livenessMessages }) => livenessMessages ?? Number.NaN);
  const spread = Math.max(...perSecond) / Math.min(...perSecond) - 1;
  const files = await writeFiles(costs, context);
  return {
    checks: [
      ...bySize.flatMap(({ agents, of }) => checksOf(agents, of, context)),
      {
        measure: "liveness messages per node and second, largest over smallest",
        goal: `≤ ${1 + CONSTANT} ×`,
        unit: "×",
        n: storms.length,
        median: finite(1 + spread),
        interval: null,
        met: spread <= CONSTANT,
      },
    ],
    details: [costTable(costs)],
    notes: [
      ...SIZES.map((agents) => `${stormOf(agents).join(" ")} --transport-signals`),
      `Floor: the same number of bare processes that hold the same streams: up to ${MAX_SIGNALLED} agents to all others, above to their ${MONITORS} ring successors, without gossip: it knows what its own streams say. Same memory (together at most ${MAX_FLOOR_BYTES / 1e9} GB), requests and CPU time as the agents.`,
      ...loads.map(({ agents, note }) => `N = ${agents}: ${note}`),
      `Table and picture for the documents: ${files}/scale.md, ${files}/scale.svg`,
    ],
    doubt: doubts.length === 0 ? null : doubts.join("; "),
    data: { storms },
  };
}

export const scale: Bench = {
  name: "scale",
  what: `${SIZES.join(", ")} agents on a ring, each monitoring ${MONITORS}, 30 % killed, --transport-signals: until all survivors know all victims, and what it costs (FAILSTORM_SCALE=8,16 for other sizes)`,
  goal: `≤ ${MAX_RATIO} × the floor of the same N; liveness messages per node and second constant within ${CONSTANT * 100} %`,
  run: runScale,
};
