import path from "node:path";
import {
  type Address,
  type AgentExecutor,
  type AgentId,
  agentId,
  agentIndex,
  type Clock,
  CommError,
  type CommBackend,
  createPrng,
  hostedById,
  InputError,
  type LocalAgent,
  type Protocol,
  type RunConfig,
} from "@failstorm/core";
import { createMeteredClient } from "@failstorm/protocols";
import type { AgentHost } from "./agentHost.ts";
import { Turns } from "./turns.ts";

export interface LocalHostOptions {
  readonly config: RunConfig;
  readonly protocol: Protocol;
  /** What each agent does with a message. */
  readonly executorOf: (agent: AgentId) => AgentExecutor;
  /** What each says of itself, beside its name: `tool:search`, `shard:3`, … */
  readonly capabilitiesOf: (agent: AgentId) => readonly string[];
  /** Fixed ports, by agent index; absent = any. */
  readonly ports?: readonly number[];
  readonly workspaceDir: string;
  readonly clock: Clock;
}

const HOST = "127.0.0.1";

interface Running {
  readonly address: Address;
  readonly backend: CommBackend;
  close(): Promise<void>;
}

/** Starts the protocol host of one agent, with a client and a backend of its own, as in a process of its own. */
async function startLocal(options: LocalHostOptions, id: AgentId, index: number, incarnation: number): Promise<Running> {
  const { config, protocol, clock } = options;
  const section = protocol.parseConfig(config.protocolConfig);
  const client = createMeteredClient({ clock, connectTimeoutMs: config.network.connectionTimeoutMs, onResidual: () => {} });
  let address: Address = { host: HOST, port: options.ports?.[index] ?? 0 };
  const backend = protocol.createBackend({
    describeSelf: () => ({ agentId: id, incarnation, capabilities: options.capabilitiesOf(id) }),
    selfAddress: () => address,
    client,
    onDeduplicated: () => {},
    hosts: hostedById(config.scenario),
    clock,
    timeScale: config.scenario.timeScale,
    prng: createPrng(config.scenario.seed).fork(`protocol/${id}`),
    workspaceDir: path.join(options.workspaceDir, id),
    config: section,
  });
  const end = async (local?: LocalAgent): Promise<void> => {
    await local?.close();
    await backend.close();
    await client.close();
  };
  try {
    const local = await backend.spawnLocalAgent(id, HOST, address.port, options.executorOf(id));
    address = { host: HOST, port: Number(new URL(local.baseUrl).port) };
    return { address, backend, close: () => end(local) };
  } catch (error) {
    await end();
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE")
      throw new InputError(`ports: ${id} cannot listen on ${address.port}, it is taken; give another, or 0 for any`, {
        cause: error,
      });
    throw error;
  }
}

/**
 * The agents as protocol hosts in this process, around executors of the caller's: real sockets, but one event loop, and nothing that a
 * signal could kill. Throws InputError when a port is taken.
 */
export async function openLocally(options: LocalHostOptions): Promise<AgentHost> {
  const running = new Map<AgentId, Running>();
  const incarnations = new Map<AgentId, number>();

  /** The backend of an agent that is up, with the present addresses of the others. */
  const speaking = (id: AgentId): CommBackend => {
    const own = running.get(id);
    if (own === undefined) throw new CommError("refused", id, `${id} is down`);
    for (const [other, { address }] of running) own.backend.registerEndpoint(other, address);
    return own.backend;
  };
  const turns = new Turns();
  const start = (id: AgentId): Promise<void> =>
    turns.take(id, async () => {
      if (running.has(id)) return;
      const incarnation = (incarnations.get(id) ?? 0) + 1;
      running.set(id, await startLocal(options, id, agentIndex(id), incarnation));
      incarnations.set(id, incarnation);
    });
  const end = async (id: AgentId): Promise<void> => {
    const agent = running.get(id);
    running.delete(id);
    await agent?.close();
  };
  const close = async (): Promise<void> => {
    await turns.close();
    const ended = await Promise.allSettled([...running.keys()].map(end));
    for (const one of ended) if (one.status === "rejected") throw one.reason;
  };
  try {
    for (let index = 0; index < options.config.scenario.agentCount; index++) await start(agentId(index));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    kind: "in-process",
    addressOf: (id) => running.get(id)?.address ?? null,
    start,
    stop: (id) => turns.take(id, () => end(id)),
    strike: () => {
      throw new InputError(
        'agents in this process have no process of their own to strike; give agents: {kind: "processes", agentEntry} for that',
      );
    },
    sendFrom(id, to, body, signal) {
      const from = { agentId: id, incarnation: incarnations.get(id) ?? 1, ...running.get(id)?.address };
      const payload = { parts: [{ kind: "data", data: { from, body } }] } as const;
      return speaking(id).send(id, to, payload, { kind: "tool", cause: "work", signal });
    },
    async connectFrom(id, to) {
      const signal = AbortSignal.timeout(Math.ceil(options.config.tasks.attemptTimeoutMs));
      return speaking(id).connect(id, to, { kind: "handshake", cause: "setup", signal });
    },
    close,
  };
}
