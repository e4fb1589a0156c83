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
  const lanes = new GossipLanes(
    (to, items) =>
      new Promise<void>((arrives, reject) => sent.push({ to, items, arrives, fails: () => reject(new Error("late")) })),
    (to, items) => failed.push({ to, items }),
  );
  /** What was sent since the last call. */
  const take = (): string[] => sent.splice(0).map(({ to, items }) => `${to}: ${items.map(({ peer }) => peer).join(" ")}`);
  return { lanes, sent, failed, take };
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

test("what waits when it is stopped is not sent", async () => {
  const { lanes, sent, take } = setUp();
  for (const peer of ["a", "b", "c", "d"]) lanes.carry("to", [news(peer)]);
  const [first] = sent;
  expect(take()).toHaveLength(3);
  lanes.stop();
  first?.arrives();
  await settled();
  expect(take()).toEqual([]);
});

test("an indirect probe that did not arrive is told of", async () => {
  const { lanes, sent, failed } = setUp();
  lanes.carry("to", [asked, news("a")]);
  sent[0]?.fails();
  await settled();
  expect(failed).toEqual([{ to: "to", items: [asked, news("a")] }]);
});
