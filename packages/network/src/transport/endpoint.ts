import { randomBytes } from "node:crypto";
import { type Address, type AgentId, type Clock, CommError, toCommError } from "@failstorm/core";
import type { NetworkLogger } from "../logger.ts";
import { nodeIdOf } from "../messaging/message.ts";
import { CODEC_NAMES, type Codec, type CodecName, loadCodecs } from "./codec.ts";
import { type ByteChannel, Connection, type ConnectionEvents } from "./connection.ts";
import { checkSecurity, createAccepting, createDialling, type Security } from "./handshake.ts";
import type { Link, TransportEvents, TransportStatistics } from "./transport.ts";

/** What TCP and WebSocket have in common. */
export interface EndpointOptions {
  readonly self: { readonly agentId: AgentId; readonly incarnation: number };
  readonly security: Security;
  readonly clock: Clock;
  readonly log: NetworkLogger;
  /** Encodings offered. Default: MessagePack, then JSON. */
  readonly codecs?: readonly CodecName[];
  /** Of one frame's body. Default 1 MiB. */
  readonly maxFrameBytes?: number;
  /** A peer for which so much waits is cut off. Default 64 MiB. */
  readonly maxPendingBytes?: number;
  /** A handshake that takes longer is given up. Default 5 s. */
  readonly handshakeTimeoutMs?: number;
  /** Accepted connections that have proved nothing yet; beyond that the oldest gives way. Default 256. */
  readonly maxGreeting?: number;
  /** For nonces; default: the system's source. A seeded one would make the handshake worthless outside of tests. */
  readonly nonce?: () => string;
}

type Settings = Required<EndpointOptions>;

const DEFAULTS: Omit<Settings, "self" | "security" | "clock" | "log"> = {
  codecs: CODEC_NAMES,
  maxFrameBytes: 1024 * 1024,
  maxPendingBytes: 64 * 1024 * 1024,
  handshakeTimeoutMs: 5_000,
  maxGreeting: 256,
  nonce: () => randomBytes(24).toString("base64"),
};

/** Keeps the connections of one process, whichever way their bytes travel. */
export class Endpoint {
  private readonly options: Settings;
  private codecs: ReadonlyMap<CodecName, Codec> = new Map();
  private readonly connections = new Set<Connection>();
  /** Accepted, and not proved yet; oldest first. */
  private readonly greeting = new Set<Connection>();
  private readonly counts = { bytesSent: 0, bytesReceived: 0, framesSent: 0, framesReceived: 0 };
  private readonly refused: Record<string, number> = {};
  private events: TransportEvents | null = null;

  constructor(options: EndpointOptions) {
    checkSecurity(options.security);
    this.options = { ...DEFAULTS, ...options };
  }

  /** Rejects where an encoding's package is missing. */
  async start(events: TransportEvents): Promise<void> {
    this.codecs = await loadCodecs(this.options.codecs);
    this.events = events;
    const { security, log } = this.options;
    if (security.kind === "open") log("warning", "links are open to everybody", { role: security.role });
  }

  /** A connection that came to us. */
  accept(channel: ByteChannel): void {
    if (this.events === null) {
      channel.destroy();
      return;
    }
    if (this.greeting.size >= this.options.maxGreeting) {
      const [oldest] = this.greeting;
      oldest?.refuse("too many handshakes at once");
    }
    const connection = this.connect(channel, createAccepting(this.handshakeOptions(channel)), {});
    this.greeting.add(connection);
  }

  /** A connection that we made. `name` is for errors. */
  dial(channel: ByteChannel, name: string, signal?: AbortSignal): Promise<Link> {
    return new Promise((resolve, reject) => {
      if (this.events === null) {
        channel.destroy();
        reject(new CommError("aborted", name, `${name}: the transport is not started`));
        return;
      }
      let why: string | null = null;
      const onAbort = (): void => {
        reject(toCommError(signal?.reason, name, signal));
        connection.refuse("given up");
      };
      const connection = this.connect(channel, createDialling(this.handshakeOptions(channel)), {
        opened: (link) => {
          signal?.removeEventListener("abort", onAbort);
          resolve(link);
        },
        refused: (detail) => {
          why = detail;
        },
        closed: (reason) => {
          signal?.removeEventListener("abort", onAbort);
          reject(new CommError(why === null ? "reset" : "remote", name, `${name}: ${why ?? reason}`));
        },
      });
      if (signal?.aborted) onAbort();
      else signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  statistics(): TransportStatistics {
    const links = [...this.connections].filter(({ isOpen }) => isOpen).length;
    return { links, ...this.counts, refused: { ...this.refused } };
  }

  stop(): void {
    for (const connection of this.connections) connection.close("stopped");
    this.events = null;
  }

  /** Counts and logs a connection that was refused before it was one. */
  refuse(reason: string, remote: string): void {
    this.refused[reason] = (this.refused[reason] ?? 0) + 1;
    this.options.log("warning", `refused: ${reason}`, { remote });
  }

  private handshakeOptions(channel: ByteChannel) {
    const { self, security, codecs, nonce } = this.options;
    return { self, security, codecs, nonce: nonce(), certificate: channel.certificate };
  }

  private connect(
    channel: ByteChannel,
    handshake: ConstructorParameters<typeof Connection>[0]["handshake"],
    on: {
      readonly opened?: (connection: Connection) => void;
      readonly refused?: (detail: string) => void;
      readonly closed?: (reason: string) => void;
    },
  ): Connection {
    const { self, maxFrameBytes, maxPendingBytes, handshakeTimeoutMs, clock } = this.options;
    const cancel = clock.after(handshakeTimeoutMs, () => connection.refuse("handshake", "took too long"));
    let wasOpen = false;
    const events: ConnectionEvents = {
      opened: () => {
        wasOpen = true;
        cancel();
        this.greeting.delete(connection);
        this.events?.opened(connection);
        on.opened?.(connection);
      },
      received: (_connection, packet) => this.events?.received(connection, packet),
      drained: () => this.events?.drained(connection),
      refused: (_connection, reason, detail) => {
        this.refused[reason] = (this.refused[reason] ?? 0) + 1;
        const peer = wasOpen ? connection.peer.agentId : null;
        this.options.log("warning", `refused: ${reason}`, { remote: channel.remote, peer, detail });
        on.refused?.(detail ?? reason);
      },
      closed: (_connection, reason) => {
        cancel();
        this.connections.delete(connection);
        this.greeting.delete(connection);
        if (wasOpen) this.events?.closed(connection, reason);
        on.closed?.(reason);
      },
      counted: (kind, bytes) => {
        if (kind === "sent") {
          this.counts.bytesSent += bytes;
          this.counts.framesSent += 1;
        } else {
          this.counts.bytesReceived += bytes;
          this.counts.framesReceived += 1;
        }
      },
    };
    const nodeId = nodeIdOf(self.agentId, self.incarnation);
    const limits = { maxFrameBytes, maxPendingBytes };
    const connection = new Connection({
      channel,
      handshake,
      codecs: this.codecs,
      limits,
      self: { agentId: self.agentId, nodeId },
      events,
    });
    this.connections.add(connection);
    return connection;
  }
}

export const nameOf = ({ host, port }: Address): string => `${host}:${port}`;
