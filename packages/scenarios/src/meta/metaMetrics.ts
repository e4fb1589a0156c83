import type { AgentId } from "@failstorm/core";
import type { BaseAgent } from "./baseAgent.ts";
import type { AgentHealth } from "./coordinator.ts";
import type { ProtocolRecovery, RecoveryLog } from "./recovery.ts";
import type { Tally, Totals } from "./tally.ts";

export interface ProtocolHealth {
  readonly protocol: string;
  readonly agents: number;
  readonly up: number;
  /** The slowest probe that was answered. */
  readonly slowest_ms: number | null;
}

/**
 * What the caller's own process saw of the network. Messages among agents in processes of their own are not in it: they are in the
 * run's events, of which `failstorm report` makes the same tables.
 */
export interface MetaNetworkMetrics {
  readonly agents: readonly ({ readonly agent: AgentId; readonly protocols: readonly string[]; readonly up: boolean } & Totals)[];
  readonly protocols: readonly ({ readonly protocol: string; readonly agents: number; readonly up: number } & Totals)[];
  readonly pairs: readonly ({ readonly caller: string; readonly callee: string } & Totals)[];
  readonly recovery: readonly ProtocolRecovery[];
}

interface Parts {
  readonly agents: readonly BaseAgent[];
  readonly isUp: (agent: AgentId) => boolean;
  readonly tally: Tally;
  readonly recovery: RecoveryLog;
}

const protocolsOf = (agents: readonly BaseAgent[]): string[] =>
  [...new Set(agents.flatMap(({ protocols }) => protocols))].toSorted();

export const networkMetrics = ({ agents, isUp, tally, recovery }: Parts): MetaNetworkMetrics => ({
  agents: agents.map(({ id, protocols }) =>
    Object.assign(
      { agent: id, protocols, up: isUp(id) },
      tally.of(({ to }) => to === id),
    ),
  ),
  protocols: protocolsOf(agents).map((protocol) => {
    const own = agents.filter(({ protocols }) => protocols.includes(protocol));
    const up = own.filter(({ id }) => isUp(id)).length;
    return Object.assign(
      { protocol, agents: own.length, up },
      tally.of(({ callee }) => callee === protocol),
    );
  }),
  pairs: tally.pairs(),
  recovery: recovery.rows(),
});

/** Probes, by protocol; an agent that hosts several counts under each, and is up in those that answered. */
export const healthByProtocol = (agents: readonly BaseAgent[], probes: readonly AgentHealth[]): ProtocolHealth[] =>
  protocolsOf(agents).map((protocol) => {
    const answered = probes
      .flatMap(({ protocols }) => protocols)
      .filter((probe) => probe.protocol === protocol && probe.up)
      .map(({ ms }) => ms ?? 0);
    return {
      protocol,
      agents: agents.filter(({ protocols }) => protocols.includes(protocol)).length,
      up: answered.length,
      slowest_ms: answered.length === 0 ? null : Math.round(Math.max(...answered) * 1000) / 1000,
    };
  });
