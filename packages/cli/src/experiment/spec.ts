import { InputError } from "@failstorm/core";
import { MEASURES } from "@failstorm/report";
import { z } from "zod";
import { ALIAS_KEYS } from "../config/aliases.ts";
import { type Entry, nameEntry, nameOrigin } from "../config/entry.ts";
import { nearest } from "../config/nearest.ts";
import { KNOWN_KEYS } from "../config/schema.ts";

export type Level = string | number | boolean;

/** What an experiment asks for, before it is planned. */
export interface ExperimentSpec {
  readonly name: string | null;
  readonly question: string | null;
  readonly repeats: number;
  readonly seed: number;
  readonly primary: string;
  readonly alpha: number;
  /** null: the first factor with more than one level. */
  readonly compare: string | null;
  /** null: simple_json where it is a level, else the first level. */
  readonly baseline: string | null;
  readonly controls: { readonly aa: boolean; readonly no_fault: "none" | "baseline" | "all" };
  readonly published: string | null;
  /** Factor → levels, with the place each was said. */
  readonly factors: ReadonlyMap<string, Factor>;
  /** The same in all runs. */
  readonly settings: readonly Entry[];
}

export interface Factor {
  readonly key: string;
  readonly levels: readonly Level[];
  readonly entry: Entry;
}

/** Short names of factors and the keys they set; any other key of the configuration may be a factor too. */
export const FACTOR_KEYS: Readonly<Record<string, string>> = {
  protocol: "scenario.protocol",
  agents: "scenario.agent_count",
  kill_fraction: "scenario.kill_fraction",
  kill_count: "scenario.kill_count",
  detector: "network.detector",
  topology: "network.topology",
};

const NAMES: Readonly<Record<string, string>> = Object.fromEntries(Object.entries(FACTOR_KEYS).map(([name, key]) => [key, name]));
export const factorName = (key: string): string => NAMES[key] ?? key;

const wholeFrom = (min: number, max: number, example: number) => {
  const error = `must be a whole number from ${min} to ${max}, for example ${example}`;
  return z.number({ error }).int({ error }).min(min, { error }).max(max, { error });
};
const word = z.string({ error: "must be a text" }).min(1, { error: "must not be empty" });

/** Everything of an experiment file but `factors` and `settings`. */
const HEAD = {
  name: word.regex(/^[A-Za-z0-9._-]+$/, { error: "may have letters, digits, dots, dashes and underscores only" }),
  question: word,
  repeats: wholeFrom(1, 1000, 20),
  seed: wholeFrom(0, 2 ** 31, 1),
  primary: word.refine((key) => MEASURES.some((measure) => measure.key === key && measure.better !== null), {
    error: `must be a measure: ${MEASURES.filter(({ better }) => better !== null)
      .map(({ key }) => key)
      .join(", ")}`,
  }),
  alpha: z.number({ error: "must be a number above 0 and below 0.5" }).gt(0).lt(0.5),
  compare: word,
  baseline: z.union([word, z.number(), z.boolean()]).transform(String),
  published: z.enum(["protocolbench"], { error: "must be protocolbench" }),
  "controls.aa": z.boolean({ error: "must be true or false" }),
  "controls.no_fault": z.enum(["none", "baseline", "all"], { error: "must be one of none, baseline, all" }),
} as const;
type HeadKey = keyof typeof HEAD;
const isHeadKey = (path: string): path is HeadKey => Object.hasOwn(HEAD, path);

const DEFAULTS = {
  repeats: 20,
  seed: 1,
  primary: "service_gap_ms",
  alpha: 0.05,
  "controls.aa": true,
  "controls.no_fault": "baseline",
} as const;

function readFactor(entry: Entry, name: string): Factor {
  const key = FACTOR_KEYS[name] ?? name;
  const isKnown = KNOWN_KEYS.includes(key) || ALIAS_KEYS.includes(key) || key.includes(".");
  if (!isKnown) {
    const meant = nearest(name, [...Object.keys(FACTOR_KEYS), ...KNOWN_KEYS]);
    throw new InputError(
      `${nameOrigin(entry.origin)}: there is no factor ${name}${meant === null ? `; factors are ${Object.keys(FACTOR_KEYS).join(", ")} or any key of the configuration` : `; did you mean ${meant}?`}`,
    );
  }
  const levels = Array.isArray(entry.value) ? (entry.value as unknown[]) : [entry.value];
  const isLevel = (level: unknown): level is Level => ["string", "number", "boolean"].includes(typeof level);
  if (levels.length === 0 || !levels.every(isLevel))
    throw new InputError(`${nameEntry(entry)}: must be a list of levels, for example [a2a, acp]`);
  if (new Set(levels).size < levels.length) throw new InputError(`${nameEntry(entry)}: has a level twice`);
  return { key, levels, entry };
}

/**
 * Reads what an experiment's file and the command line say, lowest first; a later entry replaces an earlier one. Paths: those of HEAD,
 * `factors.<name>`, `settings.<key>`. Throws InputError naming the place of what is wrong.
 */
export function readSpec(layers: readonly (readonly Entry[])[]): ExperimentSpec {
  const head: Partial<Record<HeadKey, unknown>> = { ...DEFAULTS };
  const factors = new Map<string, Factor>();
  const settings = new Map<string, Entry>();
  for (const entry of layers.flat()) {
    const [section = "", ...rest] = entry.path.split(".");
    const below = rest.join(".");
    if (isHeadKey(entry.path)) head[entry.path] = checkHead(entry.path, entry);
    else if (section === "factors" && below !== "") {
      const factor = readFactor(entry, below);
      factors.set(factorName(factor.key), factor);
      settings.delete(factor.key);
    } else if (section === "settings" && below !== "") settings.set(below, { ...entry, path: below });
    else {
      const meant = nearest(entry.path, Object.keys(HEAD)) ?? nearest(section, ["factors", "settings", "controls"]);
      throw new InputError(
        `${nameOrigin(entry.origin)}: unknown key ${entry.path} of an experiment${meant === null ? "" : `; did you mean ${meant}?`}`,
      );
    }
  }
  for (const factor of factors.values()) settings.delete(factor.key);
  return {
    name: (head.name as string | undefined) ?? null,
    question: (head.question as string | undefined) ?? null,
    repeats: head.repeats as number,
    seed: head.seed as number,
    primary: head.primary as string,
    alpha: head.alpha as number,
    compare: (head.compare as string | undefined) ?? null,
    baseline: (head.baseline as string | undefined) ?? null,
    published: (head.published as string | undefined) ?? null,
    controls: { aa: head["controls.aa"] as boolean, no_fault: head["controls.no_fault"] as "none" | "baseline" | "all" },
    factors,
    settings: [...settings.values()],
  };
}

function checkHead(key: HeadKey, entry: Entry): unknown {
  const parsed = HEAD[key].safeParse(entry.value);
  if (parsed.success) return parsed.data;
  throw new InputError(`${nameEntry(entry)}: ${parsed.error.issues[0]?.message ?? "is not valid"}`);
}
