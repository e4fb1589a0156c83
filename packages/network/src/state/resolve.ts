import { type MessagePayload, withoutUndefined } from "../json.ts";
import { compareHlc } from "../ledger/hlc.ts";
import { compareStates, type DistributedState, sealState } from "./state.ts";
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

/**
 * Knows of both. Who wrote last is the later by hybrid logical clock, then id: whoever had seen a version is later than its writer, so this
 * is a maximum too.
 */
function mergeStates(a: DistributedState, b: DistributedState, data: MessagePayload): DistributedState {
  const order = compareHlc(a.updatedAt, b.updatedAt) || (a.agentId < b.agentId ? -1 : 1);
  const { checksum: _checksum, version: _version, ...later } = order < 0 ? b : a;
  return sealState({ ...later, vectorClock: mergeClocks(a.vectorClock, b.vectorClock), data: withoutUndefined(data) });
}
