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
