import { FakeClock } from "@failstorm/core";
import { expect, test } from "vitest";
import { Quiet } from "../src/quiet.ts";

function waiting(silenceMs: number, mostSilences = 3) {
  const clock = new FakeClock();
  const quiet = new Quiet(clock, { silenceMs: () => silenceMs, mostSilences });
  const acted: string[] = [];
  return { clock, quiet, acted, wait: (who: string) => quiet.wait(() => acted.push(who)) };
}

test("all act together once no sign has come for the silence", async () => {
  const { clock, quiet, acted, wait } = waiting(20);
  quiet.note();
  wait("a");
  await clock.advance(19);
  quiet.note();
  wait("b");
  await clock.advance(19);
  expect(acted).toEqual([]);
  await clock.advance(1);
  expect(acted).toEqual(["a", "b"]);
});

test("nobody waits longer than so many silences after the first sign, nor at all for as long again; then a sign is the first once more", async () => {
  const { clock, quiet, acted, wait } = waiting(20);
  for (let signs = 0; signs < 4; signs++) {
    quiet.note();
    if (signs === 0) wait("a");
    await clock.advance(15);
  }
  expect(acted).toEqual(["a"]);
  quiet.note();
  wait("b");
  expect(acted).toEqual(["a", "b"]);
  await clock.advance(60);
  quiet.note();
  wait("c");
  await clock.advance(19);
  expect(acted).toEqual(["a", "b"]);
  await clock.advance(1);
  expect(acted).toEqual(["a", "b", "c"]);
});

test("what comes in after a silence of a storm that goes on waits for another, but not beyond the end of all waiting", async () => {
  const { clock, quiet, acted, wait } = waiting(20);
  quiet.note();
  wait("a");
  await clock.advance(20);
  expect(acted).toEqual(["a"]);
  await clock.advance(25);
  quiet.note();
  wait("b");
  await clock.advance(14);
  expect(acted).toEqual(["a"]);
  await clock.advance(1);
  expect(acted).toEqual(["a", "b"]);
});

test("nobody waits where there is no silence to wait for, nor when it is quiet", async () => {
  const none = waiting(0);
  none.quiet.note();
  none.wait("a");
  await none.clock.advance(0);
  expect(none.acted).toEqual(["a"]);
  const { clock, acted, wait } = waiting(20);
  wait("a");
  await clock.advance(0);
  expect(acted).toEqual(["a"]);
});
