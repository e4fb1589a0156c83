import { type AgentId, type Clock, CommError, type MeteredClient } from "@failstorm/core";
import type { Session } from "./caller.ts";
import { isObject, type JsonObject, parseJson } from "./json.ts";
import { readResult, type RpcCall, type RpcClient, unlessAborted } from "./rpcClient.ts";
import type { NoteTraffic, Transport } from "./transport.ts";

export interface WebSocketChannelsOptions {
  readonly client: MeteredClient;
  readonly clock: Clock;
  readonly rpc: RpcClient;
  /** Authenticates anew over HTTP, which says why a peer cannot be reached where a WebSocket only fails. */
  readonly authenticate: (session: Session, signal?: AbortSignal) => Promise<unknown>;
}

type Pending = Map<string, { resolve(answer: JsonObject): void; reject(error: unknown): void }>;

/** An open WebSocket with the calls that wait for their answers on it. */
interface Channel {
  readonly socket: WebSocket;
  readonly pending: Pending;
}

/** Resolves when the socket is open; rejects with what it failed of. */
async function opened(socket: WebSocket, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.addEventListener("open", () => resolve(), { once: true });
  socket.addEventListener("error", () => reject(new Error("the upgrade failed")), { once: true });
  socket.addEventListener("close", () => reject(new Error("the upgrade was refused")), { once: true });
  try {
    await unlessAborted(promise, signal);
  } catch (error) {
    promise.catch(() => {});
    socket.close();
    throw error;
  }
}

/** Matches answers to calls, and fails the calls when the connection is gone. */
function attach(socket: WebSocket, peer: AgentId): Channel {
  const pending: Pending = new Map();
  socket.addEventListener("message", ({ data }) => {
    const answer = parseJson(String(data));
    if (!isObject(answer) || typeof answer["id"] !== "string") return;
    pending.get(answer["id"])?.resolve(answer);
    pending.delete(answer["id"]);
  });
  socket.addEventListener("close", () => {
    for (const call of pending.values()) call.reject(new CommError("reset", peer, `${peer}: the WebSocket was closed`));
    pending.clear();
  });
  return { socket, pending };
}

/**
 * JSON-RPC over one WebSocket per session; its upgrade request is authenticated like any other. What the sockets move is counted by the
 * client as work, whatever each frame was: frames of several calls share a connection.
 */
export class WebSocketChannels implements Transport {
  private readonly options: WebSocketChannelsOptions;
  private readonly channels = new Map<Session, Promise<Channel>>();

  constructor(options: WebSocketChannelsOptions) {
    this.options = options;
  }

  /** Rejects with CommError, or with the reason of the signal. */
  async call(session: Session, { id, text }: RpcCall, note: NoteTraffic, signal?: AbortSignal): Promise<JsonObject> {
    const { peer } = session.access;
    const startedAt = this.options.clock.now();
    const { socket, pending } = await this.open(session, note, signal);
    const { promise, resolve, reject } = Promise.withResolvers<JsonObject>();
    pending.set(id, { resolve, reject });
    const firstByteAt = this.options.clock.now();
    try {
      socket.send(text);
      return readResult(peer, id, await unlessAborted(promise, signal), null);
    } finally {
      pending.delete(id);
      promise.catch(() => {});
      note({ bytesSent: 0, bytesReceived: 0, roundTrips: 1, firstByteAt, ms: this.options.clock.now() - startedAt });
    }
  }

  /** The session's connection, opened when there is none; many that ask at once share it. */
  async open(session: Session, note: NoteTraffic, signal?: AbortSignal): Promise<Channel> {
    for (;;) {
      const shared = this.channels.get(session);
      if (shared === undefined) break;
      const channel = await unlessAborted(
        shared.catch(() => null),
        signal,
      );
      if (channel !== null && channel.socket.readyState === channel.socket.OPEN) return channel;
      if (this.channels.get(session) === shared) this.channels.delete(session);
    }
    const opening = this.openTwice(session, note, signal);
    this.channels.set(session, opening);
    opening.catch(() => this.channels.get(session) === opening && this.channels.delete(session));
    return opening;
  }

  close(session: Session): void {
    const channel = this.channels.get(session);
    this.channels.delete(session);
    channel?.then(({ socket }) => socket.close()).catch(() => {});
  }

  /** A peer that was restarted refuses the token of its former life. */
  private async openTwice(session: Session, note: NoteTraffic, signal?: AbortSignal): Promise<Channel> {
    try {
      return await this.openOnce(session, note, signal);
    } catch {
      signal?.throwIfAborted();
      session.access.token = null;
      await this.options.authenticate(session, signal);
      return this.openOnce(session, note, signal);
    }
  }

  private async openOnce(session: Session, note: NoteTraffic, signal?: AbortSignal): Promise<Channel> {
    const { client, rpc } = this.options;
    const { access, src } = session;
    const headers = rpc.credentials(access, src.signingKey, undefined);
    const { value, traffic } = await client.measure({ peer: access.peer, kind: "tool", cause: "work" }, async () => {
      const socket = await client.webSocket(access.endpoint.replace(/^http/, "ws"), { headers });
      await opened(socket, signal);
      return attach(socket, access.peer);
    });
    note(traffic);
    return value;
  }
}
