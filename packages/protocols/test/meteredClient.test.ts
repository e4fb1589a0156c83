import { getEventListeners } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { WebSocket as ServerSocket } from "@fastify/websocket";
import { systemClock, type Traffic, type TrafficTag } from "@failstorm/core";
import fastify from "fastify";
import { afterEach, describe, expect, test } from "vitest";
import { createMeteredClient, type OwnMeteredClient } from "../src/index.ts";
import { takeMessages } from "../src/webSocketAccount.ts";

const opened: Array<() => Promise<unknown>> = [];
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

interface Residual {
  readonly tag: TrafficTag;
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

function client(): OwnMeteredClient & { readonly residuals: Residual[] } {
  const residuals: Residual[] = [];
  const made = createMeteredClient({
    clock: systemClock,
    connectTimeoutMs: 30_000,
    onResidual: (tag, bytesSent, bytesReceived) => residuals.push({ tag, bytesSent, bytesReceived }),
  });
  opened.push(() => made.close());
  return { ...made, residuals };
}

/** A server that counts what its own sockets moved, and answers with the request's body. */
async function echoServer(answer = (body: string, response: ServerResponse): void => void response.end(body)) {
  const sockets: Socket[] = [];
  const server: Server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    request.on("end", () => answer(body, response));
  });
  server.on("connection", (socket) => sockets.push(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  opened.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    sockets,
    moved: () => ({
      bytesSent: sockets.reduce((sum, socket) => sum + socket.bytesRead, 0),
      bytesReceived: sockets.reduce((sum, socket) => sum + socket.bytesWritten, 0),
    }),
  };
}

/** An echo over WebSocket, which counts what its own sockets moved. */
async function webSocketServer(
  answer = (socket: ServerSocket, message: Buffer): void => socket.send(message, { binary: false }),
) {
  const server = fastify();
  const { default: webSockets } = await import("@fastify/websocket");
  await server.register(webSockets);
  server.get("/ws", { websocket: true }, (socket) => void socket.on("message", (data) => answer(socket, data as Buffer)));
  const sockets: Socket[] = [];
  server.server.on("connection", (socket) => sockets.push(socket));
  const url = await server.listen({ host: "127.0.0.1", port: 0 });
  opened.push(() => server.close());
  return {
    url: `${url.replace("http", "ws")}/ws`,
    moved: () => ({
      bytesSent: sockets.reduce((total, socket) => total + socket.bytesRead, 0),
      bytesReceived: sockets.reduce((total, socket) => total + socket.bytesWritten, 0),
    }),
  };
}

async function open(metered: OwnMeteredClient, url: string): Promise<WebSocket> {
  const socket = await metered.webSocket(url);
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("error", reject);
  });
  return socket;
}

/** Sends `id:text`, and resolves when it has come back, whatever else comes meanwhile. */
function answered(socket: WebSocket, text: string, id: string): Promise<void> {
  const take = takeMessages(socket);
  const answer = new Promise<void>((resolve) => {
    const listener = (message: MessageEvent): void => {
      const { data } = message as { data: string | Blob };
      // A blob is a fragmented message here, of which there is one at a time.
      if (typeof data === "string" && !data.startsWith(`${id}:`)) return;
      take(message);
      socket.removeEventListener("message", listener);
      resolve();
    };
    socket.addEventListener("message", listener);
  });
  socket.send(`${id}:${text}`);
  return answer;
}

const tag = (peer: string): TrafficTag => ({ peer, cause: "work", kind: "tool" });
const post = (body: string) => ({ method: "POST", body });
const sum = (all: readonly Traffic[]) => ({
  bytesSent: all.reduce((total, { bytesSent }) => total + bytesSent, 0),
  bytesReceived: all.reduce((total, { bytesReceived }) => total + bytesReceived, 0),
});
const failure = async (promise: Promise<unknown>): Promise<Error & { traffic?: Traffic }> => {
  try {
    await promise;
  } catch (error) {
    return error as Error & { traffic?: Traffic };
  }
  throw new Error("it did not fail");
};

describe("bytes", () => {
  test("are the server's own count, request by request, whether plain or fetched, one at a time or many", async () => {
    const server = await echoServer();
    const metered = client();
    const plain = (size: number) =>
      metered.measure(tag("a"), async () => (await metered.request(server.url, post("x".repeat(size)))).body.length);
    const fetched = (size: number) =>
      metered.measure(tag("b"), async () => (await (await metered.fetch(server.url, post("y".repeat(size)))).text()).length);
    const all: { value: number; traffic: Traffic }[] = [];
    for (const size of [0, 10, 100_000]) all.push(await plain(size), await fetched(size));
    all.push(...(await Promise.all(Array.from({ length: 30 }, (_, i) => (i % 2 ? plain(i) : fetched(i))))));
    expect(all.map(({ value }) => value)).toEqual([0, 0, 10, 10, 100_000, 100_000, ...Array.from({ length: 30 }, (_, i) => i)]);
    expect(all.every(({ traffic }) => traffic.roundTrips === 1)).toBe(true);
    expect(sum(all.map(({ traffic }) => traffic))).toEqual(server.moved());
    expect(metered.socketTotals()).toEqual(server.moved());
    expect(metered.residuals).toEqual([]);
  });

  test("of several requests in one operation add up, those of nested operations do not", async () => {
    const server = await echoServer();
    const metered = client();
    const send = () => metered.request(server.url, post("x"));
    let inner: Traffic | undefined;
    const { traffic } = await metered.measure(tag("outer"), async () => {
      await send();
      inner = (await metered.measure(tag("inner"), send)).traffic;
      await send();
    });
    expect(traffic.roundTrips).toBe(2);
    expect(inner?.roundTrips).toBe(1);
    expect(sum([traffic, inner as Traffic])).toEqual(server.moved());
  });

  test("of a request that nobody measured are not the next one's on its connection", async () => {
    const server = await echoServer();
    const metered = client();
    await metered.request(server.url, post("z".repeat(50_000)));
    // undici uses a connection again after a whole turn of the loop.
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    const { traffic } = await metered.measure(tag("a"), () => metered.request(server.url, post("x")));
    expect(server.sockets).toHaveLength(1);
    expect(traffic.bytesSent).toBeLessThan(500);
    expect(traffic.bytesReceived).toBeLessThan(500);
  });

  test("of another client of the process are not ours", async () => {
    const server = await echoServer();
    const [one, other] = [client(), client()];
    const moved = await Promise.all(
      Array.from({ length: 20 }, (_, i) => {
        const by = i % 2 ? one : other;
        return by.measure(tag("a"), () => by.request(server.url, post("x".repeat(i % 2 ? 1000 : 0))));
      }),
    );
    for (const [by, parity] of [
      [one, 1],
      [other, 0],
    ] as const)
      expect(sum(moved.filter((_, i) => i % 2 === parity).map(({ traffic }) => traffic))).toEqual(by.socketTotals());
  });

  test("that arrive after the request was given up are the residual of its operation", async () => {
    const begun = Promise.withResolvers<ServerResponse>();
    const server = await echoServer((_body, response) => {
      response.write("x".repeat(1000));
      begun.resolve(response);
    });
    const metered = client();
    const giveUp = new AbortController();
    const sent = failure(metered.measure(tag("a"), () => metered.request(server.url, { ...post("x"), signal: giveUp.signal })));
    await begun.promise;
    giveUp.abort(new Error("enough"));
    const { message, traffic } = await sent;
    expect(message).toBe("enough");
    const closed = server.sockets.map(
      (socket) => new Promise((resolve) => (socket.closed ? resolve(0) : socket.once("close", resolve))),
    );
    await Promise.all(closed);
    const residual = sum(metered.residuals.map((one) => ({ ...one, roundTrips: 0, firstByteAt: null, ms: 0 })));
    expect(sum([traffic as Traffic, { ...(traffic as Traffic), ...residual }])).toEqual(metered.socketTotals());
  });

  test("of a WebSocket are whose message they are: sent at once, received with the answer, late ones as residual", async () => {
    const { url, moved } = await webSocketServer();
    const metered = client();
    const { value: socket, traffic: upgrade } = await metered.measure(tag("ws"), () => open(metered, url));
    expect(upgrade.roundTrips).toBe(1);
    expect(sum([upgrade])).toEqual(moved());
    const sizes = [0, 125, 126, 65_535, 65_536, 300_000];
    // All at once, so that chunks hold many messages, and halves of them.
    const all = await Promise.all(
      sizes.map((size, i) =>
        metered.measure(tag(`op-${i}`), () => answered(socket, String.fromCharCode(97 + i).repeat(size), `${i}`)),
      ),
    );
    const header = (bytes: number): number => (bytes < 126 ? 2 : bytes < 65_536 ? 4 : 10);
    for (const [i, { traffic }] of all.entries()) {
      const bytes = (sizes[i] as number) + `${i}:`.length;
      expect(traffic.bytesSent, "a frame and its mask").toBe(bytes + header(bytes) + 4);
      expect(traffic.bytesReceived).toBe(bytes + header(bytes));
      expect(traffic.firstByteAt).not.toBeNull();
    }
    expect(metered.residuals).toEqual([]);
    expect(sum([upgrade, ...all.map(({ traffic }) => traffic)])).toEqual(moved());
    expect(metered.socketTotals()).toEqual(moved());

    // What is given up before its answer comes is the residual of its operation, what nobody takes of the connection's.
    const late = Promise.withResolvers<void>();
    const { traffic: givenUp } = await metered.measure(tag("late"), async () => {
      void answered(socket, "x", "late").then(() => late.resolve());
    });
    await late.promise;
    expect(metered.residuals).toEqual([{ tag: tag("late"), bytesSent: 0, bytesReceived: "late:x".length + 2 }]);
    const taken = [upgrade, givenUp, ...all.map(({ traffic }) => traffic)];
    socket.send("nobody:asks");
    await new Promise((resolve) => socket.addEventListener("message", resolve, { once: true }));
    const closed = new Promise((resolve) => socket.addEventListener("close", resolve, { once: true }));
    socket.close();
    await closed;
    expect(metered.residuals.slice(1).every((one) => one.tag.peer === "ws")).toBe(true);
    const rest = metered.residuals.map((one) => ({ ...upgrade, ...one }));
    expect(sum([...taken, ...rest])).toEqual(metered.socketTotals());
    expect(metered.socketTotals()).toEqual(moved());
  });

  test("of a WebSocket whose messages come in fragments, among pings, are counted once", async () => {
    const { url, moved } = await webSocketServer((socket, message) => {
      socket.ping("are you there");
      socket.send(message.subarray(0, 7), { fin: false });
      socket.send(message.subarray(7), { fin: true });
    });
    const metered = client();
    const { value: socket, traffic } = await metered.measure(tag("ws"), () => open(metered, url));
    const all = [traffic];
    for (let i = 0; i < 5; i++)
      all.push((await metered.measure(tag("a"), () => answered(socket, "y".repeat(200), `${i}`))).traffic);
    const closed = new Promise((resolve) => socket.addEventListener("close", resolve, { once: true }));
    socket.close();
    await closed;
    expect(sum([...all, ...metered.residuals.map((one) => ({ ...traffic, ...one }))])).toEqual(metered.socketTotals());
    expect(metered.socketTotals()).toEqual(moved());
    expect(sum(all).bytesReceived).toBeGreaterThan(5 * 200);
  });
});

describe("a request", () => {
  test("given up before it began, or while it waits for its connection, fails at once with the reason and is never sent", async () => {
    const [warm, server] = [await echoServer(), await echoServer()];
    const metered = client();
    await metered.request(warm.url, post("undici is loaded"));
    const early = AbortSignal.abort(new Error("never begun"));
    expect((await failure(metered.request(server.url, { ...post("x"), signal: early }))).message).toBe("never begun");
    const giveUp = new AbortController();
    const waiting = failure(metered.request(server.url, { ...post("x"), signal: giveUp.signal }));
    for (let turn = 0; turn < 10; turn++) await Promise.resolve();
    giveUp.abort(new Error("no more patience"));
    // No connection can be made within this turn of the loop.
    const turn = new Promise<null>((resolve) => setImmediate(resolve, null));
    expect((await Promise.race([waiting, turn]))?.message).toBe("no more patience");
    expect((await metered.request(server.url, post("the next one"))).body.toString()).toBe("the next one");
    const { bytesSent } = (await metered.measure(tag("a"), () => metered.request(server.url, post("x".repeat(12))))).traffic;
    expect(server.moved().bytesSent, "two requests, each as long as the last").toBe(2 * bytesSent);
  });

  test("keeps query and encoded path, and drops the fragment", async () => {
    const paths: (string | undefined)[] = [];
    const server = createServer((request, response) => {
      paths.push(request.url);
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    opened.push(() => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    });
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const metered = client();
    for (const suffix of ["", "?a=1", "/x%20y?b=%2F#part"]) await metered.request(base + suffix, { method: "GET" });
    expect(paths).toEqual(["/", "/?a=1", "/x%20y?b=%2F"]);
  });

  test("leaves no listener on its signal", async () => {
    const server = await echoServer();
    const metered = client();
    const { signal } = new AbortController();
    for (let i = 0; i < 3; i++) await metered.request(server.url, { ...post("x"), signal });
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
  });
});
