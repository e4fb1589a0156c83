import { type AgentId, byAgentIndex } from "@failstorm/core";
import { type Link, neighbours } from "./topology.ts";

/** Hops from `start` to everybody it can reach over `links`. */
function distances(links: readonly Link[], start: AgentId): Map<AgentId, number> {
  const hops = new Map([[start, 0]]);
  for (const id of hops.keys()) {
    // A Map iterates over what is added while iterating: it is its own queue.
    for (const next of neighbours(links, id)) {
      if (!hops.has(next)) hops.set(next, (hops.get(id) ?? 0) + 1);
    }
  }
  return hops;
}

/** The longest of the shortest paths between any two of `ids`, in hops; null when some cannot reach each other. */
export function diameter(links: readonly Link[], ids: readonly AgentId[]): number | null {
  let longest = 0;
  for (const id of ids) {
    const hops = distances(links, id);
    for (const other of ids) {
      const distance = hops.get(other);
      if (distance === undefined) return null;
      longest = Math.max(longest, distance);
    }
  }
  return longest;
}

export interface Routes {
  /** First hop → the targets to send that way, by index. */
  readonly hops: ReadonlyMap<AgentId, readonly AgentId[]>;
  readonly unreachable: readonly AgentId[];
}

/**
 * Splits `targets` by the first hop of a shortest path from `self` (breadth first, neighbours by index: the same on every call).
 * Agents in `avoid` relay nothing, but may be targets themselves. `self` among the targets is left out: it needs no hop.
 */
export function nextHops(
  links: readonly Link[],
  self: AgentId,
  targets: readonly AgentId[],
  avoid: ReadonlySet<AgentId> = new Set(),
): Routes {
  const missing = new Set(targets);
  missing.delete(self);
  const firstHop = new Map<AgentId, AgentId>();
  const found = new Map<AgentId, AgentId[]>();
  const queue: AgentId[] = [self];
  for (const id of queue) {
    if (missing.size === 0) break;
    for (const next of neighbours(links, id)) {
      if (next === self || firstHop.has(next)) continue;
      const via = firstHop.get(id) ?? next;
      firstHop.set(next, via);
      if (missing.delete(next)) {
        const reached = found.get(via);
        if (reached === undefined) found.set(via, [next]);
        else reached.push(next);
      }
      if (!avoid.has(next)) queue.push(next);
    }
  }
  for (const reached of found.values()) reached.sort(byAgentIndex);
  return { hops: found, unreachable: [...missing].sort(byAgentIndex) };
}
