import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";
import { type Address, CommError, toCommError } from "@failstorm/core";
import type * as Ws from "ws";
import type { ByteChannel } from "./connection.ts";
import { Endpoint, type EndpointOptions, nameOf } from "./endpoint.ts";
import { certificateOf, type TlsOptions } from "./tcp.ts";
import type { Link, Transport, TransportEvents, TransportStatistics } from "./transport.ts";

export interface WebSocketOptions extends EndpointOptions {
  /** An HTTP server that listens already, or will: the program's own, Fastify's `app.server` for instance. It is never closed here. */
  readonly server: Server;
  /** Where others reach that server. */
  readonly address: () => Address;
  /** Upgrade requests to this path are ours. Default `/network`. */
  readonly path?: string;
  /** For dialling, when the servers of the network speak HTTPS. A server of ours that does is given its certificates by its owner. */
  readonly tls?: TlsOptions;
}

/** Links over WebSocket, on the port of an HTTP server that serves other things too. */
export const createWebSocketTransport = (options: WebSocketOptions): Transport => new WebSocketTransport(options);

const HIGH_WATER_BYTES = 64 * 1024;
/**
 * Frames are cut into messages of so many bytes at most: a message is gathered before it is read, also from somebody who has proved nothing yet.
 */
const MAX_MESSAGE_BYTES = 64 * 1024;
/** A peer that does not answer a goodbye holds up the end of this process no longer than that; the types of ws do not know it yet. */
const CLOSING: object = { closeTimeout: 2_000 };
const DEFAULT_PATH = "/network";

/** Frames may be cut into messages anywhere: a WebSocket is used as a stream of bytes. */
function webSocketChannel(socket: Ws.WebSocket, remote: string, underlying: unknown): ByteChannel {
  let isFull = false;
  const channel: ByteChannel = {
    remote,
    certificate: certificateOf(underlying),
    get pendingBytes() {
      return socket.bufferedAmount;
    },
    write: (bytes) => {
      for (let at = 0; at < bytes.length; at += MAX_MESSAGE_BYTES) {
        socket.send(bytes.subarray(at, at + MAX_MESSAGE_BYTES), () => {
          if (!isFull || socket.bufferedAmount > HIGH_WATER_BYTES / 2) return;
          isFull = false;
          channel.onDrained();
        });
      }
      isFull ||= socket.bufferedAmount > HIGH_WATER_BYTES;
      return !isFull;
    },
    end: () => socket.close(),
    destroy: () => socket.terminate(),
    onData: () => {},
    onDrained: () => {},
    onClosed: () => {},
    onMalformed: () => {},
  };
  let failure: Error | null = null;
  socket.binaryType = "nodebuffer";
  socket.on("message", (data: Ws.RawData) => channel.onData(data as Buffer));
  socket.on("error", (error: Error & { readonly code?: string }) => {
    failure = error;
    if (error.code?.startsWith("WS_ERR_") === true) channel.onMalformed(error.message);
  });
  socket.on("close", () => channel.onClosed(failure));
  return channel;
}

/**
 * The certificate names an agent, not a host; the handshake compares it with the agent that answers. This goes to tls.connect, where
 * undefined means that nothing is wrong; the types of ws say boolean.
 */
const anyHost = (() => undefined) as unknown as () => boolean;

function refuseUpgrade(socket: Duplex): void {
  // Node has taken its own listeners off: that whoever asked is gone by now would end this process. And who never hangs up is hung up on.
  socket.on("error", () => {});
  socket.once("finish", () => socket.destroy());
  socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
}

class WebSocketTransport implements Transport {
  private readonly options: WebSocketOptions;
  private readonly endpoint: Endpoint;
  private readonly path: string;
  private acceptor: Ws.WebSocketServer | null = null;
  private ws: typeof Ws | null = null;

  constructor(options: WebSocketOptions) {
    this.options = options;
    this.endpoint = new Endpoint(options);
    this.path = options.path ?? DEFAULT_PATH;
  }

  async start(events: TransportEvents): Promise<Address> {
    await this.endpoint.start(events);
    this.ws = await import("ws");
    this.acceptor = new this.ws.WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      maxPayload: MAX_MESSAGE_BYTES,
      ...CLOSING,
    });
    this.options.server.on("upgrade", this.onUpgrade);
    return this.options.address();
  }

  async dial(address: Address, signal?: AbortSignal): Promise<Link> {
    const name = nameOf(address);
    const { socket, underlying } = await this.connect(address, name, signal);
    return this.endpoint.dial(webSocketChannel(socket, name, underlying), name, signal);
  }

  statistics(): TransportStatistics {
    return this.endpoint.statistics();
  }

  stop(): Promise<void> {
    this.options.server.off("upgrade", this.onUpgrade);
    this.endpoint.stop();
    this.acceptor?.close();
    this.acceptor = null;
    return Promise.resolve();
  }

  private readonly onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const { server } = this.options;
    if (request.url?.split("?")[0] !== this.path) {
      // With an upgrade listener, Node leaves such a socket to the listeners: it would stay open for ever.
      if (server.listenerCount("upgrade") === 1) refuseUpgrade(socket);
      return;
    }
    const remote = nameOf({ host: request.socket.remoteAddress ?? "?", port: request.socket.remotePort ?? 0 });
    this.acceptor?.handleUpgrade(request, socket, head, (accepted) =>
      this.endpoint.accept(webSocketChannel(accepted, remote, request.socket)),
    );
  };

  private connect(
    { host, port }: Address,
    name: string,
    signal?: AbortSignal,
  ): Promise<{ socket: Ws.WebSocket; underlying: unknown }> {
    const { ws } = this;
    if (ws === null) throw new CommError("aborted", name, `${name}: the transport is not started`);
    const { tls } = this.options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(toCommError(signal.reason, name, signal));
        return;
      }
      const scheme = tls === undefined ? "ws" : "wss";
      const socket = new ws.WebSocket(`${scheme}://${host}:${port}${this.path}`, {
        perMessageDeflate: false,
        maxPayload: MAX_MESSAGE_BYTES,
        ...CLOSING,
        ...(tls === undefined ? {} : { ...tls, checkServerIdentity: anyHost }),
      });
      let underlying: unknown = null;
      const onAbort = (): void => {
        reject(toCommError(signal?.reason, name, signal));
        socket.terminate();
      };
      const onError = (error: Error): void => reject(toCommError(error, name, signal));
      signal?.addEventListener("abort", onAbort, { once: true });
      socket.on("error", onError);
      socket.once("upgrade", (response) => {
        underlying = response.socket;
      });
      socket.once("open", () => {
        signal?.removeEventListener("abort", onAbort);
        socket.off("error", onError);
        resolve({ socket, underlying });
      });
    });
  }
}
