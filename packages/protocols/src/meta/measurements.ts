/** What one operation by one protocol came to. */
export interface Sample {
  /** What kind of message it was: only equal kinds are compared. */
  readonly kind: string;
  readonly ms: number;
  /** `answered`: with an answer, the peer's error included; `lost`: with none, or with one that is not of this protocol. */
  readonly outcome: "answered" | "lost";
  /** false: its time is the work's more than the protocol's, and says nothing of the latter. */
  readonly timed: boolean;
}

/** A mean of `n` values and their variance: of all while they are few, exponentially weighted from then on. */
interface Mean {
  readonly value: number;
  readonly variance: number;
  readonly n: number;
}

interface Record {
  readonly latency: Map<string, Mean>;
  /** Share of operations that were lost, as of `lossAt`. */
  loss: number;
  lossAt: number;
  answered: number;
  lostInARow: number;
  lastAt: number;
}

/** What two protocols cost with one peer: ms of the same kinds of message, and the share lost. */
export interface Comparison {
  readonly ms: readonly [number, number];
  readonly loss: readonly [number, number];
  /** How many answers the ms are from. */
  readonly answers: readonly [number, number];
  /** Standard error of the difference in ms. */
  readonly error: number;
}

const LATENCY_WEIGHT = 0.1;
const LOSS_WEIGHT = 0.1;
/** A loss counts half after this long: what nobody sends by any more would else be shunned for ever. */
const LOSS_HALF_LIFE_MS = 30_000;
/** A mean of fewer says nothing. */
const MIN_ANSWERS = 10;

function update(mean: Mean | undefined, value: number): Mean {
  if (mean === undefined) return { value, variance: 0, n: 1 };
  const weight = Math.max(1 / (mean.n + 1), LATENCY_WEIGHT);
  const off = value - mean.value;
  return { value: mean.value + weight * off, variance: (1 - weight) * (mean.variance + weight * off * off), n: mean.n + 1 };
}

/** Variance of the mean itself: the last values count as many as 2 / weight − 1 would. */
const uncertainty = ({ variance, n }: Mean): number => variance / Math.min(n, 2 / LATENCY_WEIGHT - 1);

/** Over all peers, where one is not known well enough. */
const ANYBODY = "";

/** Latency, loss and recovery by peer and protocol. No clock: every instant is given, in ms. */
export class Measurements {
  private readonly records = new Map<string, Record>();
  private readonly recoveries = new Map<string, Mean>();
  private readonly handshakes = new Map<string, Mean>();

  add(peer: string, protocol: string, sample: Sample, nowMs: number): void {
    for (const whose of [peer, ANYBODY]) {
      const record = this.record(whose, protocol);
      const { kind, ms, outcome, timed } = sample;
      record.loss = this.lossOf(record, nowMs) * (1 - LOSS_WEIGHT) + (outcome === "lost" ? LOSS_WEIGHT : 0);
      record.lossAt = nowMs;
      record.lastAt = nowMs;
      record.lostInARow = outcome === "lost" ? record.lostInARow + 1 : 0;
      if (outcome === "lost") continue;
      record.answered += 1;
      if (timed) record.latency.set(kind, update(record.latency.get(kind), ms));
    }
  }

  /** A handshake that completed; `afterLoss`: with a peer that had been lost. */
  handshake(protocol: string, ms: number, afterLoss: boolean): void {
    const means = afterLoss ? this.recoveries : this.handshakes;
    means.set(protocol, update(means.get(protocol), ms));
  }

  /** How long a handshake takes after a death, ms; from other handshakes where none has been seen; null: from nothing. */
  recovery(protocol: string): { readonly ms: number; readonly n: number; readonly afterLoss: boolean } | null {
    const after = this.recoveries.get(protocol);
    if (after !== undefined) return { ms: after.value, n: after.n, afterLoss: true };
    const other = this.handshakes.get(protocol);
    return other === undefined ? null : { ms: other.value, n: other.n, afterLoss: false };
  }

  /** The peer's process is gone, and with it what was lost to it; how fast a protocol is stays known. */
  forgive(peer: string): void {
    for (const [key, record] of this.records) if (key.startsWith(`${peer} `)) Object.assign(record, { loss: 0, lostInARow: 0 });
  }

  lostInARow(peer: string, protocol: string): number {
    return this.records.get(`${peer} ${protocol}`)?.lostInARow ?? 0;
  }

  /** When it was last tried with this peer; -Infinity: never. */
  lastTried(peer: string, protocol: string): number {
    return this.records.get(`${peer} ${protocol}`)?.lastAt ?? Number.NEGATIVE_INFINITY;
  }

  /** Two protocols by the kinds of message that both have carried often enough, with this peer or else with any; null: there are none. */
  compare(peer: string, pair: readonly [string, string], large: boolean, nowMs: number): Comparison | null {
    const [one, other] = pair.map((protocol) => this.record(peer, protocol)) as [Record, Record];
    const shared = this.shared([one, other], large);
    const means = shared ?? this.shared(pair.map((protocol) => this.record(ANYBODY, protocol)) as [Record, Record], large);
    if (means === null) return null;
    const average = (side: 0 | 1): number => means.reduce((sum, mean) => sum + mean[side].value, 0) / means.length;
    const count = (side: 0 | 1): number => means.reduce((sum, mean) => sum + mean[side].n, 0);
    return {
      ms: [average(0), average(1)],
      loss: [this.lossOf(one, nowMs), this.lossOf(other, nowMs)],
      answers: [count(0), count(1)],
      error: Math.sqrt(means.flat().reduce((sum, mean) => sum + uncertainty(mean), 0)) / means.length,
    };
  }

  private shared([one, other]: readonly [Record, Record], large: boolean): (readonly [Mean, Mean])[] | null {
    const means = [...one.latency].flatMap(([kind, mean]) => {
      const its = other.latency.get(kind);
      const isKnown = its !== undefined && mean.n >= MIN_ANSWERS && its.n >= MIN_ANSWERS;
      return isKnown && kind.endsWith(LARGE) === large ? [[mean, its] as const] : [];
    });
    return means.length === 0 ? null : means;
  }

  private lossOf({ loss, lossAt }: Record, nowMs: number): number {
    return loss * 0.5 ** ((nowMs - lossAt) / LOSS_HALF_LIFE_MS);
  }

  private record(peer: string, protocol: string): Record {
    const key = `${peer} ${protocol}`;
    const known = this.records.get(key);
    if (known !== undefined) return known;
    const fresh: Record = {
      latency: new Map(),
      loss: 0,
      lossAt: 0,
      answered: 0,
      lostInARow: 0,
      lastAt: Number.NEGATIVE_INFINITY,
    };
    this.records.set(key, fresh);
    return fresh;
  }
}

/** How the kinds of large messages end. */
export const LARGE = " (large)";
