import {
  type Address,
  type AgentId,
  type CallOptions,
  CommError,
  type MeteredClient,
  type MeteredResponse,
  type Traffic,
  toCommError,
} from "@failstorm/core";
import { type CardContent, readCard } from "./card.ts";
import { readEvents } from "./sse.ts";
import { CARD_PATH, isRecord, VERSION, VERSION_HEADER } from "./wire.ts";

interface Endpoint {
  readonly base: string;
  /** Where its JSON-RPC is; a stranger's card may move it. */
  rpc: string;
  /** What a stranger's card wants every request to say. */
  tenant: string | undefined;
  /** As its card says; until it is known, it is taken to. */
  streaming: boolean;
  /** Of the card it sent last. */
  etag: string | undefined;
}

export type CallDefaults = { readonly kind: "handshake" | "probe" | "tool"; readonly cause: "setup" | "heartbeat" | "work" };

/** A peer's answer in the protocol: the result, or CommError `remote` with the JSON-RPC error as detail. */
function resultOf(answer: unknown, id: number, peer: AgentId): unknown {
  if (!isRecord(answer) || answer["jsonrpc"] !== "2.0") throw new CommError("protocol", peer, `${peer}: no JSON-RPC 2.0 answer`);
  const error = answer["error"];
  if (isRecord(error)) throw new CommError("remote", peer, `${peer}: ${String(error["message"])}`, { detail: error });
  if (answer["id"] !== id || !("result" in answer))
    throw new CommError("protocol", peer, `${peer}: an answer to another request`, { detail: answer });
  return answer["result"];
}

function requestBody({ tenant }: Endpoint, { id, method, params }: { id: number; method: string; params: object }): string {
  return JSON.stringify({ jsonrpc: "2.0", id, method, params: tenant === undefined ? params : { ...params, tenant } });
}

function parse(body: string, status: number, peer: AgentId): unknown {
  try {
    return JSON.parse(body);
  } catch (cause) {
    throw new CommError("protocol", peer, `${peer}: HTTP ${status} with a body that is not JSON`, { cause });
  }
}

/**
 * JSON-RPC of A2A 1.0 over the agent's one metered client. Not the SDK's client: that goes through fetch, whose streams and header
 * objects cost more than the rest of a unary call, and translates every message through its codecs on both ways; what it puts on the
 * wire is the same. Failures are CommError, with the traffic of the attempt in `traffic`.
 */
export class Caller {
  private readonly endpoints = new Map<AgentId, Endpoint>();
  private readonly client: MeteredClient;
  private readonly headers: Readonly<Record<string, string>>;
  private requests = 0;

  constructor(client: MeteredClient, bearerToken: string | undefined) {
    this.client = client;
    this.headers = {
      [VERSION_HEADER]: VERSION,
      ...(bearerToken === undefined ? {} : { authorization: `Bearer ${bearerToken}` }),
    };
  }

  register(agentId: AgentId, { host, port, basePath = "" }: Address): void {
    const base = `http://${host.includes(":") ? `[${host}]` : host}:${port}${basePath}`;
    this.endpoints.set(agentId, { base, rpc: base, tenant: undefined, streaming: true, etag: undefined });
  }

  forgetAll(): void {
    this.endpoints.clear();
  }

  /** Runs `attempt` as one measured operation; what it throws becomes a CommError. */
  async measured<T>(
    peer: AgentId,
    options: CallOptions,
    defaults: CallDefaults,
    attempt: (signal: AbortSignal | undefined) => Promise<T>,
  ): Promise<{ value: T; traffic: Traffic }> {
    const tag = { peer, kind: options.kind ?? defaults.kind, cause: options.cause ?? defaults.cause };
    try {
      return await this.client.measure(tag, () => attempt(options.signal));
    } catch (error) {
      const { traffic } = error as { traffic?: Traffic };
      const failure = toCommError(error, peer, options.signal);
      throw traffic === undefined ? failure : Object.assign(failure, { traffic });
    }
  }

  /** GET of the card. A stranger's card moves its JSON-RPC endpoint to where the card says. */
  async card(peer: AgentId, signal: AbortSignal | undefined): Promise<CardContent> {
    const endpoint = this.endpoint(peer);
    const answer = await this.cardRequest(endpoint, {}, signal);
    if (answer.status !== 200) throw new CommError("protocol", peer, `${peer}: HTTP ${answer.status} for its agent card`);
    const card = readCard(parse(answer.body.toString("utf8"), answer.status, peer), peer);
    if (card.rpcUrl !== null) endpoint.rpc = card.rpcUrl;
    endpoint.tenant = card.tenant;
    endpoint.streaming = card.streaming;
    return card;
  }

  /**
   * A sign of life: GET of the card unless it is the one that is known (304, without a body). Not HEAD, after which undici gives the
   * connection up.
   */
  async probe(peer: AgentId, signal: AbortSignal | undefined): Promise<MeteredResponse> {
    const endpoint = this.endpoint(peer);
    const condition = endpoint.etag === undefined ? {} : { "if-none-match": endpoint.etag };
    const answer = await this.cardRequest(endpoint, condition, signal);
    if (answer.status === 200 || answer.status === 304) return answer;
    throw new CommError("protocol", peer, `${peer}: HTTP ${answer.status} for its agent card`);
  }

  /** Whether the peer streams (spec §3.3.4: asking one that does not is an error). */
  streams(peer: AgentId): boolean {
    return this.endpoint(peer).streaming;
  }

  /** One unary call. */
  async rpc(peer: AgentId, method: string, params: object, signal: AbortSignal | undefined): Promise<unknown> {
    const endpoint = this.endpoint(peer);
    const id = ++this.requests;
    const answer = await this.client.request(endpoint.rpc, {
      method: "POST",
      headers: { "content-type": "application/json", ...this.headers },
      body: requestBody(endpoint, { id, method, params }),
      ...(signal ? { signal } : {}),
    });
    const body = parse(answer.body.toString("utf8"), answer.status, peer);
    if (answer.status !== 200 && !isRecord(body)) throw new CommError("protocol", peer, `${peer}: HTTP ${answer.status}`);
    return resultOf(body, id, peer);
  }

  /** One streaming call: the results as they arrive. CommError `protocol` when the peer answers with something else than a stream. */
  async *stream(
    peer: AgentId,
    method: string,
    params: object,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<unknown, void, undefined> {
    const endpoint = this.endpoint(peer);
    const id = ++this.requests;
    const answer = await this.client.fetch(endpoint.rpc, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream", ...this.headers },
      body: requestBody(endpoint, { id, method, params }),
      ...(signal ? { signal } : {}),
    });
    if (!answer.headers.get("content-type")?.startsWith("text/event-stream") || answer.body === null) {
      resultOf(parse(await answer.text(), answer.status, peer), id, peer);
      throw new CommError("protocol", peer, `${peer}: ${method} answered without a stream`);
    }
    for await (const data of readEvents(answer.body)) yield resultOf(parse(data, answer.status, peer), id, peer);
  }

  private endpoint(peer: AgentId): Endpoint {
    const endpoint = this.endpoints.get(peer);
    if (endpoint === undefined) throw new CommError("unknown_agent", peer, `${peer}: no endpoint registered`);
    return endpoint;
  }

  private async cardRequest(
    endpoint: Endpoint,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal | undefined,
  ): Promise<MeteredResponse> {
    const answer = await this.client.request(endpoint.base + CARD_PATH, {
      method: "GET",
      headers: { ...this.headers, ...headers },
      ...(signal ? { signal } : {}),
    });
    const { etag } = answer.headers;
    if (typeof etag === "string") endpoint.etag = etag;
    return answer;
  }
}
