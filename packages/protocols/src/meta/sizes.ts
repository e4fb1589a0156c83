/** How the kinds of large messages end. */
export const LARGE = " (large)";

/** What goes to a peer, as far as protocols differ in it: each may go by another where the router routes `per: kind`. */
export type Errand = "handshake" | "probe" | "message" | "large";

export function errandOf(kind: string): Errand {
  if (kind.endsWith(LARGE)) return "large";
  return kind === "handshake" || kind === "probe" ? kind : "message";
}

/** What one operation moved. */
export interface Moved {
  /** On the sockets, both directions. */
  readonly bytes: number;
  /** Characters of the texts and data that it carried, both directions: the same by every protocol. */
  readonly carried: number;
}

/** What protocols move for the same errand, bytes each. */
export interface SizeComparison {
  /** Beside what was carried. */
  readonly added: readonly [number, number];
  /** By which share of all that the second moves the first moves less; negative: more. */
  readonly gain: number;
}

interface Seen {
  readonly added: number[];
  readonly total: number[];
}

/** So many of the last are looked at. */
const REMEMBERED = 15;
/** The first by a protocol pays for what it has to find out first; fewer than these say nothing of those that follow. A handshake is itself that. */
const MIN_SEEN: Readonly<Record<Errand, number>> = { handshake: 1, probe: 2, message: 2, large: 2 };

function remember(values: number[], value: number): void {
  values.push(value);
  if (values.length > REMEMBERED) values.shift();
}

/** The lower one of the two in the middle: of a first and a second message, the second. */
const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? 0;

/**
 * Bytes by errand, kind of message and protocol, over all peers: unlike latencies they do not depend on who answers, or on how busy
 * it is, so that a few tell. The median of the last fifteen; first messages, which find out who the peer is, are outliers.
 */
export class Sizes {
  /** By errand and kind, then by protocol. */
  private readonly seen: Readonly<Record<Errand, Map<string, Map<string, Seen>>>> = {
    handshake: new Map(),
    probe: new Map(),
    message: new Map(),
    large: new Map(),
  };

  add(protocol: string, kind: string, { bytes, carried }: Moved): void {
    const errand = errandOf(kind);
    const byProtocol = this.seen[errand].get(kind) ?? new Map<string, Seen>();
    this.seen[errand].set(kind, byProtocol);
    const seen = byProtocol.get(protocol) ?? { added: [], total: [] };
    byProtocol.set(protocol, seen);
    remember(seen.added, bytes - carried);
    remember(seen.total, bytes);
  }

  /** By the kinds that both were seen in often enough; null: none. */
  compare(errand: Errand, [one, other]: readonly [string, string]): SizeComparison | null {
    const sums = { one: 0, other: 0, total: 0, kinds: 0 };
    for (const byProtocol of this.seen[errand].values()) {
      const [its, known] = [byProtocol.get(one), byProtocol.get(other)];
      if (its === undefined || known === undefined) continue;
      if (Math.min(its.total.length, known.total.length) < MIN_SEEN[errand]) continue;
      sums.one += median(its.added);
      sums.other += median(known.added);
      sums.total += median(known.total);
      sums.kinds += 1;
    }
    if (sums.kinds === 0 || sums.total <= 0) return null;
    return { added: [sums.one / sums.kinds, sums.other / sums.kinds], gain: (sums.other - sums.one) / sums.total };
  }
}
