/** What JSON can say, and bytes. Must not be changed once handed over: the network keeps no copy of its own. */
export type MessagePayload =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly MessagePayload[]
  | { readonly [key: string]: MessagePayload | undefined };

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
