import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { afterEach, expect, test } from "vitest";
import { holdOpen } from "../src/heldConnection.ts";

const CONNECT_TIMEOUT_MS = 30_000;

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function serve(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/held?who=1`;
}

const hold = (url: string, signal = new AbortController().signal) =>
  holdOpen({ url, signal, connectTimeoutMs: CONNECT_TIMEOUT_MS, onConnected: () => {}, onStanding: () => {} });

test("asks as HTTP asks, tells the answer's headers, and resolves when the connection is closed", async () => {
  const asked: (string | undefined)[] = [];
  const url = await serve((request, response) => {
    asked.push(request.method, request.url, request.headers.host);
    response.writeHead(200, { "X-Incarnation": "7" });
    response.write("dropped");
  });
  const held = await hold(url);
  expect(asked).toEqual(["GET", "/held?who=1", new URL(url).host]);
  expect(held.headers["x-incarnation"]).toBe("7");
  servers[0]?.closeAllConnections();
  await held.closed;
});

test("another answer, or none, is no stream", async () => {
  const missing = await serve((_request, response) => response.writeHead(404).end());
  await expect(hold(missing)).rejects.toMatchObject({ code: "EPROTO", message: expect.stringContaining("404") });
  const silent = await serve((request) => request.socket.end());
  await expect(hold(silent)).rejects.toMatchObject({ code: "ECONNRESET" });
  const endless = createTcpServer((socket) => socket.on("error", () => {}).write("x".repeat(100_000)));
  await new Promise<void>((resolve) => endless.listen(0, "127.0.0.1", resolve));
  await expect(hold(`http://127.0.0.1:${(endless.address() as AddressInfo).port}/`)).rejects.toMatchObject({ code: "EPROTO" });
  endless.close();
});

test("a refused one rejects with that, one that is given up with the reason, before and after it stood", async () => {
  // A port that nobody is ever given by chance.
  await expect(hold("http://127.0.0.1:2/")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  const reason = new Error("no longer wanted");
  await expect(hold("http://127.0.0.1:2/", AbortSignal.abort(reason))).rejects.toBe(reason);
  let standing = false;
  const url = await serve((_request, response) => standing && response.writeHead(200).flushHeaders());
  const early = new AbortController();
  const waiting = hold(url, early.signal);
  early.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  standing = true;
  const late = new AbortController();
  const held = await hold(url, late.signal);
  late.abort(reason);
  await held.closed;
});
