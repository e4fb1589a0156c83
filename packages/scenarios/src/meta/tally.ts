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

/** What messages came to. Keeps about a hundred bytes of each. */
export class Tally {
  private readonly messages: SentMessage[] = [];

  add(message: SentMessage): void {
    this.messages.push(message);
  }

  of(wanted: (message: SentMessage) => boolean): Totals {
    return totalsOf(this.messages.filter(wanted));
  }

  /** By caller and protocol. */
  pairs(): (Pick<SentMessage, "caller" | "callee"> & Totals)[] {
    const groups = Map.groupBy(this.messages, ({ caller, callee }) => `${caller} ${callee}`);
    return [...groups]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([, own]) => Object.assign({ caller: own[0]?.caller ?? "", callee: own[0]?.callee ?? "" }, totalsOf(own)));
  }
}

function totalsOf(messages: readonly SentMessage[]): Totals {
  const good = messages.filter(({ error }) => error === null);
  const sorted = good.map(({ ms }) => ms).toSorted((a, b) => a - b);
  const sum = (pick: (message: SentMessage) => number): number => messages.reduce((total, message) => total + pick(message), 0);
  return {
    messages: messages.length,
    failed: messages.length - good.length,
    ms: { p50: quantile(sorted, 0.5), p95: quantile(sorted, 0.95) },
    bytes_sent: sum(({ bytesSent }) => bytesSent),
    bytes_received: sum(({ bytesReceived }) => bytesReceived),
  };
}
