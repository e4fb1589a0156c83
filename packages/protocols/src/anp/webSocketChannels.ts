import { type AgentId, CommError, type MeteredClient } from "@failstorm/core";
import type { Session } from "./caller.ts";
import { isObject, type JsonObject, parseJson } from "./json.ts";
import { readResult, type RpcCall, type RpcClient, unlessAborted } from "./rpcClient.ts";
import { type TakeMessage, takeMessages } from "../webSocketAccount.ts";
import type { Transport } from "./transport.ts";

export interface WebSocketChannelsOptions {
  readonly client: MeteredClient;
  readonly rpc: RpcClient;
  /** Authenticates anew over HTTP, which says why a peer cannot be reached where a WebSocket only fails. */
  readonly authenticate: (session: Session, signal?: AbortSignal) => Promise<unknown>;
}

interface PendingCall {
  /** Counts the answer. */
  readonly take: TakeMessage;
  resolve(answer: JsonObject): void;
  reject(error: unknown): void;
}

/** An open WebSocket with the calls that wait for their answers on it. */
interface Channel {
  readonly socket: WebSocket;
  readonly pending: Map<string, PendingCall>;
  /** Calls that were given up, whose answers are counted all the same. */
  readonly givenUp: Map<string, TakeMessage>;
}

/** A peer may never answer a call that nobody waits for any more. */
const MAX_GIVEN_UP = 256;

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
  const pending: Channel["pending"] = new Map();
  const givenUp: Channel["givenUp"] = new Map();
  socket.addEventListener("message", (message) => {
    const answer = parseJson(String(message.data));
    if (!isObject(answer) || typeof answer["id"] !== "string") return;
    const call = pending.get(answer["id"]);
    (call?.take ?? givenUp.get(answer["id"]))?.(message);
    call?.resolve(answer);
    pending.delete(answer["id"]);
    givenUp.delete(answer["id"]);
  });
  socket.addEventListener("close", () => {
    for (const call of pending.values()) call.reject(new CommError("reset", peer, `${peer}: the WebSocket was closed`));
    pending.clear();
  });
  return { socket, pending, givenUp };
}

/**
 * JSON-RPC over one WebSocket per session; its upgrade request is authenticated like any other. Frames of several calls share a
 * connection: each is counted for its call, and for the one that opened the connection what belongs to none (control frames, half a frame at the end).
 */
export class WebSocketChannels implements Transport {
  private readonly options: WebSocketChannelsOptions;
  private readonly channels = new Map<Session, Promise<Channel>>();

  constructor(options: WebSocketChannelsOptions) {
    this.options = options;
  }

  /** Rejects with CommError, or with the reason of the signal. */
  async call(session: Session, { id, text }: RpcCall, signal?: AbortSignal): Promise<JsonObject> {
    const { peer } = session.access;
    const { socket, pending, givenUp } = await this.open(session, signal);
    const { promise, resolve, reject } = Promise.withResolvers<JsonObject>();
    const take = takeMessages(socket);
    pending.set(id, { take, resolve, reject });
    try {
      socket.send(text);
      return readResult(peer, id, await unlessAborted(promise, signal), null);
    } finally {
      if (pending.delete(id)) givenUp.set(id, take);
      for (const oldest of givenUp.keys()) {
        if (givenUp.size <= MAX_GIVEN_UP) break;
        givenUp.delete(oldest);
      }
      promise.catch(() => {});
    }
  }

  /** The session's connection, opened when there is none; many that ask at once share it. */
  async open(session: Session, signal?: AbortSignal): Promise<Channel> {
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
    const opening = this.openTwice(session, signal);
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
  private async openTwice(session: Session, signal?: AbortSignal): Promise<Channel> {
    try {
      return await this.openOnce(session, signal);
    } catch {
      signal?.throwIfAborted();
      session.access.token = null;
      await this.options.authenticate(session, signal);
      return this.openOnce(session, signal);
    }
  }

  private async openOnce(session: Session, signal?: AbortSignal): Promise<Channel> {
    const { client, rpc } = this.options;
    const { access, src } = session;
    const headers = rpc.credentials(access, src.signingKey, undefined);
    const socket = await client.webSocket(access.endpoint.replace(/^http/, "ws"), { headers });
    await opened(socket, signal);
    return attach(socket, access.peer);
  }
}
