import { InputError } from "@failstorm/core";

export interface AgoraConfig {
  /** Messages of a kind to a peer that go in natural language before a protocol document is negotiated for them. */
  readonly frequentAfter: number;
  /** Who negotiates: so far only the deterministic negotiator exists. */
  readonly negotiator: "deterministic";
  /** How long a conversation lives after its last message, ms. */
  readonly conversationTtlMs: number;
  /** Where known protocol documents and agreements are kept: `memory` forgets them in a crash. */
  readonly documentStore: "disk" | "memory";
  /** What becomes of a well-formed document that no routine of ours is written for: its bodies go to the agent as they are, or it is unsupported. */
  readonly foreignDocuments: "accept" | "reject";
  /** Hosts, besides loopback and the registered peers, that document sources may be fetched from. */
  readonly sourceHosts: readonly string[];
}

const MAX_FREQUENT_AFTER = 1_000_000;
const MAX_TTL_S = 86_400;

const shown = (value: unknown): string => JSON.stringify(value) ?? String(value);

function wholeNumber(key: string, value: unknown, min: number, max: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw new InputError(`agora.${key}: ${shown(value)} is not a whole number from ${min} to ${max}`);
}

function oneOf<T extends string>(key: string, value: unknown, choices: readonly T[]): T {
  const choice = choices.find((candidate) => candidate === value);
  if (choice !== undefined) return choice;
  throw new InputError(`agora.${key}: ${shown(value)} is not one of ${choices.join(", ")}`);
}

function negotiatorOf(value: unknown): "deterministic" {
  if (value === "llm")
    throw new InputError("agora.negotiator: an LLM negotiator is not there yet; say deterministic, or leave the key out");
  return oneOf("negotiator", value, ["deterministic"]);
}

function hostNames(value: unknown): readonly string[] {
  if (Array.isArray(value) && value.every((host) => typeof host === "string" && /^[A-Za-z0-9.:[\]-]+$/.test(host)))
    return (value as string[]).map((host) => host.toLowerCase());
  throw new InputError(`agora.source_hosts: ${shown(value)} is not a list of host names`);
}

const DEFAULTS = {
  frequent_after: 5,
  negotiator: "deterministic",
  conversation_ttl: 300,
  document_store: "disk",
  foreign_documents: "accept",
  source_hosts: [],
};

/** Checks the section `agora.*`; throws InputError naming the key. */
export function parseAgoraConfig(section: unknown): AgoraConfig {
  const given = (section ?? {}) as Record<string, unknown>;
  const unknown = Object.keys(given).find((key) => !Object.hasOwn(DEFAULTS, key));
  if (unknown !== undefined) throw new InputError(`agora.${unknown}: unknown key; known are ${Object.keys(DEFAULTS).join(", ")}`);
  const keys = { ...DEFAULTS, ...given } as Record<keyof typeof DEFAULTS, unknown>;
  return {
    frequentAfter: wholeNumber("frequent_after", keys.frequent_after, 0, MAX_FREQUENT_AFTER),
    negotiator: negotiatorOf(keys.negotiator),
    conversationTtlMs: wholeNumber("conversation_ttl", keys.conversation_ttl, 1, MAX_TTL_S) * 1000,
    documentStore: oneOf("document_store", keys.document_store, ["disk", "memory"]),
    foreignDocuments: oneOf("foreign_documents", keys.foreign_documents, ["accept", "reject"]),
    sourceHosts: hostNames(keys.source_hosts),
  };
}
