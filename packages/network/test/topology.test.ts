import { type AgentId, InputError } from "@failstorm/core";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  buildLinks,
  diameter,
  type Link,
  monitoredBy,
  monitorsSuccessors,
  neighbours,
  nextHops,
  repairedLinks,
  starCentre,
  turnsAPeriod,
} from "../src/index.ts";
import { idsUpTo, storms } from "./ids.ts";

const KINDS = ["mesh", "ring", "star"] as const;
const names = (links: readonly Link[]): string[] => links.map((link) => link.join("-"));

/** A storm over a random connected custom graph: a random tree, and some edges more. */
const customStorms = storms(12).chain(({ ids, live }) =>
  fc
    .record({
      parents: fc.array(fc.nat(), { minLength: ids.length, maxLength: ids.length }),
      extra: fc.array(fc.tuple(fc.constantFrom(...ids), fc.constantFrom(...ids)), { maxLength: 6 }),
    })
    .map(({ parents, extra }) => {
      const tree = ids.slice(1).map((id, i): Link => [ids[(parents[i] ?? 0) % (i + 1)] as AgentId, id]);
      return { ids, live, edges: [...tree, ...extra.filter(([a, b]) => a !== b)] };
    }),
);

describe("buildLinks", () => {
  it("mesh, ring and star have the links they should", () => {
    const ids = idsUpTo(6);
    expect(buildLinks("mesh", ids)).toHaveLength(15);
    expect(names(buildLinks("ring", ids.toReversed()))).toEqual([
      "agent-0-agent-1",
      "agent-0-agent-5",
      "agent-1-agent-2",
      "agent-2-agent-3",
      "agent-3-agent-4",
      "agent-4-agent-5",
    ]);
    expect(buildLinks("star", ids).every((link) => link.includes(starCentre(ids) ?? ""))).toBe(true);
    expect(diameter(buildLinks("star", ids), ids)).toBe(2);
    expect(diameter(buildLinks("ring", ids), ids)).toBe(3);
  });

  it("one agent has no links, two have one, in every topology", () => {
    for (const kind of KINDS) {
      expect(buildLinks(kind, idsUpTo(1))).toEqual([]);
      expect(names(buildLinks(kind, idsUpTo(2)))).toEqual(["agent-0-agent-1"]);
    }
  });

  it("custom edges are taken once each, and refused when they name nobody or one agent twice", () => {
    const ids = idsUpTo(3);
    expect(
      names(
        buildLinks("custom", ids, [
          ["agent-2", "agent-0"],
          ["agent-0", "agent-2"],
        ]),
      ),
    ).toEqual(["agent-0-agent-2"]);
    expect(() => buildLinks("custom", ids, [["agent-0", "agent-7"]])).toThrow(InputError);
    expect(() => buildLinks("custom", ids, [["agent-1", "agent-1"]])).toThrow(/custom_edges: \[agent-1, agent-1\]/);
  });
});

describe("repairedLinks", () => {
  it("with everybody live, they are the links as built", () => {
    for (const kind of KINDS) expect(repairedLinks(kind, idsUpTo(7), new Set(idsUpTo(7)))).toEqual(buildLinks(kind, idsUpTo(7)));
  });

  it("link the live only, connect them all, with as few links as the topology allows", () => {
    fc.assert(
      fc.property(storms(20), fc.constantFrom(...KINDS), ({ ids, live }, kind) => {
        const links = repairedLinks(kind, ids, new Set(live));
        expect(links.flat().every((id) => live.includes(id))).toBe(true);
        expect(diameter(links, live)).not.toBeNull();
        const count = live.length;
        const expected = { mesh: (count * (count - 1)) / 2, ring: count < 3 ? count - 1 : count, star: count - 1 }[kind];
        expect(links).toHaveLength(expected);
      }),
    );
  });

  it("a custom graph stays connected; every old link between live agents stays; holes are closed by their rims alone", () => {
    fc.assert(
      fc.property(customStorms, ({ ids, live, edges }) => {
        const before = buildLinks("custom", ids, edges);
        const isLive = new Set(live);
        const after = repairedLinks("custom", ids, isLive, edges);
        expect(after.flat().every((id) => isLive.has(id))).toBe(true);
        expect(diameter(after, live)).not.toBeNull();
        const kept = before.filter(([a, b]) => isLive.has(a) && isLive.has(b));
        expect(names(after)).toEqual(expect.arrayContaining(names(kept)));
        const added = after.filter((link) => !names(kept).includes(link.join("-")));
        const rim = new Set(
          ids.filter((id) => !isLive.has(id)).flatMap((dead) => neighbours(before, dead).filter((id) => isLive.has(id))),
        );
        expect(added.flat().every((id) => rim.has(id))).toBe(true);
        const ends = ids
          .filter((id) => !isLive.has(id))
          .flatMap((dead) => neighbours(before, dead).filter((id) => isLive.has(id)));
        expect(added.length).toBeLessThanOrEqual(Math.max(0, ends.length - 1));
      }),
    );
  });
});

describe("nextHops", () => {
  it("every target is reached by following the first hops, on a shortest path", () => {
    fc.assert(
      fc.property(customStorms, ({ ids, edges }) => {
        const links = buildLinks("custom", ids, edges);
        for (const target of ids.slice(1)) {
          let at = "agent-0";
          for (let left = ids.length; at !== target; left--) {
            expect(left).toBeGreaterThan(0);
            const [hop] = nextHops(links, at, [target]).hops.keys();
            expect(neighbours(links, at)).toContain(hop);
            at = hop ?? target;
          }
        }
        const { hops, unreachable } = nextHops(links, "agent-0", ids);
        expect([...hops.values()].flat().sort()).toEqual(ids.slice(1).sort());
        expect(unreachable).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });

  it("splits a ring both ways, and the long way around what is to be avoided", () => {
    const links = buildLinks("ring", idsUpTo(6));
    const targets = ["agent-1", "agent-2", "agent-4", "agent-5"];
    expect([...nextHops(links, "agent-0", targets).hops]).toEqual([
      ["agent-1", ["agent-1", "agent-2"]],
      ["agent-5", ["agent-4", "agent-5"]],
    ]);
    const around = nextHops(links, "agent-0", targets, new Set(["agent-1"]));
    expect([...around.hops]).toEqual([
      ["agent-1", ["agent-1"]],
      ["agent-5", ["agent-2", "agent-4", "agent-5"]],
    ]);
    expect(nextHops(links, "agent-0", targets, new Set(["agent-1", "agent-5"])).unreachable).toEqual(["agent-2", "agent-4"]);
  });
});

describe("turnsAPeriod", () => {
  it("one on a ring and in a mesh; a star's centre asks all its leaves", () => {
    const ids = idsUpTo(8);
    const centre = starCentre(ids) as AgentId;
    const turns = (kind: (typeof KINDS)[number]): number[] => ids.map((id) => turnsAPeriod(buildLinks(kind, ids), id));
    expect(turns("mesh")).toEqual(ids.map(() => 1));
    expect(turns("ring")).toEqual(ids.map(() => 1));
    expect(turns("star")).toEqual(ids.map((id) => (id === centre ? 7 : 1)));
    expect(turnsAPeriod([], "agent-0")).toBe(1);
  });

  it("each agent with links is asked at least once a period, on average over its neighbours' rounds", () => {
    fc.assert(
      fc.property(customStorms, ({ ids, edges }) => {
        const links = buildLinks("custom", ids, edges);
        for (const id of ids) {
          const watchers = neighbours(links, id);
          const asked = watchers.map((watcher) => turnsAPeriod(links, watcher) / neighbours(links, watcher).length);
          const ROUNDING = 1e-9;
          if (watchers.length > 0) expect(asked.reduce((sum, share) => sum + share, 0)).toBeGreaterThanOrEqual(1 - ROUNDING);
        }
      }),
    );
  });
});

describe("monitoredBy", () => {
  const monitoring = (
    count: number,
    dead: readonly AgentId[],
    monitors: "auto" | "all" | number,
    kind: "mesh" | "ring" = "ring",
  ) => {
    const ids = idsUpTo(count);
    const live = new Set(ids.filter((id) => !dead.includes(id)));
    const initialLinks = buildLinks(kind, ids);
    const links = repairedLinks(kind, ids, live);
    return (self: AgentId) => monitoredBy({ self, monitors, ids, live, initialLinks, links: () => links });
  };

  it("auto: the links up to 32 agents, dead neighbours included; 3 ring successors above", () => {
    expect(monitoring(8, ["agent-1"], "auto")("agent-0")).toEqual(["agent-1", "agent-2", "agent-7"]);
    expect(monitoring(32, [], "auto", "mesh")("agent-0")).toHaveLength(31);
    expect(monitoring(33, [], "auto", "mesh")("agent-31")).toEqual(["agent-32", "agent-0", "agent-1"]);
  });

  it("successors, and not the links, are monitored above 32 agents and where their number is given", () => {
    expect([monitorsSuccessors("auto", 32), monitorsSuccessors("auto", 33)]).toEqual([false, true]);
    expect([monitorsSuccessors("all", 33), monitorsSuccessors(3, 8)]).toEqual([false, true]);
  });

  it("all, and k successors", () => {
    expect(monitoring(5, ["agent-3"], "all")("agent-4")).toEqual(["agent-0", "agent-1", "agent-2", "agent-3"]);
    expect(monitoring(5, ["agent-0"], 2)("agent-4")).toEqual(["agent-0", "agent-1", "agent-2"]);
    expect(monitoring(3, [], 7)("agent-1")).toEqual(["agent-2", "agent-0"]);
  });

  it("with k successors, every live agent is monitored by k live ones, however many died in a row", () => {
    fc.assert(
      fc.property(storms(60), ({ ids, live }) => {
        const monitored = monitoring(
          ids.length,
          ids.filter((id) => !live.includes(id)),
          3,
        );
        const watchers = new Map(live.map((id) => [id, 0]));
        for (const self of live) for (const peer of monitored(self)) watchers.set(peer, (watchers.get(peer) ?? 0) + 1);
        for (const id of live) expect(watchers.get(id)).toBe(Math.min(3, live.length - 1));
      }),
      { numRuns: 50 },
    );
  });
});
