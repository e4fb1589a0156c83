import path from "node:path";
import type { Entry } from "../config/entry.ts";
import { loadConfig, type LoadedConfig } from "../config/load.ts";
import { projectRoot, userFolder } from "../project.ts";

/** What the command line says about the configuration. */
export interface ConfigRequest {
  readonly flags: readonly Entry[];
  readonly assignments: readonly string[];
  readonly file: string | null;
}

/** The configuration of this call, from the process's own surroundings. */
export const loadRequested = ({ flags, assignments, file }: ConfigRequest): Promise<LoadedConfig> =>
  loadConfig({ flags, assignments, file, env: process.env, cwd: userFolder(), root: projectRoot });

/** A path as the user would type it: relative where that is shorter. */
export function shownPath(file: string): string {
  const relative = path.relative(userFolder(), file);
  return relative.startsWith("..") || relative === "" ? file : relative;
}
