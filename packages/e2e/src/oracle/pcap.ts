import { closeSync, openSync, readSync } from "node:fs";

/** One TCP segment over IPv4. `t` is CLOCK_REALTIME in ms; `length` the payload on the wire, `data` what was captured of it. */
export interface Segment {
  readonly t: number;
  readonly from: number;
  readonly to: number;
  readonly seq: number;
  readonly syn: boolean;
  readonly ack: boolean;
  readonly fin: boolean;
  readonly rst: boolean;
  readonly length: number;
  readonly data: Buffer;
}

const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
const ETHERNET_HEADER_BYTES = 14;
/** The file format: https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/ (written by this machine, so in its byte order). */
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const LINKTYPE_ETHERNET = 1;
const BLOCK_BYTES = 4 * 1024 * 1024;

/** Reads the TCP segments of a capture in order. Throws on a file that is no nanosecond capture of an Ethernet-like link. */
export function* readSegments(file: string): Generator<Segment> {
  const fd = openSync(file, "r");
  try {
    const take = blockReader(fd);
    const header = take(FILE_HEADER_BYTES);
    if (header === null || header.readUInt32LE(0) !== MAGIC_NANOSECONDS || header.readUInt32LE(20) !== LINKTYPE_ETHERNET)
      throw new Error(`${file}: not a nanosecond pcap file of the loopback interface`);
    for (;;) {
      const record = take(RECORD_HEADER_BYTES);
      if (record === null) return;
      const t = record.readUInt32LE(0) * 1000 + record.readUInt32LE(4) / 1e6;
      const packet = take(record.readUInt32LE(8));
      if (packet === null) return;
      const segment = parseSegment(t, packet);
      if (segment !== null) yield segment;
    }
  } finally {
    closeSync(fd);
  }
}

/** Returns the next `size` bytes of the file, or null at its end; they are valid until two more calls. */
function blockReader(fd: number): (size: number) => Buffer | null {
  let buffered: Buffer = Buffer.alloc(0);
  return (size) => {
    while (buffered.length < size) {
      const block = Buffer.allocUnsafe(BLOCK_BYTES);
      const n = readSync(fd, block, 0, BLOCK_BYTES, null);
      if (n === 0) return null;
      buffered = Buffer.concat([buffered, block.subarray(0, n)]);
    }
    const taken = buffered.subarray(0, size);
    buffered = buffered.subarray(size);
    return taken;
  };
}

const ETHERTYPE_IPV4 = 0x0800;
const TCP = 6;

/** RFC 791, RFC 9293. */
function parseSegment(t: number, packet: Buffer): Segment | null {
  if (packet.length < ETHERNET_HEADER_BYTES + 40 || packet.readUInt16BE(12) !== ETHERTYPE_IPV4) return null;
  const ip = packet.subarray(ETHERNET_HEADER_BYTES);
  if (ip.readUInt8(9) !== TCP) return null;
  const ipHeaderBytes = (ip.readUInt8(0) & 0x0f) * 4;
  const tcp = ip.subarray(ipHeaderBytes);
  const tcpHeaderBytes = (tcp.readUInt8(12) >> 4) * 4;
  const flags = tcp.readUInt8(13);
  return {
    t,
    from: tcp.readUInt16BE(0),
    to: tcp.readUInt16BE(2),
    seq: tcp.readUInt32BE(4),
    fin: (flags & 0x01) !== 0,
    syn: (flags & 0x02) !== 0,
    rst: (flags & 0x04) !== 0,
    ack: (flags & 0x10) !== 0,
    length: ip.readUInt16BE(2) - ipHeaderBytes - tcpHeaderBytes,
    data: tcp.subarray(tcpHeaderBytes),
  };
}
