import { isDeepStrictEqual } from "node:util";

type Schema = boolean | Readonly<Record<string, unknown>>;
type Check = (argument: unknown, value: unknown, at: string, schema: Readonly<Record<string, unknown>>) => string[];

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  null: (value) => value === null,
  boolean: (value) => typeof value === "boolean",
  string: (value) => typeof value === "string",
  number: (value) => typeof value === "number",
  integer: (value) => Number.isInteger(value),
  array: (value) => Array.isArray(value),
  object: isObject,
};

const unless = (fine: boolean, at: string, message: string): string[] => (fine ? [] : [`${at}: ${message}`]);
const bound =
  (holds: (value: number, limit: number) => boolean, word: string): Check =>
  (limit, value, at) =>
    unless(typeof value !== "number" || holds(value, limit as number), at, `${String(value)} is not ${word} ${String(limit)}`);

/** The keywords of JSON Schema 2020-12 that `failstorm schema` uses; one that is not here is an error, not passed over. */
const KEYWORDS: Readonly<Record<string, Check>> = {
  type: (type, value, at) =>
    unless(
      [type].flat().some((name) => TYPES[String(name)]?.(value) === true),
      at,
      `is no ${String(type)}`,
    ),
  const: (expected, value, at) => unless(isDeepStrictEqual(value, expected), at, `is not ${JSON.stringify(expected)}`),
  enum: (options, value, at) =>
    unless(
      (options as unknown[]).some((option) => isDeepStrictEqual(option, value)),
      at,
      `is none of ${JSON.stringify(options)}`,
    ),
  minimum: bound((value, limit) => value >= limit, "at least"),
  maximum: bound((value, limit) => value <= limit, "at most"),
  minItems: (least, value, at) =>
    unless(!Array.isArray(value) || value.length >= (least as number), at, `has fewer than ${String(least)} items`),
  maxItems: (most, value, at) =>
    unless(!Array.isArray(value) || value.length <= (most as number), at, `has more than ${String(most)} items`),
  required: (names, value, at) =>
    isObject(value) ? (names as string[]).flatMap((name) => unless(name in value, at, `lacks ${name}`)) : [],
  properties: (properties, value, at) =>
    isObject(value)
      ? Object.entries(properties as Record<string, Schema>).flatMap(([name, schema]) =>
          name in value ? findProblems(schema, value[name], `${at}.${name}`) : [],
        )
      : [],
  additionalProperties: (schema, value, at, { properties = {} }) =>
    isObject(value)
      ? Object.entries(value)
          .filter(([name]) => !(name in (properties as object)))
          .flatMap(([name, one]) => findProblems(schema as Schema, one, `${at}.${name}`))
      : [],
  propertyNames: (schema, value, at) =>
    isObject(value) ? Object.keys(value).flatMap((name) => findProblems(schema as Schema, name, `${at} key ${name}`)) : [],
  prefixItems: (schemas, value, at) =>
    Array.isArray(value)
      ? (schemas as Schema[]).flatMap((schema, i) => (i < value.length ? findProblems(schema, value[i], `${at}[${i}]`) : []))
      : [],
  items: (schema, value, at, { prefixItems = [] }) =>
    Array.isArray(value)
      ? value.slice((prefixItems as unknown[]).length).flatMap((one, i) => findProblems(schema as Schema, one, `${at}[${i}]`))
      : [],
  anyOf: (schemas, value, at) =>
    unless(
      (schemas as Schema[]).some((schema) => findProblems(schema, value, at).length === 0),
      at,
      "fits none of anyOf",
    ),
};

const ANNOTATIONS = new Set(["$schema", "description", "title", "default"]);

/** What of `value` is against a JSON schema; empty when it fits. Throws on a keyword it does not know. */
export function findProblems(schema: Schema, value: unknown, at = "$"): string[] {
  if (typeof schema === "boolean") return unless(schema, at, "is not allowed");
  return Object.entries(schema).flatMap(([keyword, argument]) => {
    if (ANNOTATIONS.has(keyword)) return [];
    const check = KEYWORDS[keyword];
    if (check === undefined) throw new Error(`${at}: the schema's keyword ${keyword} is not known here`);
    return check(argument, value, at, schema);
  });
}
