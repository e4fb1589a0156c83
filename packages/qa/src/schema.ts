/** The input of a tool is not what the tool takes: the caller's fault, and the answer says which part of it. */
export class ToolInputError extends Error {
  readonly code = "BAD_TOOL_INPUT";
  constructor(message: string) {
    super(message);
    this.name = "ToolInputError";
  }
}

/** Reads a value that came from the network; `path` names it in the error. Throws ToolInputError. */
export type Schema<T> = (value: unknown, path: string) => T;

const fail = (path: string, wanted: string, value: unknown): never => {
  const shown = value === null ? "null" : Array.isArray(value) ? "a list" : typeof value;
  throw new ToolInputError(`${path}: wanted ${wanted}, got ${shown}`);
};

export const text =
  (maxLength: number): Schema<string> =>
  (value, path) =>
    typeof value === "string" && value.length <= maxLength
      ? value
      : fail(path, `a text of at most ${maxLength} characters`, value);

export const wholeNumber =
  (min: number, max: number): Schema<number> =>
  (value, path) =>
    typeof value === "number" && Number.isInteger(value) && value >= min && value <= max
      ? value
      : fail(path, `a whole number from ${min} to ${max}`, value);

export const finiteNumber: Schema<number> = (value, path) =>
  typeof value === "number" && Number.isFinite(value) ? value : fail(path, "a finite number", value);

export const oneOf =
  <const T extends string>(allowed: readonly T[]): Schema<T> =>
  (value, path) =>
    allowed.find((item) => item === value) ?? fail(path, `one of ${allowed.join(", ")}`, value);

export const list =
  <T>(item: Schema<T>, maxItems: number): Schema<T[]> =>
  (value, path) =>
    Array.isArray(value) && value.length <= maxItems
      ? value.map((entry: unknown, index) => item(entry, `${path}[${index}]`))
      : fail(path, `a list of at most ${maxItems}`, value);

export const object =
  <T extends Record<string, unknown>>(fields: { readonly [Key in keyof T]: Schema<T[Key]> }): Schema<T> =>
  (value, path) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return fail(path, "an object", value);
    const given = new Map<string, unknown>(Object.entries(value));
    const read = Object.entries<Schema<unknown>>(fields).map(([key, schema]) => [key, schema(given.get(key), `${path}.${key}`)]);
    return Object.fromEntries(read) as T;
  };

/** An object whose field `mode` tells which of the shapes it has. */
export const byMode =
  <Shapes extends Record<string, Record<string, unknown>>>(
    shapes: {
      readonly [Mode in keyof Shapes]: Schema<Shapes[Mode]>;
    },
  ): Schema<{ [Mode in keyof Shapes]: { mode: Mode } & Shapes[Mode] }[keyof Shapes]> =>
  (value, path) => {
    const { mode } = object({ mode: oneOf(Object.keys(shapes)) })(value, path);
    const schema = shapes[mode] ?? fail(`${path}.mode`, "a known mode", mode);
    return { mode, ...schema(value, path) };
  };
