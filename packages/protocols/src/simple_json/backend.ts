import {
  type Address,
  type AgentExecutor,
  type AgentId,
  type BackendContext,
  type CallOptions,
  type CommBackend,
  CommError,
  type ConnectResult,
  type HealthResult,
  InputError,
  type MeteredClient,
  type MeteredRequest,
  type MeteredResponse,
  type Part,
  type Payload,
  type SendOptions,
  type SendResult,
  type Traffic,
  toCommError,
} from "@failstorm/core";
import fastify from "fastify";
import { MAX_BODY_BYTES, simpleJsonHost } from "./host.ts";

export interface SimpleJsonConfig {
  /** Header bytes added to every request: an experiment's knob. */
  readonly extraHeaderBytes: number;
  /** Whether a repeated message id is answered from the record. */
  readonly idempotency: boolean;
}

/** Checks the section `simple_json.*`; throws InputError naming the key. */
export function parseSimpleJsonConfig(section: unknown): SimpleJsonConfig {
  const given = (section ?? {}) as Record<string, unknown>;
  const extra = given["extra_header_bytes"] ?? 0;
  const idempotency = given["idempotency"] ?? true;
  for (const key of Object.keys(given))
    if (key !== "extra_header_bytes" && key !== "idempotency")
      throw new InputError(`simple_json.${key}: unknown key; known are extra_header_bytes and idempotency`);
  if (typeof extra !== "number" || !Number.isInteger(extra) || extra < 0 || extra > 8192)
    throw new InputError(`simple_json.extra_header_bytes: ${JSON.stringify(extra)} is not a whole number from 0 to 8192`);
  if (typeof idempotency !== "boolean") throw new InputError("simple_json.idempotency: say true or false");
  return { extraHeaderBytes: extra, idempotency };
}

const textOf = (parts: readonly Part[]): string => parts.map((part) => (part.kind === "text" ? part.text : "")).join("");

interface Answered {
  readonly raw: unknown;
  readonly body: Record<string, unknown>;
}

/** Reads an answer; anything but a JSON object with status 200 is a typed error. */
function readAnswer(response: MeteredResponse, peer: AgentId): Answered {
  let raw: unknown;
  try {
    raw = JSON.parse(response.body.toString("utf8"));
  } catch (cause) {
    throw new CommError("protocol", peer, `${peer}: HTTP ${response.status} with a body that is not JSON`, { cause });
  }
  if (typeof raw !== "object" || raw === null) throw new CommError("protocol", peer, `${peer}: the answer is not a JSON object`);
  const body = raw as Record<string, unknown>;
  if (response.status === 200) return { raw, body };
  const detail = body["error"] as { code?: string; message?: string } | undefined;
  throw new CommError("remote", peer, `${peer}: ${detail?.message ?? `HTTP ${response.status}`}`, {
    detail: detail ?? raw,
  });
}

type CallDefaults = { readonly kind: "handshake" | "probe" | "tool"; readonly cause: "setup" | "heartbeat" | "work" };

/** The client's side: registered endpoints, measured calls, failures as CommError. */
class Caller {
  private readonly endpoints = new Map<AgentId, string>();
  private readonly client: MeteredClient;
  private readonly headers: Readonly<Record<string, string>>;

  constructor(client: MeteredClient, extraHeaderBytes: number) {
    this.client = client;
    this.headers = extraHeaderBytes > 0 ? { "x-filler": "x".repeat(extraHeaderBytes) } : {};
  }

  register(agentId: AgentId, { host, port, basePath = "" }: Address): void {
    this.endpoints.set(agentId, `http://${host}:${port}${basePath}`);
  }

  forgetAll(): void {
    this.endpoints.clear();
  }

  async call(
    peer: AgentId,
    request: { readonly path: string; readonly body?: string },
    options: CallOptions,
    defaults: CallDefaults,
  ): Promise<{ value: Answered; traffic: Traffic }> {
    const base = this.endpoints.get(peer);
    if (base === undefined) throw new CommError("unknown_agent", peer, `${peer}: no endpoint registered`);
    const tag = { peer, kind: options.kind ?? defaults.kind, cause: options.cause ?? defaults.cause };
    const init: MeteredRequest = {
      method: request.body === undefined ? "GET" : "POST",
      headers: request.body === undefined ? this.headers : { "content-type": "application/json", ...this.headers },
      ...(request.body === undefined ? {} : { body: request.body }),
      ...(options.signal ? { signal: options.signal } : {}),
    };
    try {
      return await this.client.measure(tag, async () => readAnswer(await this.client.request(base + request.path, init), peer));
    } catch (error) {
      const { traffic } = error as { traffic?: Traffic };
      const failure = toCommError(error, peer, options.signal);
      throw traffic === undefined ? failure : Object.assign(failure, { traffic });
    }
  }
}

/** simple_json as a CommBackend: one JSON envelope per POST. */
export function createSimpleJsonBackend(context: BackendContext): CommBackend {
  const { client, clock, describeSelf, onDeduplicated } = context;
  const { extraHeaderBytes, idempotency } = context.config as SimpleJsonConfig;
  const caller = new Caller(client, extraHeaderBytes);
  let sequence = 0;

  const connect = async (_src: AgentId, dst: AgentId, options: CallOptions = {}): Promise<ConnectResult> => {
    const { value, traffic } = await caller.call(dst, { path: "/agent" }, options, { kind: "handshake", cause: "setup" });
    const { agentId, incarnation, capabilities } = value.body;
    if (agentId !== dst || typeof incarnation !== "number" || !Array.isArray(capabilities))
      throw new CommError("protocol", dst, `${dst}: /agent does not describe ${dst}`, { detail: value.raw });
    return { peer: { agentId: dst, incarnation, capabilities: capabilities as string[] }, traffic };
  };

  const healthCheck = async (peer: AgentId, options: CallOptions = {}): Promise<HealthResult> => {
    const { value, traffic } = await caller.call(peer, { path: "/health" }, options, { kind: "probe", cause: "heartbeat" });
    const { incarnation } = value.body;
    return { incarnation: typeof incarnation === "number" ? incarnation : null, traffic };
  };

  const send = async (src: AgentId, dst: AgentId, payload: Payload, options: SendOptions = {}): Promise<SendResult> => {
    const id = options.idempotencyKey ?? `${src}/${describeSelf().incarnation}/${sequence++}`;
    const body = JSON.stringify({ id, from: src, to: dst, payload });
    const { value, traffic } = await caller.call(dst, { path: "/message", body }, options, { kind: "tool", cause: "work" });
    const parts = value.body["parts"];
    if (!Array.isArray(parts)) throw new CommError("protocol", dst, `${dst}: the answer has no parts`, { detail: value.raw });
    return { raw: value.raw, text: textOf(parts as Part[]), parts: parts as Part[], traffic };
  };

  const hostPlugin = (agentId: AgentId, executor: AgentExecutor) =>
    simpleJsonHost({ agentId, executor, describeSelf, now: () => clock.now(), idempotency, onDeduplicated });

  return {
    registerEndpoint: (agentId, address) => caller.register(agentId, address),
    connect,
    send,
    healthCheck,
    hostPlugin,
    async spawnLocalAgent(agentId, host, port, executor) {
      const server = fastify({ bodyLimit: MAX_BODY_BYTES });
      await server.register(hostPlugin(agentId, executor));
      const baseUrl = await server.listen({ host, port });
      return { baseUrl, close: () => server.close() };
    },
    async close() {
      caller.forgetAll();
    },
  };
}
