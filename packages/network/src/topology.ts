import { type AgentId, byAgentIndex, InputError, type RunConfig, type TopologyKind } from "@failstorm/core";
import { rendezvousFirst } from "./ownership.ts";

/** "A talks to B", undirected; the agent with the lower index comes first. */
export type Link = readonly [AgentId, AgentId];

const link = (a: AgentId, b: AgentId): Link => (byAgentIndex(a, b) <= 0 ? [a, b] : [b, a]);

/** Sorted, without repetition. */
function distinct(links: readonly Link[]): Link[] {
  const byName = new Map(links.map((pair) => [pair.join(" "), pair]));
  return [...byName.values()].sort((x, y) => byAgentIndex(x[0], y[0]) || byAgentIndex(x[1], y[1]));
}

const pairs = (ids: readonly AgentId[]): Link[] => ids.flatMap((a, i) => ids.slice(i + 1).map((b) => link(a, b)));

const chain = (ids: readonly AgentId[]): Link[] => ids.slice(1).map((b, i) => link(ids[i] as AgentId, b));

function cycle(ids: readonly AgentId[]): Link[] {
  const first = ids[0];
  const last = ids.at(-1);
  return first === undefined || last === undefined || ids.length < 3 ? chain(ids) : [...chain(ids), link(last, first)];
}

/** The centre of a star over `ids`: by rendezvous, so that all who see the same agents live agree on the next one. */
export const starCentre = (ids: readonly AgentId[]): AgentId | null => rendezvousFirst("star-centre", ids);

function star(ids: readonly AgentId[]): Link[] {
  const centre = starCentre(ids);
  return ids.flatMap((id) => (centre === null || id === centre ? [] : [link(centre, id)]));
}

/**
 * The links when everybody lives. Custom edges must name two different agents of `ids`; InputError names the edge that does not.
 */
export function buildLinks(
  kind: TopologyKind,
  ids: readonly AgentId[],
  customEdges: readonly (readonly [AgentId, AgentId])[] = [],
): Link[] {
  const sorted = ids.toSorted(byAgentIndex);
  switch (kind) {
    case "mesh":
      return pairs(sorted);
    case "ring":
      return distinct(cycle(sorted));
    case "star":
      return distinct(star(sorted));
    case "custom": {
      const known = new Set(ids);
      for (const [a, b] of customEdges) {
        if (a === b || !known.has(a) || !known.has(b)) {
          const what = a === b ? "joins an agent to itself" : "names an agent that does not exist";
          throw new InputError(`network.custom_edges: [${a}, ${b}] ${what}; use two different ids of ${sorted.join(", ")}`);
        }
      }
      return distinct(customEdges.map(([a, b]) => link(a, b)));
    }
    default:
      return kind satisfies never;
  }
}

/**
 * What the links should be when only `live` live: mesh, what is left of it; ring, the cycle over the live in index order (where
 * stabilise ends); star, around the live centre. Custom: the edges between live agents, and for each connected group of dead agents
 * a chain through the live ones around it, in index order. So live agents that could reach each other still can, at most one link
 * less than the hole had live neighbours is added, and each hole is mended by those next to it, whatever happened far away.
 */
export function repairedLinks(
  kind: TopologyKind,
  ids: readonly AgentId[],
  live: ReadonlySet<AgentId>,
  customEdges: readonly (readonly [AgentId, AgentId])[] = [],
): Link[] {
  const alive = ids.filter((id) => live.has(id));
  if (kind !== "custom") return buildLinks(kind, alive);
  const all = buildLinks(kind, ids, customEdges);
  const kept = all.filter(([a, b]) => live.has(a) && live.has(b));
  return distinct([...kept, ...holes(all, ids, live).flatMap(chain)]);
}

/** For each connected group of dead agents, its live neighbours, sorted. */
function holes(links: readonly Link[], ids: readonly AgentId[], live: ReadonlySet<AgentId>): AgentId[][] {
  const seen = new Set<AgentId>();
  const rims: AgentId[][] = [];
  for (const start of ids) {
    if (live.has(start) || seen.has(start)) continue;
    const rim = new Set<AgentId>();
    const open = [start];
    seen.add(start);
    for (let dead = open.pop(); dead !== undefined; dead = open.pop()) {
      for (const next of neighbours(links, dead)) {
        if (live.has(next)) rim.add(next);
        else if (!seen.has(next)) {
          seen.add(next);
          open.push(next);
        }
      }
    }
    rims.push([...rim].sort(byAgentIndex));
  }
  return rims;
}

/** Routing asks with every message; links arrays are never changed in place, so each is indexed once. */
const adjacencies = new WeakMap<readonly Link[], Map<AgentId, AgentId[]>>();

function adjacency(links: readonly Link[]): ReadonlyMap<AgentId, readonly AgentId[]> {
  let byId = adjacencies.get(links);
  if (byId === undefined) {
    byId = new Map();
    for (const [a, b] of links) {
      for (const [from, to] of [
        [a, b],
        [b, a],
      ] as const) {
        const known = byId.get(from);
        if (known === undefined) byId.set(from, [to]);
        else known.push(to);
      }
    }
    for (const known of byId.values()) known.sort(byAgentIndex);
    adjacencies.set(links, byId);
  }
  return byId;
}

/** Whom `id` is linked with, by index. `links` must not be changed in place afterwards. */
export const neighbours = (links: readonly Link[], id: AgentId): readonly AgentId[] => adjacency(links).get(id) ?? [];

/**
 * How many of its neighbours `self` is to ask in a period so that, where links are monitored, each agent is asked at least once a period, on
 * average, by those linked with it: the one with the fewest links decides. A star's centre, which alone watches its leaves, asks all of them; on
 * a ring and in a mesh each asks one.
 */
export function turnsAPeriod(links: readonly Link[], self: AgentId): number {
  const watched = neighbours(links, self);
  return Math.max(1, ...watched.map((id) => Math.ceil(watched.length / neighbours(links, id).length)));
}

const MAX_AGENTS_MONITORED_BY_LINKS = 32;
const DEFAULT_RING_SUCCESSORS = 3;

/** Whether ring successors are monitored, whatever the links are; else the links, or everybody. */
export const monitorsSuccessors = (monitors: RunConfig["network"]["monitors"], agents: number): boolean =>
  monitors === "auto" ? agents > MAX_AGENTS_MONITORED_BY_LINKS : monitors !== "all";

/**
 * Whom `self` monitors. `auto`: its links up to 32 agents (those of the repaired topology, and the dead neighbours of the original
 * one, which is how a restarted neighbour is found), above that 3 ring successors; `all`: everybody else; k: the next k live ring
 * successors and the dead ones passed on the way, so that the live are always monitored by k others however many died in a row.
 */
export function monitoredBy(options: {
  readonly self: AgentId;
  readonly monitors: RunConfig["network"]["monitors"];
  readonly ids: readonly AgentId[];
  readonly live: ReadonlySet<AgentId>;
  /** As built, everybody living. */
  readonly initialLinks: readonly Link[];
  /** As they should be now; looked up only where links are monitored. */
  readonly links: () => readonly Link[];
}): AgentId[] {
  const { self, monitors, ids, live, initialLinks, links } = options;
  if (monitors === "all") return ids.filter((id) => id !== self).sort(byAgentIndex);
  if (!monitorsSuccessors(monitors, ids.length)) {
    const dead = neighbours(initialLinks, self).filter((id) => !live.has(id));
    return [...new Set([...neighbours(links(), self), ...dead])].sort(byAgentIndex);
  }
  const wanted = monitors === "auto" ? DEFAULT_RING_SUCCESSORS : monitors;
  const ring = [...new Set([...ids, self])].sort(byAgentIndex);
  const start = ring.indexOf(self);
  const successors = [...ring.slice(start + 1), ...ring.slice(0, start)];
  const monitored: AgentId[] = [];
  for (let liveCount = 0; liveCount < wanted; ) {
    const next = successors[monitored.length];
    if (next === undefined) break;
    monitored.push(next);
    if (live.has(next)) liveCount += 1;
  }
  return monitored;
}
