import type { Packet } from "../messaging/message.ts";
import { fromWire, type LinkEnds, toWire, type WireNames, type WirePacket } from "../messaging/wire.ts";
import type { Codec, CodecName } from "./codec.ts";
import { createFrameReader, fillHeader, frame, type FrameReader, HEADER_BYTES } from "./frames.ts";
import type { Dialling, Handshake, HandshakeStep, PeerCertificate, Session } from "./handshake.ts";
import { createRecordSeal, type RecordSeal } from "./records.ts";
import type { Link, PeerIdentity } from "./transport.ts";

/** A two-way stream of bytes: a TCP or TLS socket, or a WebSocket. */
export interface ByteChannel {
  readonly remote: string;
  readonly certificate: PeerCertificate | null;
  /** Bytes handed over and not sent yet. */
  readonly pendingBytes: number;
  /** False when more than the high-water mark waits; `onDrained` follows. */
  write(bytes: Uint8Array): boolean;
  /** Sends what was written, then closes. */
  end(): void;
  destroy(): void;
  onData: (chunk: Uint8Array) => void;
  onDrained: () => void;
  onClosed: (error: Error | null) => void;
  /** What came is not of this sort of stream at all; of no use where every byte is. */
  onMalformed: (detail: string) => void;
}

export interface ConnectionLimits {
  readonly maxFrameBytes: number;
  /** A peer that does not read what it is sent is cut off when so much waits for it. */
  readonly maxPendingBytes: number;
}

export interface ConnectionEvents {
  /** Counted and logged by the transport. `reason` is of a small set of texts, `detail` says more. */
  refused(connection: Connection, reason: string, detail: string | null): void;
  opened(connection: Connection): void;
  received(connection: Connection, packet: Packet): void;
  drained(connection: Connection): void;
  closed(connection: Connection, reason: string): void;
  counted(kind: "sent" | "received", bytes: number): void;
}

type State =
  | { readonly name: "greeting"; readonly handshake: Handshake }
  | {
      readonly name: "open";
      readonly session: Session;
      readonly codec: Codec;
      readonly open: RecordSeal | null;
      readonly seal: RecordSeal | null;
    }
  | { readonly name: "closed"; readonly reason: string };

/** Of a frame before anybody has proved anything. */
const MAX_GREETING_BYTES = 8 * 1024;
/** So many packets, at most, are encoded as one frame: the receiver works on the first while the next are encoded. */
const PACKETS_PER_FRAME = 128;

/** One connection: first the handshake, then frames of packets. Whatever is wrong with what arrives ends this connection, and no other. */
export class Connection implements Link {
  readonly remote: string;
  private readonly channel: ByteChannel;
  private readonly events: ConnectionEvents;
  private readonly codecs: ReadonlyMap<CodecName, Codec>;
  private readonly limits: ConnectionLimits;
  private readonly self: { readonly agentId: string; readonly nodeId: string };
  private readonly reader: FrameReader = createFrameReader(MAX_GREETING_BYTES);
  private state: State;
  private queued: Packet[] = [];
  private writable = true;
  private ends: { readonly self: LinkEnds["self"]; readonly peer: PeerIdentity } | null = null;
  private names: WireNames = { sender: "", receiver: "" };

  constructor(options: {
    readonly channel: ByteChannel;
    readonly handshake: Handshake | Dialling;
    readonly codecs: ReadonlyMap<CodecName, Codec>;
    readonly limits: ConnectionLimits;
    readonly self: { readonly agentId: string; readonly nodeId: string };
    readonly events: ConnectionEvents;
  }) {
    const { channel, handshake } = options;
    this.channel = channel;
    this.remote = channel.remote;
    this.events = options.events;
    this.codecs = options.codecs;
    this.limits = options.limits;
    this.self = options.self;
    this.state = { name: "greeting", handshake };
    channel.onData = (chunk) => this.onData(chunk);
    channel.onDrained = () => this.onDrained();
    channel.onMalformed = (detail) => this.refuse("malformed frame", detail);
    channel.onClosed = (error) => this.over(error === null ? "closed by the peer" : error.message);
    if ("hello" in handshake) this.write(frame(handshake.hello));
  }

  /** Known once the handshake is over, and for ever after. */
  get peer(): PeerIdentity {
    if (this.ends === null) throw new Error("the handshake is not over");
    return this.ends.peer;
  }

  get isOpen(): boolean {
    return this.state.name === "open";
  }

  get isWritable(): boolean {
    return this.writable && this.state.name === "open";
  }

  send(packet: Packet): void {
    if (this.state.name !== "open") return;
    if (this.queued.length === 0) queueMicrotask(() => this.flush());
    this.queued.push(packet);
    if (this.queued.length >= PACKETS_PER_FRAME) this.flush();
  }

  close(reason: string): void {
    if (this.state.name === "closed") return;
    this.flush();
    this.over(reason);
    this.channel.end();
  }

  /** Ends a connection that says nothing, or nothing right. */
  refuse(reason: string, detail: string | null = null, answer: Buffer | null = null): void {
    if (this.state.name === "closed") return;
    this.events.refused(this, reason, detail);
    if (answer !== null) this.channel.write(frame(answer));
    this.over(reason);
    if (answer === null) this.channel.destroy();
    else this.channel.end();
  }

  private over(reason: string): void {
    if (this.state.name === "closed") return;
    this.queued = [];
    this.state = { name: "closed", reason };
    this.events.closed(this, reason);
  }

  private onDrained(): void {
    this.writable = true;
    if (this.state.name === "open") this.events.drained(this);
  }

  private onData(chunk: Uint8Array): void {
    if (this.state.name === "closed") return;
    this.events.counted("received", chunk.length);
    const isBounded = this.reader.push(chunk, (body) => {
      this.onFrame(body);
      return this.state.name !== "closed";
    });
    if (!isBounded) this.refuse("oversized frame");
  }

  private onFrame(body: Uint8Array): void {
    if (this.state.name === "greeting") this.greet(this.state.handshake.receive(body));
    else if (this.state.name === "open") this.onRecord(body, this.state);
  }

  private greet(step: HandshakeStep): void {
    if (step.kind === "refused") {
      this.refuse("handshake", step.reason, step.frame);
      return;
    }
    if (step.frame !== null) this.write(frame(step.frame));
    if (step.kind === "send") return;
    const { session } = step;
    const { keys, peer } = session;
    this.ends = { self: this.self, peer };
    this.names = { sender: this.self.nodeId, receiver: peer.nodeId };
    this.state = {
      name: "open",
      session,
      codec: this.codecs.get(session.codec) as Codec,
      open: keys === null ? null : createRecordSeal(keys.receive),
      seal: keys === null ? null : createRecordSeal(keys.send),
    };
    this.reader.limit(this.limits.maxFrameBytes);
    this.events.opened(this);
  }

  private onRecord(body: Uint8Array, { codec, open }: Extract<State, { name: "open" }>): void {
    const record = open === null ? body : open.open(body);
    if (record === null) {
      this.refuse("forged or replayed frame");
      return;
    }
    let packets: unknown;
    try {
      packets = codec.decode(record);
    } catch (error) {
      this.refuse("malformed frame", error instanceof Error ? error.message : null);
      return;
    }
    if (!Array.isArray(packets)) {
      this.refuse("malformed frame", "not a list of packets");
      return;
    }
    for (const value of packets) {
      const packet = fromWire(value, this.ends as LinkEnds);
      if (packet === null) {
        this.refuse("malformed frame", "not a packet");
        return;
      }
      this.events.received(this, packet);
      if (!this.isOpen) return;
    }
  }

  private flush(): void {
    const packets = this.queued;
    if (packets.length === 0 || this.state.name !== "open") return;
    this.queued = [];
    this.put(packets, this.state);
  }

  /** As one frame; halved until what is too large, or not to be encoded, is alone. */
  private put(packets: readonly Packet[], state: Extract<State, { name: "open" }>): void {
    const record = this.encoded(packets, state.codec);
    if (typeof record !== "string") {
      const { seal } = state;
      const body = seal === null ? null : record.subarray(HEADER_BYTES);
      this.write(seal === null || body === null ? fillHeader(record) : frame(body, seal.seal(body)));
      return;
    }
    const [packet] = packets;
    if (packet !== undefined && packets.length === 1) {
      if (packet.kind !== "message") return;
      const { namespace, sequence } = packet;
      this.events.received(this, { kind: "refused", namespace, sequence, reason: record });
      return;
    }
    const half = Math.ceil(packets.length / 2);
    this.put(packets.slice(0, half), state);
    this.put(packets.slice(half), state);
  }

  /** With room for the header of the frame. A text: why it cannot travel. */
  private encoded(packets: readonly Packet[], codec: Codec): Buffer | string {
    try {
      const wire: WirePacket[] = packets.map((packet) => toWire(packet, this.names));
      const record = codec.encode(wire, HEADER_BYTES);
      const fits = record.length - HEADER_BYTES + SEAL_ROOM <= this.limits.maxFrameBytes;
      return fits ? record : `larger than a frame may be (${this.limits.maxFrameBytes} bytes)`;
    } catch (error) {
      return `cannot be encoded: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  private write(bytes: Buffer): void {
    this.events.counted("sent", bytes.length);
    if (!this.channel.write(bytes)) this.writable = false;
    if (this.channel.pendingBytes > this.limits.maxPendingBytes) this.refuse("does not read what it is sent");
  }
}

/** Bytes of a frame that are not the record's. */
const SEAL_ROOM = 16;
