import type { RunConfig, RunPlan } from "@failstorm/core";

/** `2 of 8 agents (fraction 0.3)`: how many a storm strikes, and of whom. */
export function describeVictims({ agentCount, hosts, killCount, killFraction, killProtocol }: RunConfig["scenario"]): string {
  const of =
    killProtocol === undefined
      ? `${agentCount} agents`
      : `the ${hosts?.filter((hosted) => hosted.includes(killProtocol)).length ?? 0} agents that host ${killProtocol}`;
  return `${killCount} of ${of} (fraction ${Number(killFraction.toFixed(3))})`;
}

/** What of the storm that was asked for is left out, since too few agents are up when it is due; a line each. */
export function describeShortfall({ config: { scenario }, schedule: { faults } }: RunPlan): string[] {
  const { killCount, cycles } = scenario;
  if (killCount === 0 || scenario.agentCount === 1) return [];
  const remedy =
    "the others are not up again by then; give a longer --cycle-interval, a shorter --restart-after or fewer victims";
  const short = faults
    .filter(({ victims }) => victims.length < killCount)
    .map(({ cycle, victims }) => `cycle ${cycle} strikes ${victims.length} of ${killCount} agents: ${remedy}`);
  return faults.length < cycles ? [...short, `${cycles - faults.length} of ${cycles} cycles strike nobody: ${remedy}`] : short;
}
