import canonicalize from "canonicalize";

export type JsonObject = Record<string, unknown>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Deeper values are left to the library, which does not recurse. */
const MAX_DEPTH = 40;

/** Whether all members are in the order of JCS, as in what was canonical when it was sent; false also for what is not plainly so. */
function isOrdered(value: unknown, depth: number): boolean {
  if (typeof value === "string" || typeof value === "boolean" || value === null) return true;
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || depth > MAX_DEPTH) return false;
  if (Array.isArray(value)) {
    for (const item of value) if (!isOrdered(item, depth + 1)) return false;
    return true;
  }
  const object = value as JsonObject;
  if (Object.getPrototypeOf(object) !== Object.prototype) return false;
  let former = "";
  for (const name of Object.keys(object)) {
    if (name < former || name === "toJSON" || !isOrdered(object[name], depth + 1)) return false;
    former = name;
  }
  return true;
}

/** RFC 8785 (JCS). Throws TypeError on what JSON cannot say: lone surrogates, NaN, cycles. */
export function canonical(value: unknown): string {
  if (isOrdered(value, 0)) {
    // Numbers and strings JCS writes as ECMAScript does, but for lone surrogates, which it has no form for.
    const usual = JSON.stringify(value);
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
