import type { AgentId } from "@failstorm/core";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isCloserSuccessor, ringPredecessor, ringSuccessor, stabilise } from "../src/index.ts";
import { idsUpTo, storms } from "./ids.ts";

describe("ring repair by stabilise", () => {
  it("successor and predecessor go around the end", () => {
    const live = ["agent-10", "agent-2", "agent-7"];
    expect(ringSuccessor("agent-10", live)).toBe("agent-2");
    expect(ringSuccessor("agent-3", live)).toBe("agent-7");
    expect(ringPredecessor("agent-2", live)).toBe("agent-10");
    expect(ringSuccessor("agent-2", ["agent-2"])).toBeNull();
  });

  it("the receiver names only who sits between, and nobody when the dialler is right", () => {
    expect(stabilise("agent-5", "agent-1", idsUpTo(8))).toBe("agent-4");
    expect(stabilise("agent-5", "agent-4", idsUpTo(8))).toBeNull();
    expect(stabilise("agent-0", "agent-6", idsUpTo(8))).toBe("agent-7");
    expect(stabilise("agent-0", "agent-6", ["agent-0", "agent-6"])).toBeNull();
    expect(stabilise("agent-5", "agent-4", ["agent-2", "agent-5"])).toBeNull();
    expect(stabilise("agent-0", "agent-1", ["agent-0", "agent-1"])).toBeNull();
  });

  it("whatever others the views miss, every live agent ends at its true successor", () => {
    const worlds = storms(16).chain(({ ids, live }) =>
      fc.record({
        ids: fc.constant(ids),
        live: fc.constant(live),
        // Each believes some of the live ones dead, never its own predecessor.
        blind: fc.array(fc.subarray(live), { minLength: live.length, maxLength: live.length }),
      }),
    );
    fc.assert(
      fc.property(worlds, ({ live, blind }) => {
        const viewOf = (id: AgentId): AgentId[] => {
          const missing = blind[live.indexOf(id)] ?? [];
          const own = ringPredecessor(id, live);
          return live.filter((other) => other === id || other === own || !missing.includes(other));
        };
        for (const self of live) {
          let current = ringSuccessor(self, viewOf(self));
          for (let left = live.length; current !== null; left--) {
            expect(left).toBeGreaterThanOrEqual(0);
            const candidate = stabilise(current, self, viewOf(current));
            if (candidate === null || !isCloserSuccessor(self, candidate, current)) break;
            current = candidate;
          }
          // An agent blind to all others dials nobody: those who see it dial it.
          if (current !== null) expect(current).toBe(ringSuccessor(self, live));
        }
      }),
    );
  });
});
