import { isUtf8 } from "node:buffer";
import type { AgentId, Part, Payload } from "@failstorm/core";
import { invalidInput, type Message, type MessagePart } from "./model.ts";

/** ACP carries structured data as the text of a part whose content type says JSON. */
const JSON_TYPE = "application/json";
const TEXT_TYPE = "text/plain";

const bareType = (contentType: string): string => (contentType.split(";")[0] ?? "").trim().toLowerCase();

export function toMessageParts(payload: Payload): MessagePart[] {
  if ("text" in payload) return [{ content_type: TEXT_TYPE, content: payload.text }];
  return payload.parts.map((part) =>
    part.kind === "text"
      ? { content_type: TEXT_TYPE, content: part.text }
      : // What JSON has no word for (undefined) becomes null.
        { content_type: JSON_TYPE, content: JSON.stringify(part.data) ?? "null" },
  );
}

const BASE64 = /^[\w+/=\s-]*$/;

/** What base64 stands for, where that is text. */
function decoded(content: string): string | undefined {
  if (!BASE64.test(content)) return undefined;
  const bytes = Buffer.from(content, "base64");
  return isUtf8(bytes) ? bytes.toString("utf8") : undefined;
}

/**
 * Words for plain text, parsed data for JSON; everything else (other types, links, undecodable base64) is handed over as the part
 * itself. Throws AcpError when JSON content is none.
 */
function toPart(part: MessagePart): Part {
  const type = bareType(part.content_type);
  const { content } = part;
  if (content === undefined || (type !== TEXT_TYPE && type !== JSON_TYPE)) return { kind: "data", data: part };
  const text = part.content_encoding === "base64" ? decoded(content) : content;
  if (text === undefined) return { kind: "data", data: part };
  if (type === TEXT_TYPE) return { kind: "text", text };
  try {
    return { kind: "data", data: JSON.parse(text) as unknown };
  } catch {
    throw invalidInput("a part of type application/json holds no JSON");
  }
}

export const toParts = (messages: readonly Message[]): Part[] => messages.flatMap((message) => message.parts.map(toPart));

/** One text part is a text payload. */
export function toPayload(messages: readonly Message[]): Payload {
  const parts = toParts(messages);
  const [only] = parts;
  return parts.length === 1 && only?.kind === "text" ? { text: only.text } : { parts };
}

export const textOf = (parts: readonly Part[]): string => parts.map((part) => (part.kind === "text" ? part.text : "")).join("");

const ROLE = /^agent\/([a-zA-Z0-9_-]+)$/;

/** The sender as a message's role; ids that do not fit the role's pattern stay anonymous. */
export const roleOf = (agentId: AgentId): string => (ROLE.test(`agent/${agentId}`) ? `agent/${agentId}` : "agent");

/** Who wrote the last message that names its author. */
export function authorOf(messages: readonly Message[]): AgentId | null {
  return messages.map(({ role }) => ROLE.exec(role)?.[1]).findLast((name) => name !== undefined) ?? null;
}

/** Characters in a value, however deep it is nested; each thing in it counts a few more. */
function charsIn(value: unknown): number {
  let chars = 0;
  const rest = [value];
  while (rest.length > 0) {
    const next = rest.pop();
    chars += typeof next === "string" ? next.length : 8;
    if (typeof next !== "object" || next === null) continue;
    for (const [key, inner] of Object.entries(next)) {
      chars += key.length;
      rest.push(inner);
    }
  }
  return chars;
}

/** Characters of content, and of whatever else a client has put in: what keeping these messages costs, roughly. */
export function charsOf(messages: readonly Message[]): number {
  let chars = 0;
  for (const { role, parts } of messages) {
    chars += role.length;
    for (const { content, content_url, content_type, ...others } of parts) {
      chars += (content?.length ?? 0) + (content_url?.length ?? 0) + content_type.length;
      for (const key in others) chars += key.length + charsIn(others[key as keyof typeof others]);
    }
  }
  return chars;
}

/** A message of ours as acp-sdk's client writes it, with what may be left out. `wallMs`: since the Unix epoch. */
export function toSdkMessage({ role, parts }: Message, wallMs: number): Message {
  const at = new Date(wallMs).toISOString();
  const encoded = parts.map((part) => ({ ...part, content_encoding: "plain" as const }));
  return { role, parts: encoded, created_at: at, completed_at: at };
}
