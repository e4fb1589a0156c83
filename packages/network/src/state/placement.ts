import type { AgentId } from "@failstorm/core";
import { rendezvous } from "../ownership.ts";

/** Who keeps which states: whole buckets go to the same agents, so that two of them can compare what both keep. */
export interface Placement {
  replicasOf(bucket: number): readonly AgentId[];
  keeps(agent: AgentId, bucket: number): boolean;
}

/**
 * The first `factor` of the members in the bucket's rendezvous order: all who know the same members agree, and a member that comes or
 * goes moves only what it keeps.
 */
export function createPlacement(members: readonly AgentId[], factor: number): Placement {
  const known = new Map<number, readonly AgentId[]>();
  const everybody = members.length <= factor ? [...members].sort() : null;
  const replicasOf = (bucket: number): readonly AgentId[] => {
    if (everybody !== null) return everybody;
    let replicas = known.get(bucket);
    if (replicas === undefined) known.set(bucket, (replicas = rendezvous(`states-${bucket}`, members).slice(0, factor)));
    return replicas;
  };
  return { replicasOf, keeps: (agent, bucket) => replicasOf(bucket).includes(agent) };
}
