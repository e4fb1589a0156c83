import { createPrng } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { neededGood, windowAlpha, WINDOWS_IN_A_ROW } from "../src/steadyState.ts";
import { computeMetrics } from "../src/metrics.ts";
import { buildConfig, RunBuilder } from "./builder.ts";

describe("threshold of a window", () => {
  it("follows the beta-binomial: worked by hand for one and two tasks", () => {
    // Nothing seen: Beta(½, ½); P(X = 0 of 1) = ½. Below alpha 0.6 a window of one may fail, below 0.4 not.
    expect(neededGood(1, { n: 0, good: 0 }, 0.6)).toBe(1);
    expect(neededGood(1, { n: 0, good: 0 }, 0.4)).toBe(0);
    // 3 good of 3: Beta(3.5, 0.5). P(0 of 2) = (0.5·1.5)/(4·5) = 0.0375; P(≤ 1 of 2) = 0.0375 + 2·3.5·0.5/(4·5) = 0.2125.
    expect(neededGood(2, { n: 3, good: 3 }, 0.03)).toBe(0);
    expect(neededGood(2, { n: 3, good: 3 }, 0.0376)).toBe(1);
    expect(neededGood(2, { n: 3, good: 3 }, 0.213)).toBe(2);
  });

  it("allows one bad task in 80 after a faultless baseline, and more after a worse one", () => {
    expect(neededGood(80, { n: 320, good: 320 }, windowAlpha)).toBe(79);
    expect(neededGood(80, { n: 320, good: 288 }, windowAlpha)).toBeLessThan(68);
    expect(neededGood(80, { n: 100_000, good: 50_000 }, windowAlpha)).toBeGreaterThanOrEqual(30);
  });

  it.each([0.999, 0.99, 0.95, 0.9, 0.5])("fails at most one run in twenty without a fault, goodput %s", (rate) => {
    const prng = createPrng(11).fork(`steady/${rate}`);
    const draw = (n: number): number => Array.from({ length: n }, () => prng.next() < rate).filter(Boolean).length;
    const needed = new Map<number, number>();
    let failed = 0;
    for (let run = 0; run < 2000; run++) {
      const good = draw(320);
      const bound = needed.get(good) ?? neededGood(80, { n: 320, good }, windowAlpha);
      needed.set(good, bound);
      const windows = Array.from({ length: WINDOWS_IN_A_ROW }, () => draw(80));
      if (windows.some((window) => window < bound)) failed += 1;
    }
    expect(failed / 2000).toBeLessThanOrEqual(0.05);
  });

  it("still notices a real drop: goodput 0.9 after 0.999 fails nearly always", () => {
    const prng = createPrng(12);
    let passed = 0;
    for (let run = 0; run < 500; run++) {
      const good = Array.from({ length: 80 }, () => prng.next() < 0.9).filter(Boolean).length;
      if (good >= neededGood(80, { n: 320, good: 320 }, windowAlpha)) passed += 1;
    }
    expect(passed / 500).toBeLessThan(0.01);
  });
});

/** 16 tasks a second from 1 s to 120 s; those due in `bad` (ms) are answered wrong. */
function evenRun(bad: readonly (readonly [number, number])[], fake = false) {
  const builder = new RunBuilder(buildConfig({ scenario: { fakeFault: fake } }));
  for (let at = 1000; at < 120_000; at += 62.5) {
    const wrong = bad.some(([from, to]) => at >= from && at < to);
    builder.served(at, `agent-${(at / 62.5) % 3}`, wrong ? { answer: "Rome" } : {});
  }
  builder.kill(60_000, "agent-3", { fake });
  return builder.finish();
}

describe("steady_state_ms", () => {
  it("is 0 when goodput never fell, fake fault or real", () => {
    for (const fake of [true, false]) {
      const metrics = computeMetrics(evenRun([], fake).build());
      expect(metrics.steady_state_ms).toBe(0);
      expect(metrics.steady_state_windows?.[0]).toEqual({ from_ms: 0, to_ms: 5000, n: 80, good: 80, needed: 79 });
    }
  });

  it("is the start of the first of three good windows in a row", () => {
    // Windows of 5 s: bad 0-5, good 5-10, 10-15, bad 15-20, then good.
    const metrics = computeMetrics(
      evenRun([
        [60_000, 62_000],
        [76_000, 77_000],
      ]).build(),
    );
    expect(metrics.steady_state_ms).toBe(20_000);
  });

  it("censors windows whose deadlines lie past the end: 50 s of windows in the 60 s after the fault", () => {
    const metrics = computeMetrics(evenRun([]).build());
    expect(metrics.steady_state_windows?.at(-1)?.to_ms).toBe(50_000);
  });

  it("is null with the reason when it was never reached, or when windows cannot be formed", () => {
    const never = computeMetrics(evenRun([[60_000, 120_000]]).build());
    expect(never.steady_state_ms).toBeNull();
    expect(never.reasons["steady_state_ms"]).toMatch(/no 3 windows in a row/);
    const late = new RunBuilder(buildConfig({ scenario: { runtimeMs: 80_000 } }));
    for (let at = 1000; at < 80_000; at += 62.5) late.served(at, "agent-0");
    const short = computeMetrics(late.kill(60_000, "agent-3").finish(81_000).build());
    expect(short.steady_state_ms).toBeNull();
    expect(short.reasons["steady_state_ms"]).toMatch(/only 2 full windows/);
    const thin = new RunBuilder();
    for (let at = 1000; at < 120_000; at += 1000) thin.served(at, "agent-0");
    const few = computeMetrics(thin.kill(60_000, "agent-3").finish().build());
    expect(few.reasons["steady_state_ms"]).toMatch(/only 20 tasks before the fault/);
  });

  it("extends a window beyond 5 s until it holds 80 tasks", () => {
    const builder = new RunBuilder();
    for (let at = 1000; at < 120_000; at += 125) builder.served(at, "agent-0");
    const metrics = computeMetrics(builder.kill(60_000, "agent-3").finish().build());
    expect(metrics.steady_state_windows?.map((window) => window.n)).toEqual([80, 80, 80, 80, 80]);
    expect(metrics.steady_state_windows?.[0]?.to_ms).toBeCloseTo(79 * 125, 1);
  });
});
