import { InputError } from "@failstorm/core";

/** A section of the configuration, not yet checked. */
export type Given = Readonly<Record<string, unknown>>;

export function sectionIn(value: unknown, path: string): Given {
  const section = value ?? {};
  if (typeof section !== "object" || Array.isArray(section))
    throw new InputError(`${path}: expected a section with keys, not ${JSON.stringify(value)}`);
  return section as Given;
}

export function keysOf(section: Given, path: string, known: readonly string[]): void {
  for (const key of Object.keys(section))
    if (!known.includes(key)) throw new InputError(`${path}.${key}: unknown key; known are ${known.join(", ")}`);
}

export function numberIn(
  value: unknown,
  path: string,
  range: { readonly min: number; readonly max?: number; readonly whole?: boolean; readonly unit: string },
): number {
  const { min, max = Number.MAX_SAFE_INTEGER, whole = false, unit } = range;
  if (typeof value === "number" && value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
  const bounds = range.max === undefined ? `from ${min} up` : `from ${min} to ${max}`;
  throw new InputError(`${path}: ${JSON.stringify(value)} is not a ${whole ? "whole " : ""}number ${bounds} (${unit})`);
}

export function oneOf<T extends string>(value: unknown, path: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === value);
  if (found === undefined) throw new InputError(`${path}: ${JSON.stringify(value)} is none of ${choices.join(", ")}`);
  return found;
}

export function listed<T extends string>(value: unknown, path: string, choices: readonly T[]): readonly T[] {
  if (!Array.isArray(value))
    throw new InputError(`${path}: expected a list of ${choices.join(", ")}, not ${JSON.stringify(value)}`);
  return value.map((item: unknown) => oneOf(item, path, choices));
}
