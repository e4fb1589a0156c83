import type { MessagePayload } from "../json.ts";
import { compareHlc } from "../ledger/hlc.ts";
import { compareStamps, compareStates, CONSISTENCY_LEVELS, type DistributedState, sealState } from "./state.ts";
import { compareClocks, mergeClocks } from "./vectorClock.ts";

/**
 * The data of two concurrent versions as one. For replicas to converge it must be commutative, associative and idempotent, and what a
 * writer writes must contain what it had read (a growing set, counters by writer): otherwise what was taken away may come back.
 */
export type ConflictResolver = (a: DistributedState, b: DistributedState) => MessagePayload;

/**
 * The one state that two versions of it make. Vector clocks decide: the later one, when one knows of the other. Concurrent: the
 * greater by version, then hybrid logical clock, then writer; or what `resolver` makes of both. Commutative, associative, idempotent:
 * versions are sums of vector clocks, so this order never contradicts them, and the result is a maximum.
 */
export function resolveConflict(a: DistributedState, b: DistributedState, resolver?: ConflictResolver): DistributedState {
  const order = compareClocks(a.vectorClock, b.vectorClock);
  if (order === "after") return a;
  if (order === "before") return b;
  if (order === "equal" || resolver === undefined) return compareStates(a, b) < 0 ? b : a;
  return mergeStates(a, b, resolver(a, b));
}

const later = <T>(a: T, b: T, compare: (a: T, b: T) => number): T => (compare(a, b) < 0 ? b : a);

/** Knows of both. Field by field a maximum or a union, so that all who merge the same versions have the same state in the end. */
function mergeStates(a: DistributedState, b: DistributedState, data: MessagePayload): DistributedState {
  const newest = new Map(a.dependencies.map((reference) => [reference.stateId, reference]));
  for (const reference of b.dependencies) {
    newest.set(reference.stateId, later(newest.get(reference.stateId) ?? reference, reference, compareStamps));
  }
  return sealState({
    stateId: a.stateId,
    agentId: a.agentId < b.agentId ? b.agentId : a.agentId,
    vectorClock: mergeClocks(a.vectorClock, b.vectorClock),
    consistency: later(a.consistency, b.consistency, (x, y) => CONSISTENCY_LEVELS.indexOf(x) - CONSISTENCY_LEVELS.indexOf(y)),
    replicas: [...new Set([...a.replicas, ...b.replicas])].sort(),
    data,
    updatedAt: later(a.updatedAt, b.updatedAt, compareHlc),
    dependencies: [...newest.values()].sort((x, y) => (x.stateId < y.stateId ? -1 : 1)),
  });
}
