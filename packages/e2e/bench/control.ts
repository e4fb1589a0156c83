import type { FailstormMetrics } from "@failstorm/report";
import type { Bench, BenchContext, BenchOutcome, Check, DetailTable } from "./bench.ts";
import { MEASURES, type Measure, type MeasureKind } from "./controlMeasures.ts";
import { runProduct } from "./product.ts";
import { bootstrapInterval, holm, mean, signFlipTest } from "./statistics.ts";
import { shown } from "./table.ts";

const SIGNIFICANCE = 0.05;
const MIN_FAKE_SHARE = 0.95;

/** Unscaled, so that the windows of steady state are whole, and as short as that allows: 6 s before the fault to compare with. */
const TIMELINE =
  "--agents 8 --fault-time 22 --runtime 52 --deadline 6 --set scenario.warmup=9 --set scenario.restart_after=8".split(" ");

const ARMS = {
  base: [],
  header: ["--set", "simple_json.extra_header_bytes=500"],
  repeats: ["--set", "simple_json.idempotency=false"],
  fake: ["--fake-fault"],
} as const;
type Arm = keyof typeof ARMS;
type Block = Readonly<Record<Arm, FailstormMetrics>>;

interface Experiment {
  readonly arm: Arm;
  readonly title: string;
  /** The kind that may move, and the measure of it that must, upwards. */
  readonly moves: MeasureKind;
  readonly must: string;
}

const EXPERIMENTS: readonly Experiment[] = [
  { arm: "header", title: "500 header bytes", moves: "bytes", must: "bytes per message" },
  { arm: "repeats", title: "no idempotency", moves: "duplicates", must: "duplicates of the run" },
];

interface Moved {
  readonly measure: Measure;
  readonly n: number;
  readonly base: number;
  readonly difference: number;
  readonly interval: readonly [number, number] | null;
  readonly p: number;
  /** Adjusted for all measures of the experiment. */
  readonly adjusted: number;
}

/** All measures of an arm against the base, paired by seed; a pair in which either is null is left out. */
function compare(blocks: readonly Block[], arm: Arm, context: BenchContext): Moved[] {
  const prng = context.prng.fork(`test/${arm}`);
  const raw = MEASURES.map((measure) => {
    const pairs = blocks.flatMap((block) => {
      const [base, changed] = [measure.of(block.base), measure.of(block[arm])];
      return base === null || changed === null ? [] : [{ base, difference: changed - base }];
    });
    const differences = pairs.map(({ difference }) => difference);
    return {
      measure,
      n: pairs.length,
      base: mean(pairs.map(({ base }) => base)),
      difference: mean(differences),
      interval: bootstrapInterval(differences, mean, prng),
      p: pairs.length === 0 ? 1 : signFlipTest(differences, prng),
    };
  });
  const adjusted = holm(raw.map(({ p }) => p));
  return raw.map((row, index) => Object.assign(row, { adjusted: adjusted[index] ?? 1 }));
}

const hasMoved = ({ adjusted }: Moved): boolean => adjusted <= SIGNIFICANCE;

function experimentChecks({ title, moves, must }: Experiment, rows: readonly Moved[], n: number): Check[] {
  const needed = rows.find(({ measure }) => measure.name === must);
  const others = rows.filter((row) => row.measure.kind !== moves && hasMoved(row));
  return [
    {
      measure: `${title}: ${must} moved by`,
      goal: "up, p ≤ 0.05",
      unit: moves === "bytes" ? "bytes" : "steps",
      n: needed?.n ?? 0,
      median: needed?.difference ?? null,
      interval: needed?.interval ?? null,
      met: needed !== undefined && hasMoved(needed) && needed.difference > 0,
    },
    {
      measure: `${title}: measures moved other than ${moves}`,
      goal: others.length === 0 ? "none" : `none, but: ${others.map(({ measure }) => measure.name).join(", ")}`,
      unit: `of ${rows.filter(({ measure }) => measure.kind !== moves).length}`,
      n,
      median: others.length,
      interval: null,
      met: others.length === 0,
    },
  ];
}

const asDetails = ({ title, moves }: Experiment, rows: readonly Moved[]): DetailTable => ({
  title: `${title} against the same without, paired by seed (mean difference, 95 % bootstrap interval, sign-flip p, p after Holm)`,
  columns: ["measure", "may move", "n", "without", "difference", "interval", "p", "p Holm", "moved"],
  rows: rows.map((row) => [
    row.measure.name,
    row.measure.kind === moves ? "yes" : "",
    String(row.n),
    shown(row.base),
    shown(row.difference),
    row.interval === null ? "–" : `${shown(row.interval[0])} … ${shown(row.interval[1])}`,
    row.p.toFixed(4),
    row.adjusted.toFixed(4),
    hasMoved(row) ? "yes" : "",
  ]),
});

function fakeChecks(blocks: readonly Block[]): Check[] {
  const share = (measure: string, holds: (metrics: FailstormMetrics) => boolean): Check => {
    const value = blocks.filter(({ fake }) => holds(fake)).length / blocks.length;
    return {
      measure,
      goal: `≥ ${MIN_FAKE_SHARE * 100} %`,
      unit: "% of runs",
      n: blocks.length,
      median: value * 100,
      interval: null,
      met: value >= MIN_FAKE_SHARE,
    };
  };
  return [
    share("fake fault: recovery null", (metrics) => metrics.recovery_ms === null),
    share("fake fault: steady state 0", (metrics) => metrics.steady_state_ms === 0),
  ];
}

/** One seed under every arm, in an order drawn anew for each seed. */
async function runBlock(seed: number, context: BenchContext, label: string): Promise<Block> {
  const results = new Map<Arm, FailstormMetrics>();
  for (const arm of context.prng.fork(`order/${seed}`).shuffle(Object.keys(ARMS) as Arm[])) {
    const run = await runProduct([...TIMELINE, "--seed", String(seed), ...ARMS[arm]], context);
    results.set(arm, run.metrics);
    run.discard();
    context.progress(`${label}: ${arm} done`);
  }
  return Object.fromEntries(results) as Block;
}

async function run(context: BenchContext): Promise<BenchOutcome> {
  const seeds = context.prng.fork("seeds");
  const blocks: Block[] = [];
  for (let repeat = 1; repeat <= context.repeats; repeat++)
    blocks.push(await runBlock(seeds.int(1_000_000), context, `${repeat}/${context.repeats}`));
  const compared = EXPERIMENTS.map((experiment) => ({ experiment, rows: compare(blocks, experiment.arm, context) }));
  const saturated = blocks.flatMap((block) => Object.values(block)).filter((metrics) => metrics.saturated).length;
  return {
    checks: [
      ...compared.flatMap(({ experiment, rows }) => experimentChecks(experiment, rows, blocks.length)),
      ...fakeChecks(blocks),
    ],
    details: compared.map(({ experiment, rows }) => asDetails(experiment, rows)),
    notes: [
      `${TIMELINE.join(" ")}; per seed four runs in random order: as it is, with ${ARMS.header.at(-1)}, with ${ARMS.repeats.at(-1)}, with a fake fault.`,
      `${saturated} of ${blocks.length * Object.keys(ARMS).length} runs were saturated.`,
    ],
    doubt: saturated > 0 ? `${saturated} runs were saturated` : null,
    data: {
      runs: blocks.map((block) =>
        Object.fromEntries(
          Object.entries(block).map(([arm, metrics]) => [
            arm,
            { seed: metrics.seed, ...Object.fromEntries(MEASURES.map(({ name, of }) => [name, of(metrics)])) },
          ]),
        ),
      ),
      compared,
    },
  };
}

export const control: Bench = {
  name: "control",
  what: "A/A: simple_json against itself with 500 more header bytes, and without its idempotency; and a fault that is none",
  goal: "only bytes, only step duplicates may move; fake fault: recovery null and steady state 0 in ≥ 95 %",
  run,
};
