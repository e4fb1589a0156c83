import type { Entry } from "./entry.ts";
import { nameOrigin } from "./entry.ts";
import { renameMixKey } from "./mix.ts";

/** Keys of older configurations and what they are called now. Values keep their meaning but for what `toFraction` says. */
const ALIASES: Readonly<Record<string, string>> = {
  agents: "scenario.agent_count",
  agent_count: "scenario.agent_count",
  "scenario.agents": "scenario.agent_count",
  fault_percentage: "scenario.kill_fraction",
  "scenario.fault_percentage": "scenario.kill_fraction",
  "fault_injection.fault_percentage": "scenario.kill_fraction",
  fault_injection_time: "scenario.fault_time",
  "scenario.fault_injection_time": "scenario.fault_time",
  "fault_injection.fault_injection_time": "scenario.fault_time",
  duration: "scenario.runtime",
  "scenario.duration": "scenario.runtime",
  total_runtime: "scenario.runtime",
  "scenario.total_runtime": "scenario.runtime",
  "fault_injection.random_seed": "scenario.seed",
  "scenario.random_seed": "scenario.seed",
  "topology.type": "network.topology",
  "topology.custom_edges": "network.custom_edges",
  custom_edges: "network.custom_edges",
  "agents.base_port": "network.base_port",
  "agents.count": "scenario.agent_count",
  "llm.model.type": "llm.type",
  "llm.model.name": "llm.model",
  "llm.model.temperature": "llm.temperature",
  "llm.model.max_tokens": "llm.max_tokens",
  "llm.model.base_url": "llm.base_url",
  "llm.model.openai_api_key": "llm.api_key",
  "llm.model.nvidia_api_key": "llm.api_key",
  "llm.openai_api_key": "llm.api_key",
  "llm.nvidia_api_key": "llm.api_key",
  openai_api_key: "llm.api_key",
  nvidia_api_key: "llm.api_key",
  "core.type": "llm.type",
  "core.name": "llm.model",
  "core.model": "llm.model",
  "core.base_url": "llm.base_url",
  "core.openai_base_url": "llm.base_url",
  "core.api_key": "llm.api_key",
  "core.openai_api_key": "llm.api_key",
  "core.nvidia_api_key": "llm.api_key",
  "core.max_tokens": "llm.max_tokens",
  "core.temperature": "llm.temperature",
};

export const ALIAS_KEYS: readonly string[] = Object.keys(ALIASES);

/** `fault_percentage: 30` and `fault_percentage: 0.3` were both in use. */
function toFraction(path: string, value: unknown): { value: unknown; note: string } {
  if (!path.endsWith("fault_percentage") || typeof value !== "number" || value <= 1) return { value, note: "" };
  return { value: value / 100, note: ` (${value} is read as ${value} %: ${value / 100})` };
}

/** Gives a value its present key; `warn` is told when it had an older one. */
export function renameAlias(entry: Entry, warn: (message: string) => void): Entry {
  const path = Object.hasOwn(ALIASES, entry.path) ? ALIASES[entry.path] : renameMixKey(entry.path);
  if (path === undefined || path === null) return entry;
  const { value, note } = toFraction(entry.path, entry.value);
  warn(`${nameOrigin(entry.origin)}: ${entry.path} is deprecated; write ${path}${note}`);
  return { ...entry, path, value };
}
