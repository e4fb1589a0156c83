import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  type Address,
  type AgentId,
  CommError,
  createPrng,
  type HostedById,
  InputError,
  type Protocol,
  type QueueNode,
  RunError,
  systemClock,
} from "@failstorm/core";

const SELF: AgentId = "queue-client";
const PATIENCE_MS = 10_000;

/** Somebody who speaks the protocol under test and is no part of the run: gives commands, and looks whether an agent is there. */
export interface QueueClient {
  /** The protocol's handshake with an agent that runs already. Throws InputError: not reachable, or no agent of this protocol. */
  check(node: QueueNode): Promise<void>;
  /** Sends a command; resolves with what the coordinator says of itself. Throws RunError. */
  command(node: QueueNode, command: "status" | "dispatch", signal?: AbortSignal): Promise<Record<string, unknown>>;
  close(): Promise<void>;
}

const addressOf = (endpoint: string): Address => {
  const { hostname, port, pathname } = new URL(endpoint);
  const basePath = pathname.replace(/\/+$/, "");
  return { host: hostname, port: Number(port), ...(basePath === "" ? {} : { basePath }) };
};

/**
 * A client with a port of its own: some protocols ask the caller who he is. `hosted`: in a mix, which protocols everybody hosts; the client
 * itself the first one that anybody does.
 */
export async function openQueueClient(
  protocol: Protocol,
  config: unknown,
  hosted: HostedById | null = null,
): Promise<QueueClient> {
  const { createMeteredClient } = await import("@failstorm/protocols");
  const workspaceDir = mkdtempSync(path.join(tmpdir(), "failstorm-client-"));
  const client = createMeteredClient({ clock: systemClock, connectTimeoutMs: PATIENCE_MS, onResidual: () => {} });
  let self: Address = { host: "127.0.0.1", port: 0 };
  const [first = []] = hosted?.values() ?? [];
  const backend = protocol.createBackend({
    hosts: hosted === null ? null : new Map([...hosted, [SELF, first]]),
    describeSelf: () => ({ agentId: SELF, incarnation: 1, capabilities: [] }),
    selfAddress: () => self,
    client,
    onDeduplicated: () => {},
    clock: systemClock,
    prng: createPrng(0),
    workspaceDir,
    config: protocol.parseConfig(config),
  });
  const host = await backend.spawnLocalAgent(SELF, "127.0.0.1", 0, {
    execute: () => Promise.reject(new Error(`${SELF} answers no questions`)),
    cancel: async () => undefined,
  });
  self = addressOf(host.baseUrl);
  const { name } = protocol.getProtocolInfo();
  return {
    async check({ agentId, endpoint }) {
      backend.registerEndpoint(agentId, addressOf(endpoint));
      try {
        await backend.connect(SELF, agentId, { signal: AbortSignal.timeout(PATIENCE_MS) });
      } catch (error) {
        throw new InputError(`--worker ${endpoint}: ${whyNot(error, name, agentId)}`, { cause: error });
      }
    },
    async command({ agentId, endpoint }, command, signal) {
      backend.registerEndpoint(agentId, addressOf(endpoint));
      const patience = AbortSignal.timeout(PATIENCE_MS);
      const deadline = signal === undefined ? patience : AbortSignal.any([signal, patience]);
      try {
        const { parts } = await backend.send(
          SELF,
          agentId,
          { parts: [{ kind: "data", data: { command } }] },
          { kind: "command", signal: deadline },
        );
        const data = parts.find((part) => part.kind === "data");
        return (data?.kind === "data" ? data.data : {}) as Record<string, unknown>;
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        throw new RunError("COMMAND_FAILED", `${agentId} did not take the command ${command}: ${message}`, { cause: error });
      }
    },
    async close() {
      await backend.close();
      await host.close();
      await client.close();
      rmSync(workspaceDir, { recursive: true, force: true });
    },
  };
}

/** What keeps an agent from being a worker, and what would help. */
function whyNot(error: unknown, protocol: string, agentId: AgentId): string {
  if (!(error instanceof CommError)) return error instanceof Error ? error.message : String(error);
  switch (error.code) {
    case "refused":
    case "reset":
      return `nobody listens there; start one with: failstorm agent --protocol ${protocol} --port PORT`;
    case "timeout":
      return `no answer in ${PATIENCE_MS / 1000} s`;
    default:
      return `it is no ${protocol} agent that goes by ${agentId} (${error.message}); choose its protocol with --protocol, or give its name after a #: http://host:port#name`;
  }
}
