import { hash } from "node:crypto";
import { CONTENT_TYPES, type Identity, interfacesOf, PROFILES, SECURITY_PROFILES } from "./identity.ts";
import { canonical, isObject, type JsonObject } from "./json.ts";
import { RpcError } from "./rpc.ts";

const VALID_MS = 600_000;

const strings = (value: unknown): readonly string[] | null =>
  Array.isArray(value) ? value.filter((item) => typeof item === "string") : null;
const objectOf = (value: unknown): JsonObject => (isObject(value) ? value : {});
const shares = (offered: readonly string[] | null, ours: readonly string[]): boolean =>
  offered === null || offered.some((item) => ours.includes(item));

function checkCaller(caller: JsonObject, constraints: JsonObject): void {
  if (!shares(strings(caller["supportedProfiles"]), PROFILES))
    throw new RpcError("meta.unsupported_candidate_profile", "no profile of the caller is supported");
  const required = constraints["requiredSecurityProfile"];
  const acceptable = required === undefined ? strings(caller["supportedSecurityProfiles"]) : (strings([required]) ?? []);
  if (!shares(acceptable, SECURITY_PROFILES))
    throw new RpcError("meta.unsupported_security_profile", "no security profile of the caller is supported");
  if (!shares(strings(caller["supportedContentTypes"]), CONTENT_TYPES))
    throw new RpcError("meta.unsupported_content_type", "no content type of the caller is supported");
}

/**
 * `anp.negotiate` (ANP-06 §7, §8), deterministic: the first interface that the caller's capabilities and constraints allow, in the
 * order it prefers. Throws RpcError. `wallMs`: ms since the Unix epoch.
 */
export function negotiate(identity: Identity, capabilities: readonly string[], body: JsonObject, wallMs: number): JsonObject {
  const mode = body["mode"] ?? "structured_selection";
  if (mode !== "structured_selection")
    throw new RpcError("meta.unsupported_negotiation_mode", "only structured_selection is supported");
  if (!isObject(body["intent"])) throw new RpcError("meta.more_information_required", "body.intent is required");
  const [caller, constraints] = [objectOf(body["callerCapabilities"]), objectOf(body["constraints"])];
  checkCaller(caller, constraints);
  const required = strings(body["requiredCapabilities"]) ?? [];
  const missing = required.filter((capability) => !capabilities.includes(capability));
  const candidates = strings(body["candidateInterfaceRefs"]);
  const preferred = strings(constraints["preferredInterfaceTypes"]) ?? [];
  const rank = (type: string): number => (preferred.includes(type) ? preferred.indexOf(type) : preferred.length);
  const [chosen] = interfacesOf(identity)
    .filter(({ id }) => candidates === null || candidates.includes(id))
    .toSorted((a, b) => rank(a.type) - rank(b.type));
  if (chosen === undefined || missing.length > 0)
    throw new RpcError("meta.no_matching_interface", "no interface satisfies the intent", { details: { missing } });
  const structured = chosen.type === "StructuredInterface";
  const selected = {
    ...(required[0] === undefined ? {} : { capability: required[0] }),
    interface: chosen.id,
    protocol: chosen["protocol"],
    profile: chosen["profile"],
    securityProfile: "transport-protected",
    contentType: structured ? "application/json" : "text/plain",
    url: chosen["url"],
  };
  const execution = { mode: "direct_message", requiresHumanAuthorization: false };
  const negotiationId = typeof body["negotiation_id"] === "string" ? body["negotiation_id"] : `neg-${wallMs}`;
  return {
    negotiationId,
    status: "accepted",
    selected,
    execution,
    validUntil: new Date(wallMs + VALID_MS).toISOString(),
    negotiationDigest: `sha-256:${hash("sha256", canonical({ selected, execution }), "base64url")}`,
  };
}
