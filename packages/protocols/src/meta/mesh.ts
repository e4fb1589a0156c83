import { type Address, type AgentId, agentIndex, CommError, type HostedById } from "@failstorm/core";
import type { MetaConfig } from "./config.ts";
import { hostsAt, kindsOf } from "./deal.ts";
import { isMember, type MemberName } from "./members.ts";

/** Where an agent has what is not alone on its port: under a path of its own, since A2A and Agora both answer at their root. */
const within = (address: Address, name: MemberName): Address => ({
  host: address.host,
  port: address.port,
  basePath: `${address.basePath ?? ""}/${name}`,
});

/** Who hosts what, and who is registered where. */
export class Mesh {
  private readonly config: MetaConfig;
  private readonly hosts: HostedById | null;
  private readonly addresses = new Map<AgentId, Address>();
  private readonly known = new Map<AgentId, readonly MemberName[]>();

  /** `hosts`: null where nobody has counted the agents. */
  constructor(config: MetaConfig, hosts: HostedById | null) {
    this.config = config;
    this.hosts = hosts;
  }

  /** What an agent hosts; nothing when it is none of the network's. */
  hosted(agentId: AgentId): readonly MemberName[] {
    let hosted = this.known.get(agentId);
    if (hosted === undefined) {
      hosted = this.lookUp(agentId);
      this.known.set(agentId, hosted);
    }
    return hosted;
  }

  /** What the agents host, one entry each, or one for each kind of agent where nobody has counted them. */
  entries(): readonly (readonly MemberName[])[] {
    return this.hosts === null ? kindsOf(this.config) : Array.from(this.hosts.values(), (hosted) => hosted.filter(isMember));
  }

  /** All that anybody hosts. */
  spoken(): readonly MemberName[] {
    return [...new Set(this.entries().flat())];
  }

  register(agentId: AgentId, address: Address): void {
    this.addresses.set(agentId, address);
  }

  forgetAll(): void {
    this.addresses.clear();
  }

  registered(): Iterable<AgentId> {
    return this.addresses.keys();
  }

  /** What a peer hosts that can be dialled. Throws CommError. */
  dialled(peer: AgentId): readonly MemberName[] {
    if (!this.addresses.has(peer)) throw new CommError("unknown_agent", peer, `${peer}: no endpoint registered`);
    const hosted = this.hosted(peer);
    if (hosted.length === 0) throw new CommError("unknown_agent", peer, `${peer}: nobody said which protocols it hosts`);
    return hosted;
  }

  /** Where a peer's host of this protocol is; null where it has none, or is not registered. */
  endpointOf(peer: AgentId, name: MemberName): Address | null {
    const address = this.addresses.get(peer);
    if (address === undefined || !this.hosted(peer).includes(name)) return null;
    return this.at(peer, address, name);
  }

  /** Where an agent that is reached at `address` has this protocol: at its root when it hosts nothing else, else under its name. */
  at(agentId: AgentId, address: Address, name: MemberName): Address {
    const [single, ...more] = this.hosted(agentId);
    return more.length === 0 && single === name ? address : within(address, name);
  }

  private lookUp(agentId: AgentId): readonly MemberName[] {
    if (this.hosts !== null) return (this.hosts.get(agentId) ?? []).filter(isMember);
    const index = agentIndex(agentId);
    return Number.isInteger(index) && index >= 0 ? hostsAt(this.config, index) : [];
  }
}
