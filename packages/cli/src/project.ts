import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** The project's folder: configs/ and the default results/ lie in it. */
export const projectRoot = path.resolve(import.meta.dirname, "..", "..", "..");

/** The entry of an agent process. */
export const agentEntry = fileURLToPath(import.meta.resolve("@failstorm/agent/main.ts"));

export function version(): string {
  const file = path.join(projectRoot, "package.json");
  if (!existsSync(file)) return "unknown";
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

/**
 * Where the user is: what relative paths are relative to. `pnpm failstorm` changes to the project's folder and leaves the user's
 * own in INIT_CWD.
 */
export const userFolder = (env: NodeJS.ProcessEnv = process.env): string =>
  (env["npm_lifecycle_event"] === "failstorm" ? env["INIT_CWD"] : undefined) ?? process.cwd();

/** What the orchestrator runs once before the agents, to fill node's compile cache: `node <this> PROTOCOL`. */
export const agentWarmUp = fileURLToPath(import.meta.resolve("@failstorm/agent/warm.ts"));
