export { type ConfigSources, loadConfig, type LoadedConfig } from "./config/load.ts";
export { agentEntry, projectRoot } from "./project.ts";
