import { once } from "node:events";
import { connect, type Socket } from "node:net";
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
const FREED_MS = 1_000;
const view = (incarnation: number) =>
  createView([
    { id: "agent-0", incarnation: 1 },
    { id: "agent-1", incarnation },
  ]);

const clock = new FakeClock();
const opened: HeldStreams[] = [];
let client: OwnMeteredClient;
let server: FastifyInstance | null = null;
beforeEach(() => {
  client = createMeteredClient({ clock, connectTimeoutMs: 30_000, onResidual: () => {} });
});
afterEach(async () => {
  for (const streams of opened.splice(0)) streams.closeAll();
  await client.close();
  await server?.close();
  server = null;
});

type OnHeld = Parameters<typeof heldStreamHost>[0]["onHeld"];

async function listen(incarnation: number, onHeld: OnHeld = () => undefined): Promise<number> {
  server = fastify({ forceCloseConnections: true });
  await server.register(heldStreamHost({ incarnation, clock, onHeld }));
  await server.listen({ host: "127.0.0.1", port: 0 });
  const [address] = server.addresses();
  return typeof address === "object" ? address.port : 0;
}

/** Streams of agent-0 to agent-1, which is reached at `port`. */
function hold(port: number, isAsked = () => false) {
  const { recorder, of } = recording(clock);
  const closed: string[] = [];
  const ways: string[] = [];
  const standing: string[] = [];
  const attempts: string[] = [];
  const streams = new HeldStreams({
    client,
    clock,
    recorder,
    urlOf: (peer) => {
      attempts.push(peer);
      return `http://127.0.0.1:${port}`;
    },
    self: { agentId: "agent-0", incarnation: 3 },
    onStanding: (peer) => standing.push(peer),
    onClosed: (peer, incarnation, how) => {
      closed.push(`${peer}#${incarnation}`);
      ways.push(how);
    },
    isAlive: (_peer, incarnation) => incarnation === 1,
    isAsked: () => isAsked(),
  });
  opened.push(streams);
  const notices = (): string[] => of("transport.notice").map(({ peer, peerInc }) => `${peer}#${peerInc}`);
  return { streams, closed, ways, standing, attempts, notices };
}

test("a stream that the other side's kernel closes is noticed, with the incarnation that had answered", async () => {
  const { streams, closed, ways, standing, notices } = hold(await listen(7));
  await streams.follow(view(1), ["agent-1"]);
  expect(standing).toEqual(["agent-1"]);
  expect(closed).toEqual([]);
  await server?.close();
  await expect.poll(() => closed).toEqual(["agent-1#7"]);
  expect(ways).toEqual(["ended"]);
  expect(notices()).toEqual(["agent-1#7"]);
});

test("a refused stream counts as closed, but is no notice; it is tried again while the peer is believed alive", async () => {
  // A port that nobody is ever given by chance, unlike one that was free a moment ago.
  const { streams, closed, ways, standing, notices } = hold(2);
  void streams.follow(view(1), ["agent-1"]);
  await expect.poll(() => closed).toEqual(["agent-1#1"]);
  expect({ ways, standing }).toEqual({ ways: ["broken"], standing: [] });
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

test("where many streams are held, closed ones wait longer for others that are closed", async () => {
  const { streams, attempts } = hold(2);
  const many = ["agent-1", ...Array.from({ length: 99 }, (_, index) => `other-${index}`)];
  await streams.follow(view(1), many);
  await clock.advance(5 * many.length - 1);
  expect(attempts).toEqual(["agent-1"]);
  await clock.advance(1);
  expect(attempts).toEqual(["agent-1", "agent-1"]);
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

test("the server's side is freed a while after its client was killed, perhaps in the middle of a word", async () => {
  const port = await listen(1);
  const open = server as FastifyInstance;
  const connections = promisify(open.server.getConnections.bind(open.server));
  for (const more of ["", "GET / HT"]) {
    const accepted = once(open.server, "connection");
    const socket = connect(port, "127.0.0.1");
    socket.write(`GET ${HELD_PATH} HTTP/1.1\r\nhost: a\r\n\r\n${more}`);
    await once(socket, "data");
    expect(await connections()).toBe(1);
    const [atServer] = (await accepted) as [Socket];
    const ended = once(atServer, "end");
    socket.end();
    await ended;
    expect(await connections()).toBe(1);
    await expect.poll(() => clock.advance(FREED_MS).then(() => connections())).toBe(0);
  }
});

test("the server is told who holds a stream to it, and when that was ended, but not of one that its holder no longer wants", async () => {
  const told: string[] = [];
  const port = await listen(1, (holder, incarnation) => {
    told.push(`${holder}#${incarnation} holds`);
    return () => told.push(`${holder}#${incarnation} ended`);
  });
  const connections = promisify((server as FastifyInstance).server.getConnections.bind((server as FastifyInstance).server));
  const { streams } = hold(port);
  await streams.follow(view(1), ["agent-1"]);
  expect(told).toEqual(["agent-0#3 holds"]);
  await streams.follow(view(1), []);
  await expect.poll(() => connections()).toBe(0);
  expect(told).toEqual(["agent-0#3 holds"]);

  const holders = [
    "x-failstorm-agent: agent-4\r\nx-failstorm-incarnation: 2\r\n",
    "",
    "x-failstorm-agent: a\r\nx-failstorm-incarnation: x\r\n",
  ];
  for (const holder of holders) {
    const socket = connect(port, "127.0.0.1");
    socket.write(`GET ${HELD_PATH} HTTP/1.1\r\nhost: a\r\n${holder}\r\n`);
    await once(socket, "data");
    socket.end();
    await expect.poll(() => clock.advance(FREED_MS).then(() => connections())).toBe(0);
  }
  expect(told).toEqual(["agent-0#3 holds", "agent-4#2 holds", "agent-4#2 ended"]);
});
