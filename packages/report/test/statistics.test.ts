import { createPrng } from "@failstorm/core";
import * as fc from "fast-check";
import { quantile } from "simple-statistics";
import { describe, expect, it } from "vitest";
import { acceleration, bcaInterval, drawResamples, meanOf, medianOf } from "../src/statistics/bootstrap.ts";
import { blockPower, cliffDelta, cohenDz } from "../src/statistics/effectSize.ts";
import { createHistogram } from "../src/statistics/histogram.ts";
import { normalCdf, normalQuantile } from "../src/statistics/normal.ts";
import { holm, signFlipTest, twoSampleTest } from "../src/statistics/permutation.ts";
import { kaplanMeier, survivalQuantile } from "../src/statistics/survival.ts";

const variance = (sample: readonly number[]): number => meanOf(sample.map((value) => (value - meanOf(sample)) ** 2));

/** Efron and Tibshirani (1993), An Introduction to the Bootstrap, table 14.1: the spatial test data, score A. */
const SPATIAL_A = [48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41];

/** Darwin's Zea mays, crossed minus self-fertilised, in eighths of an inch, as Fisher (1935, § 17) gives it. */
const DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48];

/** Remission of leukaemia under 6-MP, weeks (Freireich et al., 1963); `+`: censored. */
const LEUKAEMIA = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
  .split(" ")
  .map((word) => ({ time: Number.parseInt(word, 10), censored: word.endsWith("+") }));

describe("the normal distribution", () => {
  it("has the quantiles of the tables", () => {
    expect(normalQuantile(0.975)).toBeCloseTo(1.959963984540054, 14);
    expect(normalQuantile(1e-9)).toBeCloseTo(-5.997807015007687, 11);
    expect(normalQuantile(0.5)).toBe(0);
    expect(normalCdf(1.96)).toBeCloseTo(0.9750021048517795, 14);
    expect(normalCdf(-6)).toBeCloseTo(9.865876450376946e-10, 16);
  });

  it("undoes itself", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1e-12, max: 1 - 1e-12, noNaN: true }),
        (p) => Math.abs(normalCdf(normalQuantile(p)) - p) < 1e-12,
      ),
    );
  });
});

describe("bootstrap", () => {
  it("gives Efron and Tibshirani's interval of the spatial data's variance (section 14.2): a = 0.061, 90 % BCa 115.8 to 259.6", () => {
    expect(variance(SPATIAL_A)).toBeCloseTo(171.5, 1);
    expect(acceleration(SPATIAL_A, variance)).toBeCloseTo(0.061, 3);
    const { low, high } = bcaInterval(SPATIAL_A, variance, drawResamples(26, createPrng(1)), 0.9);
    // Theirs are from 2000 resamples, whose bounds have a Monte Carlo error of a few units.
    expect(low).toBeGreaterThan(112);
    expect(low).toBeLessThan(120);
    expect(high).toBeGreaterThan(252);
    expect(high).toBeLessThan(268);
  });

  it("says the same for the same seed, and for the same runs in another order of magnitude", () => {
    const one = bcaInterval(DARWIN, medianOf, drawResamples(15, createPrng(3)));
    expect(bcaInterval(DARWIN, medianOf, drawResamples(15, createPrng(3)))).toEqual(one);
    const scaled = bcaInterval(
      DARWIN.map((value) => value * 1000),
      medianOf,
      drawResamples(15, createPrng(3)),
    );
    expect(scaled.low).toBeCloseTo(one.low * 1000, 6);
    expect(scaled.high).toBeCloseTo(one.high * 1000, 6);
  });

  it("covers the truth about as often as it says, where the plain percentile interval does not", () => {
    const prng = createPrng(11);
    const resamples = drawResamples(20, createPrng(12), 1000);
    let covered = 0;
    for (let i = 0; i < 400; i++) {
      const sample = Array.from({ length: 20 }, () => prng.exponential(1));
      const { low, high } = bcaInterval(sample, meanOf, resamples);
      if (low <= 1 && 1 <= high) covered += 1;
    }
    expect(covered / 400).toBeGreaterThan(0.89);
    expect(covered / 400).toBeLessThan(0.98);
  });

  it("has nothing to say beyond the value when all are equal, and refuses resamples of another size", () => {
    expect(bcaInterval([5, 5, 5], meanOf, drawResamples(3, createPrng(1)))).toMatchObject({ estimate: 5, low: 5, high: 5 });
    expect(() => bcaInterval([1, 2], meanOf, drawResamples(3, createPrng(1)))).toThrow(RangeError);
  });
});

describe("permutation tests", () => {
  it("gives Fisher's own count for Darwin's data (1935, § 21): 1726 of 32768 patterns are as extreme", () => {
    expect(signFlipTest(DARWIN, createPrng(1))).toEqual({ p: 1726 / 32768, exact: true, arrangements: 32768 });
  });

  it("comes near to that from a sample of patterns when there are too many to count", () => {
    const longer = [...DARWIN, ...Array.from({ length: 8 }, () => 0)];
    const { p, exact } = signFlipTest(longer, createPrng(5));
    expect(exact).toBe(false);
    expect(p).toBeCloseTo(1726 / 32768, 2);
  });

  it("cannot go below 2 / 2^n, reaches that when all signs agree, and is 1 without differences", () => {
    expect(signFlipTest([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], createPrng(1)).p).toBe(2 / 1024);
    expect(signFlipTest([0, 0, 0], createPrng(1)).p).toBe(1);
    expect(signFlipTest([], createPrng(1)).p).toBe(1);
    // 0.1 + 0.2 is not 0.3: equal sums count as equal however they were added up.
    expect(signFlipTest([0.1, 0.2, -0.3], createPrng(1)).p).toBe(1);
  });

  it("holds its level under the hypothesis", () => {
    const prng = createPrng(21);
    const ps = Array.from(
      { length: 1000 },
      () =>
        signFlipTest(
          Array.from({ length: 10 }, () => prng.exponential(1) - prng.exponential(1)),
          prng,
        ).p,
    );
    const rejected = ps.filter((p) => p <= 0.05).length / ps.length;
    expect(rejected).toBeGreaterThan(0.03);
    expect(rejected).toBeLessThan(0.07);
  });

  it("tells the mouse data of Efron and Tibshirani (section 15.2) as far apart as they do: one-sided 0.132 of 1000 permutations", () => {
    const treated = [94, 197, 16, 38, 99, 141, 23];
    const control = [52, 104, 146, 10, 51, 30, 40, 27, 46];
    const { p, exact, arrangements } = twoSampleTest(treated, control, createPrng(1));
    expect([exact, arrangements]).toEqual([true, 11440]);
    expect(p / 2).toBeGreaterThan(0.11);
    expect(p / 2).toBeLessThan(0.165);
    const sampled = twoSampleTest(
      [...treated, ...treated, ...treated],
      [...control, ...control, ...control],
      createPrng(2),
      20_000,
    );
    expect(sampled.exact).toBe(false);
    expect(sampled.p).toBeLessThan(p);
  });

  it("corrects as Holm (1979) does: the example of R's p.adjust, in any order", () => {
    const round = (values: readonly number[]): number[] => values.map((value) => Math.round(value * 1e12) / 1e12);
    expect(round(holm([0.01, 0.02, 0.03, 0.04, 0.05]))).toEqual([0.05, 0.08, 0.09, 0.09, 0.09]);
    expect(round(holm([0.01, 0.04, 0.03, 0.005]))).toEqual([0.03, 0.06, 0.06, 0.02]);
    expect(holm([0.6, 0.7])).toEqual([1, 1]);
    expect(holm([])).toEqual([]);
  });
});

describe("Kaplan–Meier", () => {
  const steps = kaplanMeier(LEUKAEMIA);

  it("gives the published curve of the 6-MP group (Kleinbaum and Klein, Survival Analysis, table 2.1)", () => {
    const published = { 6: 0.857, 7: 0.807, 10: 0.753, 13: 0.69, 16: 0.627, 22: 0.538, 23: 0.448 };
    for (const [time, survival] of Object.entries(published))
      expect(steps.find((step) => step.time === Number(time))?.survival).toBeCloseTo(survival, 3);
    expect(survivalQuantile(steps, 0.5)).toBe(23);
    expect(survivalQuantile(steps, 0.25)).toBe(13);
    expect(survivalQuantile(steps, 0.75)).toBeNull();
  });

  it("has the interval that R's survfit gives with conf.type log-log: at 10 weeks 0.503 to 0.889", () => {
    const at = steps.find((step) => step.time === 10);
    expect(at?.low).toBeCloseTo(0.503, 2);
    expect(at?.high).toBeCloseTo(0.889, 2);
  });

  it("ends at 0 when nothing is censored, and stays at 1 when everything is", () => {
    const all = [1, 2, 3].map((time) => ({ time, censored: false }));
    expect(kaplanMeier(all).at(-1)?.survival).toBe(0);
    expect(survivalQuantile(kaplanMeier(all), 0.5)).toBe(2);
    expect(survivalQuantile(kaplanMeier(all.map(({ time }) => ({ time, censored: true }))), 0.5)).toBeNull();
  });
});

describe("effect sizes and power", () => {
  it("gives the worked example of Lakens (2013, Frontiers in Psychology 4:863): d_z = 1.50", () => {
    const first = [9, 7, 8, 9, 8, 9, 9, 10, 9, 9];
    const second = [9, 6, 7, 8, 7, 9, 8, 8, 8, 7];
    expect(cohenDz(first.map((value, i) => value - (second[i] ?? 0)))).toBeCloseTo(1.5, 2);
    expect([cohenDz([0.3 - 0.1, 0.5 - 0.3, 1.1 - 0.9]), cohenDz([0, 0])]).toEqual([null, null]);
    expect(cohenDz([3, 3])).toBeNull();
  });

  it("compares every value with every other (Cliff, 1993)", () => {
    expect(cliffDelta([1, 2, 3], [1, 2, 3])).toBe(0);
    expect(cliffDelta([4, 5], [1, 2, 3])).toBe(1);
    expect(cliffDelta([1, 1, 2], [1, 2, 2])).toBeCloseTo(-3 / 9, 12);
  });

  it("says what blocks can show: 8 cannot pass ten comparisons, 9 can if all agree, 20 find a d_z of about 0.9", () => {
    expect(blockPower(8, 10)).toMatchObject({ canPass: false, blocksNeeded: 9, smallestP: 2 / 256, detectableDz: null });
    expect(blockPower(9, 10)).toMatchObject({ canPass: true });
    const twenty = blockPower(20, 10);
    expect(twenty.detectableDz).toBeGreaterThan(0.85);
    expect(twenty.detectableDz).toBeLessThan(1);
    expect(blockPower(6, 1).blocksNeeded).toBe(6);
    // Beyond 20 blocks patterns are drawn, and p is never less than one in so many.
    expect(blockPower(40, 10).smallestP).toBe(1 / 100_001);
  });

  it("finds the effect it calls detectable in about four of five experiments", () => {
    const prng = createPrng(4);
    const normal = (): number => normalQuantile(Math.max(1e-9, prng.next()));
    const { detectableDz, neededP } = blockPower(12, 3);
    let found = 0;
    for (let i = 0; i < 300; i++) {
      const differences = Array.from({ length: 12 }, () => normal() + (detectableDz ?? 0));
      if (signFlipTest(differences, prng).p <= neededP) found += 1;
    }
    expect(found / 300).toBeGreaterThan(0.7);
    expect(found / 300).toBeLessThan(0.9);
  });
});

describe("latency histograms", () => {
  const latencies = fc.array(fc.double({ min: 0.001, max: 100_000, noNaN: true }), { minLength: 1, maxLength: 200 });

  it("merge to what one histogram of all values would be", () => {
    fc.assert(
      fc.property(latencies, latencies, (a, b) => {
        const [one, other, all] = [createHistogram(), createHistogram(), createHistogram()];
        for (const ms of a) one.record(ms);
        for (const ms of b) other.record(ms);
        for (const ms of [...a, ...b]) all.record(ms);
        one.add(other.data());
        expect(one.data()).toEqual(all.data());
        expect(createHistogram(all.data()).count).toBe(a.length + b.length);
      }),
    );
  });

  it("keep every quantile to within 1/64 above, or 1 µs", () => {
    fc.assert(
      fc.property(latencies, fc.double({ min: 0, max: 1, noNaN: true }), (values, q) => {
        const histogram = createHistogram();
        for (const ms of values) histogram.record(ms);
        const sorted = values.toSorted((a, b) => a - b);
        const exact = sorted[Math.max(0, Math.ceil(q * sorted.length - 1e-9) - 1)] as number;
        const found = histogram.quantile(q) as number;
        expect(found).toBeGreaterThanOrEqual(exact - 0.0005001);
        expect(found).toBeLessThanOrEqual(exact * (1 + 1 / 64) + 0.0015);
      }),
    );
    expect(createHistogram().quantile(0.5)).toBeNull();
  });

  it("have a median near that of the values themselves", () => {
    const prng = createPrng(9);
    const values = Array.from({ length: 5000 }, () => prng.exponential(300));
    const histogram = createHistogram();
    for (const ms of values) histogram.record(ms);
    for (const q of [0.5, 0.9, 0.99]) expect((histogram.quantile(q) ?? 0) / quantile(values, q)).toBeCloseTo(1, 1);
    expect(histogram.cumulative().at(-1)?.share).toBe(1);
  });
});
