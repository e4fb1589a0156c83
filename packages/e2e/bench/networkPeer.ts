import { connect, createServer, type Socket } from "node:net";
import { type Address, RunError, systemClock } from "@failstorm/core";
import { createMessagePassing, createTcpTransport, nodeIdOf, type Security } from "../../network/src/index.ts";

/**
 * What travels: the network's messages, with or without sealed frames; or nothing but length-prefixed frames on a socket, each with a
 * write of its own, or all of a turn of the loop in one.
 */
export type Wire = "network" | "network sealed" | "raw" | "raw corked";

export type PeerOrder =
  | { readonly type: "dial"; readonly address: Address }
  /** One after the other for the latency, then with so many unacknowledged for the throughput. */
  | { readonly type: "measure"; readonly oneByOne: number; readonly count: number; readonly window: number };

export type PeerAnswer =
  | { readonly type: "listening"; readonly address: Address }
  | { readonly type: "dialled" }
  | { readonly type: "measured"; readonly p50Us: number; readonly perSecond: number };

/** Sends one message; resolves when the other process has handed it over and said so: with that, where the wire can say so. */
type SendOne = () => Promise<{ readonly status: string } | void>;

function check(result: { readonly status: string } | void): void {
  if (result !== undefined && result.status !== "delivered") throw new RunError("BENCH_NOT_DELIVERED", result.status);
}

interface Peer {
  readonly address: Address;
  dial(address: Address): Promise<SendOne>;
}

const HOST = "127.0.0.1";
const PAYLOAD = Buffer.alloc(200, 7);

async function networkPeer(agentId: string, security: Security): Promise<Peer> {
  const self = { agentId, incarnation: 1 };
  const log = (): void => {};
  const transport = createTcpTransport({
    self,
    security,
    clock: systemClock,
    log,
    listen: { host: HOST, port: 0 },
    codecs: ["msgpack"],
  });
  const messages = createMessagePassing({
    self: { ...self, nodeId: nodeIdOf(agentId, 1), role: "member" },
    clock: systemClock,
    log,
  });
  messages.onMessage("Command", () => {});
  const address = await transport.start({
    opened: (link) => messages.attach(link),
    received: (link, packet) => messages.receive(link, packet),
    drained: (link) => messages.drained(link),
    closed: (link) => messages.detach(link),
  });
  return {
    address,
    async dial(to) {
      const { peer } = await transport.dial(to);
      return () => messages.sendCommand(peer.agentId, PAYLOAD);
    },
  };
}

/** Length (32 bits), kind and number (32 bits each), then the bytes; an acknowledgement has none, and names the last of a turn. */
const HEADER = 4;
const FIELDS = 8;
const MESSAGE = 1;
const ACK = 2;

function rawFrame(kind: number, number: number, payload: Buffer | null): Buffer {
  const length = FIELDS + (payload?.length ?? 0);
  const bytes = Buffer.allocUnsafe(HEADER + length);
  bytes.writeUInt32BE(length, 0);
  bytes.writeUInt32BE(kind, 4);
  bytes.writeUInt32BE(number, 8);
  payload?.copy(bytes, HEADER + FIELDS);
  return bytes;
}

/** Calls `onFrame` with kind, number and payload of each. */
function readRaw(socket: Socket, onFrame: (kind: number, number: number, payload: Buffer) => void, onTurn: () => void): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (bytes.length - at >= HEADER) {
      const end = at + HEADER + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      onFrame(bytes.readUInt32BE(at + 4), bytes.readUInt32BE(at + 8), bytes.subarray(at + HEADER + FIELDS, end));
      at = end;
    }
    rest = bytes.subarray(at);
    onTurn();
  });
}

/** What anybody would write on a socket; one acknowledgement for all that arrived together. */
async function rawPeer(isCorked: boolean): Promise<Peer> {
  let handedOver = 0;
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    let last = 0;
    const onFrame = (_kind: number, number: number, payload: Buffer): void => {
      handedOver += payload.length;
      last = number;
    };
    readRaw(socket, onFrame, () => socket.write(rawFrame(ACK, last, null)));
  });
  await new Promise<void>((resolve) => void server.listen({ host: HOST, port: 0 }, resolve));
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : 0;
  return {
    address: { host: HOST, port },
    async dial(to) {
      const socket = connect(to);
      socket.setNoDelay(true);
      await new Promise<void>((resolve) => void socket.once("connect", resolve));
      const waiting: (() => void)[] = [];
      let sent = 0;
      let acknowledged = 0;
      const onAck = (_kind: number, number: number): void => {
        for (const resolve of waiting.splice(0, number - acknowledged)) resolve();
        acknowledged = number;
      };
      readRaw(socket, onAck, () => {});
      return () => {
        if (isCorked && socket.writableCorked === 0) {
          socket.cork();
          queueMicrotask(() => socket.uncork());
        }
        socket.write(rawFrame(MESSAGE, ++sent, PAYLOAD));
        return new Promise<void>((resolve) => void waiting.push(resolve));
      };
    },
  };
}

async function measure(
  sendOne: SendOne,
  { oneByOne, count, window }: Extract<PeerOrder, { type: "measure" }>,
): Promise<PeerAnswer> {
  const latencies: number[] = [];
  for (let i = 0; i < oneByOne; i++) {
    const from = systemClock.now();
    check(await sendOne());
    latencies.push((systemClock.now() - from) * 1000);
  }
  const from = systemClock.now();
  let left = count;
  const lane = async (): Promise<void> => {
    for (; left > 0; ) {
      left -= 1;
      check(await sendOne());
    }
  };
  await Promise.all(Array.from({ length: window }, lane));
  const ms = systemClock.now() - from;
  latencies.sort((a, b) => a - b);
  return { type: "measured", p50Us: latencies[latencies.length >> 1] ?? Number.NaN, perSecond: (count / ms) * 1000 };
}

const [wire = "raw", agentId = ""] = process.argv.slice(2) as [Wire?, string?];
const sealed: Security = { kind: "secret", keyId: "all", keys: { all: { secret: "the secret of the bench", role: "member" } } };
const open: Security = { kind: "open", role: "member" };
const isRaw = wire === "raw" || wire === "raw corked";
const peer = await (isRaw ? rawPeer(wire === "raw corked") : networkPeer(agentId, wire === "network" ? open : sealed));
const answer = (what: PeerAnswer): void => void process.send?.(what);
let sendOne: SendOne | null = null;
process.on("message", (order: PeerOrder) => {
  void (async () => {
    if (order.type === "dial") {
      sendOne = await peer.dial(order.address);
      answer({ type: "dialled" });
    } else if (sendOne !== null) answer(await measure(sendOne, order));
  })();
});
process.once("disconnect", () => process.exit(0));
answer({ type: "listening", address: peer.address });
