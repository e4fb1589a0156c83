import type {
  Address,
  AgentId,
  BackendContext,
  CallOptions,
  CommBackend,
  HealthResult,
  ProtocolCapabilities,
  RouteChoice,
} from "@failstorm/core";
import { Adapters } from "./adapters.ts";
import { Calls } from "./calls.ts";
import { memberConfig, type MetaConfig } from "./config.ts";
import type { Declared } from "./costs.ts";
import { needsOf } from "./demand.ts";
import { mixedHooks } from "./hooks.ts";
import { hostAll, spawnAll } from "./hosting.ts";
import { capabilitiesOf, isMember, roundTripsOf } from "./members.ts";
import { Mesh } from "./mesh.ts";
import { hostCapabilities, networkCapabilities } from "./mix.ts";
import { Router } from "./router.ts";

/** A backend of a mix: what every protocol has, and what differs from peer to peer. */
export interface MetaBackend extends CommBackend {
  /** Which protocols an agent hosts; none when it is not of the network. */
  protocolsOf(agentId: AgentId): readonly string[];
  /** The lightest liveness operation of this one of its protocols; `healthCheck` takes whichever the router says. */
  healthOf(agentId: AgentId, protocol: string, options?: CallOptions): Promise<HealthResult>;
  /** What can be had from this agent, by one of its protocols or another. */
  capabilitiesOf(agentId: AgentId): ProtocolCapabilities;
  /** `cancel` and `resume` where this agent has them, also in a network where not every agent does. */
  operationsOf(agentId: AgentId): Pick<CommBackend, "cancel" | "resume">;
}

/** What the router knows of a protocol before it has seen it at work. */
const declaredIn =
  (config: MetaConfig) =>
  (name: string): Declared => {
    if (!isMember(name)) throw new RangeError(`${name} is none of the mix`);
    const its = memberConfig(config, name);
    return { needs: needsOf(capabilitiesOf(name, its)), roundTrips: roundTripsOf(name, its) };
  };

/** The own host's address: as the agent is reached, or where a server of its own listens. */
function ownAddress({ selfAddress }: BackendContext): {
  readonly get: () => Address;
  readonly listensAt: (port: number) => void;
} {
  let spawned: number | null = null;
  return {
    get: () => {
      const address = selfAddress();
      return address.port === 0 && spawned !== null ? { ...address, port: spawned } : address;
    },
    listensAt: (port) => {
      spawned = port;
    },
  };
}

/** A mesh of protocols as a CommBackend: the agent's own are hosted, the peers' are dialled, each in its own. */
export function createMetaBackend(context: BackendContext): MetaBackend {
  const config = context.config as MetaConfig;
  const own = ownAddress(context);
  const mesh = new Mesh(config, context.hosts ?? null);
  const adapters = new Adapters({
    context,
    config,
    addressOf: (name) => mesh.at(context.describeSelf().agentId, own.get(), name),
    endpointOf: (peer, name) => mesh.endpointOf(peer, name),
    peers: () => mesh.registered(),
  });
  const counters = { routes: 0 };
  // Probes and deadlines are scaled, and a choice stands for as many of them as ever. A loss is held against latencies, which are what they are.
  const dwellMs = config.router.dwellMs * (context.timeScale ?? 1);
  const router = new Router({ ...config.router, dwellMs }, declaredIn(config));
  const onRoute = (choice: RouteChoice): void => {
    counters.routes += 1;
    context.onRoute?.(choice);
  };
  const calls = new Calls({ mesh, adapters, router, config, now: () => context.clock.now(), onRoute });
  const capabilities = networkCapabilities(config, mesh.entries());
  const { connect, send, healthCheck, cancel, resume } = calls;

  return {
    hooks: mixedHooks(adapters, router, () => ({ "meta.routes": counters.routes })),
    registerEndpoint(agentId, address) {
      mesh.register(agentId, address);
      for (const name of mesh.hosted(agentId)) {
        const endpoint = mesh.endpointOf(agentId, name);
        const backend = adapters.present.get(name);
        if (backend === undefined) adapters.ahead(name);
        else if (endpoint !== null) backend.registerEndpoint(agentId, endpoint);
      }
    },
    connect,
    send,
    healthCheck,
    ...(capabilities.cancel ? { cancel } : {}),
    ...(capabilities.resume ? { resume } : {}),
    hostPlugin: (agentId, executor) => hostAll(mesh, adapters, agentId, executor),
    spawnLocalAgent: (agentId, host, port, executor) =>
      spawnAll(mesh, adapters, { agentId, host, port, executor }, own.listensAt),
    async close() {
      mesh.forgetAll();
      await adapters.close();
    },
    healthOf: calls.healthOf,
    protocolsOf: (agentId) => mesh.hosted(agentId),
    capabilitiesOf: (agentId) => hostCapabilities(config, mesh.hosted(agentId)),
    operationsOf(agentId) {
      const can = hostCapabilities(config, mesh.hosted(agentId));
      return { ...(can.cancel ? { cancel } : {}), ...(can.resume ? { resume } : {}) };
    },
  };
}
