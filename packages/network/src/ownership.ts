import { type AgentId, agentId, byAgentIndex, type TaskId, type Tool } from "@failstorm/core";
import { type HashLanes, hashLanes, to53Bits } from "./hash.ts";
import type { MembershipView } from "./view.ts";

const weight = (keyLanes: HashLanes, id: AgentId): number => to53Bits(hashLanes(id, keyLanes));

/**
 * All of `ids`, heaviest first, by highest-random-weight hashing of (key, id) (Thaler and Ravishankar, 1998). Taking an id away
 * moves nothing but what that id owned; everybody who knows the same ids gets the same order, whatever order they came in.
 */
export function rendezvous(key: string, ids: readonly AgentId[]): AgentId[] {
  const keyLanes = hashLanes(key);
  return ids
    .map((id) => ({ id, weight: weight(keyLanes, id) }))
    .sort((a, b) => b.weight - a.weight || (a.id < b.id ? -1 : 1))
    .map((entry) => entry.id);
}

/** The first of `rendezvous(key, ids)` that is not excluded, without sorting; null when there is none. */
export function rendezvousFirst(key: string, ids: readonly AgentId[], exclude?: ReadonlySet<AgentId>): AgentId | null {
  const keyLanes = hashLanes(key);
  let best: AgentId | null = null;
  let bestWeight = -1;
  for (const id of ids) {
    if (exclude?.has(id)) continue;
    const own = weight(keyLanes, id);
    if (own > bestWeight || (own === bestWeight && best !== null && id < best)) {
      best = id;
      bestWeight = own;
    }
  }
  return best;
}

const shardKey = (shard: number): string => `shard-${shard}`;

/** Who may serve `shard`: its home agent (same index) while live, else the first live in rendezvous order; null when nobody lives. */
export function shardOwner(shard: number, view: MembershipView): AgentId | null {
  const home = agentId(shard);
  return view.isLive(home) ? home : rendezvousFirst(shardKey(shard), view.liveIds);
}

/**
 * The agents that keep a warm index of `shard` beside its home: the first `redundancyLevel` in the same order that decides
 * `shardOwner`, so the next owner is warm unless the replicas died too.
 */
export function shardReplicas(shard: number, ids: readonly AgentId[], redundancyLevel: number): AgentId[] {
  const home = agentId(shard);
  return rendezvous(
    shardKey(shard),
    ids.filter((id) => id !== home),
  ).slice(0, redundancyLevel);
}

/** Who owns a task that nobody has started: its home owner while live, else the first live in rendezvous order; null when nobody lives. */
export function taskOwner(task: TaskId, homeOwner: AgentId, view: MembershipView): AgentId | null {
  return view.isLive(homeOwner) ? homeOwner : rendezvousFirst(task, view.liveIds);
}

/** A tool seat filled by somebody else: `from` is the dead home holder, null for a tool that has no home agent at all. */
export interface ToolAdoption {
  readonly tool: Tool;
  readonly from: AgentId | null;
  readonly by: AgentId;
}

interface ToolHolding {
  readonly holders: readonly AgentId[];
  readonly adoptions: readonly ToolAdoption[];
}

export type HomeTools = ReadonlyMap<AgentId, Tool>;

/** Asked for with every message, changed only with the view: remembered per view (views and home tools are immutable). */
const holdings = new WeakMap<MembershipView, WeakMap<HomeTools, Map<Tool, ToolHolding>>>();

function toolHolding(tool: Tool, view: MembershipView, homeTools: HomeTools): ToolHolding {
  let ofView = holdings.get(view);
  if (ofView === undefined) holdings.set(view, (ofView = new WeakMap()));
  let ofTools = ofView.get(homeTools);
  if (ofTools === undefined) ofView.set(homeTools, (ofTools = new Map()));
  let holding = ofTools.get(tool);
  if (holding === undefined) ofTools.set(tool, (holding = computeToolHolding(tool, view, homeTools)));
  return holding;
}

function computeToolHolding(tool: Tool, view: MembershipView, homeTools: HomeTools): ToolHolding {
  const homes = [...homeTools].filter(([, home]) => home === tool).map(([id]) => id);
  const holders = new Set(homes.filter((id) => view.isLive(id)));
  const vacant = homes.filter((id) => !view.isLive(id)).sort(byAgentIndex);
  const seats: (AgentId | null)[] = homes.length === 0 ? [null] : vacant;
  const adoptions: ToolAdoption[] = [];
  for (const from of seats) {
    const by = rendezvousFirst(`tool-${tool}-${from ?? "nobody"}`, view.liveIds, holders);
    if (by === null) break; // every live agent has the tool already
    holders.add(by);
    adoptions.push({ tool, from, by });
  }
  return { holders: [...holders].sort(byAgentIndex), adoptions };
}

/**
 * Who holds `tool` now: the live home holders, and for each dead one the first live agent in the seat's rendezvous order that has
 * it neither at home nor by an earlier seat. A tool without any home agent (fewer agents than tools) is one vacant seat.
 * Sorted by index.
 */
export const toolHolders = (tool: Tool, view: MembershipView, homeTools: HomeTools): readonly AgentId[] =>
  toolHolding(tool, view, homeTools).holders;

/** The adopted seats behind `toolHolders`, in the order of the dead agents' indices. */
export const toolAdoptions = (tool: Tool, view: MembershipView, homeTools: HomeTools): readonly ToolAdoption[] =>
  toolHolding(tool, view, homeTools).adoptions;

/**
 * The holder to ask for `key` (task and step). By rendezvous, not round robin: a retry, or a new owner of the task, finds the
 * same holder again, which is where the protocol's own idempotency, if it has any, can recognise the step. Null when all are excluded.
 */
export const chooseHolder = (key: string, holders: readonly AgentId[], exclude?: ReadonlySet<AgentId>): AgentId | null =>
  rendezvousFirst(key, holders, exclude);
