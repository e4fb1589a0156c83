import { type Address, systemClock } from "@failstorm/core";
import {
  createMessagePassing,
  createStateManager,
  createTcpTransport,
  nodeIdOf,
  type TransportLink,
} from "../../network/src/index.ts";

export type StatesOrder =
  | { readonly type: "write"; readonly first: number; readonly count: number; readonly text: string }
  | { readonly type: "dial"; readonly address: Address }
  /** Without links, writes stay where they are made. */
  | { readonly type: "hang up" }
  | { readonly type: "sync" };

export type StatesAnswer =
  | { readonly type: "listening"; readonly address: Address }
  | { readonly type: "done" }
  /** `bytes`: both directions, as counted on the socket, frames and acknowledgements included. */
  | { readonly type: "synced"; readonly ms: number; readonly bytes: number; readonly received: number; readonly sent: number };

/*
 * A process with states, over TCP with sealed frames as a network of programs would run them. Arguments: its id.
 */
const [agentId = "a"] = process.argv.slice(2);
const [peerId] = ["a", "b"].filter((id) => id !== agentId) as [string];
const self = { agentId, incarnation: 1 };
const log = (_level: string, message: string, fields: object): void =>
  void process.stderr.write(`${message} ${JSON.stringify(fields)}\n`);
const security = { kind: "secret", keyId: "all", keys: { all: { secret: "the secret of the bench", role: "member" } } } as const;
const transport = createTcpTransport({ self, security, clock: systemClock, log, listen: { host: "127.0.0.1", port: 0 } });
const messages = createMessagePassing({
  self: { ...self, nodeId: nodeIdOf(agentId, 1), role: "member" },
  clock: systemClock,
  log,
});
const members = ["a", "b"];
const states = createStateManager({
  self: { agentId, nodeId: nodeIdOf(agentId, 1) },
  clock: systemClock,
  log,
  members: () => members,
  timeoutMs: 30_000,
  messages: {
    ask: (to, payload, timeoutMs) => messages.sendQuery(to, payload, { type: "StateSync", timeoutMs }),
    tell: (to, payload) => messages.sendMessage(to, "StateSync", payload, { queueOffline: false }),
    roleOf: () => "member",
  },
});
messages.onMessage("StateSync", ({ payload }, sender) => states.answer(payload, sender));
const links = new Set<TransportLink>();
const address = await transport.start({
  opened: (link) => {
    links.add(link);
    messages.attach(link);
  },
  received: (link, packet) => messages.receive(link, packet),
  drained: (link) => messages.drained(link),
  closed: (link) => {
    links.delete(link);
    messages.detach(link);
  },
});

async function carryOut(order: StatesOrder): Promise<StatesAnswer> {
  switch (order.type) {
    case "write":
      for (let n = order.first; n < order.first + order.count; n++)
        await states.storeState(`state-${n}`, { text: order.text, n });
      return { type: "done" };
    case "dial":
      await transport.dial(order.address);
      return { type: "done" };
    case "hang up":
      for (const link of links) link.close("hung up");
      return { type: "done" };
    case "sync": {
      const bytes = (): number => transport.statistics().bytesSent + transport.statistics().bytesReceived;
      const [before, from] = [bytes(), systemClock.now()];
      const { received, sent } = await states.syncState(peerId);
      return { type: "synced", ms: systemClock.now() - from, bytes: bytes() - before, received, sent };
    }
    default:
      return order satisfies never;
  }
}

process.on("message", (order: StatesOrder) => {
  void carryOut(order).then((answer) => process.send?.(answer));
});
process.once("disconnect", () => process.exit(0));
process.send?.({ type: "listening", address } satisfies StatesAnswer);
