import { once } from "node:events";
import { connect } from "node:net";
import { promisify } from "node:util";
import { FakeClock } from "@failstorm/core";
import { createView } from "@failstorm/network";
import { createMeteredClient, type OwnMeteredClient } from "@failstorm/protocols";
import fastify, { type FastifyInstance } from "fastify";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HELD_PATH, HeldStreams, heldStreamHost } from "../src/heldStreams.ts";
import { recording } from "./recorded.ts";

const REOPENED_MS = 200;
const MOST_MS = 1_000;
const view = (incarnation: number) =>
  createView([
    { id: "agent-0", incarnation: 1 },
    { id: "agent-1", incarnation },
  ]);

const clock = new FakeClock();
let client: OwnMeteredClient;
let server: FastifyInstance | null = null;
beforeEach(() => {
  client = createMeteredClient({ clock, connectTimeoutMs: 30_000, onResidual: () => {} });
});
afterEach(async () => {
  await client.close();
  await server?.close();
  server = null;
});

async function listen(incarnation: number, port = 0): Promise<number> {
  server = fastify({ forceCloseConnections: true });
  await server.register(heldStreamHost(incarnation));
  await server.listen({ host: "127.0.0.1", port });
  const [address] = server.addresses();
  return typeof address === "object" ? address.port : 0;
}

/** Streams of agent-0 to agent-1, which is reached at `port`. */
function hold(port: number, isAsked = () => false) {
  const { recorder, of } = recording(clock);
  const closed: string[] = [];
  const attempts: string[] = [];
  const streams = new HeldStreams({
    client,
    clock,
    recorder,
    urlOf: (peer) => {
      attempts.push(peer);
      return `http://127.0.0.1:${port}`;
    },
    onClosed: (peer, incarnation) => closed.push(`${peer}#${incarnation}`),
    isAlive: (_peer, incarnation) => incarnation === 1,
    isAsked: () => isAsked(),
  });
  const notices = (): string[] => of("transport.notice").map(({ peer, peerInc }) => `${peer}#${peerInc}`);
  return { streams, closed, attempts, notices };
}

test("a stream that the other side's kernel closes is noticed, with the incarnation that had answered", async () => {
  const { streams, closed, notices } = hold(await listen(7));
  void streams.follow(view(1), ["agent-1"]);
  await expect.poll(() => client.socketTotals().bytesReceived).toBeGreaterThan(0);
  expect(closed).toEqual([]);
  await server?.close();
  await expect.poll(() => closed).toEqual(["agent-1#7"]);
  expect(notices()).toEqual(["agent-1#7"]);
});

test("a refused stream counts as closed, but is no notice; it is tried again while the peer is believed alive", async () => {
  // A port that nobody is ever given by chance, unlike one that was free a moment ago.
  const { streams, closed, notices } = hold(2);
  void streams.follow(view(1), ["agent-1"]);
  await expect.poll(() => closed).toEqual(["agent-1#1"]);
  await clock.advance(REOPENED_MS);
  await expect.poll(() => closed).toEqual(["agent-1#1", "agent-1#1"]);
  expect(notices()).toEqual([]);
});

test("who has just closed or refused a stream waits to be tried again, whatever else changes; a newer incarnation does not", async () => {
  const { streams, closed } = hold(2);
  void streams.follow(view(1), ["agent-1"]);
  await expect.poll(() => closed).toEqual(["agent-1#1"]);
  await streams.follow(view(1), ["agent-1"]);
  expect(closed).toEqual(["agent-1#1"]);
  await streams.follow(view(2), ["agent-1"]);
  expect(closed).toEqual(["agent-1#1", "agent-1#2"]);
});

test("streams are opened again together, when no other was closed for a while", async () => {
  const { streams, attempts } = hold(2);
  const three = createView(["agent-0", "agent-1", "agent-2"].map((id) => ({ id, incarnation: 1 })));
  await streams.follow(three, ["agent-1"]);
  await clock.advance(REOPENED_MS - 1);
  await streams.follow(three, ["agent-1", "agent-2"]);
  await clock.advance(REOPENED_MS - 1);
  expect(attempts).toEqual(["agent-1", "agent-2"]);
  await clock.advance(1);
  expect(attempts).toEqual(["agent-1", "agent-2", "agent-1", "agent-2"]);
});

test("a closed stream does not wait for ever for others that are closed", async () => {
  const { streams, closed } = hold(2);
  const tried = (): number => closed.filter((one) => one === "agent-1#1").length;
  for (let incarnation = 1; incarnation <= MOST_MS / 100; incarnation++) {
    expect(tried()).toBeLessThanOrEqual(1);
    const present = createView([
      { id: "agent-1", incarnation: 1 },
      { id: "agent-2", incarnation },
    ]);
    await streams.follow(present, ["agent-1", "agent-2"]);
    await clock.advance(100);
  }
  await expect.poll(tried).toBe(2);
});

test("while somebody is asking already whether a peer can be connected to, its stream is not tried again", async () => {
  let asked = true;
  const { streams, closed } = hold(2, () => asked);
  void streams.follow(view(1), ["agent-1"]);
  await expect.poll(() => closed).toEqual(["agent-1#1"]);
  await clock.advance(REOPENED_MS);
  await clock.advance(REOPENED_MS);
  expect(closed).toEqual(["agent-1#1"]);
  asked = false;
  await clock.advance(REOPENED_MS);
  await expect.poll(() => closed).toEqual(["agent-1#1", "agent-1#1"]);
});

test("who is no longer monitored is not tried again, and a stream that is ended here says nothing", async () => {
  const port = await listen(1);
  const { streams, closed } = hold(port);
  void streams.follow(view(1), ["agent-1"]);
  await expect.poll(() => client.socketTotals().bytesReceived).toBeGreaterThan(0);
  void streams.follow(view(1), []);
  await server?.close();
  await clock.advance(REOPENED_MS);
  expect(closed).toEqual([]);

  void streams.follow(view(1), ["agent-1"]);
  await expect.poll(() => closed).toEqual(["agent-1#1"]);
  void streams.follow(view(1), []);
  const { bytesSent } = client.socketTotals();
  await clock.advance(REOPENED_MS);
  expect(closed).toEqual(["agent-1#1"]);
  expect(client.socketTotals().bytesSent).toBe(bytesSent);
});

test("the server's side ends with its client, who may have been killed in the middle of a word", async () => {
  const port = await listen(1);
  const open = server as FastifyInstance;
  const connections = promisify(open.server.getConnections.bind(open.server));
  for (const more of ["", "GET / HT"]) {
    const socket = connect(port, "127.0.0.1");
    socket.write(`GET ${HELD_PATH} HTTP/1.1\r\nhost: a\r\n\r\n${more}`);
    await once(socket, "data");
    expect(await connections()).toBe(1);
    socket.end();
    await expect.poll(() => connections()).toBe(0);
  }
});
