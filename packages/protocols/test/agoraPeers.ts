import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { type AgentExecutor, type Clock, type CommError, createPrng, systemClock, type Traffic } from "@failstorm/core";
import fastify from "fastify";
import { type AgoraBackend, createAgoraBackend } from "../src/agora/backend.ts";
import { parseAgoraConfig } from "../src/agora/config.ts";
import { createMeteredClient, type OwnMeteredClient } from "../src/index.ts";

/** What a test opened, closed in reverse order by `closeAll`. */
const opened: Array<() => unknown> = [];

export async function closeAll(): Promise<void> {
  for (const close of opened.splice(0).toReversed()) await close();
}

export function workspace(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "agora-"));
  opened.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Peer {
  readonly backend: AgoraBackend;
  readonly client: OwnMeteredClient;
  readonly agentId: string;
  capabilities: string[];
  port: number;
}

/** An agent's backend; a second one of the same id and workspace is its next incarnation. */
export function agoraPeer(
  agentId: string,
  options: { section?: unknown; workspaceDir?: string; incarnation?: number; clock?: Clock } = {},
): Peer {
  const { clock = systemClock, incarnation = 1, section = {} } = options;
  const client = createMeteredClient({ clock: systemClock, connectTimeoutMs: 30_000, onResidual: () => {} });
  opened.push(() => client.close());
  const peer = { agentId, client, capabilities: ["tool:search"], port: 0 };
  const backend = createAgoraBackend({
    describeSelf: () => ({ agentId, incarnation, capabilities: peer.capabilities }),
    selfAddress: () => ({ host: "127.0.0.1", port: peer.port }),
    client,
    clock,
    prng: createPrng(1),
    workspaceDir: options.workspaceDir ?? workspace(),
    config: parseAgoraConfig(section),
    onDeduplicated: () => {
      throw new Error("Agora never de-duplicates");
    },
  });
  return Object.assign(peer, { backend });
}

export const echo: AgentExecutor["execute"] = async ({ payload }, queue) => {
  if ("text" in payload) queue.enqueue({ type: "agent_text_message", text: payload.text });
  else queue.enqueue({ type: "agent_parts_message", parts: payload.parts });
};

/** The peer's host on a server of its own, under a prefix when one is given; its address. */
export async function serve(peer: Peer, execute: AgentExecutor["execute"] = echo, prefix = "", port = 0) {
  const server = fastify({ forceCloseConnections: true });
  await server.register(peer.backend.hostPlugin(peer.agentId, { execute, cancel: async () => {} }), { prefix });
  const base = await server.listen({ host: "127.0.0.1", port });
  peer.port = Number(new URL(base).port);
  const close = (): Promise<void> => server.close();
  opened.push(close);
  return { host: "127.0.0.1", port: peer.port, basePath: prefix, url: base + prefix, close };
}

/** A server that speaks raw TCP, for peers that misbehave. */
export async function rawServer(
  onSocket: (socket: Socket) => void,
): Promise<{ host: string; port: number; close: () => Promise<void> }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(() => resolve()));
  };
  opened.push(close);
  return { host: "127.0.0.1", port: (server.address() as { port: number }).port, close };
}

/** A stranger's Agora server: every request goes to `answer`. */
export async function stranger(
  answer: (request: { method: string; url: string; body: Record<string, unknown> }) => { status?: number; json: unknown },
) {
  const server = fastify({ forceCloseConnections: true });
  server.all("/*", async (request, reply) => {
    const { status = 200, json } = answer({
      method: request.method,
      url: request.url,
      body: request.body as Record<string, unknown>,
    });
    return reply.code(status).send(json);
  });
  const url = await server.listen({ host: "127.0.0.1", port: 0 });
  opened.push(() => server.close());
  return { host: "127.0.0.1", port: Number(new URL(url).port) };
}

export const failure = async (promise: Promise<unknown>): Promise<CommError & { traffic?: Traffic }> => {
  try {
    await promise;
  } catch (error) {
    return error as CommError & { traffic?: Traffic };
  }
  throw new Error("it did not fail");
};

/** A stranger's client: plain fetch. */
export async function post(
  url: string,
  body: unknown,
  headers: Record<string, string> = { "content-type": "application/json" },
): Promise<{ status: number; type: string; json: Record<string, unknown> }> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const response = await fetch(url, { method: "POST", headers, body: text });
  const json = (await response.json()) as Record<string, unknown>;
  return { status: response.status, type: response.headers.get("content-type") ?? "", json };
}
