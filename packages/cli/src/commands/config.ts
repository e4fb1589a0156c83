import path from "node:path";
import { LLM_KEY_VARIABLE } from "@failstorm/core";
import type { Entry } from "../config/entry.ts";
import { loadConfig, type LoadedConfig } from "../config/load.ts";
import { modelWarning } from "../config/llm.ts";
import { projectRoot, userFolder } from "../project.ts";

/** What the command line says about the configuration. */
export interface ConfigRequest {
  readonly flags: readonly Entry[];
  readonly assignments: readonly string[];
  readonly file: string | null;
}

/** The configuration of this call, from the process's own surroundings. */
export async function loadRequested({ flags, assignments, file }: ConfigRequest): Promise<LoadedConfig> {
  const loaded = await loadConfig({ flags, assignments, file, env: process.env, cwd: userFolder(), root: projectRoot });
  passOnLlmKey(loaded.llmKey);
  return loaded;
}

/** What the user of a storm should be told. */
export function stormWarnings({ warnings, settings }: LoadedConfig): readonly string[] {
  const ofModel = modelWarning(settings);
  return ofModel === null ? warnings : [...warnings, ofModel];
}

/** Puts the model's key where the processes of a run find it, and nothing else: into the environment that they inherit. */
export function passOnLlmKey(key: string | null): void {
  if (key === null) delete process.env[LLM_KEY_VARIABLE];
  else process.env[LLM_KEY_VARIABLE] = key;
}

/** A path as the user would type it: relative where that is shorter. */
export function shownPath(file: string): string {
  const relative = path.relative(userFolder(), file);
  return relative.startsWith("..") || relative === "" ? file : relative;
}
