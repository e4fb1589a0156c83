import { createHash } from "node:crypto";

/** What the head of a protocol document says (spec 8.1): three mandatory entries, and whatever its author added. */
export interface Metadata {
  readonly name: string;
  readonly description: string;
  readonly multiround: boolean;
  readonly entries: Readonly<Record<string, unknown>>;
}

export interface ProtocolDocument {
  /** 40 hexadecimal digits: the SHA-1 of the whole text (spec 8.2). */
  readonly hash: string;
  readonly text: string;
  readonly metadata: Metadata;
}

/** Documents are read by people and models; one larger than this, in bytes, is not taken from anybody. */
export const MAX_DOCUMENT_BYTES = 64 * 1024;

/** The protocol identifier of the spec (8.2). */
export const hashOf = (text: string): string => createHash("sha1").update(text, "utf8").digest("hex");

/** A hash in the spec's form, or in that of the Python library 0.2.0 (base64 of the same SHA-1), as the spec's; anything else as it is. */
export function normalHash(hash: string): string {
  if (/^[0-9a-fA-F]{40}$/.test(hash)) return hash.toLowerCase();
  if (/^[A-Za-z0-9+/]{27}=$/.test(hash)) return Buffer.from(hash, "base64").toString("hex");
  return hash;
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A value without the comment behind it, if there is one: `#` first or after white space, and not within quotes. */
function withoutComment(line: string): string {
  const quoted = /^(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')/.exec(line)?.[0].length ?? 0;
  const at = line.slice(quoted).search(/(?:^|\s)#/);
  return at < 0 ? line : line.slice(0, quoted + at).trimEnd();
}

/** One YAML scalar or flow list: JSON where it is JSON, else the words themselves. */
function scalar(line: string): unknown {
  const text = json(line) === undefined ? withoutComment(line) : line;
  const value = json(text);
  if (value !== undefined) return value;
  const quoted = /^'((?:[^']|'')*)'$/.exec(text);
  if (quoted?.[1] !== undefined) return quoted[1].replaceAll("''", "'");
  return /^(?:true|false)$/i.test(text) ? text.toLowerCase() === "true" : text;
}

/** Strangers write these lines: nothing in it backtracks over more than it has read once. */
const KEY = /^(?:"([^"]+)"\s*|'([^']+)'\s*|([^\s:#"'[\]{}-][^:]*)):(?=\s|$)/;

/**
 * The part of YAML that document heads use: `key: value` lines, comments, and continuation lines (indented, or items of a list), which are
 * joined to the value; or one JSON object, which is YAML too.
 */
function readEntries(lines: readonly string[]): Record<string, unknown> | null {
  const object = json(lines.join("\n"));
  if (typeof object === "object" && object !== null && !Array.isArray(object)) return object as Record<string, unknown>;
  const raw = new Map<string, string>();
  let last: string | null = null;
  for (const line of lines) {
    if (/^\s*(?:#|$)/.test(line)) continue;
    const [head, double, single, plain] = KEY.exec(line) ?? [];
    const key = double ?? single ?? plain?.trimEnd();
    if (head !== undefined && key !== undefined) {
      raw.set(key, line.slice(head.length).trim());
      last = key;
    } else if (last !== null && /^(?:\s|-(?:\s|$))/.test(line))
      raw.set(last, `${(raw.get(last) ?? "").replace(/^[>|][+-]?$/, "")} ${line.trim()}`.trim());
    else return null;
  }
  return Object.fromEntries([...raw].map(([key, value]) => [key, scalar(value)]));
}

/**
 * Reads a protocol document (spec 8.1): YAML, a line `---`, the specification. The library's form, with a further `---` before the YAML,
 * is accepted too. Null when it is no such document.
 */
export function parseDocument(text: string): ProtocolDocument | null {
  if (Buffer.byteLength(text) > MAX_DOCUMENT_BYTES) return null;
  const lines = text.split(/\r?\n/);
  const start = lines.findIndex((line) => line.trim() !== "");
  const first = lines[start]?.trim() === "---" ? start + 1 : start;
  const end = lines.findIndex((line, index) => index >= first && line.trim() === "---");
  if (first < 0 || end < 0) return null;
  const entries = readEntries(lines.slice(first, end));
  if (entries === null) return null;
  const { name, description, multiround } = entries;
  if (!isWord(name) || !isWord(description) || typeof multiround !== "boolean") return null;
  return { hash: hashOf(text), text, metadata: { name: String(name), description: String(description), multiround, entries } };
}

const isWord = (value: unknown): boolean => (typeof value === "string" && value !== "") || typeof value === "number";

/** A document as a `data:` URI, the source that both dialects read. */
export const dataUriOf = (text: string): string => `data:text/plain;charset=utf-8,${encodeURIComponent(text)}`;

/** The text in a `data:` URI (RFC 2397) of a type that text may have; null when there is none. */
export function textOfDataUri(uri: string): string | null {
  const [, type, base64, data] = /^data:([^,]*?)(;base64)?,(.*)$/is.exec(uri) ?? [];
  if (type === undefined || data === undefined || !/^(?:text\/|application\/|;|$)/i.test(type)) return null;
  try {
    const decoded = decodeURIComponent(data);
    return base64 === undefined ? decoded : Buffer.from(decoded, "base64").toString("utf8");
  } catch {
    return null;
  }
}
