import { createHash } from "node:crypto";
import { createRequire } from "node:module";
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
import type { Client as SdkClient, ClientInit } from "acp-sdk";
import { AcpError, agentNameOf, isRecord, isUuid, type Message, type Run, RUN_STATUSES } from "./model.ts";
import { messageOf } from "./validation.ts";

/** Reads an answer; throws CommError `remote` for ACP's own errors, `protocol` for what is not ACP. */
function readAnswer({ status, body }: MeteredResponse, peer: AgentId): unknown {
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

interface Sdk {
  readonly Client: new (init: ClientInit) => SdkClient;
}

let loadedSdk: Sdk | null = null;
/** `require`, as the package's ESM build imports its package.json without the attribute Node demands (1.0.3). Takes some 65 ms. */
const loadSdk = (): Sdk => (loadedSdk ??= createRequire(import.meta.url)("acp-sdk") as Sdk);

/** acp-sdk's ACPError (and an `error` event of a stream) is the peer's own error. */
const isSdkAcpError = (error: unknown): error is Error & { error: unknown } =>
  error instanceof Error && error.name === "ACPError" && "error" in error;

/**
 * The client's side of the wire: endpoints, measured calls, failures as CommError.
 *
 * acp-sdk's client serves what is not sent all the time: streamed runs, cancel, resuming an await. Sync and async runs, ping,
 * manifest and run state go over the metered client directly: through fetch and the SDK's schemas a sync run takes three times as
 * long (0.34 against 0.13 ms, both ends, in one process); the SDK drops the manifest's annotations, where the incarnation
 * stands; and loading it would fall into the first reconnection.
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

  async post(path: string, body: object, { peer, base, signal }: Line): Promise<unknown> {
    const headers = { "content-type": "application/json" };
    const init = { method: "POST", headers, body: JSON.stringify(body), ...(signal ? { signal } : {}) };
    return readAnswer(await this.client.request(base + path, init), peer);
  }

  /** acp-sdk's client over the counted sockets. `more`: what its requests' bodies must hold besides, as the SDK leaves it out. */
  sdk({ base, signal }: Line, sessionId?: string, more?: object): SdkClient {
    const { Client } = loadSdk();
    const { fetch } = this.client;
    const forwarding: typeof fetch = (input, init) => {
      const body =
        more !== undefined && typeof init?.body === "string"
          ? { body: JSON.stringify({ ...(JSON.parse(init.body) as object), ...more }) }
          : {};
      return fetch(input, { ...init, ...body, ...(signal ? { signal } : {}) });
    };
    const init: ClientInit = { baseUrl: base, fetch: forwarding, ...(sessionId === undefined ? {} : { sessionId }) };
    return new Client(init);
  }

  private failureOf(error: unknown, peer: AgentId, signal: AbortSignal | undefined): CommError {
    if (isSdkAcpError(error))
      return new CommError("remote", peer, `${peer}: ${error.message}`, { detail: error.error, cause: error });
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
