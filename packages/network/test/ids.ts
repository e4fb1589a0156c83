import { type AgentId, agentId } from "@failstorm/core";
import * as fc from "fast-check";
import { createView, type MembershipView } from "../src/index.ts";

export const idsUpTo = (count: number): AgentId[] => Array.from({ length: count }, (_, i) => agentId(i));

export const viewOf = (live: readonly AgentId[]): MembershipView => createView(live.map((id) => ({ id, incarnation: 1 })));

/** All agents of a storm, and who of them survived it (one at least). */
export const storms = (most: number): fc.Arbitrary<{ ids: AgentId[]; live: AgentId[] }> =>
  fc
    .integer({ min: 1, max: most })
    .map(idsUpTo)
    .chain((ids) => fc.record({ ids: fc.constant(ids), live: fc.subarray(ids, { minLength: 1 }) }));
