import { FakeClock } from "@failstorm/core";
import { expect, test } from "vitest";
import { CompilerPause } from "../src/compilerPause.ts";

test.each([
  [8, 200],
  [16, 200],
  [200, 2500],
])("of %i agents lasts until %i ms after the last sign of a death, and is switched once each way", async (agents, pauseMs) => {
  const clock = new FakeClock();
  const flags: string[] = [];
  const pause = new CompilerPause(clock, agents, (flag) => flags.push(flag));
  pause.extend();
  const paused = ["--no-sparkplug", "--no-maglev", "--no-turbofan"];
  expect(flags).toEqual(paused);
  await clock.advance(150);
  pause.extend();
  await clock.advance(pauseMs - 1);
  expect(flags).toHaveLength(3);
  await clock.advance(1);
  expect(flags.slice(3)).toEqual(["--sparkplug", "--maglev", "--turbofan"]);
  pause.extend();
  expect(flags.slice(6)).toEqual(paused);
});

test("is not made longer for ever: it ends after ten seconds, and none begins for as long", async () => {
  const clock = new FakeClock();
  let paused = 0;
  const pause = new CompilerPause(clock, 8, (flag) => (paused = flag.startsWith("--no-") ? paused + 1 : 0));
  const signs = async (count: number): Promise<void> => {
    for (let sign = 0; sign < count; sign++) {
      pause.extend();
      await clock.advance(100);
    }
  };
  await signs(99);
  expect(paused).toBe(3);
  await signs(1);
  expect(paused).toBe(0);
  await signs(100);
  expect(paused).toBe(0);
  pause.extend();
  expect(paused).toBe(3);
});
