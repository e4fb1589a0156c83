import {
  type AgentId,
  CommError,
  type QueueConfig,
  type QueueNode,
  type QueueSpec,
  type QueueTopology,
  type RunEventOf,
  type Traffic,
  toCommError,
} from "@failstorm/core";
import { QUEUE_DEFAULTS, type QueueEngineConfig } from "@failstorm/qa";
import type { RoleParts } from "../role.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { NetworkBase } from "./network.ts";
import { ANSWERS } from "./worker.ts";

const NO_TRAFFIC: Traffic = { bytesSent: 0, bytesReceived: 0, roundTrips: 0, firstByteAt: null, ms: 0 };

/** The queue's settings in the engine's words. */
export const engineConfig = (queue: QueueConfig): QueueEngineConfig => ({
  ...QUEUE_DEFAULTS,
  batch: queue.batch,
  deadlineMs: queue.deadlineMs,
  maxAttempts: queue.maxAttempts,
  backoff: { ...QUEUE_DEFAULTS.backoff, baseMs: queue.backoffMs },
  quarantineAfter: queue.quarantineAfter,
  probe: { ...QUEUE_DEFAULTS.probe, intervalMs: queue.probeIntervalMs },
});

/** A question is tried so often in the pool of a sub-coordinator before it goes back to whoever asked. */
export const POOL_ATTEMPTS = 2;

/**
 * The same for who feeds sub-coordinators: a message to one has the time of all the attempts in its pool. With the time of a single one it
 * would be given up just when the pool asks its second worker, and a worker that never answers would put the sub-coordinator into quarantine.
 */
export const feederConfig = (queue: QueueConfig): QueueEngineConfig => {
  const config = engineConfig(queue);
  if (queue.topology !== "layered") return config;
  return { ...config, deadlineMs: POOL_ATTEMPTS * queue.deadlineMs + queue.backoffMs };
};

/** Makes all nodes known and links them as the topology says. */
export function joinNetwork(network: NetworkBase, nodes: readonly QueueNode[], topology: QueueTopology): void {
  for (const { agentId, endpoint } of nodes) network.register(agentId, endpoint);
  const centre = nodes.find(({ role }) => role === "coordinator");
  if (topology === "mesh" || centre === undefined) return network.setupMeshTopology();
  if (topology === "star") return network.setupStarTopology(centre.agentId);
  const subs = nodes.filter(({ role }) => role === "sub-coordinator");
  const poolOf = (sub: AgentId): AgentId[] => nodes.filter(({ fedBy }) => fedBy === sub).map(({ agentId }) => agentId);
  network.setupLayeredTopology(centre.agentId, new Map(subs.map(({ agentId }) => [agentId, poolOf(agentId)])));
}

/** Those a coordinator feeds: who they are, whether they are there, what they understand. */
export class Neighbours {
  readonly fed: readonly QueueNode[];
  private readonly parts: RoleParts<QueueSpec>;
  private readonly network: NetworkBase;
  private readonly nodes: readonly QueueNode[];
  private readonly batchTakers = new Set<AgentId>();

  constructor(parts: RoleParts<QueueSpec>, network: NetworkBase, nodes: readonly QueueNode[]) {
    this.parts = parts;
    this.network = network;
    this.nodes = nodes;
    this.fed = nodes.filter(({ fedBy }) => fedBy === parts.self.agentId);
    for (const { agentId, external } of this.fed) if (!external) this.batchTakers.add(agentId);
  }

  /** As the events have them. */
  described(): RunEventOf<"queue.opened">["workers"] {
    return this.fed.map(({ agentId: worker, endpoint, protocol, external }) => ({ worker, endpoint, protocol, external }));
  }

  takesBatches(worker: AgentId): boolean {
    return this.batchTakers.has(worker);
  }

  protocolOf(worker: AgentId): string | null {
    return this.fed.find(({ agentId }) => agentId === worker)?.protocol ?? null;
  }

  /** Shakes hands with all; each gets questions as soon as it has answered, those that do not answer when they are back. */
  async join(dispatcher: Dispatcher, signal: AbortSignal): Promise<void> {
    await Promise.all(
      this.fed.map(async ({ agentId }) => {
        const failure = await this.greet(agentId, signal);
        dispatcher.addWorker(agentId, this.concurrencyOf(agentId), failure);
      }),
    );
    this.network.monitor({
      // A sub-coordinator's neighbour above it is not its to feed, nor to watch.
      of: this.fed.map(({ agentId }) => agentId),
      intervalMs: this.parts.spec.config.network.heartbeatIntervalMs,
      signal,
      onDead: ({ peer, reason }) => dispatcher.unhealthy(peer, `health check: ${reason ?? "no answer"}`),
    });
  }

  greetAgain(worker: AgentId, signal: AbortSignal): void {
    void this.greet(worker, signal);
  }

  /** A sub-coordinator takes as much as its pool. */
  private concurrencyOf(worker: AgentId): number {
    const { concurrency = 1 } = this.parts.spec.config.queue ?? {};
    const pool = this.nodes.filter(({ fedBy }) => fedBy === worker).length;
    return concurrency * Math.max(1, pool);
  }

  /** The protocol's handshake. Returns why it failed, else null. */
  private async greet(worker: AgentId, signal: AbortSignal): Promise<string | null> {
    const { backend, self, recorder, clock, spec } = this.parts;
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(spec.config.network.connectionTimeoutMs))]);
    const startedAt = clock.now();
    const ends = ({ bytesSent, bytesReceived, roundTrips, protocol }: Traffic, error: string | null): void => {
      const measured = { bytesSent, bytesReceived, roundTrips, ms: clock.now() - startedAt, protocol };
      const message = { kind: "handshake", cause: "setup", to: worker, task: null, step: null, attempt: 1, error } as const;
      recorder.message({ ...message, ...measured });
    };
    try {
      const { peer, traffic } = await backend.connect(self.agentId, worker, { signal: deadline, cause: "setup" });
      if (peer.capabilities.includes(ANSWERS)) this.batchTakers.add(worker);
      ends(traffic, null);
      return null;
    } catch (error) {
      const failure = error instanceof CommError ? error : toCommError(error, worker, deadline);
      ends((error as { traffic?: Traffic }).traffic ?? NO_TRAFFIC, failure.code);
      return `handshake: ${failure.message}`;
    }
  }
}
