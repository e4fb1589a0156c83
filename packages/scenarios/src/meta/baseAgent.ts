import type { AgentId, Clock, DirectRequest } from "@failstorm/core";
import type { AgentHost } from "./agentHost.ts";
import { type AgentHealth, COORDINATOR, type Coordinator } from "./coordinator.ts";
import { sendMessage, type TaskResult } from "./message.ts";
import type { Tally, Totals } from "./tally.ts";

/** One interface around each agent, whatever it hosts and wherever it runs. */
export interface BaseAgent {
  readonly id: AgentId;
  /** The protocols it hosts. */
  readonly protocols: readonly string[];
  /** Starts it when it is down. Throws RunError when it does not come up. */
  start(): Promise<void>;
  /** Ends it in order (a process by SIGTERM). */
  stop(): Promise<void>;
  /** Has it ask another agent, in a protocol of that one. Never throws. */
  send(to: AgentId, request: DirectRequest): Promise<TaskResult>;
  /** Probes it. Never throws. */
  health(): Promise<AgentHealth>;
  /** Of the messages to it that the network's coordinator sent. */
  metrics(): AgentMetrics;
  /** `tool:search`, `shard:3`, …: as it said in its last handshake. */
  capabilities(): readonly string[];
}

export interface AgentMetrics extends Totals {
  /** Under way now. */
  readonly in_flight: number;
}

interface Parts {
  readonly host: AgentHost;
  readonly coordinator: Coordinator;
  readonly tally: Tally;
  /** An agent's endpoint is known to whoever calls it. */
  readonly register: (id: AgentId) => void;
  readonly clock: Clock;
  readonly attemptTimeoutMs: number;
  /** What an agent hosts, joined by `+`. */
  readonly label: (id: AgentId) => string;
}

export function baseAgent(id: AgentId, protocols: readonly string[], parts: Parts): BaseAgent {
  const { host, coordinator, tally } = parts;
  return {
    id,
    protocols,
    async start() {
      await host.start(id);
      parts.register(id);
      // What it can do now, and that it is there, is learnt in a handshake.
      await coordinator.welcome(id);
    },
    stop: () => host.stop(id),
    send(to, request) {
      const { sendFrom } = host;
      if (sendFrom === undefined) return coordinator.relay(id, to, request);
      const send = async (signal: AbortSignal): ReturnType<typeof sendFrom> => sendFrom(id, to, request, signal);
      return sendMessage({ ...parts, caller: parts.label(id), worker: to, target: null, send });
    },
    health: () => coordinator.probe(id),
    metrics: () => ({ ...tally.of(({ to, caller }) => to === id && caller === COORDINATOR), in_flight: coordinator.loadOf(id) }),
    capabilities: () => coordinator.capabilitiesOf(id),
  };
}
