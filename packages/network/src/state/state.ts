import { hash } from "node:crypto";
import type { AgentId } from "@failstorm/core";
import { canonicalJson, type MessagePayload, objectionToPayload } from "../json.ts";
import { compareHlc, type HlcStamp } from "../ledger/hlc.ts";
import { clockSum, type VectorClock } from "./vectorClock.ts";

/**
 * eventual: all replicas have it some time. causal: besides, nobody sees it before what its writer had seen. strong: a majority of its replicas has
 * it before the write returns, and reads ask a majority.
 */
export const CONSISTENCY_LEVELS = ["eventual", "strong", "causal"] as const;
export type ConsistencyLevel = (typeof CONSISTENCY_LEVELS)[number];

/** Where a version of a state stands among all versions of it. */
export interface StateStamp {
  readonly version: number;
  readonly updatedAt: HlcStamp;
  readonly agentId: AgentId;
}

/** A version of another state that must be visible first. */
export interface StateReference extends StateStamp {
  readonly stateId: string;
}

/** One version of one state. Never changed once made. */
export interface DistributedState extends StateStamp {
  readonly stateId: string;
  /** Who wrote this version. */
  readonly agentId: AgentId;
  /** All writes in its history: the sum of its vector clock, so that what comes after has a greater version. */
  readonly version: number;
  /** Writes by node (agent and incarnation: a restarted agent counts anew). */
  readonly vectorClock: VectorClock;
  readonly consistency: ConsistencyLevel;
  /** SHA-256 of everything else but `replicas`, in hex. */
  readonly checksum: string;
  /** Who keeps it, as chosen when it was written. */
  readonly replicas: readonly AgentId[];
  readonly data: MessagePayload;
  /** Hybrid logical clock over ms since the Unix epoch. */
  readonly updatedAt: HlcStamp;
  /** Of a causal state: what its writer had seen and written since its last causal write, which stands for all before it. */
  readonly dependencies: readonly StateReference[];
}

type Unsealed = Omit<DistributedState, "checksum" | "version">;

const checksumOf = (state: Omit<DistributedState, "checksum">): string => {
  const { stateId, agentId, version, vectorClock, consistency, data, updatedAt, dependencies } = state;
  return hash(
    "sha256",
    canonicalJson([stateId, agentId, version, vectorClock, consistency, data, updatedAt, dependencies]),
    "hex",
  );
};

/** A state with what follows from the rest. */
export function sealState(unsealed: Unsealed): DistributedState {
  const state = { ...unsealed, version: clockSum(unsealed.vectorClock) };
  return { ...state, checksum: checksumOf(state) };
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** By version, then hybrid logical clock, then writer: total but for copies, and in step with the vector clocks. */
export const compareStamps = (a: StateStamp, b: StateStamp): number =>
  a.version - b.version || compareHlc(a.updatedAt, b.updatedAt) || compareText(a.agentId, b.agentId);

/** The same, and total: a node that broke the rules may give one stamp to two versions. */
export const compareStates = (a: DistributedState, b: DistributedState): number =>
  compareStamps(a, b) || compareText(a.checksum, b.checksum);

export const referenceTo = ({ stateId, version, updatedAt, agentId }: StateReference): StateReference => ({
  stateId,
  version,
  updatedAt,
  agentId,
});

const referenceToWire = ({ stateId, version, updatedAt, agentId }: StateReference): readonly MessagePayload[] => [
  stateId,
  version,
  updatedAt.ms,
  updatedAt.counter,
  agentId,
];

/** As an array; names of fields would be half of a small state. */
export function stateToWire(state: DistributedState): MessagePayload {
  const { stateId, agentId, version, vectorClock, consistency, checksum, replicas, data, updatedAt, dependencies } = state;
  const level = CONSISTENCY_LEVELS.indexOf(consistency);
  const clock = Object.entries(vectorClock).flat();
  const { ms, counter } = updatedAt;
  return [stateId, agentId, version, clock, level, checksum, replicas, data, ms, counter, dependencies.map(referenceToWire)];
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isName = (value: unknown): value is string => typeof value === "string" && value !== "" && value.length <= 512;
const isTime = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);

/** Of one causal state. */
export const MAX_DEPENDENCIES = 256;

/** Another would be taken in by nobody. */
export const isStateId = (stateId: string): boolean => isName(stateId) && stateId.isWellFormed();

export function referenceFromWire(value: unknown): StateReference | null {
  if (!Array.isArray(value)) return null;
  const [stateId, version, ms, counter, agentId] = value as readonly unknown[];
  if (!isName(stateId) || !isCount(version) || !isTime(ms) || !isCount(counter) || !isName(agentId)) return null;
  return { stateId, version, updatedAt: { ms, counter }, agentId };
}

export { referenceToWire };

function clockFromWire(value: unknown): VectorClock | null {
  if (!Array.isArray(value) || value.length % 2 !== 0) return null;
  const entries: [string, number][] = [];
  for (let i = 0; i < value.length; i += 2) {
    const [node, count] = [value[i], value[i + 1]] as readonly unknown[];
    if (!isName(node) || !isCount(count) || count === 0) return null;
    entries.push([node, count]);
  }
  return Object.fromEntries(entries.sort(([a], [b]) => compareText(a, b)));
}

/** A state as it came over the network: every field checked, then the checksum; a text: what is wrong with it. */
export function stateFromWire(value: unknown): DistributedState | string {
  if (!Array.isArray(value)) return "not a state";
  const [stateId, agentId, version, clock, level, checksum, replicas, data, ms, counter, refs] = value as readonly unknown[];
  const vectorClock = clockFromWire(clock);
  const consistency = typeof level === "number" ? CONSISTENCY_LEVELS[level] : undefined;
  if (!isName(stateId) || !isName(agentId) || !isCount(version) || vectorClock === null || consistency === undefined)
    return "not a state";
  if (!isName(checksum) || !isTime(ms) || !isCount(counter)) return "not a state";
  // One that came as JSON and could not go on as MessagePack would hold up all that travels with it.
  const objection = objectionToPayload(data);
  if (objection !== null) return objection;
  if (!Array.isArray(replicas) || !replicas.every(isName) || !Array.isArray(refs)) return "not a state";
  if (refs.length > MAX_DEPENDENCIES) return `it depends on more than ${MAX_DEPENDENCIES} states`;
  const dependencies = refs.map(referenceFromWire);
  if (!dependencies.every((reference) => reference !== null)) return "not a state";
  if (version !== clockSum(vectorClock)) return "its version is not the sum of its vector clock";
  const state = {
    stateId,
    agentId,
    version,
    vectorClock,
    consistency,
    replicas,
    data: data as MessagePayload,
    updatedAt: { ms, counter },
    dependencies,
  };
  return checksumOf(state) === checksum ? { ...state, checksum } : "its checksum is wrong";
}
