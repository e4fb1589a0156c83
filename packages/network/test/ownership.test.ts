import { agentId, TOOLS, type Tool } from "@failstorm/core";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  chooseHolder,
  rendezvous,
  rendezvousFirst,
  shardOwner,
  shardReplicas,
  taskOwner,
  toolAdoptions,
  toolHolders,
} from "../src/index.ts";
import { idsUpTo, storms, viewOf } from "./ids.ts";

const keys = Array.from({ length: 400 }, (_, i) => `t-${i}`);

describe("rendezvous", () => {
  it("gives the same order whatever order the ids come in, and first agrees with it", () => {
    fc.assert(
      fc.property(fc.string(), storms(20), fc.integer(), (key, { ids }, rotation) => {
        const at = Math.abs(rotation) % ids.length;
        const rotated = [...ids.slice(at), ...ids.slice(0, at)];
        expect(rendezvous(key, rotated)).toEqual(rendezvous(key, ids));
        expect(rendezvousFirst(key, rotated)).toBe(rendezvous(key, ids)[0]);
      }),
    );
  });

  it("moves nothing but what the dead owned", () => {
    fc.assert(
      fc.property(storms(20), ({ ids, live }) => {
        for (const key of keys.slice(0, 40)) {
          const before = rendezvous(key, ids);
          expect(rendezvous(key, live)).toEqual(before.filter((id) => live.includes(id)));
        }
      }),
      { numRuns: 50 },
    );
  });

  it("spreads keys evenly, also a dead agent's among the others", () => {
    const ids = idsUpTo(8);
    const many = Array.from({ length: 8000 }, (_, i) => `t-${String(i).padStart(6, "0")}`);
    const orders = many.map((key) => rendezvous(key, ids));
    const share = (place: number, of: readonly string[][]): number[] =>
      ids.map((id) => of.filter((order) => order[place] === id).length);
    // Chi-squared with 7 degrees of freedom stays below 24.3 in 999 of 1000 cases of a fair spread.
    const chiSquared = (counts: readonly number[]): number => {
      const used = counts.filter((count) => count > 0);
      const fair = used.reduce((sum, count) => sum + count, 0) / used.length;
      return used.reduce((sum, count) => sum + (count - fair) ** 2 / fair, 0);
    };
    expect(share(0, orders).every((count) => count > 0)).toBe(true);
    expect(chiSquared(share(0, orders))).toBeLessThan(24.3);
    const orphans = orders.filter((order) => order[0] === "agent-3");
    expect(share(1, orphans).filter((count) => count > 0)).toHaveLength(7);
    expect(chiSquared(share(1, orphans))).toBeLessThan(24.3);
  });
});

describe("shards and tasks", () => {
  it("stay at home while home lives; else the warm replica is the next owner while it lives", () => {
    fc.assert(
      fc.property(storms(16), fc.integer({ min: 1, max: 3 }), ({ ids, live }, redundancy) => {
        const view = viewOf(live);
        for (let shard = 0; shard < ids.length; shard++) {
          const home = agentId(shard);
          const replicas = shardReplicas(shard, ids, redundancy);
          expect(replicas).toHaveLength(Math.min(redundancy, ids.length - 1));
          expect(replicas).not.toContain(home);
          const owner = shardOwner(shard, view);
          const expected = view.isLive(home) ? home : replicas.find((id) => view.isLive(id));
          if (expected === undefined) expect(live).toContain(owner);
          else expect(owner).toBe(expected);
        }
      }),
    );
  });

  it("orphaned tasks of one owner are shared out, the others stay where they are", () => {
    const ids = idsUpTo(6);
    const view = viewOf(ids.filter((id) => id !== "agent-2"));
    expect(keys.every((task) => taskOwner(task, "agent-1", view) === "agent-1")).toBe(true);
    const heirs = new Set(keys.map((task) => taskOwner(task, "agent-2", view)));
    expect([...heirs].toSorted((a, b) => String(a).localeCompare(String(b)))).toEqual([
      "agent-0",
      "agent-1",
      "agent-3",
      "agent-4",
      "agent-5",
    ]);
  });

  it("nobody owns anything when nobody lives", () => {
    expect(shardOwner(0, viewOf([]))).toBeNull();
    expect(taskOwner("t-1", "agent-0", viewOf([]))).toBeNull();
  });
});

describe("tools", () => {
  const homesOf = (ids: readonly string[]): Map<string, Tool> =>
    new Map(ids.map((id, i) => [id, TOOLS[i % TOOLS.length] as Tool]));

  it("each dead seat is taken once, by a live agent without the tool, until all have it", () => {
    fc.assert(
      fc.property(storms(16), ({ ids, live }) => {
        const homes = homesOf(ids);
        const view = viewOf(live);
        for (const tool of TOOLS) {
          const home = ids.filter((id) => homes.get(id) === tool);
          const holders = toolHolders(tool, view, homes);
          const adoptions = toolAdoptions(tool, view, homes);
          expect(new Set(holders).size).toBe(holders.length);
          expect(holders.every((id) => view.isLive(id))).toBe(true);
          expect(holders).toHaveLength(Math.min(Math.max(home.length, 1), live.length));
          expect(adoptions.map(({ by }) => homes.get(by))).not.toContain(tool);
          expect(home.filter((id) => view.isLive(id)).every((id) => holders.includes(id))).toBe(true);
        }
      }),
    );
  });

  it.each([1, 2, 3])("with %i agents, tools without a home agent are adopted", (count) => {
    const ids = idsUpTo(count);
    const homes = homesOf(ids);
    for (const tool of TOOLS) expect(toolHolders(tool, viewOf(ids), homes)).toHaveLength(1);
    expect(toolAdoptions("reason", viewOf(ids), homes)).toMatchObject([{ from: null, tool: "reason" }]);
  });

  it("a retry finds the same holder; an excluded one is passed over", () => {
    const holders = ["agent-1", "agent-4", "agent-6"];
    const first = chooseHolder("t-1/extract", holders);
    expect(chooseHolder("t-1/extract", holders.toReversed())).toBe(first);
    const second = chooseHolder("t-1/extract", holders, new Set([first ?? ""]));
    expect(holders.filter((id) => id !== first)).toContain(second);
    expect(chooseHolder("t-1/extract", holders, new Set(holders))).toBeNull();
  });
});
