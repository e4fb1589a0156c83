import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { afterEach, expect, test, vi } from "vitest";
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
  holdOpen({
    url,
    headers: { "x-who": "me" },
    signal,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    onConnected: () => {},
    onStanding: () => {},
    discard: (socket) => void socket.destroy(),
  });

test("asks as HTTP asks, tells the answer's headers, and resolves when the connection is closed", async () => {
  const asked: (string | undefined)[] = [];
  const url = await serve((request, response) => {
    asked.push(request.method, request.url, request.headers.host, request.headers["x-who"] as string);
    response.writeHead(200, { "X-Incarnation": "7" }).flushHeaders();
  });
  const held = await hold(url);
  expect(asked).toEqual(["GET", "/held?who=1", new URL(url).host, "me"]);
  expect(held.headers["x-incarnation"]).toBe("7");
  servers[0]?.closeAllConnections();
  expect(await held.closed).toBe("ended");
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
  expect(await held.closed).toBe("broken");
});

test("what is no longer wanted is reset, so that it does not look as if the process had ended", async () => {
  const [ended, broken] = [vi.fn(), vi.fn()];
  const url = await serve((request, response) => {
    request.socket.on("end", ended).on("error", broken);
    response.writeHead(200).flushHeaders();
  });
  const giveUp = new AbortController();
  await hold(url, giveUp.signal);
  giveUp.abort();
  await expect.poll(() => broken.mock.calls).toMatchObject([[{ code: "ECONNRESET" }]]);
  expect(ended).not.toHaveBeenCalled();
});

test.each([
  { how: "resets", withHead: "", later: "", close: "resetAndDestroy", expected: "broken" },
  { how: "ends after a word", withHead: "a word", later: "", close: "end", expected: "broken" },
  { how: "ends after a later word", withHead: "", later: "a word", close: "end", expected: "broken" },
  { how: "ends", withHead: "", later: "", close: "end", expected: "ended" },
] as const)("a stream that the other side $how", async ({ withHead, later, close, expected }) => {
  const accepted = Promise.withResolvers<Socket>();
  const server = createTcpServer((socket) => accepted.resolve(socket.on("error", () => {})));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const holding = hold(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  const peer = await accepted.promise;
  peer.write(`HTTP/1.1 200 OK\r\n\r\n${withHead}`);
  const held = await holding;
  peer.write(later, () => void peer[close]());
  expect(await held.closed).toBe(expected);
  server.close();
});
