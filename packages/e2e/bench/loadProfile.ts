import type { AgentId, RunEventOf } from "@failstorm/core";
import type { ProductRun } from "./product.ts";
import { median } from "./statistics.ts";

/** Messages of one kind, as one agent sent them. */
export interface MessageLoad {
  readonly kind: string;
  readonly perSecond: number;
  readonly requestBytes: number;
  readonly replyBytes: number;
  /** Mean time to the answer, ms: how long the request stays open. */
  readonly ms: number;
}

/** What one agent did and was in the seconds before the fault. */
export interface AgentLoad {
  readonly agent: AgentId;
  readonly rssBytes: number;
  /** Of one core. */
  readonly cpuShare: number;
  readonly messages: readonly MessageLoad[];
}

/** A storm that a run has had: who was under which load, and who was killed. */
export interface StormProfile {
  readonly agents: readonly AgentLoad[];
  readonly victims: readonly AgentId[];
}

/** The load is taken from so long before the fault. */
export const LOOK_BACK_MS = 4000;

function messageLoads(seconds: readonly RunEventOf<"msg.second">[], spanSeconds: number): MessageLoad[] {
  return [...Map.groupBy(seconds, ({ kind }) => kind)].flatMap(([kind, group]) => {
    const sum = (of: (event: RunEventOf<"msg.second">) => number): number => group.reduce((total, event) => total + of(event), 0);
    const n = sum((event) => event.n);
    if (n === 0) return [];
    return [
      {
        kind,
        perSecond: n / spanSeconds,
        requestBytes: Math.round(sum((event) => event.bytesSent) / n),
        replyBytes: Math.round(sum((event) => event.bytesReceived) / n),
        ms: sum((event) => event.msSum) / n,
      },
    ];
  });
}

function agentLoad(agent: AgentId, samples: readonly RunEventOf<"process">[], messages: readonly MessageLoad[]): AgentLoad {
  const first = samples[0];
  const last = samples.at(-1);
  if (first === undefined || last === undefined || last.t <= first.t) throw new Error(`${agent}: no samples before the fault`);
  return { agent, rssBytes: last.rssBytes, cpuShare: (last.cpuMs - first.cpuMs) / (last.t - first.t), messages };
}

/** The load of every agent in the last seconds before the first fault, from the run's events. */
export function profileOf({ record, metrics }: ProductRun): StormProfile {
  const t0 = record.events.find((event) => event.ev === "run.load")?.t0 ?? 0;
  const faultAt = t0 + (metrics.at_ms ?? 0);
  const from = faultAt - LOOK_BACK_MS;
  // The victims take their last second with them.
  const [fromSecond, toSecond] = [Math.ceil((from - t0) / 1000), Math.floor((faultAt - t0) / 1000) - 1];
  const bySource = Map.groupBy(record.events, (event) => event.src);
  const agents = metrics.agents.map(({ agent }) => {
    const own = bySource.get(agent) ?? [];
    const earlier = own.filter((event) => event.ev === "process" && event.t < faultAt);
    // On a machine with too much to do samples come late: two there must be.
    const samples = earlier.filter((event, index) => event.t >= from || index >= earlier.length - 2);
    const seconds = own.filter((event) => event.ev === "msg.second" && event.second >= fromSecond && event.second < toSecond);
    return agentLoad(
      agent,
      samples as RunEventOf<"process">[],
      messageLoads(seconds as RunEventOf<"msg.second">[], toSecond - fromSecond),
    );
  });
  return { agents, victims: (metrics.victims ?? []).map((victim) => victim.agent) };
}

/** Medians over the agents, to set beside those of the floor. */
export const summarise = (
  agents: readonly { readonly rssBytes: number; readonly cpuShare: number }[],
): { rssBytes: number; cpuShare: number } => ({
  rssBytes: median(agents.map((agent) => agent.rssBytes)),
  cpuShare: median(agents.map((agent) => agent.cpuShare)),
});
