import {
  type AgentExecutor,
  type AgentId,
  type BackendContext,
  type CommBackend,
  CommError,
  InputError,
  type Part,
  type Payload,
  type Protocol,
  type Traffic,
  type TrafficTag,
  toCommError,
} from "@failstorm/core";
import fastify, { type FastifyPluginAsync } from "fastify";

/** The section `postcard.*` of the configuration. */
interface PostcardConfig {
  readonly greeting: string;
}

interface Card {
  readonly from: AgentId;
  readonly to: AgentId;
  readonly payload: Payload;
}

/** Checks the section; every problem is an InputError that names the key. */
function parseConfig(section: unknown): PostcardConfig {
  const { greeting = "Dear", ...others } = (section ?? {}) as Record<string, unknown>;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw new InputError(`postcard.${unknown}: unknown key; known is greeting`);
  if (typeof greeting !== "string") throw new InputError("postcard.greeting: must be a text");
  return { greeting };
}

/** The server's side: turns what comes over the wire into an execution, and what the execution says into an answer. */
function postcardHost(agentId: AgentId, executor: AgentExecutor, { describeSelf, prng }: BackendContext): FastifyPluginAsync {
  return async (server) => {
    server.get("/card", async () => describeSelf());
    server.get("/alive", async () => ({ incarnation: describeSelf().incarnation }));
    server.post<{ Body: Partial<Card> | null }>("/card", { bodyLimit: 64 * 1024 * 1024 }, async (request, reply) => {
      const { from = null, to, payload } = request.body ?? {};
      if (to !== agentId || payload === undefined)
        return reply.code(400).send({ problem: `this is ${agentId}; what do you want?` });
      const parts: Part[] = [];
      const messageId = `${agentId}/${prng.int(2 ** 32)}`;
      try {
        await executor.execute(
          { messageId, from, payload, signal: new AbortController().signal },
          {
            enqueue: (event) => {
              if (event.type === "agent_text_message") parts.push({ kind: "text", text: event.text });
              if (event.type === "agent_parts_message") parts.push(...event.parts);
            },
          },
        );
      } catch (error) {
        return reply.code(500).send({ problem: error instanceof Error ? error.message : String(error) });
      }
      return { parts };
    });
  };
}

/** The client's side: one exchange, measured; whatever goes wrong is a CommError that carries what was moved before. */
function createCaller({ client, config }: BackendContext) {
  const { greeting } = config as PostcardConfig;
  const endpoints = new Map<AgentId, string>();
  const exchange = async (url: string, tag: TrafficTag, card?: Card, signal?: AbortSignal): Promise<Record<string, unknown>> => {
    const { status, body } = await client.request(url, {
      method: card === undefined ? "GET" : "POST",
      headers: { greeting, ...(card === undefined ? {} : { "content-type": "application/json" }) },
      ...(card === undefined ? {} : { body: JSON.stringify(card) }),
      ...(signal === undefined ? {} : { signal }),
    });
    let answer: unknown = null;
    try {
      answer = JSON.parse(body.toString("utf8"));
    } catch {
      // Reported below, with what is JSON but no object.
    }
    if (typeof answer !== "object" || answer === null)
      throw new CommError("protocol", tag.peer, `${tag.peer}: HTTP ${status}, and no JSON object`);
    const { problem } = answer as { problem?: string };
    if (status !== 200)
      throw new CommError("remote", tag.peer, `${tag.peer}: ${problem ?? `HTTP ${status}`}`, { detail: answer });
    return answer as Record<string, unknown>;
  };
  return {
    endpoints,
    call: async (path: string, tag: TrafficTag, signal?: AbortSignal, card?: Card) => {
      const base = endpoints.get(tag.peer);
      if (base === undefined) throw new CommError("unknown_agent", tag.peer, `${tag.peer}: no endpoint registered`);
      try {
        return await client.measure(tag, () => exchange(base + path, tag, card, signal));
      } catch (error) {
        const { traffic } = error as { traffic?: Traffic };
        throw Object.assign(toCommError(error, tag.peer, signal), traffic && { traffic });
      }
    },
  };
}

function createBackend(context: BackendContext): CommBackend {
  const { endpoints, call } = createCaller(context);
  const hostPlugin: CommBackend["hostPlugin"] = (agentId, executor) => postcardHost(agentId, executor, context);
  return {
    registerEndpoint: (agentId, { host, port, basePath = "" }) =>
      void endpoints.set(agentId, `http://${host}:${port}${basePath}`),
    async connect(_src, peer, { cause = "setup", kind = "handshake", signal } = {}) {
      const { value, traffic } = await call("/card", { peer, cause, kind }, signal);
      const { agentId, incarnation, capabilities } = value;
      if (agentId !== peer || typeof incarnation !== "number" || !Array.isArray(capabilities))
        throw new CommError("protocol", peer, `${peer}: this is no description of ${peer}`, { detail: value });
      return { peer: { agentId: peer, incarnation, capabilities: capabilities as string[] }, traffic };
    },
    async send(from, peer, payload, { cause = "work", kind = "tool", signal } = {}) {
      const { value, traffic } = await call("/card", { peer, cause, kind }, signal, { from, to: peer, payload });
      if (!Array.isArray(value["parts"]))
        throw new CommError("protocol", peer, `${peer}: an answer without parts`, { detail: value });
      const parts = value["parts"] as Part[];
      return { raw: value, parts, text: parts.map((part) => (part.kind === "text" ? part.text : "")).join(""), traffic };
    },
    async healthCheck(peer, { cause = "heartbeat", kind = "probe", signal } = {}) {
      const { value, traffic } = await call("/alive", { peer, cause, kind }, signal);
      return { incarnation: typeof value["incarnation"] === "number" ? value["incarnation"] : null, traffic };
    },
    hostPlugin,
    async spawnLocalAgent(agentId, host, port, executor) {
      const server = fastify();
      await server.register(hostPlugin(agentId, executor));
      const baseUrl = await server.listen({ host, port });
      return { baseUrl, close: () => server.close() };
    },
    close: async () => endpoints.clear(),
  };
}

export const protocol: Protocol = {
  getProtocolInfo: () => ({
    name: "postcard",
    version: "1",
    description: "A card there, a card back: the example of the guide.",
    features: ["request/response"],
    heartbeat: "added",
    capabilities: {
      streaming: false,
      cancel: false,
      resume: false,
      idempotency: false,
      authentication: false,
      nativeProbe: false,
    },
  }),
  getReconnectionInfo: () => ({ method: "GET /card", authentication: "none", expectedRoundTrips: 1 }),
  parseConfig,
  createBackend,
};
