import { Agent, createServer, request, type ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer as createSocketServer, type Server, type Socket } from "node:net";
import { createPrng, type Prng, systemClock } from "@failstorm/core";
import type { FloorAnswer, FloorOrder } from "./stormFloor.ts";
import type { MessageLoad } from "./loadProfile.ts";

/**
 * One process of the storm's floor: a bare HTTP server and client, and a bare socket held open to each peer, brought to the memory, the requests and
 * the CPU time of an agent, and no logic: when the kernel closes a stream, it notes the time, and says so when the storm is over.
 */
const HOST = "127.0.0.1";
/** Memory is topped up in pieces below the size at which huge pages could back it; an agent's heap has none either. */
const BALLAST_BYTES = 256 * 1024;
const TOP_UP_MS = 200;
const REFILL_MS = 2_000;
/** CPU time that is lacking is spent in pieces of this length, about what a look-up costs an agent, and no more often than that much is lacking. */
const SLICE_MS = 2;
const MIN_SLICE_EVERY_MS = 10;
const MAX_SLICE_EVERY_MS = 1_000;
/** The storm is over when no stream was closed for so long. */
const OVER_MS = 300;
/** An answer that takes an agent longer than this is held back as long: then somebody was thinking. */
const THINKING_MS = 20;

/** A stream that the other side has ended is left as it is: to close it as well would be more than to note that it was closed. */
const HELD = { noDelay: true, allowHalfOpen: true } as const;

const ballast: Buffer[] = [];
const tell = (answer: FloorAnswer): void => void process.send?.(answer);

function answer(response: ServerResponse, bytes: number, delayMs: number): void {
  const reply = (): void => void response.end(Buffer.alloc(bytes, 0x20));
  if (delayMs > 0) systemClock.after(delayMs, reply);
  else reply();
}

const server = createServer({ keepAliveTimeout: 600_000 }, (incoming, response) => {
  const { "x-bytes": bytes = "0", "x-delay": delay = "0" } = incoming.headers as Record<string, string>;
  incoming.resume().once("end", () => answer(response, Number(bytes), Number(delay)));
});

const heldServer = createSocketServer(HELD, (socket) => {
  socket.on("error", () => {}).resume();
  socket.write("\n");
});

const closings: Extract<FloorAnswer, { type: "closed" }>["closings"][number][] = [];
let said = 0;
function sayClosings(): void {
  const seen = closings.length;
  systemClock.after(OVER_MS, () => {
    if (closings.length > seen) {
      sayClosings();
      return;
    }
    tell({ type: "closed", closings: closings.slice(said) });
    said = closings.length;
  });
}

/** One connection to the peer; resolves when it stands. */
function hold(peer: number, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ ...HELD, host: HOST, port });
    socket.once("error", reject).once("data", () => {
      socket.off("error", reject);
      let isNoted = false;
      const note = (): void => {
        if (isNoted) return;
        isNoted = true;
        closings.push({ peer, at: systemClock.now() });
        if (closings.length === said + 1) sayClosings();
      };
      // Whichever comes first: "close" takes another turn of the loop.
      socket.once("end", note).on("error", note).once("close", note);
      resolve();
    });
  });
}

const client = new Agent({ keepAlive: true });

function post(port: number, { requestBytes, replyBytes, ms }: MessageLoad): void {
  const headers = { "x-bytes": String(replyBytes), "x-delay": ms > THINKING_MS ? String(Math.round(ms)) : "0" };
  const outgoing = request({ host: HOST, port, path: "/", method: "POST", agent: client, headers }, (response) =>
    response.resume().on("error", () => {}),
  );
  outgoing.on("error", () => {}); // the peer is dead: no logic
  outgoing.end(Buffer.alloc(requestBytes, 0x20));
}

/** Requests of one kind to the peers in no order, at exponential intervals. */
function keepPosting(load: MessageLoad, ports: readonly number[], prng: Prng): void {
  systemClock.after(prng.exponential(1000 / load.perSecond), () => {
    post(prng.pick(ports), load);
    keepPosting(load, ports, prng);
  });
}

function keepMemory(targetBytes: number): void {
  const isLacking = process.memoryUsage.rss() < targetBytes;
  while (process.memoryUsage.rss() < targetBytes) ballast.push(Buffer.alloc(BALLAST_BYTES, 1));
  systemClock.after(isLacking ? TOP_UP_MS : REFILL_MS, () => keepMemory(targetBytes));
}

const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** Spends what is lacking of `share` of a core since the start, slice by slice. */
function keepBusy(share: number, startedAt: number, cpuAtStart: number): void {
  const lackingMs = share * (systemClock.now() - startedAt) - (cpuMs() - cpuAtStart);
  const until = cpuMs() + Math.min(lackingMs, SLICE_MS);
  while (cpuMs() < until);
  const everyMs = Math.min(MAX_SLICE_EVERY_MS, Math.max(MIN_SLICE_EVERY_MS, (2 * SLICE_MS - lackingMs) / share));
  systemClock.after(everyMs, () => keepBusy(share, startedAt, cpuAtStart));
}

async function begin({ index, load, ports, heldPorts, successors, seed }: Extract<FloorOrder, { type: "begin" }>): Promise<void> {
  const others = ports.map((port, peer) => ({ port, peer })).filter(({ peer }) => peer !== index);
  const held = others.filter(({ peer }) => successors === null || (peer - index + ports.length) % ports.length <= successors);
  await Promise.all(held.map(({ peer }) => hold(peer, heldPorts[peer] as number)));
  const prng = createPrng(seed).fork(`floor/${index}`);
  const peers = others.map(({ port }) => port);
  for (const message of load.messages) keepPosting(message, peers, prng.fork(message.kind));
  keepMemory(load.rssBytes);
  keepBusy(load.cpuShare, systemClock.now(), cpuMs());
  tell({ type: "holding" });
}

process.on("message", (order: FloorOrder) => {
  if (order.type === "begin") void begin(order);
  else tell({ type: "sample", at: systemClock.now(), cpuMs: cpuMs(), rssBytes: process.memoryUsage.rss() });
});
process.on("disconnect", () => process.exit(0));
const portOf = (one: Server): number => (one.address() as AddressInfo).port;
server.listen(0, HOST, () =>
  heldServer.listen(0, HOST, () => tell({ type: "listening", port: portOf(server), heldPort: portOf(heldServer) })),
);
