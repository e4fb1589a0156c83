import { MESSAGE_KINDS, type MessageKind, type RunEventOf, type TrafficCause } from "@failstorm/core";
import { type LatencySummary, summarise, toMicroseconds } from "./spread.ts";
import type { Storm, Timeline } from "./timeline.ts";

/** The causes that only a fault gives rise to. */
export const FAULT_CAUSES = [
  "handshake",
  "retry",
  "rereplication",
  "takeover",
  "excess_heartbeat",
] as const satisfies TrafficCause[];
type FaultCause = (typeof FAULT_CAUSES)[number];

const WINDOW_SECONDS = 30;

export interface FaultBytes {
  readonly total: number;
  readonly by_cause: Readonly<Record<FaultCause, number>>;
  /** All bytes, whatever their cause, in equally long windows before and after the fault (whole seconds of the run). */
  readonly window: { readonly seconds: number; readonly before: number; readonly after: number };
  readonly reconciliation: Reconciliation;
}

/** Bytes attributed to requests against bytes counted on the survivors' client sockets, from before the fault to the end. */
export interface Reconciliation {
  readonly attributed: number;
  readonly on_sockets: number;
  /** attributed / on_sockets; null when no sample lies before and after the fault. */
  readonly ratio: number | null;
}

const bytesOf = (event: { bytesSent: number; bytesReceived: number }): number => event.bytesSent + event.bytesReceived;

/** The seconds of the run that a storm's bytes are counted over. A second in which the next storm fell is that one's. */
export function secondsOf(timeline: Timeline, storm: Storm): { readonly first: number; readonly last: number } {
  const until = Math.floor((storm.until - timeline.t0) / 1000);
  const isNext = timeline.storms.some((other) => other !== storm && other.at === storm.until);
  return { first: Math.floor((storm.at - timeline.t0) / 1000), last: isNext ? until - 1 : until };
}

/**
 * Bytes that the fault caused, on the survivors' client sockets (TCP payload, headers included). Seconds are whole: the one in
 * which the fault fell belongs to the time after it.
 */
export function measureFaultBytes(timeline: Timeline, storm: Storm): FaultBytes {
  const survivors = new Set(storm.survivors.map((life) => life.agent));
  const { first: faultSecond, last: lastCounted } = secondsOf(timeline, storm);
  const lastSecond = Math.floor((storm.until - timeline.t0) / 1000);
  const seconds = Math.max(
    0,
    Math.min(WINDOW_SECONDS, lastSecond - faultSecond, faultSecond - Math.floor(timeline.loadFromMs / 1000)),
  );
  const by_cause: Record<FaultCause, number> = { handshake: 0, retry: 0, rereplication: 0, takeover: 0, excess_heartbeat: 0 };
  let before = 0;
  let after = 0;
  for (const event of timeline.index.of("msg.second")) {
    if (!survivors.has(event.src)) continue;
    const bytes = bytesOf(event);
    const offset = event.second - faultSecond;
    if (offset >= -seconds && offset < 0) before += bytes;
    if (offset >= 0 && offset < seconds) after += bytes;
    if (offset >= 0 && event.second <= lastCounted && event.cause in by_cause) by_cause[event.cause as FaultCause] += bytes;
  }
  return {
    total: Object.values(by_cause).reduce((sum, bytes) => sum + bytes, 0),
    by_cause,
    window: { seconds, before, after },
    reconciliation: reconcile(timeline, storm),
  };
}

/**
 * Over the survivors' whole lives: at any moment before the end, requests under way have moved bytes that are attributed only when
 * they are over.
 */
function reconcile(timeline: Timeline, storm: Storm): Reconciliation {
  const samples = Map.groupBy(timeline.index.of("process"), (event) => `${event.src}/${event.inc}`);
  let attributed = 0;
  let on_sockets = 0;
  for (const life of storm.survivors) {
    const own = samples.get(`${life.agent}/${life.inc}`) ?? [];
    const end = own.at(-1)?.counters;
    if (end === undefined) continue;
    attributed += bytesOf(end);
    on_sockets += end.socketBytesSent + end.socketBytesReceived;
  }
  return { attributed, on_sockets, ratio: on_sockets === 0 ? null : attributed / on_sockets };
}

export interface MessageRow {
  readonly kind: MessageKind;
  readonly n: number;
  readonly failed: number;
  readonly bytes_sent: number;
  readonly bytes_received: number;
  readonly round_trips: number;
  readonly mean_ms: number | null;
  readonly max_ms: number | null;
  /** Of the messages recorded singly (from 10 s before to 30 s after a fault), those that succeeded. */
  readonly recorded_ms: LatencySummary;
}

/** Messages by kind over the seconds in [fromSecond, toSecond) of the run, all agents. */
export function messagesByKind(timeline: Timeline, fromSecond: number, toSecond: number): MessageRow[] {
  const inSpan = timeline.index.of("msg.second").filter((event) => event.second >= fromSecond && event.second < toSecond);
  const from = timeline.t0 + fromSecond * 1000;
  const to = timeline.t0 + toSecond * 1000;
  const single = timeline.index.of("msg").filter((event) => event.t >= from && event.t < to && event.error === null);
  const seconds = Map.groupBy(inSpan, (event) => event.kind);
  const singles = Map.groupBy(single, (event) => event.kind);
  return MESSAGE_KINDS.filter((kind) => seconds.has(kind)).map((kind) =>
    messageRow(kind, seconds.get(kind) ?? [], summarise((singles.get(kind) ?? []).map((event) => event.ms))),
  );
}

function messageRow(kind: MessageKind, seconds: readonly RunEventOf<"msg.second">[], recorded_ms: LatencySummary): MessageRow {
  const sum = (pick: (event: RunEventOf<"msg.second">) => number): number =>
    seconds.reduce((total, event) => total + pick(event), 0);
  const n = sum((event) => event.n);
  return {
    kind,
    n,
    failed: sum((event) => event.failed),
    bytes_sent: sum((event) => event.bytesSent),
    bytes_received: sum((event) => event.bytesReceived),
    round_trips: sum((event) => event.roundTrips),
    mean_ms: n === 0 ? null : toMicroseconds(sum((event) => event.msSum) / n),
    max_ms: n === 0 ? null : toMicroseconds(seconds.reduce((max, event) => Math.max(max, event.msMax), 0)),
    recorded_ms,
  };
}
