import { describe, expect, it } from "vitest";
import { expectedLinks, expectedMonitors } from "../src/topology.ts";

const ids = (n: number): string[] => Array.from({ length: n }, (_, i) => `agent-${i}`);
const short = (links: readonly (readonly [string, string])[]): string =>
  links.map(([a, b]) => `${a.slice(6)}-${b.slice(6)}`).join(" ");
const without = (n: number, ...dead: number[]): Set<string> => new Set(ids(n).filter((_, i) => !dead.includes(i)));

describe("expected links", () => {
  it("mesh: all live pairs", () => {
    expect(short(expectedLinks("mesh", ids(4), without(4)))).toBe("0-1 0-2 0-3 1-2 1-3 2-3");
    expect(short(expectedLinks("mesh", ids(4), without(4, 2)))).toBe("0-1 0-3 1-3");
  });

  it("ring: the cycle over the live by index, by number and not by name", () => {
    expect(short(expectedLinks("ring", ids(5), without(5)))).toBe("0-1 0-4 1-2 2-3 3-4");
    expect(short(expectedLinks("ring", ids(5), without(5, 1, 2)))).toBe("0-3 0-4 3-4");
    expect(short(expectedLinks("ring", ids(5), without(5, 1, 2, 3)))).toBe("0-4");
    expect(expectedLinks("ring", ids(5), without(5, 1, 2, 3, 4))).toEqual([]);
    expect(short(expectedLinks("ring", ids(12), without(12, 0, 1, 2, 3, 4, 5, 6, 7)))).toBe("8-9 8-11 9-10 10-11");
  });

  it("star: everybody with the live centre that rendezvous hashing names", () => {
    expect(short(expectedLinks("star", ids(8), without(8)))).toBe("0-7 1-7 2-7 3-7 4-7 5-7 6-7");
    expect(short(expectedLinks("star", ids(8), without(8, 7)))).toBe("0-2 1-2 2-3 2-4 2-5 2-6");
    expect(short(expectedLinks("star", ids(8), without(8, 0)))).toBe("1-7 2-7 3-7 4-7 5-7 6-7");
  });

  it("custom: given edges between the living, a chain around each connected hole", () => {
    const edges = [
      ["agent-0", "agent-1"],
      ["agent-1", "agent-2"],
      ["agent-2", "agent-3"],
      ["agent-1", "agent-4"],
      ["agent-5", "agent-0"],
    ] as const;
    expect(short(expectedLinks("custom", ids(6), without(6), edges))).toBe("0-1 0-5 1-2 1-4 2-3");
    // 1 and 2 are one hole; its rim is 0, 3, 4.
    expect(short(expectedLinks("custom", ids(6), without(6, 1, 2), edges))).toBe("0-3 0-5 3-4");
    // Two holes far apart are mended each for itself: 5 has one neighbour and leaves no hole.
    expect(short(expectedLinks("custom", ids(6), without(6, 2, 5), edges))).toBe("0-1 1-3 1-4");
  });

  it("monitors: the links in both directions up to 32 agents, above that three successors", () => {
    expect(short(expectedMonitors("auto", "ring", ids(3), []))).toBe("0-1 1-0 0-2 2-0 1-2 2-1");
    expect(expectedMonitors("auto", "mesh", ids(33), [])).toHaveLength(99);
    expect(expectedMonitors("all", "ring", ids(4), [])).toHaveLength(12);
    expect(short(expectedMonitors(2, "mesh", ids(4), []))).toBe("0-1 0-2 1-2 1-3 2-3 2-0 3-0 3-1");
    expect(expectedMonitors(9, "mesh", ids(3), [])).toHaveLength(6);
  });
});
