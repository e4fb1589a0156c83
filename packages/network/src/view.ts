import type { AgentId } from "@failstorm/core";
import { hashLanes, to53Bits } from "./hash.ts";
import { compareIds } from "./order.ts";

export interface Member {
  readonly id: AgentId;
  readonly incarnation: number;
}

/** Who is believed live at one moment, by one agent. Immutable: a change makes a new view. */
export interface MembershipView {
  /** Sorted by id, numbers by value. */
  readonly live: readonly Member[];
  readonly liveIds: readonly AgentId[];
  /** Short and stable: equal for two agents exactly when they believe the same (id, incarnation) pairs live (but for 53-bit luck). */
  readonly hash: string;
  isLive(id: AgentId): boolean;
  /** The last known incarnation, live or not; null when the agent was never known. */
  incarnationOf(id: AgentId): number | null;
}

/** A view of the given live members; `gone` are known agents that are not live, remembered for `incarnationOf` only. */
export const createView = (members: readonly Member[], gone: readonly Member[] = []): MembershipView =>
  viewInOrder(
    members.toSorted((a, b) => compareIds(a.id, b.id)),
    gone,
  );

/** The same of members that are sorted already. In a storm each of many deaths makes a view, of most of which nobody asks for the hash. */
export function viewInOrder(live: readonly Member[], gone: readonly Member[]): MembershipView {
  const liveIds = live.map((member) => member.id);
  const isLive = new Set(liveIds);
  const incarnations = new Map([...gone, ...live].map((member) => [member.id, member.incarnation]));
  let hash: string | null = null;
  return {
    live,
    liveIds,
    get hash() {
      hash ??= to53Bits(hashLanes(live.map(({ id, incarnation }) => `${id}#${incarnation}`).join(","))).toString(36);
      return hash;
    },
    isLive: (id) => isLive.has(id),
    incarnationOf: (id) => incarnations.get(id) ?? null,
  };
}
