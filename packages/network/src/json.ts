/** What JSON can say, and bytes. Must not be changed once handed over: the network keeps no copy of its own. */
export type MessagePayload =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly MessagePayload[]
  | { readonly [key: string]: MessagePayload | undefined };

/** Values in values: a frame holds 64 at most, of which what carries the payload takes some. */
const MAX_DEPTH = 48;

/**
 * Why a value would not arrive as it is, whatever the encoding; null when it would. A field without a value arrives as null, or not at all: see
 * `withoutUndefined`.
 */
export function objectionToPayload(value: unknown, depth = 0): string | null {
  if (typeof value === "string") return value.isWellFormed() ? null : "it holds text that is not Unicode (half a surrogate pair)";
  if (value === null || value instanceof Uint8Array || typeof value === "number" || typeof value === "boolean") return null;
  if (typeof value !== "object") return `it holds a value that is neither JSON nor bytes (${typeof value})`;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null)
    return `it holds an object that is neither JSON nor bytes (${value.constructor.name})`;
  if (depth >= MAX_DEPTH) return `it is nested deeper than ${MAX_DEPTH}, or without end`;
  for (const [key, inner] of Object.entries(value)) {
    if (key === "__proto__" || !key.isWellFormed()) return `it has a field that not every decoder keeps (${JSON.stringify(key)})`;
    const objection = inner === undefined && !Array.isArray(value) ? null : objectionToPayload(inner, depth + 1);
    if (objection !== null) return objection;
  }
  return null;
}

const hasUndefined = (value: unknown): boolean =>
  typeof value === "object" &&
  value !== null &&
  !(value instanceof Uint8Array) &&
  Object.values(value).some((inner) => inner === undefined || hasUndefined(inner));

/** The same without fields that have no value; the very same where it has none. Of what `objectionToPayload` has no objection to. */
export function withoutUndefined(value: MessagePayload): MessagePayload {
  if (!hasUndefined(value) || typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return (value as readonly MessagePayload[]).map(withoutUndefined);
  const present = Object.entries(value as Readonly<Record<string, MessagePayload | undefined>>);
  return Object.fromEntries(present.flatMap(([key, inner]) => (inner === undefined ? [] : [[key, withoutUndefined(inner)]])));
}

/*
 * JSON has no bytes: they travel as {"$bytes": base64}. An object of the caller's that happens to look like that, or like the escape
 * itself, is wrapped as {"$object": …}, so that every value comes back as it was.
 */
const BYTES = "$bytes";
const OBJECT = "$object";

const isMarked = (keys: readonly string[]): boolean => keys.length === 1 && (keys[0] === BYTES || keys[0] === OBJECT);

function mark(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Uint8Array) {
    return { [BYTES]: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") };
  }
  if (Array.isArray(value)) return value.map(mark);
  const marked = Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, mark(inner)]));
  return isMarked(Object.keys(value)) ? { [OBJECT]: marked } : marked;
}

const markless = (value: object): unknown =>
  Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unmark(inner)]));

function unmark(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(unmark);
  if (!isMarked(Object.keys(value))) return markless(value);
  const { [BYTES]: base64, [OBJECT]: inner } = value as { [BYTES]?: unknown; [OBJECT]?: unknown };
  if (typeof base64 === "string") return Buffer.from(base64, "base64");
  return typeof inner === "object" && inner !== null ? markless(inner) : markless(value);
}

/** JSON text of a value that may hold bytes anywhere. */
export const toJson = (value: unknown): string => JSON.stringify(mark(value));

/** The value again; bytes come back as Buffers. Throws SyntaxError on text that is not JSON. */
export const fromJson = (text: string): unknown => unmark(JSON.parse(text));

/**
 * The one text of a value, whatever the order in which its fields were set: keys sorted, undefined left out, bytes marked. What
 * checksums are taken of.
 */
export function canonicalJson(value: unknown): string {
  const sorted = (inner: unknown): unknown => {
    if (typeof inner !== "object" || inner === null) return inner;
    if (Array.isArray(inner)) return inner.map(sorted);
    const keys = Object.keys(inner).sort();
    return Object.fromEntries(keys.map((key) => [key, sorted((inner as Record<string, unknown>)[key])]));
  };
  return JSON.stringify(sorted(mark(value)));
}
