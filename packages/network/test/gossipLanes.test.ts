import { FakeClock } from "@failstorm/core";
import { expect, test } from "vitest";
import { GossipLanes } from "../src/detector/gossipLanes.ts";
import type { GossipEntry, GossipItem } from "../src/detector/types.ts";

const news = (peer: string, state: "alive" | "dead" = "dead", refutation = 0): GossipEntry => ({
  peer,
  incarnation: 1,
  refutation,
  state,
});
const asked: GossipItem = { peer: "x", incarnation: 1, probe: "asked" };

function setUp() {
  const sent: { to: string; items: readonly GossipItem[]; arrives: () => void; fails: () => void }[] = [];
  const failed: { to: string; items: readonly GossipItem[] }[] = [];
  const late: { to: string; items: readonly GossipItem[] }[] = [];
  const clock = new FakeClock();
  const lanes = new GossipLanes({
    clock,
    intervalMs: 1000,
    send: (to, items) =>
      new Promise<void>((arrives, reject) => sent.push({ to, items, arrives, fails: () => reject(new Error("gone")) })),
    late: (to, items) => late.push({ to, items }),
    undelivered: (to, items) => failed.push({ to, items }),
  });
  /** What was sent since the last call. */
  const take = (): string[] => sent.splice(0).map(({ to, items }) => `${to}: ${items.map(({ peer }) => peer).join(" ")}`);
  return { clock, lanes, sent, failed, late, take };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("what is learnt while three messages are on their way to one agent travels together with the next", async () => {
  const { lanes, sent, take } = setUp();
  for (const peer of ["a", "b", "c", "d", "e"]) lanes.carry("to", [news(peer)]);
  const [first] = sent;
  expect(take()).toEqual(["to: a", "to: b", "to: c"]);
  first?.arrives();
  await settled();
  expect(take()).toEqual(["to: d e"]);
});

test("of what waits, what is obsolete is not sent", async () => {
  const { lanes, sent, take } = setUp();
  for (const peer of ["a", "b", "c"]) lanes.carry("to", [news(peer)]);
  lanes.carry("to", [news("d"), news("e")]);
  lanes.carry("to", [news("d", "alive", 1)]);
  const [first] = sent.splice(0);
  first?.arrives();
  await settled();
  expect(sent.map(({ items }) => items)).toEqual([[news("e"), news("d", "alive", 1)]]);
  expect(take()).toHaveLength(1);
});

test("one who is late holds up nobody else, nor indirect probes to itself", () => {
  const { lanes, take } = setUp();
  for (const peer of ["a", "b", "c", "d"]) lanes.carry("late", [news(peer)]);
  take();
  lanes.carry("other", [news("d")]);
  lanes.carry("late", [asked]);
  lanes.carry("late", [asked, news("e")]);
  expect(take()).toEqual(["other: d", "late: x", "late: x e"]);
});

test("what did not arrive is told of, with what waited behind it, and then news are sent again", async () => {
  const { lanes, sent, failed, take } = setUp();
  for (const peer of ["a", "b", "c", "d"]) lanes.carry("to", [news(peer)]);
  const [first, second, third] = sent;
  take();
  first?.fails();
  await settled();
  expect(failed).toEqual([{ to: "to", items: [news("a"), news("d")] }]);
  expect(take()).toEqual([]);
  second?.arrives();
  third?.fails();
  await settled();
  expect(failed.slice(1)).toEqual([{ to: "to", items: [news("c")] }]);
  lanes.carry("to", [news("f")]);
  expect(take()).toEqual(["to: f"]);
});

test("an indirect probe that did not arrive is told of", async () => {
  const { lanes, sent, failed } = setUp();
  lanes.carry("to", [asked, news("a")]);
  sent[0]?.fails();
  await settled();
  expect(failed).toEqual([{ to: "to", items: [asked, news("a")] }]);
});

test("who does not answer in a fifth of the interval is late, once for each message; who has answered is not", async () => {
  const { clock, lanes, sent, failed, late } = setUp();
  lanes.carry("slow", [news("a")]);
  lanes.carry("quick", [news("a")]);
  await clock.advance(199);
  sent[1]?.arrives();
  await clock.advance(1);
  expect(late).toEqual([{ to: "slow", items: [news("a")] }]);
  await clock.advance(5000);
  sent[0]?.fails();
  await settled();
  expect(late).toHaveLength(1);
  expect(failed).toHaveLength(1);
});

test("where answers take longer, they are late later: after twice what the last ones took", async () => {
  const { clock, lanes, sent, late } = setUp();
  lanes.carry("a", [news("x")]);
  await clock.advance(400);
  sent[0]?.arrives();
  await settled();
  late.length = 0;
  lanes.carry("a", [news("y")]);
  await clock.advance(799);
  expect(late).toEqual([]);
  await clock.advance(1);
  expect(late).toEqual([{ to: "a", items: [news("y")] }]);
});
