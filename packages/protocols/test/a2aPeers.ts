import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { type AgentExecutor, type Clock, type CommBackend, type CommError, createPrng, systemClock } from "@failstorm/core";
import fastify from "fastify";
import { createA2aBackend } from "../src/a2a/backend.ts";
import { parseA2aConfig } from "../src/a2a/config.ts";
import { createMeteredClient, type OwnMeteredClient } from "../src/index.ts";

/** What a test opened, closed in reverse order by `closeAll`. */
const opened: Array<() => unknown> = [];

export async function closeAll(): Promise<void> {
  for (const close of opened.splice(0).toReversed()) await close();
}

export const closing = (close: () => unknown): void => void opened.push(close);

export function workspace(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "a2a-"));
  closing(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Peer {
  readonly backend: CommBackend;
  readonly client: OwnMeteredClient;
  readonly agentId: string;
  readonly prefix: string;
  capabilities: string[];
  port: number;
}

interface PeerOptions {
  readonly section?: unknown;
  readonly workspaceDir?: string;
  readonly incarnation?: number;
  readonly clock?: Clock;
  readonly prefix?: string;
  /** What it says of itself; it is served on 127.0.0.1 all the same. */
  readonly host?: string;
}

/** An agent's backend; a second one of the same id and workspace is its next incarnation. */
export function a2aPeer(agentId: string, options: PeerOptions = {}): Peer {
  const { clock = systemClock, incarnation = 1, section = {}, prefix = "", host = "127.0.0.1" } = options;
  const client = createMeteredClient({ clock: systemClock, connectTimeoutMs: 30_000, onResidual: () => {} });
  closing(() => client.close());
  const peer = { agentId, client, prefix, capabilities: ["tool:search", "shard:1"], port: 0 };
  const backend = createA2aBackend({
    describeSelf: () => ({ agentId, incarnation, capabilities: peer.capabilities }),
    selfAddress: () => ({ host, port: peer.port, basePath: prefix }),
    client,
    clock,
    prng: createPrng(1),
    workspaceDir: options.workspaceDir ?? workspace(),
    config: parseA2aConfig(section),
    onDeduplicated: () => {
      throw new Error("A2A never de-duplicates");
    },
  });
  return Object.assign(peer, { backend });
}

export const echo: AgentExecutor["execute"] = async ({ payload }, queue) => {
  if ("text" in payload) queue.enqueue({ type: "agent_text_message", text: payload.text });
  else queue.enqueue({ type: "agent_parts_message", parts: payload.parts });
};

/** The peer's host on a server of its own, under its prefix; the URL of its base. */
export async function serve(
  peer: Peer,
  execute: AgentExecutor["execute"] = echo,
  cancel: AgentExecutor["cancel"] = async () => {},
) {
  const server = fastify({ forceCloseConnections: true });
  await server.register(peer.backend.hostPlugin(peer.agentId, { execute, cancel }), { prefix: peer.prefix });
  const base = await server.listen({ host: "127.0.0.1", port: peer.port });
  peer.port = Number(new URL(base).port);
  const close = (): Promise<void> => server.close();
  closing(close);
  return { address: { host: "127.0.0.1", port: peer.port, basePath: peer.prefix }, url: base + peer.prefix, close };
}

/** A server that speaks raw TCP, for peers that misbehave. */
export async function rawServer(onSocket: (socket: Socket) => void): Promise<{ host: string; port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return { host: "127.0.0.1", port: (server.address() as { port: number }).port };
}

export async function failure(promise: Promise<unknown>): Promise<CommError> {
  try {
    await promise;
  } catch (error) {
    return error as CommError;
  }
  throw new Error("it did not fail");
}

/** Opened by hand: executions wait at it. */
export function gate(): { readonly passed: Promise<void>; readonly open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  closing(resolve);
  return { passed: promise, open: resolve };
}

export const message = (text: string, more: object = {}) => ({
  messageId: `m-${text}`,
  role: "ROLE_USER",
  parts: [{ text }],
  ...more,
});

interface RpcOptions {
  readonly version?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface RpcReply {
  readonly status: number;
  readonly id: unknown;
  readonly result: Record<string, unknown> | undefined;
  readonly error: { code: number; message: string; data?: Record<string, unknown>[] } | undefined;
}

/** A stranger's JSON-RPC call. `version` null: no A2A-Version header, as 0.3 clients do. */
export async function rpc(url: string, method: string, params: unknown, options: RpcOptions = {}): Promise<RpcReply> {
  const { version = "1.0", headers = {} } = options;
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...(version === null ? {} : { "a2a-version": version }), ...headers },
    body: JSON.stringify({ jsonrpc: "2.0", id: "r-1", method, params }),
  });
  return { status: answer.status, ...((await answer.json()) as Omit<RpcReply, "status">) };
}

/** The task that a SendMessage was answered with. */
export function taskIn({ result, error }: RpcReply): { readonly id: string; readonly contextId: string } {
  if (result === undefined) throw new Error(`no result: ${error?.message}`);
  return result["task"] as { id: string; contextId: string };
}

/** Sends one message and returns its task. */
export const sent = async (url: string, text: string, more: object = {}) =>
  taskIn(await rpc(url, "SendMessage", { message: message(text, more) }));

/** A stranger's REST call. */
export async function rest(url: string, init: RequestInit = {}) {
  const headers = { "content-type": "application/a2a+json", "a2a-version": "1.0", ...(init.headers as object) };
  const answer = await fetch(url, { ...init, headers });
  const text = await answer.text();
  const body = (text === "" ? null : JSON.parse(text)) as Record<string, unknown> | null;
  return { status: answer.status, type: answer.headers.get("content-type"), body };
}
