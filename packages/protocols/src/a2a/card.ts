import { createHash } from "node:crypto";
import { type AgentDescription, type AgentId, CommError } from "@failstorm/core";
import { EXTENSION_URI, isRecord, VERSION } from "./wire.ts";

/** The version of the software behind the card, not of the protocol. */
const SOFTWARE_VERSION = "0.1.0";
const MODES = ["text/plain", "application/json"];
/** A card must list a skill (spec §5.7); an agent that has none yet lists this one, which `readCard` does not take for a capability. */
const NO_SKILL = "none";

interface CardOptions {
  /** Where both bindings are mounted, no trailing slash. */
  readonly baseUrl: string;
  readonly pushNotifications: boolean;
  /** Whether callers authenticate; only then is there an extended card (spec §13.3). */
  readonly authenticated: boolean;
}

/** `tool:search` → a skill: id the capability itself, tag its kind. */
function skillOf(capability: string): Record<string, unknown> {
  const [kind = capability, name = kind] = capability.split(":", 2);
  return { id: capability, name, description: `${kind} ${name}`, tags: [kind] };
}

/**
 * The agent's card (spec §4.4, §8): its tools and shards as skills, its id and incarnation in the parameters of an extension. Its
 * JSON-RPC and REST interfaces share one URL; 0.3 is served over JSON-RPC.
 */
export function buildCard(self: AgentDescription, options: CardOptions): Record<string, unknown> {
  const { agentId, incarnation, capabilities } = self;
  const url = options.baseUrl;
  const skills = capabilities.length > 0 ? capabilities.map(skillOf) : [{ ...skillOf(NO_SKILL), description: "no skill yet" }];
  return {
    name: agentId,
    description: "failstorm shard worker",
    version: SOFTWARE_VERSION,
    supportedInterfaces: [
      { url, protocolBinding: "JSONRPC", protocolVersion: VERSION },
      { url, protocolBinding: "HTTP+JSON", protocolVersion: VERSION },
      { url, protocolBinding: "JSONRPC", protocolVersion: "0.3" },
    ],
    capabilities: {
      streaming: true,
      pushNotifications: options.pushNotifications,
      ...(options.authenticated ? { extendedAgentCard: true } : {}),
      extensions: [{ uri: EXTENSION_URI, description: "who answers", params: { agentId, incarnation } }],
    },
    ...(options.authenticated
      ? {
          securitySchemes: { bearer: { httpAuthSecurityScheme: { scheme: "Bearer" } } },
          securityRequirements: [{ schemes: { bearer: { list: [] } } }],
        }
      : {}),
    defaultInputModes: MODES,
    defaultOutputModes: MODES,
    skills,
  };
}

/** The card of 1.0 with the fields that clients of 0.3 look for beside it (0.3 spec §5.5): what either reads of it is its own. */
export function withLegacyFields(card: Record<string, unknown>): Record<string, unknown> {
  const [{ url }] = card["supportedInterfaces"] as [{ url: string }];
  const { extendedAgentCard } = card["capabilities"] as { extendedAgentCard?: boolean };
  const schemes = card["securitySchemes"] as { bearer: Record<string, unknown> } | undefined;
  return {
    ...card,
    protocolVersion: "0.3.0",
    url,
    preferredTransport: "JSONRPC",
    ...(schemes === undefined
      ? {}
      : { securitySchemes: { bearer: { ...schemes.bearer, type: "http", scheme: "bearer" } }, security: [{ bearer: [] }] }),
    ...(extendedAgentCard === true ? { supportsAuthenticatedExtendedCard: true } : {}),
  };
}

/** Derived from the card's content (spec §8.6.1); the incarnation in front lets a probe tell who is alive. */
export const etagOf = (self: AgentDescription, json: string): string =>
  `"${self.incarnation}-${createHash("sha256").update(json).digest("base64url").slice(0, 12)}"`;

/** Whether an If-None-Match names this ETag (RFC 9110 §13.1.2): one of a list, also as weakened by a proxy, or any. */
export const isKnown = (ifNoneMatch: string | undefined, etag: string): boolean =>
  ifNoneMatch?.split(",").some((one) => ["*", etag, `W/${etag}`].includes(one.trim())) ?? false;

/** The incarnation in an ETag of ours; null for a stranger's. */
export function incarnationOf(etag: unknown): number | null {
  const match = typeof etag === "string" ? /^"(\d+)-[\w-]{12}"$/.exec(etag) : null;
  return match === null ? null : Number(match[1]);
}

export interface CardContent {
  readonly description: AgentDescription;
  /** Where a stranger's card says that JSON-RPC 1.0 is spoken; null for our own agents, which are reached where they are registered. */
  readonly rpcUrl: string | null;
  /** What its interface wants every request to say (spec §8.3.2). */
  readonly tenant: string | undefined;
  readonly streaming: boolean;
}

function rpcInterface(card: Record<string, unknown>): { readonly rpcUrl: string; readonly tenant: string | undefined } | null {
  const interfaces: unknown[] = Array.isArray(card["supportedInterfaces"]) ? card["supportedInterfaces"] : [];
  const match = interfaces.find(
    (one) => isRecord(one) && one["protocolBinding"] === "JSONRPC" && String(one["protocolVersion"]).startsWith("1."),
  );
  if (!isRecord(match) || typeof match["url"] !== "string") return null;
  const { url, tenant } = match;
  return { rpcUrl: url, tenant: typeof tenant === "string" && tenant !== "" ? tenant : undefined };
}

/**
 * Reads a peer's card. A stranger's, without our extension, describes `peer` as its incarnation 0. CommError `protocol` when it is no
 * card, when it is somebody else's, and when nothing of it is JSON-RPC 1.0.
 */
export function readCard(card: unknown, peer: AgentId): CardContent {
  const fail = (what: string): never => {
    throw new CommError("protocol", peer, `${peer}: ${what}`, { detail: card });
  };
  if (!isRecord(card) || !Array.isArray(card["skills"]) || !isRecord(card["capabilities"])) return fail("no agent card");
  const offered = rpcInterface(card) ?? fail("its card offers no JSON-RPC interface of A2A 1.0");
  const streaming = card["capabilities"]["streaming"] === true;
  const skills: unknown[] = card["skills"];
  const capabilities = skills.flatMap((skill) =>
    isRecord(skill) && typeof skill["id"] === "string" && skill["id"] !== NO_SKILL ? [skill["id"]] : [],
  );
  const listed: unknown = card["capabilities"]["extensions"];
  const extensions: unknown[] = Array.isArray(listed) ? listed : [];
  const ours = extensions.find((one) => isRecord(one) && one["uri"] === EXTENSION_URI);
  if (!isRecord(ours)) return { description: { agentId: peer, incarnation: 0, capabilities }, ...offered, streaming };
  const { agentId, incarnation } = isRecord(ours["params"]) ? ours["params"] : {};
  if (agentId !== peer) return fail(`its card is ${String(agentId)}'s`);
  if (typeof incarnation !== "number") return fail("its card names no incarnation");
  return { description: { agentId: peer, incarnation, capabilities }, rpcUrl: null, tenant: undefined, streaming };
}
