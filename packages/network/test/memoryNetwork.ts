import { type Address, type AgentId, type Clock, CommError, type Prng } from "@failstorm/core";
import { nodeIdOf, type Packet, type Transport, type TransportEvents, type TransportLink } from "../src/index.ts";
import { fromWire, toWire } from "../src/messaging/wire.ts";

interface Weather {
  /** Of all packets. */
  readonly loss: number;
  readonly duplication: number;
  /** Uniform between 0 and this: packets overtake each other. */
  readonly maxDelayMs: number;
}

interface End {
  readonly link: MemoryLink;
  readonly events: TransportEvents;
}

interface Listener {
  readonly self: { readonly agentId: AgentId; readonly incarnation: number; readonly role: string };
  readonly events: TransportEvents;
}

/** A network in memory for deterministic tests: it loses, repeats, delays and reorders packets, and falls apart when told to. */
export class MemoryNetwork {
  weather: Weather = { loss: 0, duplication: 0, maxDelayMs: 0 };
  packets = 0;
  /** Every address that was dialled. */
  readonly dialled: string[] = [];
  private readonly listeners = new Map<string, Listener>();
  private readonly ends = new Set<End>();
  private groups = new Map<AgentId, number>();
  readonly clock: Clock;
  readonly prng: Prng;

  constructor(clock: Clock, prng: Prng) {
    this.clock = clock;
    this.prng = prng;
  }

  /** Agents in different groups do not hear of each other; what is not named is in group 0. */
  partition(groups: ReadonlyMap<AgentId, number>): void {
    this.groups = new Map(groups);
  }

  /** All links between the two are lost. */
  cut(a: AgentId, b: AgentId): void {
    for (const { link } of this.ends) if (link.owner === a && link.peer.agentId === b) link.close("cut");
  }

  /** The process is gone: its links break, its address refuses. */
  crash(agentId: AgentId): void {
    for (const [address, { self }] of this.listeners) if (self.agentId === agentId) this.listeners.delete(address);
    for (const { link } of this.ends) if (link.owner === agentId) link.close("crashed");
  }

  transport(self: Listener["self"], address: Address): Transport {
    const name = `${address.host}:${address.port}`;
    return {
      start: (events) => {
        this.listeners.set(name, { self, events });
        return Promise.resolve(address);
      },
      dial: (to) => this.dial(name, to),
      statistics: () => ({ links: 0, bytesSent: 0, bytesReceived: 0, framesSent: 0, framesReceived: 0, refused: {} }),
      stop: () => {
        this.crash(self.agentId);
        return Promise.resolve();
      },
    };
  }

  deliver(from: MemoryLink, packet: Packet): void {
    const { loss, duplication, maxDelayMs } = this.weather;
    this.packets += 1;
    const copies = this.prng.next() < duplication ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (this.prng.next() < loss) continue;
      this.clock.after(this.prng.next() * maxDelayMs, () => this.arrive(from, packet));
    }
  }

  remove(link: MemoryLink): void {
    for (const end of this.ends) {
      if (end.link !== link) continue;
      this.ends.delete(end);
      end.events.closed(link, "closed");
    }
  }

  private arrive(from: MemoryLink, packet: Packet): void {
    const { twin } = from;
    if (twin === null || !twin.isWritable || !this.isReachable(from.owner, from.peer.agentId)) return;
    const [sender, receiver] = [from.ownNodeId, twin.ownNodeId];
    const wire: unknown = structuredClone(toWire(packet, { sender, receiver }));
    const self = { agentId: twin.owner, nodeId: twin.ownNodeId };
    const peer = { agentId: from.owner, nodeId: from.ownNodeId };
    const arrived = fromWire(wire, { self, peer });
    if (arrived === null) throw new Error(`not a packet: ${JSON.stringify(wire)}`);
    for (const { link, events } of this.ends) if (link === twin) events.received(twin, arrived);
  }

  private isReachable(a: AgentId, b: AgentId): boolean {
    return (this.groups.get(a) ?? 0) === (this.groups.get(b) ?? 0);
  }

  private async dial(from: string, to: Address): Promise<TransportLink> {
    const name = `${to.host}:${to.port}`;
    this.dialled.push(name);
    const dialler = this.listeners.get(from);
    const acceptor = this.listeners.get(name);
    await this.clock.sleep(1);
    if (dialler === undefined || acceptor === undefined) throw new CommError("refused", name, `${name} refused`);
    if (!this.isReachable(dialler.self.agentId, acceptor.self.agentId)) throw new CommError("timeout", name, `${name} is silent`);
    const [a, b] = [new MemoryLink(this, dialler.self, acceptor.self), new MemoryLink(this, acceptor.self, dialler.self)];
    a.twin = b;
    b.twin = a;
    this.ends.add({ link: a, events: dialler.events });
    this.ends.add({ link: b, events: acceptor.events });
    acceptor.events.opened(b);
    dialler.events.opened(a);
    return a;
  }
}

class MemoryLink implements TransportLink {
  readonly owner: AgentId;
  readonly ownNodeId: string;
  readonly peer: TransportLink["peer"];
  readonly remote = "memory";
  isWritable = true;
  twin: MemoryLink | null = null;
  private readonly network: MemoryNetwork;

  constructor(network: MemoryNetwork, owner: Listener["self"], { agentId, incarnation, role }: Listener["self"]) {
    this.network = network;
    this.owner = owner.agentId;
    this.ownNodeId = nodeIdOf(owner.agentId, owner.incarnation);
    this.peer = { agentId, incarnation, nodeId: nodeIdOf(agentId, incarnation), role };
  }

  send(packet: Packet): void {
    if (this.isWritable) this.network.deliver(this, packet);
  }

  close(reason: string): void {
    if (!this.isWritable) return;
    this.isWritable = false;
    this.network.remove(this);
    this.twin?.close(reason);
  }
}
