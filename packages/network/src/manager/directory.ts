import type { AgentId } from "@failstorm/core";
import type { MessagePayload } from "../json.ts";
import { hashLanes, toHex } from "../hash.ts";
import type { AgentRegistry } from "../registry.ts";

/**
 * What an agent says of itself. Of two records of an agent, the one of the later incarnation holds, then the one of the greater revision: only the
 * agent itself makes new ones, so all who know the same record know the same.
 */
export interface NodeRecord {
  readonly agentId: AgentId;
  readonly incarnation: number;
  readonly revision: number;
  readonly address: string;
  readonly port: number;
  readonly capabilities: readonly string[];
  readonly version: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Up, but not serving. */
  readonly isInMaintenance: boolean;
}

/** Who there is, as told by each of them and passed on: it fills the registry. */
export interface Directory {
  readonly records: readonly NodeRecord[];
  /** Equal for two that know the same records. */
  readonly hash: string;
  /** Takes in a record; false when it is no news. `direct`: from the agent itself, so that it is there, whatever was believed. */
  learn(record: NodeRecord, direct: boolean, now: number): boolean;
  /** It left, or was taken out. What others still tell of this incarnation is not believed any more. False when it was not known. */
  forget(agentId: AgentId, incarnation: number): boolean;
}

/** Agents that left and are remembered, so that nobody brings them back. */
const MAX_FORGOTTEN = 10_000;

const isNewer = (a: NodeRecord, b: NodeRecord): boolean =>
  a.incarnation !== b.incarnation ? a.incarnation > b.incarnation : a.revision > b.revision;

export function createDirectory(registry: AgentRegistry): Directory {
  const known = new Map<AgentId, NodeRecord>();
  const forgotten = new Map<AgentId, number>();
  let hash: string | null = null;

  const store = (record: NodeRecord, before: NodeRecord | undefined, now: number): void => {
    known.set(record.agentId, record);
    hash = null;
    const { agentId, incarnation, address, port, capabilities, version, metadata, isInMaintenance } = record;
    const fields = { incarnation, address, port, capabilities, version, metadata };
    const isNews = before === undefined || before.incarnation < incarnation;
    if (isNews) registry.registerNode({ agentId, ...fields, status: isInMaintenance ? "Maintenance" : "Active" }, now);
    else {
      // Of one incarnation, only the detector says whether it lives; the agent, whether it serves.
      const status = registry.node(agentId)?.status;
      const isBelievedUp = status === "Active" || status === "Maintenance";
      registry.updateNode(agentId, {
        ...fields,
        ...(isBelievedUp ? { status: isInMaintenance ? "Maintenance" : "Active" } : {}),
      });
    }
  };

  return {
    get records() {
      return [...known.values()];
    },
    get hash() {
      hash ??= toHex(
        [...known.values()]
          .map(({ agentId, incarnation, revision }) => hashLanes(`${agentId}#${incarnation}.${revision}`))
          .reduce((sum, lanes) => ({ low: (sum.low + lanes.low) | 0, high: (sum.high + lanes.high) | 0 }), { low: 0, high: 0 }),
      );
      return hash;
    },
    learn(record, direct, now) {
      const before = known.get(record.agentId);
      if (before !== undefined && !isNewer(record, before)) return false;
      if (!direct && record.incarnation <= (forgotten.get(record.agentId) ?? -1)) return false;
      forgotten.delete(record.agentId);
      store(record, before, now);
      return true;
    },
    forget(agentId, incarnation) {
      const record = known.get(agentId);
      if (record !== undefined && record.incarnation > incarnation) return false;
      forgotten.set(agentId, incarnation);
      if (forgotten.size > MAX_FORGOTTEN) forgotten.delete(forgotten.keys().next().value as AgentId);
      if (record === undefined) return false;
      known.delete(agentId);
      hash = null;
      return registry.deregisterNode(agentId);
    },
  };
}

export const recordToWire = (record: NodeRecord): MessagePayload => [
  record.agentId,
  record.incarnation,
  record.revision,
  record.address,
  record.port,
  record.capabilities,
  record.version,
  record.metadata,
  record.isInMaintenance,
];

export const MAX_TEXT = 512;
export const MAX_CAPABILITIES = 4096;

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isText = (value: unknown): value is string => typeof value === "string" && value.length <= MAX_TEXT;

/** A record as it came over the network; null when it is none. */
export function recordFromWire(value: unknown): NodeRecord | null {
  if (!Array.isArray(value)) return null;
  const [agentId, incarnation, revision, address, port, capabilities, version, metadata, isInMaintenance] =
    value as readonly unknown[];
  if (!isText(agentId) || agentId === "" || !isCount(incarnation) || !isCount(revision)) return null;
  if (!isText(address) || !isCount(port) || port > 65_535 || !isText(version)) return null;
  if (!Array.isArray(capabilities) || capabilities.length > MAX_CAPABILITIES || !capabilities.every(isText)) return null;
  if (typeof metadata !== "object" || metadata === null || typeof isInMaintenance !== "boolean") return null;
  const pairs = Object.entries(metadata);
  if (!pairs.every((pair): pair is [string, string] => isText(pair[0]) && isText(pair[1]))) return null;
  return {
    agentId,
    incarnation,
    revision,
    address,
    port,
    capabilities,
    version,
    metadata: Object.fromEntries(pairs),
    isInMaintenance,
  };
}

export const recordsFromWire = (value: unknown): NodeRecord[] =>
  Array.isArray(value) ? value.map(recordFromWire).filter((record) => record !== null) : [];
