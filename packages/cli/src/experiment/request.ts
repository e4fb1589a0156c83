import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { InputError } from "@failstorm/core";
import { protocolNames } from "@failstorm/protocols";
import { type Entry, nameEntry } from "../config/entry.ts";
import { readAssignments } from "../config/layers.ts";
import { parseWord, readYamlFile } from "../config/yamlFile.ts";
import { FACTOR_KEYS } from "./spec.ts";

/** What the command line of `compare` says. */
export interface CompareRequest {
  /** Options of a run, as entries of the configuration. */
  readonly flags: readonly Entry[];
  readonly assignments: readonly string[];
  readonly file: string | null;
  readonly preset: string | null;
  /** Options of the experiment: path in an experiment's file → value. */
  readonly own: Readonly<Record<string, string | boolean | undefined>>;
  readonly vary: readonly string[];
}

const isList = (value: unknown): value is string => typeof value === "string" && value.includes(",");
const toLevels = (text: string): unknown[] => text.split(",").map((word) => parseWord(word.trim()));
const BY_KEY = new Set(Object.values(FACTOR_KEYS));

/** `--agents 8,16` is a factor, `--agents 8` a setting. */
function fromFlag(entry: Entry): Entry {
  if (BY_KEY.has(entry.path) && isList(entry.value))
    return { ...entry, path: `factors.${entry.path}`, value: toLevels(entry.value) };
  return { ...entry, path: entry.path === "scenario.seed" ? "seed" : `settings.${entry.path}` };
}

/** Options that name a factor by its plural. */
const PLURALS: Readonly<Record<string, string>> = {
  protocols: "protocol",
  detectors: "detector",
  topologies: "topology",
  killFractions: "kill_fraction",
};

function fromOwn(name: string, value: string | boolean): Entry {
  const option = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  const origin = { kind: "flag", name: option } as const;
  const factor = PLURALS[name];
  if (factor !== undefined)
    return allProtocols({ path: `factors.${factor}`, value: value === "all" ? value : toLevels(String(value)), origin });
  if (name === "aa") return { path: "controls.aa", value, origin: { kind: "flag", name: "--no-aa" } };
  if (name === "faultFree") return { path: "controls.no_fault", value, origin };
  return {
    path: name,
    value: typeof value === "string" && ["repeats", "alpha"].includes(name) ? parseWord(value) : value,
    origin,
  };
}

function fromVary(text: string): Entry {
  const at = text.indexOf("=");
  if (at < 1) throw new InputError(`--vary ${text}: must be key=level,level, for example --vary network.heartbeat_timeout=2,3,5`);
  return {
    path: `factors.${text.slice(0, at).trim()}`,
    value: toLevels(text.slice(at + 1)),
    origin: { kind: "flag", name: `--vary ${text.slice(0, at)}=` },
  };
}

/** The names of the experiments that come with failstorm. */
function presets(root: string): string[] {
  const dir = path.join(root, "configs", "experiments");
  return existsSync(dir)
    ? readdirSync(dir)
        .filter((name) => name.endsWith(".yaml"))
        .map((name) => name.replace(/\.yaml$/, ""))
        .sort()
    : [];
}

function experimentFile(
  { file, preset }: CompareRequest,
  cwd: string,
  root: string,
): { at: string; shown: string; option: string } | null {
  if (file !== null && preset !== null) throw new InputError(`${file} and --preset ${preset}: give only one of them`);
  if (preset !== null) {
    const at = path.join(root, "configs", "experiments", `${preset}.yaml`);
    if (!existsSync(at)) throw new InputError(`--preset ${preset}: there is none; choose one of ${presets(root).join(", ")}`);
    return { at, shown: `configs/experiments/${preset}.yaml`, option: "--preset" };
  }
  return file === null ? null : { at: path.resolve(cwd, file), shown: file, option: "experiment" };
}

/** What was asked for, lowest layer first: all protocols, the experiment's file, the command line. */
export function requestLayers(request: CompareRequest, cwd: string, root: string, env: NodeJS.ProcessEnv): Entry[][] {
  const file = experimentFile(request, cwd, root);
  const fromFile = file === null ? [] : readYamlFile(file.at, { env, shown: file.shown, option: file.option }).map(allProtocols);
  const own = Object.entries(request.own).flatMap(([name, value]) => (value === undefined ? [] : [fromOwn(name, value)]));
  const given = [
    ...request.flags.map(fromFlag),
    ...readAssignments(request.assignments).map(fromFlag),
    ...own,
    ...request.vary.map(fromVary),
  ];
  const seen = new Map<string, Entry>();
  for (const entry of given) {
    const other = seen.get(entry.path);
    if (other !== undefined)
      throw new InputError(`${nameEntry(entry)}: was already given by ${nameEntry(other)}; remove one of them`);
    seen.set(entry.path, entry);
  }
  const isFactored = [...fromFile, ...given].some(({ path }) => path.startsWith("factors."));
  const everything: Entry[] = isFactored
    ? []
    : [{ path: "factors.protocol", value: protocolNames(), origin: { kind: "flag", name: "--protocols" } }];
  return [everything, fromFile, given];
}

/** `protocol: all`, in a file or on the command line, means those that are there. */
const allProtocols = (entry: Entry): Entry =>
  entry.path === "factors.protocol" && entry.value === "all" ? { ...entry, value: protocolNames() } : entry;
