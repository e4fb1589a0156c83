import { type AgentId, byAgentIndex, type TopologyKind } from "@failstorm/core";

/*
 * Ground truth for the links, written from the definitions and not from the agents' code: the measures must not inherit an error
 * of what they measure. The star's centre needs the same hash as the agents use; it is implemented here a second time.
 */

const rotateLeft = (value: number, bits: number): number => (value << bits) | (value >>> (32 - bits));

/** MurmurHash3 x86/32 (Appleby) over UTF-16 units, one a block; returns an unsigned 32-bit integer. */
function murmur(text: string, seed: number): number {
  let hash = seed;
  for (const unit of Array.from({ length: text.length }, (_, i) => text.charCodeAt(i))) {
    hash ^= Math.imul(rotateLeft(Math.imul(unit, 0xcc9e2d51), 15), 0x1b873593);
    hash = (Math.imul(rotateLeft(hash, 13), 5) + 0xe6546b64) >>> 0;
  }
  hash ^= text.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Highest random weight first (Thaler and Ravishankar, 1998): the weight of (key, id) is 53 bits of two chained hashes. */
function heaviest(key: string, ids: readonly AgentId[]): AgentId | null {
  const low = murmur(key, 0x2545f491);
  const high = murmur(key, 0x6c8e9cf5);
  const weight = (id: AgentId): number => Math.floor(murmur(id, high) / 2048) * 2 ** 32 + murmur(id, low);
  return ids.toSorted((a, b) => weight(b) - weight(a) || (a < b ? -1 : 1))[0] ?? null;
}

type Edge = readonly [AgentId, AgentId];

/**
 * The links that should stand when exactly `live` of `ids` live; undirected, lower index first, sorted, none twice.
 * mesh: all pairs; ring: the cycle over the live by index; star: everybody with the live centre; custom: the given edges between
 * live agents, and around each connected group of dead agents a chain through its live neighbours by index.
 */
export function expectedLinks(
  kind: TopologyKind,
  ids: readonly AgentId[],
  live: ReadonlySet<AgentId>,
  customEdges: readonly Edge[] = [],
): Edge[] {
  const alive = ids.filter((id) => live.has(id)).sort(byAgentIndex);
  switch (kind) {
    case "mesh":
      return tidy(alive.flatMap((a) => alive.filter((b) => a !== b).map((b): Edge => [a, b])));
    case "ring":
      return tidy(alive.map((id, i): Edge => [id, alive[(i + 1) % alive.length] as AgentId]));
    case "star": {
      const centre = heaviest("star-centre", alive);
      return centre === null ? [] : tidy(alive.map((id): Edge => [centre, id]));
    }
    case "custom": {
      const kept = customEdges.filter(([a, b]) => live.has(a) && live.has(b));
      return tidy([...kept, ...deadGroups(ids, live, customEdges).flatMap((group) => chainAround(group, live, customEdges))]);
    }
    default:
      return kind satisfies never;
  }
}

function tidy(edges: readonly Edge[]): Edge[] {
  const byName = new Map<string, Edge>();
  for (const [a, b] of edges) {
    if (a === b) continue;
    const edge: Edge = byAgentIndex(a, b) < 0 ? [a, b] : [b, a];
    byName.set(edge.join(), edge);
  }
  return [...byName.values()].sort((x, y) => byAgentIndex(x[0], y[0]) || byAgentIndex(x[1], y[1]));
}

/** The connected groups of the dead: each starts as its own group, and every edge between two dead agents unites two. */
function deadGroups(ids: readonly AgentId[], live: ReadonlySet<AgentId>, edges: readonly Edge[]): AgentId[][] {
  const groupOf = new Map(ids.filter((id) => !live.has(id)).map((id) => [id, [id]]));
  for (const [a, b] of edges) {
    const ours = groupOf.get(a);
    const theirs = groupOf.get(b);
    if (ours === undefined || theirs === undefined || ours === theirs) continue;
    ours.push(...theirs);
    for (const id of theirs) groupOf.set(id, ours);
  }
  return [...new Set(groupOf.values())];
}

function chainAround(group: readonly AgentId[], live: ReadonlySet<AgentId>, edges: readonly Edge[]): Edge[] {
  const inside = new Set(group);
  const around = new Set<AgentId>();
  for (const [a, b] of edges) {
    if (inside.has(a) && live.has(b)) around.add(b);
    if (inside.has(b) && live.has(a)) around.add(a);
  }
  const rim = [...around].sort(byAgentIndex);
  return rim.slice(1).map((id, i): Edge => [rim[i] as AgentId, id]);
}

/**
 * Whom each agent monitors when of `ids` exactly `live` live: its links, everybody, or its next k ring successors (`auto`: with more than
 * 32 agents, 3).
 */
export function expectedMonitors(
  monitors: "auto" | "all" | number,
  kind: TopologyKind,
  ids: readonly AgentId[],
  customEdges: readonly Edge[],
  live: ReadonlySet<AgentId> = new Set(ids),
): Edge[] {
  if (monitors === "all" || (monitors === "auto" && ids.length <= 32)) {
    const links = expectedLinks(monitors === "all" ? "mesh" : kind, ids, live, customEdges);
    return links.flatMap(([a, b]): Edge[] => [
      [a, b],
      [b, a],
    ]);
  }
  const ring = ids.filter((id) => live.has(id)).sort(byAgentIndex);
  const successors = Math.min(monitors === "auto" ? 3 : monitors, ring.length - 1);
  return ring.flatMap((id, i) =>
    Array.from({ length: successors }, (_, k): Edge => [id, ring[(i + k + 1) % ring.length] as AgentId]),
  );
}
