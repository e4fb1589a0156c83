import type { Segment } from "./pcap.ts";

/** Where agents hold streams open. One that its holder no longer wants it resets, with nothing unread. */
export const HELD_PATH = "/_failstorm/held";

/** One HTTP request and its answer, as they crossed the wire. Instants: CLOCK_MONOTONIC ms; bytes: TCP payload, headers included. */
export interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly firstByteAt: number;
  lastByteAt: number;
  bytesSent: number;
  bytesReceived: number;
  /** Of the answer; null while there is none. */
  status: number | null;
  /** The beginnings of request and answer, as far as they were captured and are of use. */
  request: string;
  answer: string;
}

/** One TCP connection to an agent's port. */
export interface Connection {
  readonly clientPort: number;
  readonly serverPort: number;
  readonly openedAt: number;
  lastAt: number;
  /** First FIN or RST from the server's side. */
  serverClosedAt: number | null;
  /** First FIN or RST from the client's side. */
  clientClosedAt: number | null;
  /** Instants and sizes of new payload, either direction; what was retransmitted counts once. */
  moved: { readonly t: number; readonly bytes: number; readonly byServer: boolean }[];
  retransmittedBytes: number;
  /** Answered after, or lying unread when, the client closed its socket: no process ever received it, so it counts nowhere else. */
  unreceivedBytes: number;
  readonly exchanges: Exchange[];
}

interface Direction {
  /** The sequence number after the last byte seen. */
  next: number | null;
}

interface Flow {
  readonly connection: Connection;
  readonly client: Direction;
  readonly server: Direction;
}

const TEXT_LIMIT = 8192;
const REQUEST_LINE = /^([A-Z]+) (\S+) HTTP\/1\.1\r\n/;
const STATUS_LINE = /^HTTP\/1\.1 (\d{3})/;

/**
 * Follows all connections to `serverPorts` through a capture. `toMonotonic` converts a capture's stamp. Requests are told apart
 * by their first line, which suffices because the clients do not pipeline.
 */
export function followConnections(
  segments: Iterable<Segment>,
  serverPorts: ReadonlySet<number>,
  toMonotonic: (realtimeMs: number) => number,
): Connection[] {
  const open = new Map<string, Flow>();
  const all: Connection[] = [];
  for (const segment of segments) {
    if (!serverPorts.has(segment.to) && !serverPorts.has(segment.from)) continue;
    const t = toMonotonic(segment.t);
    if (segment.syn && !segment.ack && serverPorts.has(segment.to)) {
      const key = `${segment.from}>${segment.to}`;
      // A repeated SYN of the same attempt is no new connection.
      if (open.get(key)?.client.next === (segment.seq + 1) >>> 0) continue;
      const flow = newFlow(segment, t);
      open.set(key, flow);
      all.push(flow.connection);
      continue;
    }
    const asClient = open.get(`${segment.from}>${segment.to}`);
    if (asClient !== undefined) advance(asClient, segment, t, false);
    else {
      const asServer = open.get(`${segment.to}>${segment.from}`);
      if (asServer !== undefined) advance(asServer, segment, t, true);
    }
  }
  return all;
}

function newFlow(syn: Segment, t: number): Flow {
  return {
    client: { next: (syn.seq + 1) >>> 0 },
    server: { next: null },
    connection: {
      clientPort: syn.from,
      serverPort: syn.to,
      openedAt: t,
      lastAt: t,
      serverClosedAt: null,
      clientClosedAt: null,
      moved: [],
      retransmittedBytes: 0,
      unreceivedBytes: 0,
      exchanges: [],
    },
  };
}

function advance({ connection, client, server }: Flow, segment: Segment, t: number, byServer: boolean): void {
  const direction = byServer ? server : client;
  connection.lastAt = t;
  if (segment.syn) {
    direction.next = (segment.seq + 1) >>> 0;
    return;
  }
  const fresh = freshBytes(direction, segment);
  connection.retransmittedBytes += segment.length - fresh;
  if (byServer && connection.clientClosedAt !== null) connection.unreceivedBytes += fresh;
  else if (fresh > 0) {
    connection.moved.push({ t, bytes: fresh, byServer });
    const text = segment.data.toString("latin1", segment.length - fresh);
    if (byServer) noteAnswer(connection, fresh, t, text);
    else noteRequest(connection, fresh, t, text);
  }
  if (!segment.fin && !segment.rst) return;
  if (segment.rst && !byServer && connection.clientClosedAt === null && connection.serverClosedAt === null)
    discardUnread(connection);
  if (byServer) connection.serverClosedAt ??= t;
  else connection.clientClosedAt ??= t;
}

/**
 * A client that resets a connection the server has not closed went away with data unread (RFC 1122, 4.2.2.13): the answer to its
 * last request lay in the kernel.
 */
function discardUnread(connection: Connection): void {
  const last = connection.exchanges.at(-1);
  if (last === undefined || last.bytesReceived === 0 || last.path === HELD_PATH) return;
  connection.unreceivedBytes += last.bytesReceived;
  last.bytesReceived = 0;
  last.status = null;
  connection.moved = connection.moved.filter(({ t, byServer }) => !byServer || t < last.firstByteAt);
}

/** How many of a segment's bytes were not seen before. Sequence numbers wrap at 2^32. */
function freshBytes(direction: Direction, { seq, length }: Segment): number {
  if (length <= 0) return 0;
  const end = (seq + length) >>> 0;
  const ahead = direction.next === null ? length : (end - direction.next) | 0;
  if (ahead <= 0) return 0;
  direction.next = end;
  return Math.min(ahead, length);
}

function noteRequest(connection: Connection, bytes: number, t: number, text: string): void {
  const [, method, path] = REQUEST_LINE.exec(text) ?? [];
  if (method !== undefined && path !== undefined) {
    connection.exchanges.push({
      method,
      path,
      firstByteAt: t,
      lastByteAt: t,
      bytesSent: bytes,
      bytesReceived: 0,
      status: null,
      request: text,
      answer: "",
    });
    return;
  }
  const current = connection.exchanges.at(-1);
  if (current === undefined) return;
  current.bytesSent += bytes;
  current.lastByteAt = t;
  if (current.request.length < TEXT_LIMIT) current.request += text;
}

function noteAnswer(connection: Connection, bytes: number, t: number, text: string): void {
  const current = connection.exchanges.at(-1);
  if (current === undefined) return;
  current.bytesReceived += bytes;
  current.lastByteAt = t;
  if (current.status === null) {
    const status = STATUS_LINE.exec(text)?.[1];
    current.status = status === undefined ? null : Number(status);
  }
  // Answers to work are long and of no further use.
  if (current.path !== "/message" && current.answer.length < TEXT_LIMIT) current.answer += text;
}
