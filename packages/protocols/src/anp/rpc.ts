import { isObject, type JsonObject } from "./json.ts";

/** Errors by name, with their codes: JSON-RPC's own, ANP-P1 §10.3, P3 §11, P5 §13, ANP-06 §11. */
const CODES = {
  parse_error: -32_700,
  invalid_request: -32_600,
  method_not_found: -32_601,
  internal_error: -32_603,
  "anp.invalid_request_id": 1000,
  "anp.unsupported_profile": 1001,
  "anp.unsupported_security_profile": 1002,
  "anp.invalid_params_shape": 1003,
  "anp.batch_not_supported": 1004,
  "anp.unauthorized": 1005,
  "anp.forbidden": 1006,
  "anp.target_not_found": 1007,
  "anp.idempotency_conflict": 1008,
  "anp.unsupported_content_type": 1009,
  "anp.delivery_rejected": 1010,
  "anp.invalid_target_binding": 1014,
  "anp.device_binding_required": 1015,
  "anp.device_not_eligible": 1017,
  "direct.invalid_payload_shape": 2002,
  "direct.security_mode_required": 2004,
  "direct.invalid_origin_proof": 2005,
  "direct.origin_did_mismatch": 2006,
  "direct.origin_proof_replayed": 2007,
  "anp.direct.e2ee.bundle_not_found": 4000,
  "anp.direct.e2ee.bundle_invalid": 4001,
  "anp.direct.e2ee.bundle_expired": 4002,
  "anp.direct.e2ee.session_not_found": 4005,
  "anp.direct.e2ee.bad_init_message": 4007,
  "anp.direct.e2ee.replay_detected": 4008,
  "anp.direct.e2ee.decrypt_failed": 4009,
  "anp.direct.e2ee.max_skip_exceeded": 4010,
  "anp.direct.e2ee.invalid_security_binding": 4012,
  "meta.no_matching_interface": 1601,
  "meta.unsupported_negotiation_mode": 1602,
  "meta.unsupported_candidate_profile": 1603,
  "meta.unsupported_security_profile": 1604,
  "meta.unsupported_content_type": 1605,
  "meta.more_information_required": 1606,
} as const;

export type ErrorName = keyof typeof CODES;

/** A refusal as JSON-RPC says it. */
export class RpcError extends Error {
  readonly code: number;
  readonly anpCode: string | null;
  readonly retryable: boolean;
  readonly details: JsonObject;

  constructor(name: ErrorName, message: string, options: { readonly retryable?: boolean; readonly details?: JsonObject } = {}) {
    super(message);
    this.name = "RpcError";
    this.code = CODES[name];
    this.anpCode = this.code > 0 ? name : null;
    this.retryable = options.retryable ?? false;
    this.details = options.details ?? {};
  }

  toJSON(): JsonObject {
    const { code, message, anpCode, retryable, details } = this;
    return { code, message, ...(anpCode === null ? {} : { data: { anp_code: anpCode, retryable, details } }) };
  }
}

export const errorAnswer = (id: string | null, error: RpcError): JsonObject => ({ jsonrpc: "2.0", id, error });

/** A request or, without id, a notification of the form ANP-P1 §5 and §6 allow. */
export interface RpcRequest {
  readonly id: string | null;
  readonly method: string;
  readonly meta: JsonObject;
  readonly auth: unknown;
  readonly body: JsonObject;
}

/** What this endpoint answers to. */
const METHODS = new Set([
  "anp.get_capabilities",
  "anp.negotiate",
  "direct.send",
  "direct.incoming",
  "direct.e2ee.get_prekey_bundle",
]);
const META_FIELDS = new Set([
  "anp_version",
  "profile",
  "security_profile",
  "sender_did",
  "sender_device_id",
  "recipient_device_id",
  "target",
  "operation_id",
  "message_id",
  "created_at",
  "trace_id",
  "content_type",
]);

const shape = (message: string): RpcError => new RpcError("anp.invalid_params_shape", message);

function checkParams(params: unknown): Pick<RpcRequest, "meta" | "auth" | "body"> {
  if (!isObject(params)) throw shape("params is an object {meta, auth, body}");
  for (const key of Object.keys(params))
    if (key !== "meta" && key !== "auth" && key !== "body") throw shape(`params.${key} is not defined`);
  const { meta, auth, body } = params;
  if (!isObject(meta) || !isObject(body)) throw shape("params.meta and params.body are objects");
  for (const key of Object.keys(meta)) {
    const isKnown = META_FIELDS.has(key);
    // What an unknown member may mean for security or idempotency, nobody here can know (§12.1).
    if (!isKnown && !key.startsWith("x_")) throw shape(`params.meta.${key} is not defined`);
    if (isKnown && key !== "target" && typeof meta[key] !== "string") throw shape(`params.meta.${key} is a string`);
  }
  if (!("profile" in meta && "security_profile" in meta))
    throw shape("params.meta.profile and params.meta.security_profile are required");
  if (auth !== undefined && !isObject(auth)) throw shape("params.auth is an object");
  for (const key of Object.keys(auth ?? {}))
    if (key !== "scheme" && key !== "origin_proof") throw shape(`params.auth.${key} is not defined`);
  return { meta, auth, body };
}

/** The id to answer with, whatever else is wrong. */
export const idOf = (message: unknown): string | null =>
  isObject(message) && typeof message["id"] === "string" && message["id"] !== "" ? message["id"] : null;

/** Checks a JSON-RPC message; throws RpcError. */
export function readRequest(message: unknown): RpcRequest {
  if (Array.isArray(message)) throw new RpcError("anp.batch_not_supported", "one request at a time");
  if (!isObject(message) || message["jsonrpc"] !== "2.0" || typeof message["method"] !== "string")
    throw new RpcError("invalid_request", "not a JSON-RPC 2.0 request");
  if ("id" in message && idOf(message) === null) throw new RpcError("anp.invalid_request_id", "id is a string that is not empty");
  if (!METHODS.has(message["method"])) throw new RpcError("method_not_found", "no such method");
  return { id: idOf(message), method: message["method"], ...checkParams(message["params"]) };
}
