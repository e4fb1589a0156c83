import { FakeClock } from "@failstorm/core";
import { expect, test } from "vitest";
import { Lull } from "../src/lull.ts";

function lull() {
  const clock = new FakeClock();
  const ends: number[] = [];
  return { clock, ends, lull: new Lull(clock, () => ends.push(clock.now())) };
}

test("ends once, the silence after the last sign, and begins anew with the next", async () => {
  const { clock, ends, lull: one } = lull();
  const start = clock.now();
  one.sign(20);
  await clock.advance(15);
  one.sign(20);
  expect(one.isAwaited).toBe(true);
  await clock.advance(100);
  expect(ends).toEqual([start + 35]);
  expect(one.isAwaited).toBe(false);
  one.sign(20);
  await clock.advance(20);
  expect(ends).toEqual([start + 35, start + 135]);
});

test("ends at the latest moment although signs go on, and not at all when cancelled", async () => {
  const { clock, ends, lull: one } = lull();
  const start = clock.now();
  for (let signs = 0; signs < 3; signs++) {
    one.sign(20, 40);
    await clock.advance(15);
  }
  expect(ends).toEqual([start + 40]);
  one.sign(20);
  one.cancel();
  expect(one.isAwaited).toBe(false);
  await clock.advance(100);
  expect(ends).toHaveLength(1);
});
