import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { type Clock, toCommError } from "@failstorm/core";
import { createMeteredClient, type OwnMeteredClient } from "@failstorm/protocols";
import { onClientEnd } from "./heldStreams.ts";

const ROUNDS = 3;
const CONNECTIONS = 4;
/** While two hundred agents rehearse at the same time, each may stand still for many seconds. */
const CONNECT_TIMEOUT_MS = 60_000;
const KEEP_ALIVE_MS = 600_000;
/** For the server's side to notice that its clients are gone. */
const NOTICE_MS = 2_000;

/** Answers `/held` with headers only and `/work` at once; leaves `/waiting` open. */
const listen = (): Promise<Server> =>
  new Promise((resolve) => {
    const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
      if (request.url === "/work") response.end("{}");
      else if (request.url === "/held") {
        response.writeHead(200).flushHeaders();
        onClientEnd(request.socket, () => request.socket.destroy());
      }
    });
    server.listen(0, "127.0.0.1", () => resolve(server));
  });

/**
 * Loses a peer that is none, in this process, before the run begins: connections at rest, with a request under way, and held open are
 * closed by the other side. The code of a loss has then been compiled once, as in any process that has been up for a while. Without it, a
 * survivor of a storm spends most of the first 100 ms compiling, and the cold start of a JavaScript engine would be measured as detection.
 */
export async function rehearseLoss(clock: Clock): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    const server = await listen();
    const client = createMeteredClient({ clock, connectTimeoutMs: CONNECT_TIMEOUT_MS, onResidual: () => {} });
    try {
      await lose(clock, server, client, round % 2 === 1);
    } catch {
      // On a machine that has far too much to do a connection may break before it was meant to: that is practice, too.
    } finally {
      server.close();
      server.closeAllConnections();
      await client.close();
    }
  }
}

/** A stream that ends as a killed client's does: what an agent no longer wants itself it resets. */
async function holdUntilEnd(port: number): Promise<Socket> {
  const socket = connect({ host: "127.0.0.1", port });
  socket.write("GET /held HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
  await once(socket, "data");
  return socket;
}

/** In every other round the client goes away first: an agent loses the connections of its peers' clients, too. */
async function lose(clock: Clock, server: Server, client: OwnMeteredClient, clientFirst: boolean): Promise<void> {
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const tag = { peer: "rehearsal", kind: "probe", cause: "setup" } as const;
  const ask = (path: string): Promise<unknown> => client.measure(tag, () => client.request(url + path, { method: "GET" }));
  const lost = (): Promise<unknown> => ask("/waiting").catch((error: unknown) => toCommError(error, tag.peer));
  const ended: Promise<unknown>[] = [];
  server.on("connection", (socket: Socket) => ended.push(new Promise((resolve) => socket.once("close", resolve))));
  await Promise.all(Array.from({ length: CONNECTIONS }, () => ask("/work")));
  const held = await client.hold(`${url}/held`, new AbortController().signal);
  const atServer = new Promise((resolve) => server.once("request", resolve));
  const waiting = Array.from({ length: CONNECTIONS - 1 }, lost);
  await atServer;
  if (clientFirst) {
    const other = await holdUntilEnd(port);
    await client.close();
    other.destroy();
    const patience = new AbortController();
    const late = clock.sleep(NOTICE_MS, patience.signal).catch(() => {});
    await Promise.race([Promise.all(ended), late]);
    patience.abort();
  }
  server.close();
  server.closeAllConnections();
  await Promise.all([held.closed, ...waiting]);
  await lost(); // refused
}
