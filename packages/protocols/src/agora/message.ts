import type { AgentEvent, AgentId, Part, Payload } from "@failstorm/core";
import { type Body, isObject } from "./envelope.ts";

/** A message as it reaches the agent. */
export interface Message {
  readonly from: AgentId | null;
  readonly payload: Payload;
}

function asPart(value: unknown): Part | null {
  if (!isObject(value)) return null;
  if (value["kind"] === "text" && typeof value["text"] === "string") return { kind: "text", text: value["text"] };
  return value["kind"] === "data" ? { kind: "data", data: value["data"] ?? null } : null;
}

/** Parts from the wire; null when there is something else among them. */
export function asParts(value: unknown): readonly Part[] | null {
  if (!Array.isArray(value)) return null;
  const parts = value.map(asPart).filter((part) => part !== null);
  return parts.length === value.length ? parts : null;
}

/** A request in the form of our documents for messages; null when it is another. */
export function asMessage(body: unknown): Message | null {
  if (!isObject(body)) return null;
  const { from, text } = body;
  if (from !== undefined && from !== null && typeof from !== "string") return null;
  const sender = from ?? null;
  if (typeof text === "string") return { from: sender, payload: { text } };
  const parts = asParts(body["parts"]);
  return parts === null ? null : { from: sender, payload: { parts } };
}

/** The library's bodies are strings; where a document asks for an object, its JSON text is as good. */
export function objectIn(body: unknown): unknown {
  if (typeof body !== "string") return body;
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}

export const textOf = (parts: readonly Part[]): string => parts.map((part) => (part.kind === "text" ? part.text : "")).join("");

/** What an agent enqueued, as parts. */
export function partsOf(event: AgentEvent): readonly Part[] {
  if (event.type === "agent_text_message") return [{ kind: "text", text: event.text }];
  return event.type === "agent_parts_message" ? event.parts : [];
}

/*
 * Natural language. Rare messages are sentences that a person or a model can read. So that an agent without a model reads them too,
 * and gets back exactly what was sent, ours open with a set phrase and give the length of each part. Whatever does not open so is taken
 * as the words it is.
 */

const json = (data: unknown): string => JSON.stringify(data) ?? "null";

const describePart = (part: Part, index: number): string => {
  const [what, content] = part.kind === "text" ? ["text", part.text] : ["data, written as JSON", json(part.data)];
  return `Part ${index + 1} is ${what}, ${content.length} characters long:\n${content}\n`;
};

/** A message in words. */
export function speak(from: AgentId, payload: Payload): string {
  const parts = "parts" in payload ? payload.parts : null;
  if (parts === null) return `Hello, this is ${from}. I write to you in plain words:\n${(payload as { text: string }).text}`;
  return `Hello, this is ${from}. My message has ${parts.length} part(s).\n${parts.map(describePart).join("")}`;
}

function readParts(text: string, start: number, count: number): readonly Part[] | null {
  const parts: Part[] = [];
  let at = start;
  for (let index = 1; index <= count; index++) {
    const head = /^Part (\d+) is (text|data, written as JSON), (\d+) characters long:\n/.exec(text.slice(at, at + 96));
    if (head === null || Number(head[1]) !== index) return null;
    const from = at + head[0].length;
    const end = from + Number(head[3]);
    if (end >= text.length || text[end] !== "\n") return null;
    const content = text.slice(from, end);
    if (head[2] === "text") parts.push({ kind: "text", text: content });
    else {
      try {
        parts.push({ kind: "data", data: JSON.parse(content) });
      } catch {
        return null;
      }
    }
    at = end + 1;
  }
  return at === text.length ? parts : null;
}

/** Understands what `speak` wrote; null when the words are somebody else's. */
export function understand(text: string): { from: AgentId; payload: Payload } | null {
  const head = /^Hello, this is (\S+)\. (?:I write to you in plain words:|My message has (\d+) part\(s\)\.)\n/.exec(
    text.slice(0, 512),
  );
  const [all, from, count] = head ?? [];
  if (all === undefined || from === undefined) return null;
  if (count === undefined) return { from, payload: { text: text.slice(all.length) } };
  const parts = readParts(text, all.length, Number(count));
  return parts === null ? null : { from, payload: { parts } };
}

/** An answer for somebody who does not speak as we do: an object for whom asked with an object, else words. */
export function plainAnswer(request: Body, parts: readonly Part[]): Body {
  const [only] = parts;
  if (typeof request === "string") return parts.map((part) => (part.kind === "text" ? part.text : json(part.data))).join("\n");
  return parts.length === 1 && only?.kind === "data" && isObject(only.data) ? only.data : { parts };
}
