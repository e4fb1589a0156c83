import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { InputError, type Protocol, type RunConfig } from "@failstorm/core";
import { loadProtocol, locateProtocol, protocolNames } from "@failstorm/protocols";
import { ALIAS_KEYS, renameAlias } from "./aliases.ts";
import { DEFAULTS } from "./defaults.ts";
import { type Entry, nameEntry, redact } from "./entry.ts";
import { checkMixIsMeant, countTargets } from "./mix.ts";
import { resolveLlm } from "./llm.ts";
import { mergeLayers, readAssignments, readEnvironment, rejectUnknownKeys, toTree } from "./layers.ts";
import { toRunConfig } from "./runConfig.ts";
import { KNOWN_KEYS, SECTION_NAMES } from "./schema.ts";
import { checkTogether, checkValues, fillIn, type ResolvedSettings } from "./settings.ts";
import { readYamlFile } from "./yamlFile.ts";

export interface ConfigSources {
  /** From the command line's options. */
  readonly flags: readonly Entry[];
  /** Each `--set key=value`. */
  readonly assignments: readonly string[];
  /** `--config FILE`; null = configs/failstorm.yaml of the project, if it is there. */
  readonly file: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What relative paths are relative to. */
  readonly cwd: string;
  /** The project's folder: its configs/ and the default results/ lie there. */
  readonly root: string;
  /** Draws a seed when none was given; the machine's randomness by default. */
  readonly drawSeed?: () => number;
  /** To so many agents a mix of protocols is dealt; `scenario.agent_count` by default. */
  readonly dealtTo?: number;
}

export interface LoadedConfig {
  readonly config: RunConfig;
  /** The same in the words and units of the configuration file, unscaled. */
  readonly settings: ResolvedSettings;
  readonly protocol: Protocol;
  readonly protocolSection: Readonly<Record<string, unknown>>;
  /** Which sections were given, by where: a file, the environment, the command line; the others are the defaults. */
  readonly sections: readonly (readonly [where: string, sections: readonly string[]])[];
  /** The model's key, which stands nowhere else; null = there is none. */
  readonly llmKey: string | null;
  /** Deprecated keys, values that are not used, consequences worth saying. */
  readonly warnings: readonly string[];
}

const isPath = (protocol: string): boolean => /^[./]/.test(protocol) || /\.[cm]?[jt]s$/.test(protocol);

/** Makes relative paths absolute; those of the project's own configuration file are relative to the project. */
function absolutePaths(entry: Entry, cwd: string): Entry {
  const isPathKey = ["qa.corpus", "qa.document", "qa.questions", "output.dir"].includes(entry.path);
  const isModule = entry.path === "scenario.protocol" && typeof entry.value === "string" && isPath(entry.value);
  if (!(isPathKey || isModule) || typeof entry.value !== "string" || entry.value === "") return entry;
  return { ...entry, value: path.resolve(cwd, entry.value) };
}

function readMainFile({ file, env, cwd, root }: ConfigSources): Entry[] {
  const standard = path.join(root, "configs", "failstorm.yaml");
  if (file === null && !existsSync(standard)) return [];
  const at = file === null ? standard : path.resolve(cwd, file);
  const shown = file ?? "configs/failstorm.yaml";
  return readYamlFile(at, { env, shown, option: "--config" }).map((entry) => absolutePaths(entry, file === null ? root : cwd));
}

/** The section of the protocol in `configs/<protocol>.yaml`: the lowest layer; the file's other sections hold only with --config. */
function readProtocolFile(name: string, { env, root }: ConfigSources): Entry[] {
  const shown = path.join("configs", `${name}.yaml`);
  const at = path.join(root, shown);
  if (!existsSync(at)) return [];
  return readYamlFile(at, { env, shown, option: "configuration of the protocol" }).filter((entry) =>
    entry.path.startsWith(`${name}.`),
  );
}

async function loadNamedProtocol(entries: ReadonlyMap<string, Entry>): Promise<{ given: string; protocol: Protocol }> {
  const entry = entries.get("scenario.protocol");
  const given = entry === undefined || entry.value === null ? DEFAULTS.scenario.protocol : entry.value;
  if (typeof given !== "string" || given === "")
    throw new InputError(
      `${entry === undefined ? "" : nameEntry(entry)}: must be a protocol: ${protocolNames().join(", ")}, or a path`,
    );
  try {
    return { given, protocol: await loadProtocol(given) };
  } catch (error) {
    if (!(error instanceof InputError) || entry === undefined || entry.origin.kind === "flag") throw error;
    throw new InputError(error.message.replace(/^--protocol [^:]*/, nameEntry(entry)), { cause: error });
  }
}

function sectionsByOrigin(entries: Iterable<Entry>): LoadedConfig["sections"] {
  const names = { flag: "the command line", env: "the environment" };
  const byOrigin = Map.groupBy(entries, ({ origin }) => (origin.kind === "file" ? origin.file : names[origin.kind]));
  return [...byOrigin].map(([where, own]) => [where, [...new Set(own.map(({ path }) => path.split(".")[0] ?? path))]] as const);
}

function rejectMissingFiles(entries: ReadonlyMap<string, Entry>): void {
  const kinds = { "qa.corpus": "folder", "qa.document": "file", "qa.questions": "file" } as const;
  for (const [key, kind] of Object.entries(kinds)) {
    const entry = entries.get(key);
    if (typeof entry?.value !== "string") continue;
    const found = statSync(entry.value, { throwIfNoEntry: false });
    if (found === undefined)
      throw new InputError(`${nameEntry(entry)}: there is no such ${kind}; give the path of an existing one`);
    if (found.isDirectory() !== (kind === "folder"))
      throw new InputError(`${nameEntry(entry)}: is no ${kind}; give the path of a ${kind}`);
  }
}

/**
 * Reads the configuration: command line over environment over file over default. Throws InputError naming, for every problem,
 * the option or the file's line, the value, and what would be right.
 */
export async function loadConfig(sources: ConfigSources): Promise<LoadedConfig> {
  const warnings: string[] = [];
  const warn = (message: string): void => void warnings.push(message);
  const rename = (entries: readonly Entry[]): Entry[] => entries.map((entry) => renameAlias(entry, warn));
  const builtIn = protocolNames();
  const commandLine = rename([...sources.flags, ...readAssignments(sources.assignments)]);
  const layers = [
    rename(readMainFile(sources)),
    readEnvironment(sources.env, builtIn, warn).map((entry) => absolutePaths(entry, sources.cwd)),
    commandLine.map((entry) => absolutePaths(entry, sources.cwd)),
  ];
  const { given, protocol } = await loadNamedProtocol(mergeLayers(layers));
  const { name } = protocol.getProtocolInfo();
  const entries = mergeLayers([readProtocolFile(name, sources), ...layers]);
  const unusedMix = checkMixIsMeant(name, entries);
  const protocols = [...new Set([...builtIn, name])];
  rejectUnknownKeys(entries.values(), { keys: KNOWN_KEYS, sections: [...SECTION_NAMES, ...ALIAS_KEYS], protocols });
  const tree = toTree(entries.values());
  const protocolSection = tree[name] ?? {};
  for (const other of protocols) delete tree[other];
  const checked = checkValues(tree, entries);
  const output = { ...checked.output, dir: path.resolve(sources.root, checked.output.dir) };
  if (typeof protocolSection !== "object" || protocolSection === null)
    throw new InputError(`${name} ${JSON.stringify(protocolSection)}: must be a section with keys`);
  const parsedSection = protocol.parseConfig(protocolSection);
  const hosts = protocol.hosts?.(parsedSection, sources.dealtTo ?? checked.scenario.agent_count) ?? null;
  const llm = resolveLlm(checked.llm, entries, sources.env);
  const settings = fillIn(
    { ...checked, output, llm: llm.settings },
    sources.drawSeed,
    countTargets(checked.scenario, hosts, entries),
  );
  warnings.push(...checkTogether(settings, entries), ...llm.notes, ...(unusedMix === null ? [] : [unusedMix]));
  rejectMissingFiles(entries);
  const config = toRunConfig(settings, { name, module: locateProtocol(given), config: protocolSection, hosts });
  const sections = sectionsByOrigin(entries.values());
  return {
    config,
    settings,
    protocol,
    protocolSection: protocolSection as Record<string, unknown>,
    sections,
    llmKey: llm.key,
    warnings,
  };
}

/** The resolved configuration as a file that runs the same again (secrets replaced). */
export function resolvedDocument({ settings, protocol, protocolSection }: LoadedConfig): Record<string, unknown> {
  const {
    victims: _,
    targets: ____,
    kill_fraction,
    kill_count,
    recovery_duration,
    restart_after,
    ...scenario
  } = settings.scenario;
  const { llm, seedGiven: ___, mutants, ...others } = settings;
  // The key is left out, not replaced: it is looked for again where it was found.
  const { api_key: __, ...model } = llm;
  return redact({
    ...others,
    scenario: {
      ...scenario,
      ...(kill_count === "auto" ? { kill_fraction } : { kill_count }),
      recovery_duration: recovery_duration ?? "auto",
      restart_after: restart_after ?? "never",
    },
    ...(model.type === null ? {} : { llm: model }),
    [protocol.getProtocolInfo().name]: protocolSection,
    ...(mutants.length > 0 ? { mutants } : {}),
  }) as Record<string, unknown>;
}
