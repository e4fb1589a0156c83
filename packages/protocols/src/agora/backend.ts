import path from "node:path";
import type { Address, AgentId, BackendContext, CallOptions, CommBackend, LocalAgent, MeteredResponse } from "@failstorm/core";
import fastify, { type FastifyPluginAsync } from "fastify";
import { Agreements } from "./agreements.ts";
import { Caller } from "./caller.ts";
import type { AgoraConfig } from "./config.ts";
import { Correspondence } from "./correspondence.ts";
import { type AgoraCounters, noCounts } from "./counters.ts";
import { DocumentStore } from "./documentStore.ts";
import { isObject, readAnswer, remoteError } from "./envelope.ts";
import { agoraHost, MAX_BODY_BYTES } from "./host.ts";
import { createDeterministicNegotiator } from "./negotiator.ts";
import { baseUrlOf } from "./server.ts";
import { Sources } from "./sources.ts";
import { descriptionOf, readWellKnown, takeStock } from "./wellKnown.ts";

export interface AgoraBackend extends CommBackend {
  /** What happened so far, by kind. */
  counters(): Readonly<AgoraCounters>;
}

function readIncarnation(response: MeteredResponse, peer: AgentId): number | null {
  // A stranger's server has no such endpoint; that it says so is sign of life enough.
  if (response.status === 404 || response.status === 405) return null;
  const answer = readAnswer(response, peer);
  if (answer.status === "failure") throw remoteError(peer, answer);
  const incarnation = isObject(answer.body) ? answer.body["incarnation"] : null;
  return typeof incarnation === "number" ? incarnation : null;
}

/** A host on a server of its own; its address is known once it listens. */
async function spawnHost(
  host: string,
  port: number,
  pluginAt: (address: () => Address) => FastifyPluginAsync,
): Promise<LocalAgent> {
  const server = fastify({ bodyLimit: MAX_BODY_BYTES });
  let bound = port;
  await server.register(pluginAt(() => ({ host, port: bound })));
  const baseUrl = await server.listen({ host, port });
  const [address] = server.addresses();
  bound = typeof address === "object" ? address.port : port;
  return { baseUrl, close: () => server.close() };
}

/** Agora as a CommBackend. */
export function createAgoraBackend(context: BackendContext): AgoraBackend {
  const { client, clock, describeSelf, selfAddress } = context;
  const config = context.config as AgoraConfig;
  const counters = noCounts();
  const folder = config.documentStore === "disk" ? path.join(context.workspaceDir, "agora") : null;
  const store = new DocumentStore(folder === null ? null : path.join(folder, "documents"));
  const agreements = new Agreements(folder === null ? null : path.join(folder, "agreements.json"));
  const negotiator = createDeterministicNegotiator(config);
  const caller = new Caller(client);
  const urlOf = (hash: string): string => `${baseUrlOf(selfAddress())}/documents/${hash}`;
  const correspondence = new Correspondence({ clock, config, store, agreements, negotiator, counters, urlOf });
  const sources = new Sources({
    client,
    allowedHosts: () => new Set([...caller.hosts(), ...config.sourceHosts]),
    onFetch: () => {
      counters.sourceFetches += 1;
    },
  });

  const connect: CommBackend["connect"] = async (_src, dst, options: CallOptions = {}) => {
    const { value, traffic } = await caller.operation(dst, options, { kind: "handshake", cause: "setup" }, async (line) => {
      const listed = readWellKnown(await line.get("/wellknown"), dst);
      const description = descriptionOf(dst, listed);
      if (listed !== null) takeStock({ agreements, store, counters }, dst, listed);
      return description;
    });
    return { peer: value, traffic };
  };

  const healthCheck: CommBackend["healthCheck"] = async (peer, options: CallOptions = {}) => {
    const { value, traffic } = await caller.operation(peer, options, { kind: "probe", cause: "heartbeat" }, async (line) =>
      readIncarnation(await line.get("/alive"), peer),
    );
    return { incarnation: value, traffic };
  };

  const send: CommBackend["send"] = async (src, dst, payload, options = {}) => {
    const { kind = "tool", contextId } = options;
    const letter = { src, kind, payload, ...(contextId === undefined ? {} : { contextId }) };
    const { value, traffic } = await caller.operation(dst, options, { kind: "tool", cause: "work" }, (line) =>
      correspondence.deliver(line, letter),
    );
    return { ...value, traffic };
  };

  const hostAt =
    (address: () => Address): CommBackend["hostPlugin"] =>
    (agentId, executor) =>
      agoraHost({ agentId, executor, describeSelf, selfAddress: address, clock, config, store, sources, negotiator });

  return {
    hooks: { extraMetrics: () => ({ ...counters }) },
    registerEndpoint: (agentId, address) => caller.register(agentId, address),
    connect,
    send,
    healthCheck,
    hostPlugin: hostAt(selfAddress),
    spawnLocalAgent: (agentId, host, port, executor) => spawnHost(host, port, (address) => hostAt(address)(agentId, executor)),
    async close() {
      caller.forgetAll();
    },
    counters: () => ({ ...counters }),
  };
}
