import { objectionToPayload, toJson } from "../json.ts";
import type { DistributedState, StateReference } from "./state.ts";

/*
 * What states and their names take in a message, about. A message that is larger than a frame does not travel at all, so whatever may be long
 * (data, dependencies, ids) is counted.
 */

/** Numbers, checksum and what stands between the fields. */
const FIELDS_BYTES = 150;
const REFERENCE_BYTES = 40;
const CLOCK_ENTRY_BYTES = 10;

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

const bytesOf = (text: string): number => Buffer.byteLength(text);

/** Of a state's id in a list of ids. */
export const idBytes = (stateId: string): number => bytesOf(stateId) + 5;

/** Of a reference to a state's version in a list. */
export const referenceBytes = ({ stateId, agentId }: StateReference): number =>
  bytesOf(stateId) + bytesOf(agentId) + REFERENCE_BYTES;

function dataBytes(data: DistributedState["data"]): number {
  if (data instanceof Uint8Array) return data.length;
  return objectionToPayload(data) === null ? bytesOf(toJson(data)) : Number.POSITIVE_INFINITY;
}

/** Each state is measured once. */
const sizes = new WeakMap<DistributedState, number>();

/** Infinite for what does not travel at all, as a resolver may have made it. */
export function sizeOf(state: DistributedState): number {
  let size = sizes.get(state);
  if (size === undefined) {
    const { stateId, agentId, data, dependencies, vectorClock, replicas } = state;
    size =
      FIELDS_BYTES +
      sum([stateId, agentId, ...replicas].map(bytesOf)) +
      sum(dependencies.map(referenceBytes)) +
      sum(Object.keys(vectorClock).map((node) => bytesOf(node) + CLOCK_ENTRY_BYTES)) +
      dataBytes(data);
    sizes.set(state, size);
  }
  return size;
}
