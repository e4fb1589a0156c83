import { FakeClock } from "@failstorm/core";
import { expect, test } from "vitest";
import { CompilerPause } from "../src/compilerPause.ts";

test("lasts until 200 ms after the last sign of a death, and is switched once each way", async () => {
  const clock = new FakeClock();
  const flags: string[] = [];
  const pause = new CompilerPause(clock, (flag) => flags.push(flag));
  pause.extend();
  const paused = ["--no-sparkplug", "--no-maglev", "--no-turbofan"];
  expect(flags).toEqual(paused);
  await clock.advance(150);
  pause.extend();
  await clock.advance(199);
  expect(flags).toHaveLength(3);
  await clock.advance(1);
  expect(flags.slice(3)).toEqual(["--sparkplug", "--maglev", "--turbofan"]);
  pause.extend();
  expect(flags.slice(6)).toEqual(paused);
});
