import canonicalize from "canonicalize";

export type JsonObject = Record<string, unknown>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Deeper values are left to the library, which does not recurse. */
const MAX_DEPTH = 40;

/** What has no plain form in order: the library's to write, or to refuse. */
const UNUSUAL = Symbol("unusual");
const NINE = 0x39;
const UNDERSCORE = 0x5f;

/** Names that an object may not keep in the place where they are put (array indices), or not keep (`__proto__`), or obey. */
function isUnusualName(name: string): boolean {
  const first = name.charCodeAt(0);
  return first <= NINE || first === UNDERSCORE || name === "toJSON";
}

function itemsInOrder(items: readonly unknown[], depth: number): unknown {
  let copy: unknown[] | null = null;
  let index = 0;
  for (const item of items) {
    const ordered = inOrder(item, depth);
    if (ordered === UNUSUAL) return UNUSUAL;
    if (ordered !== item) (copy ??= [...items])[index] = ordered;
    index++;
  }
  return copy ?? items;
}

/** The value with all members in the order of JCS; itself when they are, as in what was canonical when it was sent. */
function inOrder(value: unknown, depth: number): unknown {
  if (typeof value === "string" || typeof value === "boolean" || value === null) return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : UNUSUAL;
  if (typeof value !== "object" || depth > MAX_DEPTH) return UNUSUAL;
  if (Array.isArray(value)) return itemsInOrder(value, depth + 1);
  const object = value as JsonObject;
  if (Object.getPrototypeOf(object) !== Object.prototype) return UNUSUAL;
  const names = Object.keys(object);
  let isOrdered = true;
  let former = "";
  for (const name of names) {
    if (isUnusualName(name)) return UNUSUAL;
    if (name < former) isOrdered = false;
    former = name;
  }
  // The order of UTF-16 code units (RFC 8785 §3.2.3) is the one that strings have.
  if (!isOrdered) names.sort();
  let copy: JsonObject | null = isOrdered ? null : {};
  for (const name of names) {
    const ordered = inOrder(object[name], depth + 1);
    if (ordered === UNUSUAL) return UNUSUAL;
    if (copy === null && ordered !== object[name]) copy = { ...object };
    if (copy !== null) copy[name] = ordered;
  }
  return copy ?? object;
}

/** RFC 8785 (JCS). Throws TypeError on what JSON cannot say: lone surrogates, NaN, cycles. */
export function canonical(value: unknown): string {
  const ordered = inOrder(value, 0);
  if (ordered !== UNUSUAL) {
    // Numbers and strings JCS writes as ECMAScript does, but for lone surrogates, which it has no form for.
    const usual = JSON.stringify(ordered);
    if (!usual.includes("\\ud")) return usual;
  }
  let text: string | undefined;
  try {
    text = canonicalize(value);
  } catch (cause) {
    throw new TypeError(`no canonical form: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  if (text === undefined) throw new TypeError("no canonical form: nothing to serialise");
  return text;
}

/** JSON.parse, with undefined for what is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

let second = Number.NaN;
let secondText = "";

/** Ms since the Unix epoch as an RFC 3339 instant, like Date's; the second's text is made once a second. */
export function instantOf(wallMs: number): string {
  const ms = Math.trunc(wallMs);
  const now = Math.floor(ms / 1000);
  if (now !== second) {
    second = now;
    secondText = new Date(now * 1000).toISOString().slice(0, -"000Z".length);
  }
  return `${secondText}${String(ms - now * 1000).padStart(3, "0")}Z`;
}
