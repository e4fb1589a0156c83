import { getEventListeners } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { systemClock, type Traffic, type TrafficTag } from "@failstorm/core";
import fastify from "fastify";
import { afterEach, describe, expect, test } from "vitest";
import { createMeteredClient, type OwnMeteredClient } from "../src/index.ts";

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
    connectTimeoutMs: 2_000,
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

  test("of a WebSocket are its operation's: the upgrade at once, the rest when it closes", async () => {
    const server = fastify();
    const { default: webSockets } = await import("@fastify/websocket");
    await server.register(webSockets);
    server.get("/ws", { websocket: true }, (socket) => {
      socket.on("message", (data: Buffer) => socket.send(data));
    });
    const url = await server.listen({ host: "127.0.0.1", port: 0 });
    opened.push(() => server.close());
    const metered = client();
    const { value: socket, traffic } = await metered.measure(tag("ws"), async () => {
      const made = await metered.webSocket(`${url.replace("http", "ws")}/ws`);
      await new Promise((resolve, reject) => {
        made.addEventListener("open", resolve);
        made.addEventListener("error", reject);
      });
      return made;
    });
    expect(traffic.roundTrips).toBe(1);
    expect(traffic.bytesSent).toBeGreaterThan(100);
    const echoed = new Promise((resolve) => socket.addEventListener("message", resolve, { once: true }));
    socket.send("x".repeat(3000));
    await echoed;
    const closed = new Promise((resolve) => socket.addEventListener("close", resolve, { once: true }));
    socket.close();
    await closed;
    await server.close();
    expect(metered.residuals.every((one) => one.tag.peer === "ws")).toBe(true);
    const rest = sum(metered.residuals.map((one) => ({ ...one, roundTrips: 0, firstByteAt: null, ms: 0 })));
    expect(rest.bytesSent).toBeGreaterThan(3000);
    expect(sum([traffic, { ...traffic, ...rest }])).toEqual(metered.socketTotals());
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
