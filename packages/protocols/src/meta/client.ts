import { type AgentId, type Clock, hostedById, type MeteredClient, type Prng, type RouteChoice } from "@failstorm/core";
import { createMetaBackend, type MetaBackend } from "./backend.ts";
import { parseMetaConfig } from "./config.ts";

export interface MetaClientOptions {
  /** Under which name it speaks. */
  readonly agentId: AgentId;
  /** Which protocols each agent hosts, by agent index: `Protocol.hosts`, `RunConfig.scenario.hosts`. */
  readonly hosts: readonly (readonly string[])[];
  /** The section `meta.*`; absent = its defaults. Throws InputError naming the key. */
  readonly section?: unknown;
  /** Where it keeps its keys and agreements; may be empty, and may be removed after `close`. */
  readonly workspaceDir: string;
  readonly client: MeteredClient;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly onRoute?: (choice: RouteChoice) => void;
}

/**
 * A backend for a process that hosts nothing: a program, a coordinator. Register the agents' endpoints, then connect, send and probe as
 * with any other backend; `close` it before the metered client.
 */
export function createMetaClient(options: MetaClientOptions): MetaBackend {
  const { agentId, hosts, section, workspaceDir, client, clock, prng, onRoute } = options;
  return createMetaBackend({
    describeSelf: () => ({ agentId, incarnation: 1, capabilities: [] }),
    // It is not reached by anybody; what must be looked up about it (a DID document) is published on a port of its own.
    selfAddress: () => ({ host: "127.0.0.1", port: 0 }),
    client,
    onDeduplicated: () => {},
    hosts: hostedById({ hosts }),
    ...(onRoute === undefined ? {} : { onRoute }),
    clock,
    prng,
    workspaceDir,
    config: parseMetaConfig(section),
  });
}
