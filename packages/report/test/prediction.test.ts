import { describe, expect, it } from "vitest";
import { computeMetrics } from "../src/metrics.ts";
import { buildConfig, RunBuilder } from "./builder.ts";

const build = (predictive = true): RunBuilder =>
  new RunBuilder(buildConfig({ network: { predictive }, scenario: { runtimeMs: 120_000 } }));
const predict = (builder: RunBuilder, t: number, src: string, peer: string, peerInc = 1): RunBuilder =>
  builder.at(t, { ev: "link.predicted", peer, peerInc, reason: "latency", score: 1.2 }, src);

describe("forecasts of failing links", () => {
  it("are right when the peer fails within the horizon, and no forecast when it has failed already", () => {
    const builder = build().kill(60_000, "agent-3").kill(60_000, "agent-2");
    predict(builder, 20_000, "agent-0", "agent-3"); // 40 s ahead: too early to be right
    predict(builder, 55_000, "agent-0", "agent-3");
    predict(builder, 58_000, "agent-1", "agent-3");
    predict(builder, 50_000, "agent-0", "agent-1"); // lives on
    predict(builder, 61_000, "agent-0", "agent-2"); // dead for a second
    predict(builder, 100_000, "agent-0", "agent-1"); // the run ends before it can be judged
    expect(computeMetrics(builder.finish().build()).prediction).toMatchObject({
      predictions: 6,
      right: 2,
      wrong: 2,
      too_late: 1,
      undecided: 1,
      precision: 0.5,
      failures: 2,
      foreseen: 1,
      recall: 0.5,
      lead_ms: { p50: 5000, reached: 1 },
    });
  });

  it("have recall 0 and no precision when nothing was said of those who died", () => {
    const { prediction } = computeMetrics(build().kill(60_000, "agent-3").finish().build());
    expect(prediction).toMatchObject({ predictions: 0, precision: null, failures: 1, recall: 0 });
  });

  it("of another incarnation than the one that failed, or of a fault that was only marked, are wrong", () => {
    const builder = build().kill(60_000, "agent-3", { fake: true });
    predict(builder, 58_000, "agent-0", "agent-3");
    predict(builder, 58_000, "agent-0", "agent-2", 2);
    const { prediction } = computeMetrics(builder.finish().build());
    expect(prediction).toMatchObject({ right: 0, wrong: 2, precision: 0, failures: 0, recall: null });
  });

  it("are not reported where none were asked for", () => {
    expect(computeMetrics(build(false).kill(60_000, "agent-3").finish().build())).not.toHaveProperty("prediction");
  });
});
