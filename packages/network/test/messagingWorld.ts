import { type AgentId, createPrng, FakeClock, type Prng } from "@failstorm/core";
import {
  type AgentMessage,
  createMessagePassing,
  type Delivery,
  type LinkedMessagePassing,
  type MessagePassingOptions,
  nodeIdOf,
  type NetworkLogger,
  type Transport,
} from "../src/index.ts";
import { MemoryNetwork } from "./memoryNetwork.ts";

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, string | number | null>>;
}

/** A logger that remembers. */
export function recordingLog(): { readonly log: NetworkLogger; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  return { lines, log: (level, message, fields) => void lines.push({ level, message, fields }) };
}

export interface WorldNode {
  readonly agentId: AgentId;
  readonly messages: LinkedMessagePassing;
  readonly transport: Transport;
  /** What its Command handler was given. */
  readonly handedOver: AgentMessage[];
}

const addressOf = (agentId: AgentId) => ({ host: agentId, port: 1 });

/** Agents that send each other messages over a network in memory, on a fake clock. */
export class MessagingWorld {
  readonly clock = new FakeClock();
  readonly prng: Prng;
  readonly network: MemoryNetwork;
  readonly nodes = new Map<AgentId, WorldNode>();
  readonly log = recordingLog();

  constructor(seed = 1) {
    this.prng = createPrng(seed);
    this.network = new MemoryNetwork(this.clock, this.prng.fork("network"));
  }

  add(agentId: AgentId, options: Partial<MessagePassingOptions> & { incarnation?: number; role?: string } = {}): WorldNode {
    const { incarnation = 1, role = "member", ...rest } = options;
    const self = { agentId, incarnation, role };
    const messages = createMessagePassing({
      self: { ...self, nodeId: nodeIdOf(agentId, incarnation) },
      clock: this.clock,
      log: this.log.log,
      ...rest,
    });
    const handedOver: AgentMessage[] = [];
    messages.onMessage("Command", (message) => void handedOver.push(message));
    const transport = this.network.transport(self, addressOf(agentId));
    void transport.start({
      opened: (link) => messages.attach(link),
      received: (link, packet) => messages.receive(link, packet),
      drained: (link) => messages.drained(link),
      closed: (link) => messages.detach(link),
    });
    const node = { agentId, messages, transport, handedOver };
    this.nodes.set(agentId, node);
    return node;
  }

  /** Dials; false when that failed. */
  async link(a: AgentId, b: AgentId): Promise<boolean> {
    const dialled = this.nodes
      .get(a)
      ?.transport.dial(addressOf(b))
      .then(
        () => true,
        () => false,
      );
    await this.clock.advance(1);
    return (await dialled) ?? false;
  }
}

/** What a promise came to so far; null while it is open. */
export function outcomeOf(promise: Promise<Delivery>): { readonly current: Delivery | null } {
  const outcome: { current: Delivery | null } = { current: null };
  void promise.then((delivery) => {
    outcome.current = delivery;
    return delivery;
  });
  return outcome;
}
