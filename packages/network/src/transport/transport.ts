import type { Address, AgentId } from "@failstorm/core";
import type { Packet } from "../messaging/message.ts";

/** Who is at the other end of a link, as far as the link could prove it. */
export interface PeerIdentity {
  readonly agentId: AgentId;
  readonly incarnation: number;
  /** `agentId#incarnation`. */
  readonly nodeId: string;
  /** Decides what it may send; given by the key or certificate it proved to hold. */
  readonly role: string;
}

/** An authenticated connection to one process. Packets arrive in order or not at all; what arrived may be repeated after a loss. */
export interface Link {
  readonly peer: PeerIdentity;
  /** Where the peer is connected from, for logs. */
  readonly remote: string;
  /** False while more than the high-water mark waits to be sent: `drained` follows. */
  readonly isWritable: boolean;
  /**
   * Queues the packet; packets of one turn of the loop travel together. A message that cannot travel at all (larger than a frame, or not to
   * be encoded) comes back as `refused`, as if the peer had said so.
   */
  send(packet: Packet): void;
  /** Sends what is queued, then closes. */
  close(reason: string): void;
}

export interface TransportEvents {
  /** A link is up, whoever dialled. */
  opened(link: Link): void;
  received(link: Link, packet: Packet): void;
  drained(link: Link): void;
  closed(link: Link, reason: string): void;
}

export interface TransportStatistics {
  readonly links: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly framesSent: number;
  readonly framesReceived: number;
  /** Connections and frames refused, by reason. */
  readonly refused: Readonly<Record<string, number>>;
}

/**
 * What the network rides on. Implementations: TCP, WebSocket. Everything above it is the same for all; nothing above it knows of
 * sockets, frames, encodings or keys.
 */
export interface Transport {
  /** Begins to accept links. Resolves with where it is reached. Rejects with the system's error when the address is not to be had. */
  start(events: TransportEvents): Promise<Address>;
  /** Dials, proves who we are, lets the peer prove the same. Rejects with a CommError. */
  dial(address: Address, signal?: AbortSignal): Promise<Link>;
  statistics(): TransportStatistics;
  /** Closes all links and stops accepting. */
  stop(): Promise<void>;
}
