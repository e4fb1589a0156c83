import type { AgentEvent, Part, Payload } from "@failstorm/core";

/**
 * The JSON of A2A 1.0 as the client writes and reads it (spec §4; ProtoJSON: camelCase, enums by name). The host's side goes
 * through the SDK's codecs.
 */
export const VERSION_HEADER = "a2a-version";
export const VERSION = "1.0";
export const CARD_PATH = "/.well-known/agent-card.json";

/**
 * Our extension (spec §4.6): in the parameters of the agent card who answers, as which incarnation; in the metadata of a task from
 * ListTasks the id of the message it answers.
 */
export const EXTENSION_URI = "urn:failstorm:agent:v1";

export type WirePart = { readonly text: string } | { readonly data: unknown };

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const wirePart = (part: Part): WirePart => (part.kind === "text" ? { text: part.text } : { data: part.data ?? null });

export const toWireParts = (payload: Payload): WirePart[] =>
  "text" in payload ? [{ text: payload.text }] : payload.parts.map(wirePart);

/** A part as it came: text and data as they are; a file, for which we have no kind, as data `{raw | url, …}`. Null: no part at all. */
function fromWirePart(part: unknown): Part | null {
  if (!isRecord(part)) return null;
  if (typeof part["text"] === "string") return { kind: "text", text: part["text"] };
  if ("data" in part) return { kind: "data", data: part["data"] };
  if (typeof part["raw"] === "string" || typeof part["url"] === "string") return { kind: "data", data: part };
  return null;
}

/** The parts of a message or artifact from the wire. */
export const fromWireParts = (parts: unknown): Part[] =>
  Array.isArray(parts) ? parts.map(fromWirePart).filter((part) => part !== null) : [];

export const textOf = (parts: readonly Part[]): string => parts.map((part) => (part.kind === "text" ? part.text : "")).join("");

/** What one artifact update says, in our words. */
export function asAgentEvent(parts: readonly Part[]): AgentEvent {
  const [only] = parts;
  return parts.length === 1 && only?.kind === "text"
    ? { type: "agent_text_message", text: only.text }
    : { type: "agent_parts_message", parts };
}

export const TERMINAL_STATES: ReadonlySet<unknown> = new Set([
  "TASK_STATE_COMPLETED",
  "TASK_STATE_FAILED",
  "TASK_STATE_CANCELED",
  "TASK_STATE_REJECTED",
]);
/** The peer waits for something only its client can give: no answer will come of its own accord. */
export const INTERRUPTED_STATES: ReadonlySet<unknown> = new Set(["TASK_STATE_INPUT_REQUIRED", "TASK_STATE_AUTH_REQUIRED"]);

/** A task from the wire, read leniently: what is missing or of another type is absent. */
export interface WireTask {
  readonly id: string;
  readonly contextId: string | undefined;
  readonly state: string;
  readonly statusText: string;
  readonly timestamp: string | undefined;
  readonly artifacts: readonly { readonly artifactId: string; readonly parts: readonly Part[] }[];
  /** The ids of messages in its history, and of the one it answers where our extension tells it. */
  readonly messageIds: readonly string[];
}

const textIn = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

export function readStatus(status: unknown): Pick<WireTask, "state" | "statusText" | "timestamp"> | null {
  if (!isRecord(status) || typeof status["state"] !== "string") return null;
  const message = isRecord(status["message"]) ? status["message"]["parts"] : undefined;
  return { state: status["state"], statusText: textOf(fromWireParts(message)), timestamp: textIn(status["timestamp"]) };
}

export function readArtifact(artifact: unknown): WireTask["artifacts"][number] | null {
  if (!isRecord(artifact)) return null;
  return { artifactId: textIn(artifact["artifactId"]) ?? "", parts: fromWireParts(artifact["parts"]) };
}

/** A task from the wire; null when it is none. */
export function readTask(task: unknown): WireTask | null {
  if (!isRecord(task) || typeof task["id"] !== "string" || task["id"] === "") return null;
  const status = readStatus(task["status"]);
  if (status === null) return null;
  const artifacts: unknown[] = Array.isArray(task["artifacts"]) ? task["artifacts"] : [];
  const history: unknown[] = Array.isArray(task["history"]) ? task["history"] : [];
  const ids = history.map((message) => (isRecord(message) ? message["messageId"] : undefined));
  const answers = isRecord(task["metadata"]) ? task["metadata"][EXTENSION_URI] : undefined;
  return {
    ...status,
    id: task["id"],
    contextId: textIn(task["contextId"]),
    artifacts: artifacts.map(readArtifact).filter((artifact) => artifact !== null),
    messageIds: [...ids, answers].filter((id) => typeof id === "string"),
  };
}
