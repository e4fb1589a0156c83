import { agentId, type RunPlan } from "@failstorm/core";
import { buildLinks, neighbours } from "@failstorm/network";
import Table from "cli-table3";

/** Above this many neighbours a cell says how many there are. */
const MAX_NEIGHBOURS = 8;

/**
 * The network that would run, one agent a row: port, protocols, home tool, neighbours. `toolsAreKnown` false: the seed that deals the
 * tools is not given, the next run deals others.
 */
export function renderNetwork(plan: RunPlan, ports: readonly number[], toolsAreKnown: boolean): string {
  const { scenario, network } = plan.config;
  const ids = Array.from({ length: scenario.agentCount }, (_, index) => agentId(index));
  const links = buildLinks(network.topology, ids, network.customEdges);
  const table = new Table({
    head: ["agent", "port", "protocols", "home tool", "neighbours"],
    style: { head: [], border: [], compact: true },
  });
  for (const [index, id] of ids.entries()) {
    const near = neighbours(links, id);
    table.push([
      id,
      network.basePort === 0 ? "any" : String(ports[index] ?? ""),
      (scenario.hosts?.[index] ?? [scenario.protocol]).join(", "),
      toolsAreKnown ? (plan.homeTools[index] ?? "") : "by seed",
      near.length === ids.length - 1 && near.length > 1 ? `all ${near.length} others` : shortened(near),
    ]);
  }
  return table.toString();
}

const shortened = (near: readonly string[]): string =>
  near.length <= MAX_NEIGHBOURS
    ? near.join(", ")
    : `${near.slice(0, MAX_NEIGHBOURS).join(", ")} and ${near.length - MAX_NEIGHBOURS} more`;
