import { type Address, type AgentId, CommError } from "@failstorm/core";
import { nodeIdOf } from "../messaging/message.ts";
import type { AgentRegistry } from "../registry.ts";
import type { Link, Transport } from "../transport/transport.ts";

interface ConnectorOptions {
  readonly self: AgentId;
  readonly transport: Transport;
  readonly registry: AgentRegistry;
  /** For one dial with its handshake. */
  readonly connectTimeoutMs: number;
  /** Dials at the same time; when many links are lost at once, the others wait their turn. */
  readonly maxDials: number;
  /** The agent could not be reached. */
  readonly onFailed: (agentId: AgentId) => void;
}

/** Has a link to whoever is asked for, and no more than one dial to each at a time. */
export class Connector {
  private readonly options: ConnectorOptions;
  private readonly links = new Map<AgentId, Set<Link>>();
  private readonly dials = new Map<AgentId, Promise<Link>>();
  private readonly turns: (() => void)[] = [];
  private dialling = 0;

  constructor(options: ConnectorOptions) {
    this.options = options;
  }

  /** The link to the newest process of the agent; null when there is none. */
  linkTo(agentId: AgentId): Link | null {
    let newest: Link | null = null;
    for (const link of this.links.get(agentId) ?? []) {
      if (newest === null || link.peer.incarnation >= newest.peer.incarnation) newest = link;
    }
    return newest;
  }

  get linked(): readonly AgentId[] {
    return [...this.links.keys()];
  }

  isConnecting(agentId: AgentId): boolean {
    return this.dials.has(agentId);
  }

  /** An existing link, or a new one. Rejects with CommError. */
  reach(agentId: AgentId): Promise<Link> {
    const link = this.linkTo(agentId);
    if (link !== null) return Promise.resolve(link);
    const node = this.options.registry.node(agentId);
    if (node === null) return Promise.reject(new CommError("unknown_agent", agentId, `${agentId} is not registered`));
    let dial = this.dials.get(agentId);
    if (dial === undefined) {
      dial = this.dial({ host: node.address, port: node.port }, agentId).finally(() => this.dials.delete(agentId));
      this.dials.set(agentId, dial);
      // Whoever asked hears of the failure, too; this is for messages that wait.
      dial.catch(() => this.options.onFailed(agentId));
    }
    return dial;
  }

  /** Dials an address of which it may not be known who is there. Rejects with CommError. */
  async dial(address: Address, expected: AgentId | null): Promise<Link> {
    await this.turn();
    try {
      const link = await this.options.transport.dial(address, AbortSignal.timeout(Math.ceil(this.options.connectTimeoutMs)));
      if (expected === null || link.peer.agentId === expected) return link;
      link.close("not the agent that was called");
      throw new CommError("protocol", expected, `${expected}: ${link.peer.agentId} answered at its address`);
    } finally {
      this.dialling -= 1;
      this.turns.shift()?.();
    }
  }

  opened(link: Link): void {
    const { agentId } = link.peer;
    const links = this.links.get(agentId);
    if (links === undefined) this.links.set(agentId, new Set([link]));
    else links.add(link);
  }

  closed(link: Link): void {
    const { agentId } = link.peer;
    const links = this.links.get(agentId);
    links?.delete(link);
    if (links?.size === 0) this.links.delete(agentId);
  }

  /** Whether another link leads to the same process. */
  isLinkedTo(agentId: AgentId, incarnation: number): boolean {
    const nodeId = nodeIdOf(agentId, incarnation);
    return [...(this.links.get(agentId) ?? [])].some((link) => link.peer.nodeId === nodeId);
  }

  /** Closes all links to processes of the agent up to `incarnation`. */
  cut(agentId: AgentId, incarnation: number, reason: string): void {
    for (const link of this.links.get(agentId) ?? []) if (link.peer.incarnation <= incarnation) link.close(reason);
  }

  private async turn(): Promise<void> {
    if (this.dialling >= this.options.maxDials) await new Promise<void>((resolve) => void this.turns.push(resolve));
    this.dialling += 1;
  }
}
