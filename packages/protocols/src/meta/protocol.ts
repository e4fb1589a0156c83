import type { Protocol } from "@failstorm/core";
import { createMetaBackend } from "./backend.ts";
import { type MetaConfig, parseMetaConfig } from "./config.ts";
import { dealHosts } from "./deal.ts";
import { describeMix, describeReconnection } from "./mix.ts";

/** Without a configuration a mix is described as its defaults make it. */
const orDefault = (config: unknown): MetaConfig => (config as MetaConfig | undefined) ?? parseMetaConfig(undefined);

export const protocol = {
  getProtocolInfo: (config?: unknown) => describeMix(orDefault(config)),
  getReconnectionInfo: (config?: unknown) => describeReconnection(orDefault(config)),
  parseConfig: parseMetaConfig,
  hosts: (config, agentCount) => dealHosts(config as MetaConfig, agentCount),
  createBackend: (context) => createMetaBackend(context),
} satisfies Protocol;
