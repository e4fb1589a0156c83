import { connect, createServer, type Server, type Socket } from "node:net";
import type * as Tls from "node:tls";
import { type Address, CommError, toCommError } from "@failstorm/core";
import type { ByteChannel } from "./connection.ts";
import { Endpoint, type EndpointOptions, nameOf } from "./endpoint.ts";
import type { PeerCertificate } from "./handshake.ts";
import type { Link, Transport, TransportEvents, TransportStatistics } from "./transport.ts";

/** PEM texts. Both sides show a certificate of one of `ca`; names in it are agents, not hosts. */
export interface TlsOptions {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

export interface TcpOptions extends EndpointOptions {
  /** Where to listen; port 0 = any. */
  readonly listen: Address;
  /** Required with `security: certificates`; with a shared secret it adds secrecy. */
  readonly tls?: TlsOptions;
}

/** Links over TCP, or TLS 1.3 with certificates on both sides. */
export function createTcpTransport(options: TcpOptions): Transport {
  if (options.security.kind === "certificates" && options.tls === undefined)
    throw new RangeError("security by certificates needs tls: {key, cert, ca}");
  return new TcpTransport(options);
}

/** The certificate that TLS has verified; null without TLS. */
export function certificateOf(socket: unknown): PeerCertificate | null {
  if (typeof socket !== "object" || socket === null || !("getPeerCertificate" in socket)) return null;
  const secure = socket as Tls.TLSSocket;
  if (!secure.authorized) return null;
  const { subject, subjectaltname, fingerprint256 } = secure.getPeerCertificate();
  // An empty object stands for no certificate.
  if ((subject as unknown) === undefined) return null;
  return { subject: { ...subject }, subjectaltname, fingerprint256 };
}

/** A socket as a ByteChannel; it must be connected. */
export function socketChannel(socket: Socket): ByteChannel {
  const channel: ByteChannel = {
    remote: nameOf({ host: socket.remoteAddress ?? "?", port: socket.remotePort ?? 0 }),
    certificate: certificateOf(socket),
    get pendingBytes() {
      return socket.writableLength;
    },
    write: (bytes) => socket.write(bytes),
    end: () => {
      // Whoever does not close its side after we closed ours is closed all the same.
      socket.end(() => socket.destroySoon());
    },
    destroy: () => socket.destroy(),
    onData: () => {},
    onDrained: () => {},
    onClosed: () => {},
    onMalformed: () => {},
  };
  let failure: Error | null = null;
  socket.setNoDelay(true);
  socket.on("data", (chunk: Buffer) => channel.onData(chunk));
  socket.on("drain", () => channel.onDrained());
  socket.on("error", (error) => {
    failure = error;
  });
  socket.on("close", () => channel.onClosed(failure));
  return channel;
}

const STOP_GRACE_MS = 500;
const TLS_TIMEOUT_MS = 5_000;

class TcpTransport implements Transport {
  private readonly options: TcpOptions;
  private readonly endpoint: Endpoint;
  /** All that are not closed, whoever dialled. */
  private readonly sockets = new Set<Socket>();
  private server: Server | null = null;
  /** Loaded when it is needed. */
  private tls: typeof Tls | null = null;

  constructor(options: TcpOptions) {
    this.options = options;
    this.endpoint = new Endpoint(options);
  }

  async start(events: TransportEvents): Promise<Address> {
    await this.endpoint.start(events);
    const { tls, listen } = this.options;
    const accept = (socket: Socket): void => this.endpoint.accept(socketChannel(socket));
    if (tls !== undefined) this.tls = await import("node:tls");
    const server = tls === undefined || this.tls === null ? createServer(accept) : this.createSecureServer(this.tls, tls, accept);
    server.on("connection", (socket: Socket) => this.keep(socket));
    this.server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: listen.host, port: listen.port }, resolve);
    });
    // No more file descriptors, for instance: this connection is lost, not the server.
    server.on("error", (error) => this.options.log("error", "a connection could not be accepted", { reason: error.message }));
    const bound = server.address();
    return { host: listen.host, port: typeof bound === "object" && bound !== null ? bound.port : listen.port };
  }

  async dial(address: Address, signal?: AbortSignal): Promise<Link> {
    const name = nameOf(address);
    const socket = await this.connect(address, name, signal);
    return this.endpoint.dial(socketChannel(socket), name, signal);
  }

  statistics(): TransportStatistics {
    return this.endpoint.statistics();
  }

  async stop(): Promise<void> {
    this.endpoint.stop();
    const { server } = this;
    this.server = null;
    const closed = [...this.sockets].map((socket) => new Promise<void>((resolve) => void socket.once("close", () => resolve())));
    if (server !== null) closed.push(new Promise<void>((resolve) => void server.close(() => resolve())));
    // A peer that does not read would keep its connection, whoever dialled, and this process with it, for ever.
    const cancel = this.options.clock.after(STOP_GRACE_MS, () => {
      for (const socket of this.sockets) socket.destroy();
    });
    await Promise.all(closed);
    cancel();
  }

  private keep(socket: Socket): void {
    this.sockets.add(socket);
    socket.once("close", () => this.sockets.delete(socket));
  }

  private createSecureServer(tls: typeof Tls, options: TlsOptions, accept: (socket: Socket) => void): Server {
    const settings = {
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: "TLSv1.3",
      handshakeTimeout: TLS_TIMEOUT_MS,
    } as const;
    const server = tls.createServer({ ...options, ...settings }, accept);
    server.on("tlsClientError", (error: Error, socket: Tls.TLSSocket) => {
      this.endpoint.refuse("TLS handshake", `${socket.remoteAddress ?? "?"}: ${error.message}`);
    });
    return server;
  }

  private connect({ host, port }: Address, name: string, signal?: AbortSignal): Promise<Socket> {
    const { tls } = this.options;
    const secure = tls === undefined || this.tls === null ? null : { options: tls, connect: this.tls.connect };
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(toCommError(signal.reason, name, signal));
        return;
      }
      const socket =
        secure === null
          ? connect({ host, port })
          : // The certificate names an agent; the handshake compares it with the agent that answers.
            secure.connect({ host, port, ...secure.options, minVersion: "TLSv1.3", checkServerIdentity: () => undefined });
      this.keep(socket);
      const onAbort = (): void => void socket.destroy(toCommError(signal?.reason, name, signal));
      const onError = (error: Error): void => reject(error instanceof CommError ? error : toCommError(error, name));
      const onClose = (): void => reject(new CommError("reset", name, `${name}: closed while connecting`));
      signal?.addEventListener("abort", onAbort, { once: true });
      socket.once("error", onError);
      socket.once("close", onClose);
      socket.once(secure === null ? "connect" : "secureConnect", () => {
        signal?.removeEventListener("abort", onAbort);
        socket.off("error", onError);
        socket.off("close", onClose);
        resolve(socket);
      });
    });
  }
}
