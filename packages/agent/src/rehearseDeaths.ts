import { rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import {
  type AgentId,
  type AgentSpec,
  agentId,
  type Clock,
  CommError,
  type CommBackend,
  createPrng,
  type Roster,
  TOOLS,
  type Traffic,
} from "@failstorm/core";
import { createMeteredClient } from "@failstorm/protocols";
import { encodeDocument } from "@failstorm/qa";
import { HELD_PATH, INCARNATION_HEADER } from "./heldStreams.ts";
import { Holdings } from "./holdings.ts";
import { createNetworking } from "./networking.ts";
import { Recorder } from "./recorder.ts";

const ROUNDS = 3;
const HOST = "127.0.0.1";
/** The agent itself, one who stays, and two who die at once. */
const [SELF, OTHER, ...VICTIMS] = [agentId(0), agentId(1), agentId(2), agentId(3)] as const;
const IDS: readonly AgentId[] = [SELF, OTHER, ...VICTIMS];
/** On a machine that has far too much to do: what has not been found out by then is not waited for. */
const PATIENCE_MS = 2_000;
/** From the change of view to the last handshake that follows it. */
const AFTERMATH_MS = 20;
const NOTHING: Traffic = { bytesSent: 0, bytesReceived: 0, roundTrips: 1, firstByteAt: null, ms: 0 };
const DOCUMENT = encodeDocument(IDS.map((id) => [{ id, title: id, text: "A rehearsal." }]));

/** Holds streams open, as an agent does. */
const listen = (): Promise<Server> =>
  new Promise((resolve) => {
    const server = createServer((request, response) => {
      if (request.url === HELD_PATH) response.writeHead(200, { [INCARNATION_HEADER]: "1" }).flushHeaders();
      else response.end();
    });
    server.listen(0, HOST, () => resolve(server));
  });

const portOf = (server: Server): number => (server.address() as AddressInfo).port;

/** A peer that answers every handshake and claims all there is; the dead refuse. */
function scriptedBackend(isDead: (peer: AgentId) => boolean): CommBackend {
  const unused = (): never => {
    throw new Error("no part of the rehearsal");
  };
  const refuse = async (peer: AgentId): Promise<void> => {
    if (isDead(peer)) throw new CommError("refused", peer, `${peer} is dead`);
  };
  return {
    registerEndpoint: () => {},
    async connect(_src, dst) {
      await refuse(dst);
      const capabilities = [...TOOLS.map((tool) => `tool:${tool}`), ...IDS.map((_, shard) => `shard:${shard}`)];
      return { peer: { agentId: dst, incarnation: 1, capabilities }, traffic: NOTHING };
    },
    async send(_src, dst) {
      await refuse(dst);
      throw new CommError("remote", dst, "a rehearsal");
    },
    async healthCheck(peer) {
      await refuse(peer);
      return { incarnation: 1, traffic: NOTHING };
    },
    hostPlugin: unused,
    spawnLocalAgent: unused,
    close: async () => {},
  };
}

function rosterOf(servers: readonly Server[], { homeTool }: AgentSpec): Roster {
  return {
    agents: IDS.map((id, index) => ({
      agentId: id,
      host: HOST,
      port: portOf(servers[Math.max(0, index - 1)] as Server),
      incarnation: 1,
      homeTool: TOOLS[index % TOOLS.length] ?? homeTool,
      shard: index,
    })),
    document: { sha256: "", bytes: DOCUMENT.byteLength, shards: IDS.length, source: SELF },
  };
}

/** One round: two of three peers die; resolves with how many deaths were found out and followed. */
async function loseTwo(spec: AgentSpec, clock: Clock, recorder: Recorder, patienceMs: number): Promise<number> {
  const servers = await Promise.all([listen(), listen(), listen()]);
  const network = { ...spec.config.network, topology: "mesh", customEdges: [], monitors: "all", transportSignals: true } as const;
  const client = createMeteredClient({ clock, connectTimeoutMs: network.connectionTimeoutMs, onResidual: () => {} });
  const dead = new Set<AgentId>();
  const roster = rosterOf(servers, spec);
  const homeTools = new Map(roster.agents.map(({ agentId: id, homeTool }) => [id, homeTool]));
  const networking = createNetworking({
    spec: { ...spec, agentId: SELF, index: 0, config: { ...spec.config, network } },
    roster,
    self: { agentId: SELF, incarnation: 1, host: HOST, port: 0 },
    clock,
    prng: createPrng(0),
    recorder,
    client,
    backend: scriptedBackend((peer) => dead.has(peer)),
    homeTools,
    serve: () => Promise.reject(new Error("a rehearsal")),
  });
  const holdings = new Holdings({
    self: SELF,
    homeShard: 0,
    homeTools,
    shardCount: IDS.length,
    ids: IDS,
    redundancyLevel: 1,
    takeover: true,
    clock,
    recorder,
    document: () => DOCUMENT,
  });
  try {
    const { membership, links } = networking;
    holdings.indexOwn();
    await Promise.all([links.setUp(membership.view, AbortSignal.timeout(patienceMs)), networking.hold()]);
    networking.start();
    holdings.follow(membership.view);
    const gone = new Promise<void>((resolve) => {
      networking.onChange((view) => {
        holdings.follow(view);
        if (view.live.length === IDS.length - VICTIMS.length) resolve();
      });
    });
    // Of one the other stream is ended as well; whether the other one lives is asked.
    const ends = VICTIMS.slice(1).map((victim) => networking.heldBy(victim, 1));
    for (const victim of VICTIMS) dead.add(victim);
    for (const end of ends) end();
    for (const server of servers.slice(1)) {
      server.close();
      server.closeAllConnections();
    }
    await Promise.race([gone, clock.sleep(patienceMs)]);
    await clock.sleep(AFTERMATH_MS);
    return IDS.length - membership.view.live.length;
  } finally {
    networking.stop();
    for (const server of servers) {
      server.close();
      server.closeAllConnections();
    }
    await client.close();
  }
}

/**
 * Before the run begins, lets this agent's network lose two of three peers that are none, a few times: what a death sets off (notice, knock,
 * declaration, takeover, handshakes) has then been compiled and run, as in any agent that has been up for a while. See `rehearseLoss`.
 * Resolves with the number of deaths found out. What is recorded of it is thrown away.
 */
export async function rehearseDeaths(spec: AgentSpec, clock: Clock, patienceMs = PATIENCE_MS): Promise<number> {
  const file = path.join(spec.workspaceDir, "rehearsal.ndjson");
  const recorder = new Recorder({ path: file, agentId: SELF, incarnation: 1, clock, fullRecording: [], publish: () => {} });
  let deaths = 0;
  try {
    // On a machine that has far too much to do it may come to nothing.
    for (let round = 0; round < ROUNDS; round++) deaths += await loseTwo(spec, clock, recorder, patienceMs).catch(() => 0);
  } finally {
    recorder.close();
    rmSync(file, { force: true });
  }
  return deaths;
}
