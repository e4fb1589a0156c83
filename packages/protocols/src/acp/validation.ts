import {
  type AwaitMessage,
  invalidInput,
  isRecord,
  isUuid,
  type Message,
  type MessagePart,
  RUN_MODES,
  type RunMode,
  type Session,
} from "./model.ts";

/*
 * What clients send, checked and normalised. ACP's Python client writes null for what it leaves out, so null counts as absent
 * everywhere. Unknown fields are ignored, but those of parts are kept, as the reference server does: agents put words of their own
 * there. Everything here throws AcpError `invalid_input`.
 */

export interface RunCreation {
  readonly agentName: string;
  readonly input: readonly Message[];
  readonly mode: RunMode;
  readonly sessionId?: string;
  /** A session that comes along with its history, from another server. */
  readonly session?: Session;
}

export interface RunResumption {
  readonly answer: AwaitMessage;
  readonly mode: RunMode;
}

const ROLE = /^(user|agent(\/[a-zA-Z0-9_-]+)?)$/;

function optionalString(holder: Record<string, unknown>, key: string, where: string): string | undefined {
  const value = holder[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw invalidInput(`${where}.${key}: expected a string`);
  return value;
}

function partOf(value: unknown, where: string): MessagePart {
  if (!isRecord(value)) throw invalidInput(`${where}: expected a message part`);
  const { name: _1, content: _2, content_url: _3, content_type: _4, content_encoding: _5, metadata: _6, ...others } = value;
  const name = optionalString(value, "name", where);
  const content = optionalString(value, "content", where);
  const contentUrl = optionalString(value, "content_url", where);
  const encoding = optionalString(value, "content_encoding", where);
  const metadata = value["metadata"] ?? undefined;
  if (content !== undefined && contentUrl !== undefined)
    throw invalidInput(`${where}: only one of content or content_url can be provided`);
  if (contentUrl !== undefined && !URL.canParse(contentUrl)) throw invalidInput(`${where}.content_url: expected a URL`);
  if (encoding !== undefined && encoding !== "plain" && encoding !== "base64")
    throw invalidInput(`${where}.content_encoding: expected plain or base64`);
  if (metadata !== undefined && !isRecord(metadata)) throw invalidInput(`${where}.metadata: expected an object`);
  return {
    ...others,
    ...(name === undefined ? {} : { name }),
    content_type: optionalString(value, "content_type", where) ?? "text/plain",
    ...(content === undefined ? {} : { content }),
    ...(encoding === undefined || encoding === "plain" ? {} : { content_encoding: encoding }),
    ...(contentUrl === undefined ? {} : { content_url: contentUrl }),
    ...(metadata === undefined ? {} : { metadata }),
  };
}

/** A message with at least `minParts` parts; `where` names it in the error. */
export function messageOf(value: unknown, where: string, minParts: number): Message {
  if (!isRecord(value)) throw invalidInput(`${where}: expected a message`);
  const role = optionalString(value, "role", where) ?? "user";
  if (!ROLE.test(role)) throw invalidInput(`${where}.role: expected user, agent or agent/{agent_name}`);
  const parts: unknown = value["parts"];
  if (!Array.isArray(parts) || parts.length < minParts) throw invalidInput(`${where}.parts: expected a list of parts`);
  const createdAt = optionalString(value, "created_at", where);
  const completedAt = optionalString(value, "completed_at", where);
  return {
    role,
    parts: parts.map((part, index) => partOf(part, `${where}.parts[${index}]`)),
    ...(createdAt === undefined ? {} : { created_at: createdAt }),
    ...(completedAt === undefined ? {} : { completed_at: completedAt }),
  };
}

/** RFC 3339; the zone may be missing, as it is in what Python's clients make of a naive time. */
const DATE_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?$/;

const HOLDS: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === "string",
  integer: Number.isInteger,
  object: isRecord,
};
/** Fields of the two kinds of metadata that there are; all may be left out. */
const METADATA: Readonly<Record<string, Readonly<Record<string, keyof typeof HOLDS>>>> = {
  citation: { start_index: "integer", end_index: "integer", url: "string", title: "string", description: "string" },
  trajectory: { message: "string", tool_name: "string", tool_input: "object", tool_output: "object" },
};

function checkMetadata(metadata: object, where: string): void {
  const given = metadata as Record<string, unknown>;
  const { kind } = given;
  const fields = typeof kind === "string" && Object.hasOwn(METADATA, kind) ? METADATA[kind] : undefined;
  if (fields === undefined) throw invalidInput(`${where}.kind: expected ${Object.keys(METADATA).join(" or ")}`);
  for (const [field, type] of Object.entries(fields)) {
    const value = given[field] ?? null;
    if (value !== null && HOLDS[type]?.(value) !== true)
      throw invalidInput(`${where}.${field}: expected a value of type ${type}`);
  }
}

/**
 * A message for an agent of ours. Stricter than `messageOf`, which also reads the answers of others: what is taken in here is served
 * again as a session's history, and the SDKs refuse a whole history for one bad date or one kind of metadata that they do not know.
 */
function inputOf(value: unknown, where: string, minParts: number): Message {
  const message = messageOf(value, where, minParts);
  for (const key of ["created_at", "completed_at"] as const) {
    const time = message[key]?.toUpperCase();
    if (time !== undefined && !(DATE_TIME.test(time) && Number.isFinite(Date.parse(time))))
      throw invalidInput(`${where}.${key}: expected a date and time of RFC 3339`);
  }
  for (const [index, { metadata }] of message.parts.entries())
    if (metadata !== undefined) checkMetadata(metadata, `${where}.parts[${index}].metadata`);
  return message;
}

function modeOf(value: unknown): RunMode {
  // The document names no default; sync is the reference server's.
  const mode = RUN_MODES.find((candidate) => candidate === (value ?? "sync"));
  if (mode === undefined) throw invalidInput(`mode: expected one of ${RUN_MODES.join(", ")}`);
  return mode;
}

function sessionOf(value: unknown): Session | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isRecord(value)) throw invalidInput("session: expected an object");
  const { id } = value;
  const history: unknown = value["history"] ?? [];
  const state = optionalString(value, "state", "session");
  if (!isUuid(id)) throw invalidInput("session.id: expected a UUID");
  if (!Array.isArray(history) || !history.every((url) => typeof url === "string" && URL.canParse(url)))
    throw invalidInput("session.history: expected a list of URLs");
  if (state !== undefined && !URL.canParse(state)) throw invalidInput("session.state: expected a URL");
  return { id: id.toLowerCase(), history: history as string[], ...(state === undefined ? {} : { state }) };
}

/** The body of `POST /runs`. */
export function runCreationOf(body: unknown): RunCreation {
  if (!isRecord(body)) throw invalidInput("expected a JSON object {agent_name, input, mode}");
  const agentName = body["agent_name"];
  if (typeof agentName !== "string") throw invalidInput("agent_name: expected a string");
  const input: unknown = body["input"];
  if (!Array.isArray(input) || input.length === 0) throw invalidInput("input: expected a list of at least one message");
  const givenId = body["session_id"] ?? undefined;
  if (givenId !== undefined && !isUuid(givenId)) throw invalidInput("session_id: expected a UUID");
  const session = sessionOf(body["session"]);
  const sessionId = givenId?.toLowerCase() ?? session?.id;
  if (session !== undefined && session.id !== sessionId) throw invalidInput("session_id and session.id differ", 400);
  return {
    agentName,
    input: input.map((message, index) => inputOf(message, `input[${index}]`, 1)),
    mode: modeOf(body["mode"]),
    ...(sessionId === undefined ? {} : { sessionId }),
    ...(session === undefined ? {} : { session }),
  };
}

/** The body of `POST /runs/{run_id}`. */
export function runResumptionOf(body: unknown, runId: string): RunResumption {
  if (!isRecord(body)) throw invalidInput("expected a JSON object {await_resume, mode}");
  const named = body["run_id"] ?? undefined;
  if (named !== undefined && (!isUuid(named) || named.toLowerCase() !== runId))
    throw invalidInput("run_id: is not the run of the path");
  const resume = body["await_resume"];
  if (!isRecord(resume)) throw invalidInput("await_resume: expected an object");
  if ((resume["type"] ?? "message") !== "message") throw invalidInput("await_resume.type: this agent awaits a message");
  // An empty message is an answer too: the SDKs' own tests send one.
  return {
    answer: { type: "message", message: inputOf(resume["message"], "await_resume.message", 0) },
    mode: modeOf(body["mode"]),
  };
}

const WHOLE = /^\d+$/;

/** The query of `GET /agents`. */
export function pageOf(query: unknown): { readonly limit: number; readonly offset: number } {
  const given = query as Record<string, unknown>;
  const read = (key: "limit" | "offset", standard: number, min: number, max: number): number => {
    const value = given[key];
    if (value === undefined) return standard;
    const number = typeof value === "string" && WHOLE.test(value) ? Number(value) : Number.NaN;
    if (!(number >= min && number <= max))
      throw invalidInput(`${key}: expected a whole number from ${min}${max === Infinity ? "" : ` to ${max}`}`);
    return number;
  };
  return { limit: read("limit", 10, 1, 1000), offset: read("offset", 0, 0, Infinity) };
}

/** An id of the path: UUIDs by the document. */
export function uuidOf(value: unknown, what: string): string {
  if (!isUuid(value)) throw invalidInput(`${what}: expected a UUID`);
  return value.toLowerCase();
}
