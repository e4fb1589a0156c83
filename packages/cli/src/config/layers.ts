import { InputError } from "@failstorm/core";
import { type Entry, isSecret, nameEntry, nameOrigin, redactArgument } from "./entry.ts";
import { nearest } from "./nearest.ts";
import { KNOWN_KEYS, SECTION_NAMES } from "./schema.ts";
import { parseWord } from "./yamlFile.ts";

/** Of each pair at most one can hold. Said in a higher layer, one replaces the other; said together, they contradict. */
const EXCLUSIVE: readonly (readonly [string, string])[] = [
  ["scenario.kill_fraction", "scenario.kill_count"],
  ["qa.corpus", "qa.document"],
];

const isSet = (entry: Entry | undefined): entry is Entry => entry !== undefined && entry.value !== null && entry.value !== "auto";

function checkLayer(layer: readonly Entry[]): Map<string, Entry> {
  const byPath = new Map<string, Entry>();
  for (const entry of layer) {
    const other = byPath.get(entry.path);
    if (other !== undefined)
      throw new InputError(`${nameEntry(entry)}: ${entry.path} was already given by ${nameEntry(other)}; remove one of them`);
    byPath.set(entry.path, entry);
  }
  for (const pair of EXCLUSIVE) {
    const [a, b] = [byPath.get(pair[0]), byPath.get(pair[1])];
    if (isSet(a) && isSet(b)) throw new InputError(`${nameEntry(a)} and ${nameEntry(b)}: give only one of them`);
  }
  return byPath;
}

/** Puts layers over each other, lowest first. Throws InputError when one layer says a key twice or contradicts itself. */
export function mergeLayers(layers: readonly (readonly Entry[])[]): Map<string, Entry> {
  const merged = new Map<string, Entry>();
  for (const layer of layers) {
    const byPath = checkLayer(layer);
    for (const [a, b] of EXCLUSIVE) {
      if (isSet(byPath.get(a))) merged.delete(b);
      if (isSet(byPath.get(b))) merged.delete(a);
    }
    for (const [path, entry] of byPath) merged.set(path, entry);
  }
  return merged;
}

/** `a.b.c` → value, as nested objects. A section that is empty (`network:` with nothing below) is left out. */
export function toTree(entries: Iterable<Entry>): Record<string, unknown> {
  const tree: Record<string, unknown> = {};
  for (const { path, value } of entries) {
    if (value === null && SECTION_NAMES.includes(path)) continue;
    const keys = path.split(".");
    let at = tree;
    for (const key of keys.slice(0, -1)) {
      const below = at[key];
      const next = typeof below === "object" && below !== null ? (below as Record<string, unknown>) : {};
      at[key] = next;
      at = next;
    }
    at[keys.at(-1) ?? path] = value;
  }
  return tree;
}

const variableName = (path: string): string => `FAILSTORM_${path.replaceAll(".", "_").toUpperCase()}`;

/**
 * `FAILSTORM_<SECTION>_<KEY>`: the environment's values. A variable of a known section with an unknown key is an error,
 * any other `FAILSTORM_…` a warning: it may be somebody else's.
 */
export function readEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  protocols: readonly string[],
  warn: (message: string) => void,
): Entry[] {
  const known = new Map(KNOWN_KEYS.map((path) => [variableName(path), path]));
  const entries: Entry[] = [];
  for (const [name, raw] of Object.entries(env)) {
    if (!name.startsWith("FAILSTORM_") || raw === undefined) continue;
    const origin = { kind: "env", name } as const;
    const protocol = protocols.find((candidate) => name.startsWith(`${variableName(candidate)}_`));
    const path =
      known.get(name) ??
      (protocol === undefined ? undefined : `${protocol}.${name.slice(variableName(protocol).length + 1).toLowerCase()}`);
    if (path !== undefined) {
      entries.push({ path, value: raw === "" || isSecret(path) ? raw : parseWord(raw), origin });
      continue;
    }
    const meant = nearest(name, [...known.keys()]);
    const hint = meant === null ? "" : `; did you mean ${meant}?`;
    if (SECTION_NAMES.some((section) => name.startsWith(`${variableName(section)}_`)))
      throw new InputError(`${name}: there is no such key${hint || "; see --help and configs/failstorm.yaml"}`);
    warn(`${name} in the environment is no key of failstorm and is ignored${hint}`);
  }
  return entries;
}

/** `--set key=value`; the value is read as in a YAML file. */
export function readAssignments(assignments: readonly string[]): Entry[] {
  return assignments.map((assignment) => {
    const at = assignment.indexOf("=");
    if (at < 1)
      throw new InputError(`--set ${redactArgument(assignment)}: must be key=value, for example --set scenario.seed=42`);
    const path = assignment.slice(0, at).trim();
    const raw = assignment.slice(at + 1);
    return { path, value: raw === "" || isSecret(path) ? raw : parseWord(raw), origin: { kind: "flag", name: `--set ${path}=` } };
  });
}

/** Throws InputError for a key nobody knows, with its place and the nearest known one. */
export function rejectUnknownKeys(
  entries: Iterable<Entry>,
  known: { keys: readonly string[]; sections: readonly string[]; protocols: readonly string[] },
): void {
  const problems: string[] = [];
  for (const entry of entries) {
    const { path, origin } = entry;
    const section = path.split(".")[0] ?? path;
    if (known.protocols.includes(section) || known.keys.includes(path)) continue;
    const isSection = known.sections.includes(path);
    if (isSection && entry.value === null) continue;
    if (isSection) {
      problems.push(`${nameEntry(entry)}: must be a section with keys below it, for example ${exampleOf(path, known.keys)}`);
      continue;
    }
    const leaf = path.split(".").at(-1) ?? path;
    const meant =
      nearest(path, [...known.keys, ...known.sections]) ?? known.keys.find((key) => key.split(".").at(-1) === leaf) ?? null;
    problems.push(
      `${nameOrigin(origin)}: unknown key ${path}${meant === null ? "; all keys are in configs/failstorm.yaml" : `; did you mean ${meant}?`}`,
    );
  }
  if (problems.length > 0) throw new InputError(problems.join("\n"));
}

const exampleOf = (section: string, keys: readonly string[]): string =>
  keys.find((key) => key.startsWith(`${section}.`)) ?? section;
