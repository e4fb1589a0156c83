import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPace } from "../src/detector/pace.ts";
import { INTERVAL_MS, TIMEOUT_MS } from "./detectorWorld.ts";

const measured = (roundTripsMs: readonly (number | null)[]) => {
  const pace = createPace(INTERVAL_MS, TIMEOUT_MS);
  for (const roundTripMs of roundTripsMs) {
    if (roundTripMs === null) pace.missed();
    else pace.answered(roundTripMs);
  }
  return pace;
};
const times = <T>(count: number, of: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => of(i));

describe("the pace of a link", () => {
  it("is as configured before anything is known", () => {
    expect(measured([])).toMatchObject({ intervalMs: INTERVAL_MS, timeoutMs: TIMEOUT_MS });
  });

  it("a quick and sound link is probed no more often than the time allows, and its deaths are found as soon", () => {
    const { intervalMs, timeoutMs } = measured(times(200, () => 2));
    expect(intervalMs).toBeGreaterThan(INTERVAL_MS);
    expect(timeoutMs).toBeLessThanOrEqual(TIMEOUT_MS);
  });

  it("a lossy link is probed more often, for the same time", () => {
    const { intervalMs, timeoutMs } = measured(times(200, (i) => (i % 5 === 0 ? null : 2)));
    expect(intervalMs).toBeLessThan(INTERVAL_MS / 2);
    expect(timeoutMs).toBeLessThanOrEqual(TIMEOUT_MS * 1.1);
  });

  it("a slow link is waited for longer", () => {
    expect(measured(times(200, (i) => 800 + (i % 7) * 300)).timeoutMs).toBeGreaterThan(TIMEOUT_MS);
  });

  it("recovers from a bad time", () => {
    const bad = times(100, (i) => (i % 2 === 0 ? null : 900));
    const { intervalMs, timeoutMs } = measured([...bad, ...times(300, () => 2)]);
    expect(intervalMs).toBeGreaterThan(INTERVAL_MS);
    expect(timeoutMs).toBeLessThanOrEqual(TIMEOUT_MS);
  });

  it("stays within its bounds, whatever comes", () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.integer({ min: 0, max: 60_000 }))), (roundTripsMs) => {
        const { intervalMs, timeoutMs } = measured(roundTripsMs);
        expect(intervalMs).toBeGreaterThanOrEqual(INTERVAL_MS / 4);
        expect(intervalMs).toBeLessThanOrEqual(INTERVAL_MS * 2);
        expect(timeoutMs).toBeGreaterThanOrEqual(TIMEOUT_MS / 2);
        expect(timeoutMs).toBeLessThanOrEqual(TIMEOUT_MS * 2);
        expect(timeoutMs).toBeGreaterThanOrEqual(intervalMs);
      }),
    );
  });
});
