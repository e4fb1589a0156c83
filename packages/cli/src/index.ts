export { type ConfigSources, loadConfig, type LoadedConfig } from "./config/load.ts";
export { agentEntry, agentWarmUp, projectRoot } from "./project.ts";
