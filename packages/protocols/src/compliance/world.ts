import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  type Address,
  type AgentExecutor,
  type AgentId,
  type BackendContext,
  type CommBackend,
  createPrng,
  type ExecutionContext,
  type LocalAgent,
  systemClock,
  type TrafficTag,
} from "@failstorm/core";
import { createMeteredClient, type OwnMeteredClient } from "../meteredClient.ts";
import type { Subject } from "./subject.ts";

export type Execute = AgentExecutor["execute"];

export interface PeerOptions {
  readonly execute?: Execute;
  readonly incarnation?: number;
  readonly capabilities?: () => readonly string[];
  readonly workspaceDir?: string;
  /** 0, the default: any. */
  readonly port?: number;
  /** Where others reach it, when that is not where it listens: behind a proxy, under a prefix. */
  readonly reachedAt?: Address;
  /** false: its host is mounted by the caller (or by nobody). */
  readonly listens?: boolean;
}

/** An agent of this process: a backend, its client, its host. */
export interface Peer {
  readonly agentId: AgentId;
  readonly backend: CommBackend;
  readonly client: OwnMeteredClient;
  readonly executor: AgentExecutor;
  readonly workspaceDir: string;
  /** What its host executed. */
  readonly executions: ExecutionContext[];
  readonly deduplicated: string[];
  /** The tags under which its client was used. */
  readonly tags: TrafficTag[];
  /** Bytes of its operations that came after their end. */
  readonly residual: { bytesSent: number; bytesReceived: number };
  /** Where it is reached; set it for a host that the caller mounts. */
  address: Address;
  local: LocalAgent | null;
}

export const HOST = "127.0.0.1";

/** Answers with what it was given. */
export const echo: Execute = async ({ payload }, queue) => {
  queue.enqueue(
    "text" in payload
      ? { type: "agent_text_message", text: payload.text }
      : { type: "agent_parts_message", parts: payload.parts },
  );
};

/** Everything that one case opens, and closes in the end. */
export class World {
  private readonly subject: Subject;
  private readonly peers: Peer[] = [];
  private readonly closers: Array<() => Promise<unknown> | void> = [];

  constructor(subject: Subject) {
    this.subject = subject;
  }

  /** Runs at the end, last registered first, when no client of this process has a connection any more. */
  onClose(close: () => Promise<unknown> | void): void {
    this.closers.push(close);
  }

  /** Clients first: a host waits for the requests that it serves. */
  async close(): Promise<void> {
    for (const { backend } of this.peers) await backend.close();
    for (const { client } of this.peers) await client.close();
    for (const close of this.closers.splice(0).toReversed()) await close();
  }

  tempDir(): string {
    const dir = mkdtempSync(path.join(tmpdir(), "failstorm-compliance-"));
    this.onClose(() => rmSync(dir, { recursive: true, force: true }));
    return dir;
  }

  /** An agent; unless told otherwise it listens. */
  async peer(agentId: AgentId, options: PeerOptions = {}): Promise<Peer> {
    const { protocol, section } = this.subject;
    const { incarnation = 1, capabilities = () => ["tool:search"], listens = true, port = 0 } = options;
    const records = { executions: [] as ExecutionContext[], deduplicated: [] as string[], tags: [] as TrafficTag[] };
    const residual = { bytesSent: 0, bytesReceived: 0 };
    const workspaceDir = options.workspaceDir ?? this.tempDir();
    const metered = createMeteredClient({
      clock: systemClock,
      // A thousand at once overflow the queue of a server that has other things to do: the kernel tries again after 1, 3 and 7 s.
      connectTimeoutMs: 30_000,
      onResidual: (_tag, sent, received) => {
        residual.bytesSent += sent;
        residual.bytesReceived += received;
      },
    });
    const client: OwnMeteredClient = {
      ...metered,
      measure: (tag, fn) => {
        records.tags.push(tag);
        return metered.measure(tag, fn);
      },
    };
    const context: BackendContext = {
      describeSelf: () => ({ agentId, incarnation, capabilities: capabilities() }),
      selfAddress: () => peer.address,
      client,
      onDeduplicated: (messageId) => records.deduplicated.push(messageId),
      clock: systemClock,
      prng: createPrng(1, agentId),
      workspaceDir,
      config: protocol.parseConfig(section),
    };
    const backend = protocol.createBackend(context);
    const executor: AgentExecutor = {
      execute: (execution, queue) => {
        records.executions.push(execution);
        return (options.execute ?? echo)(execution, queue);
      },
      cancel: async () => {},
    };
    const address = options.reachedAt ?? { host: HOST, port };
    const peer: Peer = { agentId, backend, client, executor, workspaceDir, ...records, residual, address, local: null };
    this.peers.push(peer);
    if (listens) await this.listen(peer, port, options.reachedAt);
    return peer;
  }

  private async listen(peer: Peer, port: number, reachedAt?: Address): Promise<void> {
    const local = await peer.backend.spawnLocalAgent(peer.agentId, HOST, port, peer.executor);
    peer.local = local;
    if (reachedAt === undefined) peer.address = { host: HOST, port: Number(new URL(local.baseUrl).port) };
    this.onClose(() => local.close());
  }

  /** Two agents that know each other: `a` asks, `b` answers. */
  async pair(execute: Execute = echo): Promise<{ a: Peer; b: Peer }> {
    const [a, b] = [await this.peer("agent-0"), await this.peer("agent-1", { execute })];
    introduce(a, b);
    return { a, b };
  }

  /** A server that speaks raw TCP, for peers that misbehave. */
  async rawServer(onSocket: (socket: Socket) => void): Promise<Address> {
    const sockets = new Set<Socket>();
    const server: Server = createServer((socket) => {
      sockets.add(socket);
      // Whoever is cut off says so here; the case looks at the other side.
      socket.on("error", () => {});
      socket.once("close", () => sockets.delete(socket));
      onSocket(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
    this.onClose(async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    });
    return { host: HOST, port: (server.address() as { port: number }).port };
  }
}

const QUIET = { from: 10_000, to: 31_000, tries: 20 };

/**
 * A port where nobody listens, below those that are given to whoever takes any: so nobody gets it by chance while it is free, between the end of
 * one process and the start of the next for instance.
 */
export async function quietPort(): Promise<number> {
  for (let tries = 1; ; tries++) {
    const port = randomInt(QUIET.from, QUIET.to);
    const probe = createServer();
    try {
      await once(probe.listen(port, HOST), "listening");
      await new Promise((resolve) => probe.close(resolve));
      return port;
    } catch (error) {
      if (tries === QUIET.tries) throw error;
    }
  }
}

/** Each learns where the other is. */
export function introduce(...peers: readonly Peer[]): void {
  for (const peer of peers)
    for (const other of peers) if (other !== peer) peer.backend.registerEndpoint(other.agentId, other.address);
}
