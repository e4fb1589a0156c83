import { generateKeyPairSync, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  type Address,
  type AgentExecutor,
  type Clock,
  type CommBackend,
  type CommError,
  createPrng,
  type LocalAgent,
  systemClock,
  type Traffic,
  type TrafficTag,
} from "@failstorm/core";
import fastify, { type FastifyInstance } from "fastify";
import { didOf } from "../../src/anp/did.ts";
import { type SigningKey, signRequest } from "../../src/anp/httpSignature.ts";
import { Identity } from "../../src/anp/identity.ts";
import { canonical, type JsonObject } from "../../src/anp/json.ts";
import type { AgentKeys } from "../../src/anp/keys.ts";
import { proveOrigin } from "../../src/anp/originProof.ts";
import { protocol } from "../../src/anp/protocol.ts";
import { createMeteredClient, type OwnMeteredClient } from "../../src/index.ts";

export const HOST = "127.0.0.1";

export interface Peer {
  readonly agentId: string;
  readonly backend: CommBackend;
  readonly client: OwnMeteredClient;
  readonly workspaceDir: string;
  readonly repeats: string[];
  /** What its client reported of operations that had ended. */
  readonly residuals: ReadonlyArray<{ readonly tag: TrafficTag; readonly bytesSent: number; readonly bytesReceived: number }>;
  readonly address: Address;
  readonly base: string;
  /** As SIGKILL leaves it, but for what the system would close itself. */
  stop(): Promise<void>;
}

export interface PeerOptions {
  readonly execute?: AgentExecutor["execute"];
  readonly section?: JsonObject;
  readonly workspaceDir?: string;
  readonly port?: number;
  readonly incarnation?: number;
  readonly clock?: Clock;
}

const echo: AgentExecutor["execute"] = async ({ payload }, queue) =>
  queue.enqueue(
    "text" in payload
      ? { type: "agent_text_message", text: payload.text }
      : { type: "agent_parts_message", parts: payload.parts },
  );

/** What a test opens, and closes in the end. */
export class World {
  private readonly closers: Array<() => Promise<unknown> | void> = [];

  async close(): Promise<void> {
    for (const close of this.closers.splice(0).toReversed()) await close();
  }

  onClose(close: () => Promise<unknown> | void): void {
    this.closers.push(close);
  }

  tempDir(): string {
    const dir = mkdtempSync(path.join(tmpdir(), "failstorm-anp-"));
    this.onClose(() => rmSync(dir, { recursive: true, force: true }));
    return dir;
  }

  async peer(agentId: string, options: PeerOptions = {}): Promise<Peer> {
    const { execute = echo, workspaceDir = this.tempDir(), port = 0, incarnation = 1, clock = systemClock } = options;
    const residuals: Array<Peer["residuals"][number]> = [];
    const client = createMeteredClient({
      clock: systemClock,
      connectTimeoutMs: 30_000,
      onResidual: (tag, bytesSent, bytesReceived) => residuals.push({ tag, bytesSent, bytesReceived }),
    });
    const repeats: string[] = [];
    let local: LocalAgent | null = null;
    const backend = protocol.createBackend({
      describeSelf: () => ({ agentId, incarnation, capabilities: ["tool:search"] }),
      selfAddress: () => ({ host: HOST, port: local === null ? port : Number(new URL(local.baseUrl).port) }),
      client,
      clock,
      prng: createPrng(1),
      workspaceDir,
      config: protocol.parseConfig(options.section),
      onDeduplicated: (id) => repeats.push(id),
    });
    local = await backend.spawnLocalAgent(agentId, HOST, port, { execute, cancel: async () => {} });
    const address = { host: HOST, port: Number(new URL(local.baseUrl).port) };
    const stop = async (): Promise<void> => {
      const closing = local;
      local = null;
      await backend.close();
      await client.close();
      await closing?.close();
    };
    this.onClose(stop);
    return { agentId, backend, client, workspaceDir, repeats, residuals, address, base: `http://${HOST}:${address.port}`, stop };
  }

  /** A caller made of nothing but keys, a served DID document and HTTP. */
  async stranger({ e2ee = false } = {}): Promise<Stranger> {
    const server = fastify();
    this.onClose(() => server.close());
    const stranger = new Stranger(server, e2ee);
    server.get("/.well-known/did.json", async () => {
      stranger.documentsServed += 1;
      return stranger.identity.document;
    });
    await server.listen({ host: HOST, port: 0 });
    return stranger;
  }
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly json: JsonObject & {
    readonly error?: { code: number; message: string; data?: JsonObject };
    readonly result?: JsonObject;
  };
}

export interface RawMessage {
  readonly method?: string;
  readonly meta?: JsonObject;
  readonly body?: JsonObject;
  /** Applied to the whole message before it is serialised. */
  readonly change?: (message: JsonObject) => unknown;
  /** Applied to the headers last. */
  readonly headers?: Readonly<Record<string, string | null>>;
  readonly nonce?: string;
  readonly nowS?: number;
  readonly signer?: SigningKey;
}

export const nowS = (): number => Math.floor(systemClock.wall() / 1000);

/** Talks to an agent as somebody else's implementation would. */
export class Stranger {
  documentsServed = 0;
  readonly server: FastifyInstance;
  readonly keys: AgentKeys = { signing: generateKeyPairSync("ed25519"), agreement: generateKeyPairSync("x25519") };
  readonly identity: Identity;

  constructor(server: FastifyInstance, e2ee: boolean) {
    this.server = server;
    this.identity = new Identity({
      agentId: "stranger",
      keys: this.keys,
      form: "domain",
      e2ee,
      address: () => ({ host: HOST, port: Number(new URL(server.listeningOrigin).port) }),
      now: () => "2026-01-01T00:00:00Z",
    });
  }

  directMeta(peer: Peer, more: JsonObject = {}): JsonObject {
    const id = randomUUID();
    return {
      profile: "anp.direct.base.v1",
      security_profile: "transport-protected",
      sender_did: this.identity.did,
      target: { kind: "agent", did: didOf(peer.address) },
      operation_id: id,
      message_id: id,
      content_type: "text/plain",
      ...more,
    };
  }

  /** A whole JSON-RPC message with its origin proof. */
  message(
    peer: Peer,
    { method = "direct.send", meta = {}, body = { text: "hello" }, change, nowS: at }: RawMessage = {},
  ): unknown {
    const full = this.directMeta(peer, meta);
    const target = full["target"] as { kind: string; did: string };
    const signed = { method, target, meta: canonical(full), body: canonical(body) };
    const auth = proveOrigin(this.identity.signingKey, signed, at ?? nowS());
    const message = { jsonrpc: "2.0", id: "1", method, params: { meta: full, auth, body } };
    return change === undefined ? message : change(message);
  }

  /** Headers and text of a signed request. */
  request(peer: Peer, options: RawMessage = {}, text = JSON.stringify(this.message(peer, options))) {
    const headers: Record<string, string> = {
      "content-type": "application/json",
      ...signRequest(
        options.signer ?? this.identity.signingKey,
        { method: "POST", url: `${peer.base}/anp`, body: text },
        { nowS: options.nowS ?? nowS(), nonce: options.nonce },
      ),
    };
    for (const [name, value] of Object.entries(options.headers ?? {}))
      if (value === null) delete headers[name];
      else headers[name] = value;
    return { headers, text };
  }

  async post(
    peer: Peer,
    { headers, text }: { readonly headers: Record<string, string>; readonly text: string },
  ): Promise<RawAnswer> {
    const response = await fetch(`${peer.base}/anp`, { method: "POST", headers, body: text });
    const answer = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      json: (answer === "" ? {} : JSON.parse(answer)) as RawAnswer["json"],
    };
  }

  send(peer: Peer, options: RawMessage = {}): Promise<RawAnswer> {
    return this.post(peer, this.request(peer, options));
  }
}

export const failure = async (promise: Promise<unknown>): Promise<CommError & { readonly traffic?: Traffic }> => {
  try {
    await promise;
  } catch (error) {
    return error as CommError & { readonly traffic?: Traffic };
  }
  throw new Error("it did not fail");
};
