import type { AgentId, CommErrorCode } from "@failstorm/core";

/** One message as its sender saw it end. */
export interface SentMessage {
  /** What the sender hosts, several joined by `+`; `coordinator` for the network's own. */
  readonly caller: string;
  /** The protocol it went by. */
  readonly callee: string;
  readonly to: AgentId;
  readonly ms: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly error: CommErrorCode | null;
}

export interface Totals {
  readonly messages: number;
  readonly failed: number;
  /** Of those that succeeded; type 7 of Hyndman and Fan, as in the reports. */
  readonly ms: { readonly p50: number | null; readonly p95: number | null };
  readonly bytes_sent: number;
  readonly bytes_received: number;
}

/** Linear interpolation between order statistics. `sorted` ascending. */
function quantile(sorted: readonly number[], share: number): number | null {
  if (sorted.length === 0) return null;
  const at = (sorted.length - 1) * share;
  const [low = 0, high = low] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return Math.round((low + (high - low) * (at - Math.floor(at))) * 1000) / 1000;
}

/** Percentiles are over the latest so many of a group; what it holds is bounded by that. */
const MAX_LATENCIES = 10_000;

interface Group {
  readonly caller: string;
  readonly callee: string;
  readonly to: AgentId;
  messages: number;
  failed: number;
  bytesSent: number;
  bytesReceived: number;
  /** Of those that succeeded; a ring once it is full. */
  readonly ms: number[];
}

/** What messages came to, by caller, protocol and receiver. */
export class Tally {
  private readonly groups = new Map<string, Group>();

  add({ caller, callee, to, ms, bytesSent, bytesReceived, error }: SentMessage): void {
    const key = `${caller} ${callee} ${to}`;
    const nothing = { messages: 0, failed: 0, bytesSent: 0, bytesReceived: 0, ms: [] };
    const group: Group = this.groups.get(key) ?? { caller, callee, to, ...nothing };
    this.groups.set(key, group);
    if (error === null) group.ms[(group.messages - group.failed) % MAX_LATENCIES] = ms;
    else group.failed += 1;
    group.messages += 1;
    group.bytesSent += bytesSent;
    group.bytesReceived += bytesReceived;
  }

  of(wanted: (message: Pick<SentMessage, "caller" | "callee" | "to">) => boolean): Totals {
    return totalsOf([...this.groups.values()].filter(wanted));
  }

  /** By caller and protocol. */
  pairs(): (Pick<SentMessage, "caller" | "callee"> & Totals)[] {
    const pairs = Map.groupBy(this.groups.values(), ({ caller, callee }) => `${caller} ${callee}`);
    return [...pairs]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([, own]) => Object.assign({ caller: own[0]?.caller ?? "", callee: own[0]?.callee ?? "" }, totalsOf(own)));
  }
}

function totalsOf(groups: readonly Group[]): Totals {
  const sorted = groups.flatMap(({ ms }) => ms).toSorted((a, b) => a - b);
  const sum = (pick: (group: Group) => number): number => groups.reduce((total, group) => total + pick(group), 0);
  return {
    messages: sum(({ messages }) => messages),
    failed: sum(({ failed }) => failed),
    ms: { p50: quantile(sorted, 0.5), p95: quantile(sorted, 0.95) },
    bytes_sent: sum(({ bytesSent }) => bytesSent),
    bytes_received: sum(({ bytesReceived }) => bytesReceived),
  };
}
