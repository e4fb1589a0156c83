import type { RunConfig } from "@failstorm/core";

/** `2 of 8 agents (fraction 0.3)`: how many a storm strikes, and of whom. */
export function describeVictims({ agentCount, hosts, killCount, killFraction, killProtocol }: RunConfig["scenario"]): string {
  const of =
    killProtocol === undefined
      ? `${agentCount} agents`
      : `the ${hosts?.filter((hosted) => hosted.includes(killProtocol)).length ?? 0} agents that host ${killProtocol}`;
  return `${killCount} of ${of} (fraction ${Number(killFraction.toFixed(3))})`;
}
