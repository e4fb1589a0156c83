import { InputError } from "@failstorm/core";
import type { MetaConfig } from "./config.ts";
import type { MemberName } from "./members.ts";

type Hosts = readonly (readonly MemberName[])[];

/** So many of each: what is said, and what is left in equal shares among the others. */
function countsOf({ members }: MetaConfig, agentCount: number): Map<MemberName, number> {
  const entries = [...members].map(([name, { count }]) => [name, count] as const);
  const said = entries.reduce((sum, [, count]) => sum + (count ?? 0), 0);
  const open = entries.filter(([, count]) => count === null);
  const words = entries.flatMap(([name, count]) => (count === null ? [] : [`${name} ${count}`])).join(" + ");
  const left = agentCount - said;
  if (left < 0 || (left > 0 && open.length === 0))
    throw new InputError(
      `meta.protocols.*.agent_count: ${words} are ${said} agents, and there are ${agentCount}; change the counts, or say --agents ${said}`,
    );
  if (left === 0 && open.length > 0 && said > 0)
    throw new InputError(
      `meta.protocols.*.agent_count: ${words} leave none of ${agentCount} agents for ${open.map(([name]) => name).join(", ")}; give more agents, or disable what is left over`,
    );
  const share = (position: number): number => Math.floor(left / open.length) + (position < left % open.length ? 1 : 0);
  return new Map(entries.map(([name, count]) => [name, count ?? share(open.findIndex(([other]) => other === name))]));
}

/**
 * Which protocols each agent hosts, by agent index: as said agent by agent (a shorter list is repeated where it goes into the agent count
 * evenly), else dealt in turn, so that neighbours differ. Throws InputError when what was said does not fit so many agents.
 */
export function dealHosts(config: MetaConfig, agentCount: number): Hosts {
  const { hosts } = config;
  if (hosts !== null) {
    if (agentCount % hosts.length !== 0)
      throw new InputError(
        `meta.hosts: ${hosts.length} entries for ${agentCount} agents; give one for each, or so many that they go into ${agentCount} evenly`,
      );
    return Array.from({ length: agentCount }, (_, index) => hosts[index % hosts.length] ?? []);
  }
  const left = countsOf(config, agentCount);
  const dealt: MemberName[][] = [];
  while (dealt.length < agentCount)
    for (const [name, count] of left) {
      if (count === 0) continue;
      left.set(name, count - 1);
      dealt.push([name]);
    }
  return dealt;
}

/** What an agent of this index hosts where nobody has counted the agents: the deal, repeated. */
export function hostsAt(config: MetaConfig, index: number): readonly MemberName[] {
  const { hosts, members } = config;
  const said = [...members.values()].reduce((sum, { count }) => sum + (count ?? 1), 0);
  const period = hosts ?? dealHosts(config, said);
  return period[index % period.length] ?? [];
}

/** Each kind of agent that this configuration makes, once. */
export const kindsOf = ({ members, hosts }: MetaConfig): readonly (readonly MemberName[])[] =>
  hosts ?? [...members.keys()].map((name) => [name]);
