/**
 * What ACP 0.2.0 puts on the wire: the schemas of its OpenAPI document (docs/spec/openapi.yaml of i-am-bee/acp) as types.
 * Optional fields are left out rather than sent as null, which the document does not allow for all of them.
 */

export const RUN_MODES = ["sync", "async", "stream"] as const;
export type RunMode = (typeof RUN_MODES)[number];

export const RUN_STATUSES = ["created", "in-progress", "awaiting", "cancelling", "cancelled", "completed", "failed"] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];

export const ERROR_CODES = ["server_error", "invalid_input", "not_found"] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

export interface ErrorModel {
  readonly code: ErrorCode;
  readonly message: string;
  readonly data?: object;
}

export interface MessagePart {
  readonly name?: string;
  readonly content_type: string;
  readonly content?: string;
  readonly content_encoding?: "plain" | "base64";
  readonly content_url?: string;
  readonly metadata?: object;
}

export interface Message {
  /** `user`, `agent`, or `agent/{agent_name}`. */
  readonly role: string;
  readonly parts: readonly MessagePart[];
  readonly created_at?: string;
  readonly completed_at?: string;
}

/** The one kind of await request and of its answer that ACP's SDKs know. */
export interface AwaitMessage {
  readonly type: "message";
  readonly message: Message;
}

export interface Run {
  readonly agent_name: string;
  readonly session_id?: string;
  readonly run_id: string;
  readonly status: RunStatus;
  readonly await_request?: AwaitMessage;
  readonly output: readonly Message[];
  readonly error?: ErrorModel;
  readonly created_at: string;
  readonly finished_at?: string;
}

export interface Session {
  readonly id: string;
  readonly history: readonly string[];
  readonly state?: string;
}

export type RunEventType = "run.created" | "run.in-progress" | "run.awaiting" | "run.completed" | "run.failed" | "run.cancelled";

export type RunLogEvent =
  | { readonly type: RunEventType; readonly run: Run }
  | { readonly type: "message.created" | "message.completed"; readonly message: Message }
  | { readonly type: "message.part"; readonly part: MessagePart }
  | { readonly type: "generic"; readonly generic: object }
  | { readonly type: "error"; readonly error: ErrorModel };

export interface AgentManifest {
  readonly name: string;
  readonly description: string;
  readonly input_content_types: readonly string[];
  readonly output_content_types: readonly string[];
  readonly metadata: ManifestMetadata;
}

export interface ManifestMetadata {
  /** Free key-values by the specification; `failstorm` is ours. */
  readonly annotations: { readonly failstorm: { readonly agent_id: string; readonly incarnation: number } };
  /** ACP's own list of capabilities: their names are ours (`tool:search`, `shard:3`). */
  readonly capabilities: readonly { readonly name: string; readonly description: string }[];
  readonly programming_language: string;
  readonly framework: string;
}

/** A failure that is answered with ACP's error model. */
export class AcpError extends Error {
  readonly status: number;
  readonly code: ErrorCode;
  constructor(status: number, code: ErrorCode, message: string) {
    super(message);
    this.name = "AcpError";
    this.status = status;
    this.code = code;
  }
}

/** Refuses what the client sent; 422 is what ACP's reference server answers. */
export const invalidInput = (message: string, status = 422): AcpError => new AcpError(status, "invalid_input", message);
export const notFound = (message: string): AcpError => new AcpError(404, "not_found", message);

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
export const isUuid = (value: unknown): value is string => typeof value === "string" && UUID.test(value);

export const isTerminal = (status: RunStatus): boolean => status === "completed" || status === "failed" || status === "cancelled";

const NAME_MAX = 63;

/**
 * An agent's id as an ACP agent name (an RFC 1123 label: lower-case letters, digits, inner hyphens, at most 63). Ids such as
 * `agent-3` are names already.
 */
export function agentNameOf(agentId: string): string {
  const label = agentId
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]/g, "-")
    .slice(0, NAME_MAX)
    .replaceAll(/^-+|-+$/g, "");
  return label === "" ? "agent" : label;
}
