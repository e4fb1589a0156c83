import { type AgentExecutor, type AgentId, InputError, type LocalAgent } from "@failstorm/core";
import fastify, { type FastifyPluginAsync } from "fastify";
import type { Adapters } from "./adapters.ts";
import { type MemberName, MEMBERS, needsPresence } from "./members.ts";
import type { Mesh } from "./mesh.ts";

function mustHost(mesh: Mesh, agentId: AgentId): readonly MemberName[] {
  const hosted = mesh.hosted(agentId);
  if (hosted.length === 0) throw new InputError(`${agentId}: nobody said which protocols it hosts; it needs a place in hosts`);
  return hosted;
}

/** Protocols that are only spoken here, but in which whoever is called looks the caller up. */
const presences = (mesh: Mesh, hosted: readonly MemberName[]): readonly MemberName[] =>
  mesh.spoken().filter((name) => needsPresence(name) && !hosted.includes(name));

/** Who may be looked up, and takes no messages. */
const absent = (agentId: AgentId, name: MemberName): AgentExecutor => ({
  execute: () => Promise.reject(new Error(`${agentId} speaks ${MEMBERS[name].title} and does not host it`)),
  cancel: async () => {},
});

/** The agent's own protocols on its one port: a single one at the root, several each under its name. */
export function hostAll(mesh: Mesh, adapters: Adapters, agentId: AgentId, executor: AgentExecutor): FastifyPluginAsync {
  const hosted = mustHost(mesh, agentId);
  return async (server) => {
    for (const name of hosted) {
      const backend = await adapters.get(name);
      await server.register(backend.hostPlugin(agentId, executor), hosted.length > 1 ? { prefix: `/${name}` } : {});
    }
    for (const name of presences(mesh, hosted)) {
      const backend = await adapters.get(name);
      await server.register(backend.hostPlugin(agentId, absent(agentId, name)), { prefix: `/${name}` });
    }
  };
}

/** The same on a server of its own; `onListening` is told its port. */
export async function spawnAll(
  mesh: Mesh,
  adapters: Adapters,
  { agentId, host, port, executor }: { agentId: AgentId; host: string; port: number; executor: AgentExecutor },
  onListening: (port: number) => void,
): Promise<LocalAgent> {
  const hosted = mustHost(mesh, agentId);
  const [single, ...more] = [...hosted, ...presences(mesh, hosted)];
  if (single !== undefined && more.length === 0)
    return (await adapters.get(single)).spawnLocalAgent(agentId, host, port, executor);
  // A stream that is being followed must not keep the server from closing.
  const server = fastify({ forceCloseConnections: true });
  await server.register(hostAll(mesh, adapters, agentId, executor));
  const baseUrl = await server.listen({ host, port });
  onListening(Number(new URL(baseUrl).port));
  return { baseUrl, close: () => server.close() };
}
