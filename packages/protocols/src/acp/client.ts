import { createHash } from "node:crypto";
import {
  type Address,
  type AgentId,
  type CallOptions,
  CommError,
  type MeteredClient,
  type MeteredResponse,
  type Traffic,
  type TrafficTag,
  toCommError,
} from "@failstorm/core";
import { AcpError, agentNameOf, isRecord, isUuid, type Message, type Run, RUN_STATUSES } from "./model.ts";
import { messageOf } from "./validation.ts";

/** Reads an answer; throws CommError `remote` for ACP's own errors, `protocol` for what is not ACP. */
function readAnswer({ status, body }: Pick<MeteredResponse, "status" | "body">, peer: AgentId): unknown {
  let raw: unknown;
  try {
    raw = JSON.parse(body.toString("utf8"));
  } catch (cause) {
    throw new CommError("protocol", peer, `${peer}: HTTP ${status} with a body that is not JSON`, { cause });
  }
  if (status >= 200 && status < 300) return raw;
  if (isRecord(raw) && typeof raw["code"] === "string" && typeof raw["message"] === "string")
    throw new CommError("remote", peer, `${peer}: ${raw["message"]}`, { detail: raw });
  throw new CommError("protocol", peer, `${peer}: HTTP ${status} with a body that is not ACP's error`, { detail: raw });
}

/** Whether a peer has said, in ACP's words, that it has no such thing. */
export const isNotFound = (error: unknown): boolean =>
  error instanceof CommError && isRecord(error.detail) && error.detail["code"] === "not_found";

/** A run as a peer sent it. Throws CommError `protocol` when it is none. */
export function runOf(raw: unknown, peer: AgentId): Run {
  const wrong = (cause?: unknown): CommError =>
    new CommError("protocol", peer, `${peer}: the answer is not a run`, { detail: raw, cause });
  if (!isRecord(raw)) throw wrong();
  const { run_id: runId, output } = raw;
  const status = RUN_STATUSES.find((candidate) => candidate === raw["status"]);
  if (typeof runId !== "string" || status === undefined || !Array.isArray(output)) throw wrong();
  let messages: Message[];
  try {
    messages = output.map((message, index) => messageOf(message, `output[${index}]`, 0));
  } catch (cause) {
    throw wrong(cause);
  }
  return { ...(raw as unknown as Run), status, output: messages };
}

type CallDefaults = Pick<TrafficTag, "kind" | "cause">;

/** One request's target within a measured call. */
export interface Line {
  readonly peer: AgentId;
  readonly base: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * The client's side of the wire: endpoints, measured calls, failures as CommError.
 *
 * acp-sdk reads streams here, no more: its schemas refuse what the document allows (times with an offset, await requests of other
 * kinds) and drop the manifest's annotations, where the incarnation stands; it does not send what the document requires of a
 * resumption, nor a session; and through fetch and its schemas a sync run takes three times as long (0.34 against 0.13 ms, both
 * ends, in one process).
 */
export class AcpClient {
  private readonly endpoints = new Map<AgentId, string>();
  /** Names that do not follow from the id. */
  private readonly names = new Map<AgentId, string>();
  private readonly client: MeteredClient;

  constructor(client: MeteredClient) {
    this.client = client;
  }

  register(agentId: AgentId, { host, port, basePath = "" }: Address): void {
    const name = host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
    this.names.delete(agentId);
    this.endpoints.set(agentId, `http://${name}:${port}${basePath.replace(/\/+$/, "")}`);
  }

  forgetAll(): void {
    this.endpoints.clear();
    this.names.clear();
  }

  baseOf(peer: AgentId): string | undefined {
    return this.endpoints.get(peer);
  }

  nameOf(peer: AgentId): string {
    return this.names.get(peer) ?? agentNameOf(peer);
  }

  /**
   * A peer's manifest, by its name. The reference server takes names that the document forbids, a Python function's for one: a peer
   * that does not know itself by the proper form of its id is asked for by the id, and called so from then on.
   */
  async manifest(line: Line): Promise<unknown> {
    const { peer } = line;
    const name = this.nameOf(peer);
    try {
      return await this.get(`/agents/${encodeURIComponent(name)}`, line);
    } catch (error) {
      if (name === peer || !isNotFound(error)) throw error;
      const manifest = await this.get(`/agents/${encodeURIComponent(peer)}`, line);
      this.names.set(peer, peer);
      return manifest;
    }
  }

  /** Whose resource this is, as far as known here. */
  ownerOf(url: string): AgentId | undefined {
    for (const [agentId, base] of this.endpoints) if (url.startsWith(`${base}/`)) return agentId;
    return undefined;
  }

  /** Runs `fn` measured; whatever it throws becomes a CommError that carries its traffic. */
  async call<T>(
    peer: AgentId,
    options: CallOptions,
    defaults: CallDefaults,
    fn: (line: Line) => Promise<T>,
  ): Promise<{ value: T; traffic: Traffic }> {
    const base = this.endpoints.get(peer);
    if (base === undefined) throw new CommError("unknown_agent", peer, `${peer}: no endpoint registered`);
    const { signal } = options;
    const tag = { peer, kind: options.kind ?? defaults.kind, cause: options.cause ?? defaults.cause };
    try {
      return await this.client.measure(tag, () => fn({ peer, base, signal }));
    } catch (error) {
      const { traffic } = error as { traffic?: Traffic };
      const failure = this.failureOf(error, peer, signal);
      throw traffic === undefined ? failure : Object.assign(failure, { traffic });
    }
  }

  async get(path: string, { peer, base, signal }: Line): Promise<unknown> {
    return readAnswer(await this.client.request(base + path, { method: "GET", ...(signal ? { signal } : {}) }), peer);
  }

  async post(path: string, body: object | undefined, { peer, base, signal }: Line): Promise<unknown> {
    const content = body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    return readAnswer(
      await this.client.request(base + path, { method: "POST", ...content, ...(signal ? { signal } : {}) }),
      peer,
    );
  }

  /** The events of a stream, as they come and unread. acp-sdk's reader takes the stream apart. */
  async *events(path: string, body: object, { peer, base, signal }: Line): AsyncGenerator {
    const { createEventSource } = await import("acp-sdk/client/sse");
    const headers = { "Content-Type": "application/json" };
    const options = { method: "POST", headers, body: JSON.stringify(body), ...(signal ? { signal } : {}) };
    const source = await createEventSource({ url: base + path, fetch: this.client.fetch, options });
    const { response } = source;
    if (!response.ok) readAnswer({ status: response.status, body: Buffer.from(await response.arrayBuffer()) }, peer);
    for await (const { data } of source.consume()) yield JSON.parse(data) as unknown;
  }

  private failureOf(error: unknown, peer: AgentId, signal: AbortSignal | undefined): CommError {
    if (error instanceof AcpError) return new CommError("protocol", peer, `${peer}: ${error.message}`, { cause: error });
    return toCommError(error, peer, signal);
  }
}

/** A conversation's id as an ACP session id: itself when it is a UUID, else a UUID made of its hash (RFC 9562, version 8). */
export function sessionIdOf(contextId: string): string {
  if (isUuid(contextId)) return contextId.toLowerCase();
  const hex = createHash("sha256").update(contextId).digest("hex");
  const variant = ((Number.parseInt(hex.charAt(16), 16) & 0x3) | 0x8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
