import { type AgentId, agentIndex, byAgentIndex } from "@failstorm/core";

/*
 * Ring repair after Chord's stabilise (Stoica et al., 2001), on agent indices: an agent dials the next live one in its own view; the
 * receiver accepts and answers with any live agent it knows that sits closer before it; the dialler goes on with that one. Views
 * may differ: each step only ever moves the dialler's successor closer, so it ends.
 */

/** Whether `id` lies strictly between `from` and `to`, walking up the indices and around; `from` = `to` is the whole ring. */
function isBetween(from: AgentId, id: AgentId, to: AgentId): boolean {
  const [a, x, b] = [agentIndex(from), agentIndex(id), agentIndex(to)];
  return a < b ? a < x && x < b : x !== a && x !== b && (x > a || x < b);
}

/** The next live agent after `self`; null when there is no other. */
export function ringSuccessor(self: AgentId, live: readonly AgentId[]): AgentId | null {
  const others = live.filter((id) => id !== self).sort(byAgentIndex);
  return others.find((id) => agentIndex(id) > agentIndex(self)) ?? others[0] ?? null;
}

/** The last live agent before `self`; null when there is no other. */
export function ringPredecessor(self: AgentId, live: readonly AgentId[]): AgentId | null {
  const others = live.filter((id) => id !== self).sort(byAgentIndex);
  return others.findLast((id) => agentIndex(id) < agentIndex(self)) ?? others.at(-1) ?? null;
}

/** The receiver's side: `dialler` took `self` for its successor. Answers with the closer predecessor `self` knows live, or null. */
export function stabilise(self: AgentId, dialler: AgentId, live: readonly AgentId[]): AgentId | null {
  const predecessor = ringPredecessor(self, live);
  return predecessor !== null && predecessor !== dialler && isBetween(dialler, predecessor, self) ? predecessor : null;
}

/** The dialler's side: whether `candidate`, named by the receiver, is a closer successor of `self` than `current` and worth dialling. */
export const isCloserSuccessor = (self: AgentId, candidate: AgentId, current: AgentId): boolean =>
  candidate !== self && isBetween(self, candidate, current);
