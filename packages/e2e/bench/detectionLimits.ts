import type { Bench, Check } from "./bench.ts";
import { runProduct } from "./product.ts";
import { stormOf } from "./scale.ts";
import { estimate, median } from "./statistics.ts";
import { shown } from "./table.ts";

const orInfinite = (ms: number | null | undefined): number => ms ?? Number.POSITIVE_INFINITY;
const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);

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
      const label = [...args.slice(0, 2), "…", ...args.slice(-4)].join(" ");
      const common = { n: values.length, unit: "ms" };
      return [
        { ...common, measure: label, goal: `≤ ${limitMs} ms`, median: finite(value), interval, met: value <= limitMs },
        { ...common, measure: "… false positives", goal: "0", unit: "", median: finite(wrong), interval: null, met: wrong === 0 },
      ];
    });
    return { checks, details: [], notes: variants.map((args) => args.join(" ")), doubt: null, data: { lasts, falsePositives } };
  },
});

/** The document has gone around by the fault, and few tasks do: what is left is finding out. */
const LARGE = stormOf(64);

export const heartbeat64: Bench = limited({
  name: "detection-64",
  what: "64 agents, heartbeats only, interval 500 ms, timeout 1.5 s, 30 % killed: the last survivor's knowledge",
  limitMs: 2200,
  variants: [[...LARGE, "--heartbeat-interval", "0.5", "--heartbeat-timeout", "1.5"]],
});

export const sigstop: Bench = limited({
  name: "detection-sigstop",
  what: "30 % stopped (SIGSTOP), default heartbeats, 8 and 64 agents: the last survivor's knowledge",
  limitMs: 4200,
  variants: [
    ["--agents", "8", "--fault", "sigstop", "--fault-time", "8", "--runtime", "18"],
    [...LARGE, "--fault", "sigstop"],
  ],
});

/** A protocol period of 500 ms; the timeout, from which swim derives its patience, is three periods by default. */
const SWIM = ["--detector", "swim", "--heartbeat-interval", "0.5"];

export const sigstopSwim: Bench = limited({
  name: "detection-sigstop-swim",
  what: "30 % stopped (SIGSTOP), swim with a period of 500 ms, 8 and 64 agents: the last survivor's knowledge",
  limitMs: 3000,
  variants: [
    ["--agents", "8", "--fault", "sigstop", "--fault-time", "8", "--runtime", "18", ...SWIM],
    [...LARGE, "--fault", "sigstop", ...SWIM],
    // As patient as with its default period, 1 s.
    [...LARGE, "--fault", "sigstop", ...SWIM, "--heartbeat-timeout", "3"],
  ],
});
