import type { DetectorKind } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { judgeForetold } from "./simulation/judge.ts";
import { SimulatedNetwork } from "./simulation/network.ts";
import { drawFading, drawStorm, type Schedule } from "./simulation/schedule.ts";

/** SWIM probes each of n peers once in n periods: round trips show it far less of one that fades for a few seconds. */
const KINDS: readonly { readonly kind: DetectorKind; readonly recall: number }[] = [
  { kind: "heartbeat", recall: 0.9 },
  { kind: "phi-accrual", recall: 0.9 },
  { kind: "swim", recall: 0.3 },
];
const SEEDS = [1, 2, 3, 4];
const PATIENCE_MS = 60_000;

const predicted = (schedule: Schedule): Schedule => ({ ...schedule, predictive: true });

function judge(schedules: readonly Schedule[]) {
  const total = { foretold: 0, right: 0, deaths: 0, foreseen: 0, leadMs: [] as number[] };
  for (const schedule of schedules) {
    const one = judgeForetold(schedule, new SimulatedNetwork(schedule).run());
    total.foretold += one.foretold;
    total.right += one.right;
    total.deaths += one.deaths;
    total.foreseen += one.foreseen;
    total.leadMs.push(...one.leadMs);
  }
  return { ...total, precision: total.right / total.foretold, recall: total.foreseen / total.deaths };
}

describe.each(KINDS)("failures foretold by a $kind detector", ({ kind, recall }) => {
  it("foresees who fades before it dies, and hardly anybody else", { timeout: PATIENCE_MS }, () => {
    const result = judge(SEEDS.map((seed) => drawFading(seed, kind)));
    expect(result.recall).toBeGreaterThanOrEqual(recall);
    expect(result.precision).toBeGreaterThanOrEqual(0.9);
  });

  it("foresees nothing of processes that die in good health", { timeout: PATIENCE_MS }, () => {
    const result = judge(SEEDS.map((seed) => predicted(drawStorm(seed, kind, 8, null, false))));
    expect(result.deaths).toBeGreaterThan(0);
    expect(result).toMatchObject({ foreseen: 0, foretold: 0 });
  });
});
