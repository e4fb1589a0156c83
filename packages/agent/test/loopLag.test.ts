import { FakeClock } from "@failstorm/core";
import { expect, test } from "vitest";
import { LoopLag } from "../src/loopLag.ts";

test("the lag is how late timers go off, by the 99th percentile since it was last taken", async () => {
  const clock = new FakeClock();
  let lateMs = 0;
  // A loop that gets to everything so late.
  const lag = new LoopLag({
    now: () => clock.now(),
    wall: () => clock.wall(),
    after: (delayMs, fn) => clock.after(delayMs + lateMs, fn),
    sleep: (delayMs, signal) => clock.sleep(delayMs, signal),
  });
  expect(lag.takeP99()).toBe(0);
  const fired: number[] = [];
  for (lateMs of [40, 7, 0]) lag.clock.after(100, () => fired.push(clock.now()));
  const cancel = lag.clock.after(100, () => fired.push(Number.NaN));
  cancel();
  await clock.advance(200);
  expect(fired).toEqual([1_000_100, 1_000_107, 1_000_140]);
  expect(lag.takeP99()).toBe(40);
  expect(lag.takeP99()).toBe(0);
});

test("of many timers the latest hundredth does not count", async () => {
  const clock = new FakeClock();
  let lateMs = 0;
  const lag = new LoopLag({ ...methodsOf(clock), after: (delayMs, fn) => clock.after(delayMs + lateMs, fn) });
  for (let i = 0; i < 200; i++) {
    lateMs = i < 2 ? 500 : 3;
    lag.clock.after(10, () => {});
  }
  await clock.advance(1000);
  expect(lag.takeP99()).toBe(3);
});

const methodsOf = (clock: FakeClock) => ({
  now: () => clock.now(),
  wall: () => clock.wall(),
  sleep: (delayMs: number, signal?: AbortSignal) => clock.sleep(delayMs, signal),
});
