/** `agent-0`, `agent-1`, …: one OS process at a time, one port, one workspace. */
export type AgentId = string;
/** `t-000042`: one question of the schedule. */
export type TaskId = string;

export const agentId = (index: number): AgentId => `agent-${index}`;
export const agentIndex = (id: AgentId): number => Number(id.slice("agent-".length));
export const taskId = (index: number): TaskId => `t-${String(index).padStart(6, "0")}`;

/** Which protocols each agent hosts. */
export type HostedById = ReadonlyMap<AgentId, readonly string[]>;

/** `RunConfig.scenario.hosts` has them by index; null where all agents speak the same protocol. */
export function hostedById(scenario: {
  readonly hosts?: readonly (readonly string[])[];
  readonly agentIds?: readonly AgentId[];
}): HostedById | null {
  const { hosts, agentIds } = scenario;
  if (hosts === undefined) return null;
  return new Map(hosts.map((hosted, index) => [agentIds?.[index] ?? agentId(index), hosted]));
}

/** Orders ids by their number, so that agent-10 comes after agent-9. */
export const byAgentIndex = (a: AgentId, b: AgentId): number => agentIndex(a) - agentIndex(b);
