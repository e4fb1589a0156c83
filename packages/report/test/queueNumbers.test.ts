import { createPrng } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { balanceOf, Column, describe as describeColumn, describeCorrected, quantile } from "../src/queue/numbers.ts";

const column = (values: readonly number[]): Column => {
  const made = new Column();
  for (const value of values) made.push(value);
  return made;
};
const times = (n: number, value: number): number[] => Array.from({ length: n }, () => value);

describe("a column of numbers", () => {
  it("grows, keeps order, and sorts a copy", () => {
    const made = column(Array.from({ length: 3000 }, (_, i) => 2999 - i));
    expect(made.length).toBe(3000);
    expect([made.at(0), made.at(2999), made.at(3000)]).toEqual([2999, 0, Number.NaN]);
    expect(Array.from(made.sorted().slice(0, 3))).toEqual([0, 1, 2]);
    expect(made.at(0)).toBe(2999);
  });
});

describe("what is said of a distribution", () => {
  it("worked example: 2 4 4 4 5 5 7 9 has mean 5 and a sample deviation of √(32/7)", () => {
    const said = describeColumn(column([9, 4, 4, 2, 5, 4, 7, 5]));
    expect(said).toEqual({ n: 8, mean: 5, min: 2, max: 9, std: 2.138, p50: 4.5, p90: null, p95: null, p99: null, p99_9: null });
  });

  it("worked example: quantiles of 1 … 11 interpolate linearly (type 7)", () => {
    const sorted = column(Array.from({ length: 11 }, (_, i) => i + 1)).sorted();
    expect([0, 0.25, 0.5, 0.9, 0.95, 1].map((q) => quantile(sorted, q))).toEqual([1, 3.5, 6, 10, 10.5, 11]);
  });

  it("a percentile needs so many values that it can differ from the maximum", () => {
    const needed = { p50: 1, p90: 10, p95: 20, p99: 100, p99_9: 1000 } as const;
    for (const [name, n] of Object.entries(needed) as [keyof typeof needed, number][]) {
      expect(describeColumn(column(times(n, 1)))[name]).toBe(1);
      expect(describeColumn(column(times(n - 1, 1)))[name]).toBeNull();
    }
    expect(describeColumn(column([7]))).toMatchObject({ n: 1, mean: 7, std: null });
    expect(describeColumn(column([]))).toMatchObject({ n: 0, mean: null, min: null, max: null });
  });
});

describe("the correction for coordinated omission", () => {
  it("worked example: one answer of 100 ms among 99 of 1 ms stands for the hundred questions it kept waiting", () => {
    const values = column([...times(99, 1), 100]);
    expect(describeColumn(values)).toMatchObject({ p90: 1, p95: 1, p99: 1.99 }); // the stall hardly shows
    const corrected = describeCorrected(values, 1);
    expect(corrected).toMatchObject({ n: 199, missing: 99, interval_ms: 1, min: 1, max: 100 });
    expect(corrected?.mean).toBeCloseTo((99 + 5050) / 199, 3);
    for (const [name, wanted] of [
      ["p50", 1],
      ["p90", 81],
      ["p95", 91],
      ["p99", 99],
    ] as const)
      expect(corrected?.[name]).toBeCloseTo(wanted, 2);
  });

  it("is what adding the samples one by one gives", () => {
    const prng = createPrng(11);
    const values = Array.from({ length: 300 }, () => prng.exponential(3));
    const interval = 0.7;
    const all = values.flatMap((value) => {
      const own = [value];
      for (let missing = value - interval; missing >= interval; missing -= interval) own.push(missing);
      return own;
    });
    const sorted = all.toSorted((a, b) => a - b);
    const mean = all.reduce((a, b) => a + b, 0) / all.length;
    const corrected = describeCorrected(column(values), interval);
    expect(corrected?.n).toBe(all.length);
    expect(corrected?.mean).toBeCloseTo(mean, 3);
    expect(corrected?.min).toBeCloseTo(sorted[0] ?? 0, 3);
    expect(corrected?.std).toBeCloseTo(Math.sqrt(all.reduce((a, b) => a + (b - mean) ** 2, 0) / (all.length - 1)), 3);
    for (const [name, q] of [
      ["p50", 0.5],
      ["p90", 0.9],
      ["p99", 0.99],
    ] as const)
      expect(corrected?.[name]).toBeCloseTo(sorted[Math.ceil(q * all.length) - 1] ?? 0, 2);
  });

  it("leaves answers as they are that keep the pace; exponential times, which have no stall, it overstates by a known share", () => {
    expect(describeCorrected(column(times(200, 5)), 5)).toMatchObject({ n: 200, missing: 0, p99: 5, mean: 5, std: 0 });
    expect(describeCorrected(column([...times(100, 5), ...times(100, 9.9)]), 5)).toMatchObject({ n: 200, missing: 0 });
    const prng = createPrng(5);
    const exponential = column(Array.from({ length: 20_000 }, () => prng.exponential(10)));
    const plain = describeColumn(exponential);
    const corrected = describeCorrected(exponential, plain.p50);
    for (const [name, times] of [
      ["p50", 1.42],
      ["p99", 1.06],
    ] as const)
      expect((corrected?.[name] ?? 0) / (plain[name] ?? 1)).toBeCloseTo(times, 1);
  });

  it("is not made without values or pace", () => {
    expect(describeCorrected(column([]), 1)).toBeNull();
    expect(describeCorrected(column([1]), null)).toBeNull();
    expect(describeCorrected(column([1]), 0)).toBeNull();
  });
});

describe("balance", () => {
  it("worked examples: Gini and variance of shares", () => {
    expect(balanceOf([5, 5, 5, 5])).toEqual({ n: 4, variance: 0, std: 0, gini: 0, min_share: 0.25, max_share: 0.25 });
    expect(balanceOf([0, 0, 0, 8])).toMatchObject({ gini: 0.75, variance: 0.1875, min_share: 0, max_share: 1 });
    // shares .1 .2 .3 .4: Σ_i Σ_j |x_i − x_j| = 2 × 1.0, divided by 2 n² x̄ = 8
    expect(balanceOf([3, 1, 4, 2])).toMatchObject({ gini: 0.25, variance: 0.0125, std: 0.111803399 });
  });

  it("of nothing done, or nobody, is null", () => {
    expect(balanceOf([0, 0])).toMatchObject({ n: 2, gini: null, variance: null });
    expect(balanceOf([])).toMatchObject({ n: 0, gini: null });
  });
});
