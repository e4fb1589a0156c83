import { FakeClock } from "@failstorm/core";
import { expect, test } from "vitest";
import { Closings } from "../src/closings.ts";

/** 3 ms of silence for sixteen streams, 48 at most. */
const STREAMS = 16;
const SILENCE_MS = 3;
const MOST_MS = 16 * SILENCE_MS;

function closingsOf(streams: number) {
  const clock = new FakeClock();
  const told: string[] = [];
  const closings = new Closings({
    clock,
    streams: () => streams,
    onClosed: (peer, incarnation) => told.push(`closed ${peer}#${incarnation}`),
    onGone: (peer, incarnation) => told.push(`gone ${peer}#${incarnation}`),
  });
  return { clock, told, closings };
}

test.each(["ours first", "theirs first"])("both ended, %s: gone, at once, and not told of as closed any more", async (order) => {
  const { clock, told, closings } = closingsOf(STREAMS);
  const end = closings.heldBy("agent-1", 2);
  closings.stands("agent-1");
  if (order === "theirs first") end();
  closings.closed("agent-1", 2, "ended");
  expect(closings.isWaiting("agent-1")).toBe(order === "ours first");
  if (order === "ours first") end();
  expect(told).toEqual(["gone agent-1#2"]);
  expect(closings.isWaiting("agent-1")).toBe(false);
  await clock.advance(MOST_MS);
  expect(told).toEqual(["gone agent-1#2"]);
});

test("only ours ended: told of as closed when no other was closed for a while, and as gone when theirs is ended after all", async () => {
  const { clock, told, closings } = closingsOf(STREAMS);
  const end = closings.heldBy("agent-1", 1);
  closings.closed("agent-1", 1, "ended");
  await clock.advance(SILENCE_MS - 1);
  closings.closed("agent-2", 1, "broken");
  await clock.advance(SILENCE_MS - 1);
  expect(told).toEqual([]);
  await clock.advance(1);
  expect(told).toEqual(["closed agent-1#1", "closed agent-2#1"]);
  expect(closings.isWaiting("agent-1")).toBe(false);
  end();
  expect(told.at(-1)).toBe("gone agent-1#1");
});

test("a closed stream does not wait for ever for others that are closed", async () => {
  const { clock, told, closings } = closingsOf(STREAMS);
  for (let ms = 0; ms <= MOST_MS; ms++) {
    closings.closed(`agent-${ms}`, 1, "broken");
    await clock.advance(1);
  }
  expect(told).toContain("closed agent-0#1");
});

test("where few streams are held a closed one is told of at once", () => {
  const { told, closings } = closingsOf(8);
  closings.closed("agent-1", 1, "ended");
  expect(told).toEqual(["closed agent-1#1"]);
});

test("who may live is not gone: a reset stream, another incarnation's, one that took the other's place, or one of ours that stands again", () => {
  const { told, closings } = closingsOf(8);
  closings.heldBy("agent-1", 1)();
  closings.closed("agent-1", 1, "broken");

  closings.heldBy("agent-2", 1)();
  closings.closed("agent-2", 2, "ended");

  const endFormer = closings.heldBy("agent-3", 1);
  closings.heldBy("agent-3", 1);
  endFormer();
  closings.closed("agent-3", 1, "ended");

  const endLater = closings.heldBy("agent-4", 1);
  closings.closed("agent-4", 1, "ended");
  closings.stands("agent-4");
  endLater();

  expect(told).toEqual([1, 2, 3, 4].map((index) => `closed agent-${index}#${index === 2 ? 2 : 1}`));
});

test("one that is held again before it is told of is not told of", async () => {
  const { clock, told, closings } = closingsOf(STREAMS);
  closings.closed("agent-1", 1, "ended");
  closings.stands("agent-1");
  await clock.advance(MOST_MS);
  expect(told).toEqual([]);
});
