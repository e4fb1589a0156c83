import { createPrng } from "@failstorm/core";
import { expect, it } from "vitest";
import { createBackoff } from "../src/index.ts";

const backoffOf = (seed: number) => createBackoff({ prng: createPrng(seed), baseMs: 50, maxMs: 2000, factor: 3 });
const delays = (backoff: { next(): number }, count: number): number[] => Array.from({ length: count }, () => backoff.next());

it("stays between base and maximum, within factor of the delay before, and comes near the maximum", () => {
  const list = delays(backoffOf(1), 200);
  for (const [i, delay] of list.entries()) {
    expect(delay).toBeGreaterThanOrEqual(50);
    expect(delay).toBeLessThanOrEqual(Math.min(2000, 3 * (list[i - 1] ?? 50)));
  }
  expect(Math.max(...list)).toBeGreaterThan(1500);
});

it("the same seed gives the same delays, another seed others", () => {
  expect(delays(backoffOf(7), 5)).toEqual(delays(backoffOf(7), 5));
  expect(delays(backoffOf(7), 5)).not.toEqual(delays(backoffOf(8), 5));
});

it("starts over after a reset", () => {
  const backoff = backoffOf(3);
  delays(backoff, 10);
  backoff.reset();
  expect(backoff.next()).toBeLessThanOrEqual(150);
});

it("refuses a range that is none", () => {
  const prng = createPrng(1);
  expect(() => createBackoff({ prng, baseMs: 0, maxMs: 10, factor: 2 })).toThrow(RangeError);
  expect(() => createBackoff({ prng, baseMs: 20, maxMs: 10, factor: 2 })).toThrow(RangeError);
});
