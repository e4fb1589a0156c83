import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { type AgentSpec, systemClock } from "@failstorm/core";
import { createAgentRegistry } from "@failstorm/network";
import { createMeteredClient, type OwnMeteredClient } from "@failstorm/protocols";
import fastify, { type FastifyInstance } from "fastify";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HELD_PATH, heldStreamHost } from "../src/heldStreams.ts";
import type { NetworkingOptions } from "../src/networking.ts";
import { createSignals } from "../src/signals.ts";
import type { createTopology } from "../src/topology.ts";
import { recording } from "./recorded.ts";

/** This agent is agent-0; agent-1 is a bare server and a bare client, of a process that can be made to end on either side. */
const PEER = { agentId: "agent-1", incarnation: 2 };
const HOST = "127.0.0.1";

let client: OwnMeteredClient;
let host: FastifyInstance;
let peerServer: Server;
beforeEach(() => {
  client = createMeteredClient({ clock: systemClock, connectTimeoutMs: 30_000, onResidual: () => {} });
});
afterEach(async () => {
  await client.close();
  await host.close();
  peerServer.close();
});

async function meet(transportSignals: boolean) {
  const accepted = Promise.withResolvers<Socket>();
  let knocks = -1;
  peerServer = createServer((socket) => {
    knocks += 1;
    socket.on("error", () => {}).once("data", () => accepted.resolve(socket));
  }).listen(0, HOST);
  await once(peerServer, "listening");
  const registry = createAgentRegistry();
  const { port } = peerServer.address() as AddressInfo;
  registry.registerNode({ ...PEER, address: HOST, port, capabilities: [] }, 0);
  const { recorder, of } = recording(systemClock);
  const fed: string[] = [];
  let signs = 0;
  const { streams, closings } = createSignals(
    {
      client,
      clock: systemClock,
      recorder,
      self: { agentId: "agent-0", incarnation: 1, host: HOST, port: 0 },
      spec: { host: HOST, config: { network: { transportSignals } } } as AgentSpec,
    } as NetworkingOptions,
    registry,
    { signalled: () => [PEER.agentId] } as unknown as ReturnType<typeof createTopology>,
    {
      onSign: () => (signs += 1),
      feed: (input) => fed.push(`${input.kind} ${"peer" in input ? input.peer : ""}`),
      isAlive: () => true,
    },
  );
  host = fastify({ forceCloseConnections: true });
  const theirsEnded = Promise.withResolvers<void>();
  const onHeld = (peer: string, incarnation: number) => {
    const onEnd = closings.heldBy(peer, incarnation);
    return () => {
      onEnd();
      theirsEnded.resolve();
    };
  };
  await host.register(heldStreamHost({ incarnation: 1, clock: systemClock, onHeld }));
  const holding = streams.follow(registry.view(), [PEER.agentId]);
  const ours = await accepted.promise;
  ours.write(`HTTP/1.1 200 OK\r\nx-failstorm-incarnation: ${PEER.incarnation}\r\n\r\n`);
  await holding;
  const theirs = connect(Number(new URL(await host.listen({ host: HOST, port: 0 })).port), HOST);
  theirs.write(
    `GET ${HELD_PATH} HTTP/1.1\r\nhost: a\r\nx-failstorm-agent: ${PEER.agentId}\r\nx-failstorm-incarnation: ${PEER.incarnation}\r\n\r\n`,
  );
  await once(theirs, "data");
  const endTheirs = async (): Promise<void> => {
    theirs.end();
    await theirsEnded.promise;
  };
  return {
    endOurs: () => void ours.end(),
    endTheirs,
    fed,
    notices: () => of("transport.notice").length,
    signs: () => signs,
    knocks: () => knocks,
  };
}

test("a peer whose streams were both ended is gone, and nobody asks", async () => {
  const { endOurs, endTheirs, fed, notices, signs, knocks } = await meet(true);
  await endTheirs();
  expect(fed).toEqual([]);
  endOurs();
  await expect.poll(() => fed).toEqual(["gone agent-1"]);
  expect({ notices: notices(), signs: signs(), knocks: knocks() }).toEqual({ notices: 1, signs: 1, knocks: 0 });
});

test("one to whom only the stream of this agent was closed may live; it is gone when its own is ended after all", async () => {
  const { endOurs, endTheirs, fed } = await meet(true);
  endOurs();
  await expect.poll(() => fed).toEqual(["closed agent-1"]);
  await endTheirs();
  expect(fed).toEqual(["closed agent-1", "gone agent-1"]);
});

test("signals that are not acted upon are recorded, and that is all", async () => {
  const { endOurs, endTheirs, fed, notices, signs } = await meet(false);
  await endTheirs();
  endOurs();
  await expect.poll(notices).toBe(1);
  expect({ fed, signs: signs() }).toEqual({ fed: [], signs: 0 });
});
