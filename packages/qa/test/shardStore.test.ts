import { createPrng } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { type Hit, mergeHits, type Passage, ShardStore } from "../src/index.ts";

const passage = (id: string, title: string, text: string): Passage => ({ id, title, text });
const SHARDS = [
  [
    passage("b", "Austria", "Vienna is the capital."),
    passage("a", "Austria", "Vienna is the capital."),
    passage("c", "Austria", "It has Alps."),
  ],
  [passage("d", "Vienna", "A city of music."), passage("e", "Chad", "The capital is N'Djamena.")],
  [passage("f", "Net", "The domain is .at and the code +43.")],
];

const storeOf = (...shards: number[]): ShardStore => {
  const store = new ShardStore();
  for (const shard of shards) store.add(shard, SHARDS[shard] ?? [], "home");
  return store;
};

describe("ShardStore", () => {
  it("ranks by score, ties by id", () => {
    const hits = storeOf(0).lookup(0, "capital of Vienna", 3);
    expect(hits.map(({ id }) => id)).toEqual(["a", "b"]);
    expect(hits[0]?.score).toBe(hits[1]?.score);
    expect(storeOf(0).lookup(0, "capital of Vienna", 1)).toHaveLength(1);
  });

  it("finds a name in spite of diacritics, and a domain but not the preposition", () => {
    const store = storeOf(0, 1, 2);
    expect(store.lookup(1, "N'Djaména", 5).map(({ id }) => id)).toEqual(["e"]);
    expect(store.lookup(2, ".at", 5).map(({ id }) => id)).toEqual(["f"]);
    expect(store.lookup(2, "at 43", 5)).toEqual([]);
    expect(store.lookup(2, "+43", 5)).toHaveLength(1);
  });

  it("keeps a shard's index when only its role changes, and forgets a removed one", () => {
    const store = storeOf(1, 0);
    store.add(0, [], "warm");
    expect([store.role(0), store.lookup(0, "alps", 5).length]).toEqual(["warm", 1]);
    expect(store.shards()).toEqual([0, 1]);
    store.remove(0);
    expect([store.has(0), store.role(0)]).toEqual([false, null]);
    expect(() => store.lookup(0, "alps", 5)).toThrow(RangeError);
  });
});

describe("mergeHits", () => {
  it("is the same whoever holds the shards, in whichever order answers come", () => {
    const lists = (holders: readonly (readonly number[])[]): Hit[][] =>
      holders.flatMap((shards) => shards.map((shard) => storeOf(...shards).lookup(shard, "Vienna capital", 4)));
    const alone = mergeHits(lists([[0], [1], [2]]), 4);
    expect(alone.length).toBe(4);
    // Shard 0 is answered twice (home and warm holder); order is shuffled; lists cross the network as JSON.
    const elsewhere = createPrng(3).shuffle(lists([[2, 1, 0], [0]]));
    expect(mergeHits(JSON.parse(JSON.stringify(elsewhere)) as Hit[][], 4)).toEqual(alone);
  });
});
