import {
  type AgentId,
  type BackendContext,
  type CallOptions,
  type CommBackend,
  CommError,
  type ConnectResult,
  type HealthResult,
  type Part,
  type Payload,
  type SendOptions,
  type SendResult,
  type Traffic,
  type TrafficTag,
  toCommError,
} from "@failstorm/core";
import { Caller } from "./caller.ts";
import type { AnpConfig } from "./config.ts";
import { DidResolver } from "./didResolver.ts";
import { partsOf } from "./directMessage.ts";
import { isObject, parseJson } from "./json.ts";
import { LocalAgents } from "./localAgents.ts";
import { Peers } from "./peers.ts";
import { createReplies } from "./replies.ts";
import { RpcClient } from "./rpcClient.ts";
import { httpTransport, type Transport } from "./transport.ts";
import { WebSocketChannels } from "./webSocketChannels.ts";

const textOf = (parts: readonly Part[]): string => parts.map((part) => (part.kind === "text" ? part.text : "")).join("");

type Measured = <T>(
  peer: AgentId,
  options: CallOptions,
  defaults: Omit<TrafficTag, "peer">,
  fn: () => Promise<T>,
) => Promise<{ value: T; traffic: Traffic }>;

/** Counts what `fn` moves; its failures become CommErrors, with what was moved before. */
const measuring =
  ({ client }: BackendContext): Measured =>
  async (peer, options, defaults, fn) => {
    const tag = { peer, kind: options.kind ?? defaults.kind, cause: options.cause ?? defaults.cause };
    try {
      return await client.measure(tag, fn);
    } catch (error) {
      const { traffic } = error as { traffic?: Traffic };
      const failure = toCommError(error, peer, options.signal);
      throw traffic === undefined ? failure : Object.assign(failure, { traffic });
    }
  };

interface Assembly {
  readonly peers: Peers;
  readonly resolver: DidResolver;
  readonly locals: LocalAgents;
  readonly caller: Caller;
}

function assemble(context: BackendContext): Assembly {
  const { client, clock } = context;
  const config = context.config as AnpConfig;
  const replies = createReplies();
  const peers = new Peers({ client, form: config.did, onDocument: (document) => resolver.remember(document) });
  const resolver = new DidResolver({
    client,
    clock,
    isPlain: (host) => peers.isPlain(host),
    own: (did) => locals.documentOf(did),
  });
  const locals = new LocalAgents({ context, config, resolver, peers, replies });
  const rpc = new RpcClient({ client, clock, accessToken: config.accessToken });
  const transport: Transport =
    config.transport === "http"
      ? httpTransport(rpc)
      : new WebSocketChannels({
          client,
          rpc,
          authenticate: ({ src, access }, signal) => caller.capabilities(src, access, signal),
        });
  const caller: Caller = new Caller({
    config,
    clock,
    peers,
    rpc,
    replies,
    security: (identity) => ({ device: locals.deviceOf(identity), dids: locals.dids }),
    identity: (src) => locals.identity(src),
    transport,
  });
  return { peers, resolver, locals, caller };
}

/** ANP as a CommBackend. */
export function createAnpBackend(context: BackendContext): CommBackend {
  const { client } = context;
  const { peers, resolver, locals, caller } = assemble(context);
  const measured = measuring(context);

  const connect = async (src: AgentId, dst: AgentId, options: CallOptions = {}): Promise<ConnectResult> => {
    const defaults = { kind: "handshake", cause: "setup" } as const;
    const { value, traffic } = await measured(dst, options, defaults, () => caller.open(src, dst, options.signal));
    return { peer: value.peer, traffic };
  };

  const probe = async (peer: AgentId, signal: AbortSignal | undefined): Promise<number> => {
    const { status, body } = await client.request(`${peers.base(peer)}/health`, { method: "GET", ...(signal ? { signal } : {}) });
    const answer = parseJson(body.toString("utf8"));
    if (status === 200 && isObject(answer) && typeof answer["incarnation"] === "number") return answer["incarnation"];
    throw new CommError("protocol", peer, `${peer}: the probe is answered with HTTP ${status} and no incarnation`);
  };

  const healthCheck = async (peer: AgentId, options: CallOptions = {}): Promise<HealthResult> => {
    const defaults = { kind: "probe", cause: "heartbeat" } as const;
    const { value, traffic } = await measured(peer, options, defaults, () => probe(peer, options.signal));
    return { incarnation: value, traffic };
  };

  const send = async (src: AgentId, dst: AgentId, payload: Payload, options: SendOptions = {}): Promise<SendResult> => {
    const defaults = { kind: "tool", cause: "work" } as const;
    const { value, traffic } = await measured(dst, options, defaults, () => caller.send(src, dst, payload, options));
    const parts = partsOf(value.answer);
    return { raw: value.result, text: textOf(parts), parts, traffic };
  };

  return {
    registerEndpoint(agentId, address) {
      if (peers.register(agentId, address)) caller.forget(agentId);
    },
    connect,
    send,
    healthCheck,
    hostPlugin: (agentId, executor) => locals.mount(agentId, executor),
    spawnLocalAgent: (agentId, host, port, executor) => locals.listen(agentId, host, port, executor),
    async close() {
      caller.forgetAll();
      peers.clear();
      resolver.clear();
      await locals.close();
    },
  };
}
