import type { AgentSpec, Roster } from "@failstorm/core";
import { createView, starCentre } from "@failstorm/network";
import { expect, test } from "vitest";
import { createTopology } from "../src/topology.ts";

const idsUpTo = (count: number): string[] => Array.from({ length: count }, (_, index) => `agent-${index}`);

/** How many `agentId` probes in a period of swim, in a star of so many in which the dead have been found. */
function turnsOf(agentId: string, ids: readonly string[], { monitors = "auto", dead = [] as readonly string[] } = {}): number {
  const network = { topology: "star", customEdges: [], monitors, transportSignals: false };
  const spec = { agentId, config: { network } } as unknown as AgentSpec;
  const roster = { agents: ids.map((id) => ({ agentId: id })) } as unknown as Roster;
  const live = ids.filter((id) => !dead.includes(id)).map((id) => ({ id, incarnation: 1 }));
  return createTopology({ spec, roster }).turns(createView(live));
}

test("a star's centre probes all its leaves in a period, and so does the next centre when it is dead", () => {
  const ids = idsUpTo(8);
  const centre = starCentre(ids) ?? "";
  const others = ids.filter((id) => id !== centre);
  const next = starCentre(others) ?? "";
  expect(turnsOf(centre, ids)).toBe(7);
  expect(turnsOf(next, ids)).toBe(1);
  expect(turnsOf(next, ids, { dead: [centre] })).toBe(6);
});

test("where others than the links are watched each is watched by as many as it watches, and probes one", () => {
  const many = idsUpTo(40);
  expect(turnsOf(starCentre(many) ?? "", many)).toBe(1);
  const few = idsUpTo(8);
  expect(turnsOf(starCentre(few) ?? "", few, { monitors: "all" })).toBe(1);
});
