import type { Moved } from "./sizes.ts";

/** What one operation by one protocol came to. */
export interface Sample {
  /** What kind of message it was: only equal kinds are compared. */
  readonly kind: string;
  readonly ms: number;
  /**
   * `answered`: with an answer, the peer's error included; `lost`: with none, or with one that is not of this protocol; `overdue`: with none in
   * time, where the time is the work's: it may be the work that was slow.
   */
  readonly outcome: "answered" | "lost" | "overdue";
  /** false: its time is the work's more than the protocol's, and says nothing of the latter. */
  readonly timed: boolean;
  /** Where it was answered. */
  readonly moved?: Moved;
}

/** Losses of one protocol with one peer. */
interface Losses {
  /** Share of operations that were lost, as of `at`. */
  share: number;
  at: number;
  inARow: number;
}

/** A mean of `n` values: of all while they are few, exponentially weighted from then on. */
interface Mean {
  readonly value: number;
  readonly n: number;
}

/**
 * Two protocols side by side: answers to the same kind of message, one by each, at nearly the same time. In logarithms, since load makes
 * both slower by a factor.
 */
interface Pairing {
  readonly n: number;
  /** ln ms, in the order of their names. */
  readonly means: readonly [number, number];
  /** Of the difference. */
  readonly variance: number;
}

/** An answer that waits for one by another protocol to be compared with. */
interface Recent {
  readonly ms: number;
  readonly at: number;
  readonly comparedWith: Set<string>;
}

/** What two protocols cost with one peer. */
export interface Comparison {
  /** ms of the same kinds of message; geometric means. */
  readonly ms: readonly [number, number];
  /** Shares lost. */
  readonly loss: readonly [number, number];
  /** How often they were seen side by side. */
  readonly n: number;
  /** Standard error of ln (ms[0] / ms[1]). */
  readonly error: number;
}

const LATENCY_WEIGHT = 0.1;
/** The last values count as many as this would. */
const EFFECTIVE = 2 / LATENCY_WEIGHT - 1;
const LOSS_WEIGHT = 0.1;
/** A loss counts half after this long: what nobody sends by any more would else be shunned for ever. */
const LOSS_HALF_LIFE_MS = 30_000;
/** A row of losses is forgotten when nothing has been sent for so long: what nobody tries any more may be whole again. */
const ROW_FORGOTTEN_MS = 30_000;
/** Answers further apart are not compared: the load of the machine, which both see, has changed meanwhile. */
const SIDE_BY_SIDE_MS = 2_000;
/** Below this an answer's time is no time. */
const MIN_MS = 0.001;
/** Fewer pairs say nothing. */
const MIN_PAIRS = 10;
/** Fewer handshakes of a protocol say nothing of it. */
const MIN_HANDSHAKES = 5;

const weightOf = (n: number): number => Math.max(1 / (n + 1), LATENCY_WEIGHT);

const update = ({ value, n }: Mean = { value: 0, n: 0 }, next: number): Mean => ({
  value: value + weightOf(n) * (next - value),
  n: n + 1,
});

function pairUp({ n, means, variance }: Pairing, values: readonly [number, number]): Pairing {
  const weight = weightOf(n);
  const off = values[0] - values[1] - (means[0] - means[1]);
  return {
    n: n + 1,
    means: [means[0] + weight * (values[0] - means[0]), means[1] + weight * (values[1] - means[1])],
    variance: (1 - weight) * (variance + weight * off * off),
  };
}

/** Over all peers, where one is not known well enough. */
const ANYBODY = "";

/**
 * Latency, loss and recovery by peer and protocol. Latencies are compared in pairs, a message by one protocol with the next or last one by
 * another: the load of a machine comes and goes, and what is sent rarely sees another stretch of it than what is sent often. No clock: every
 * instant is given, in ms.
 */
export class Measurements {
  private readonly losses = new Map<string, Losses>();
  private readonly tried = new Map<string, number>();
  /** By peer and kind, then by protocol. */
  private readonly recent = new Map<string, Map<string, Recent>>();
  /** By whose, and by the two protocols in the order of their names, then by kind. */
  private readonly pairings = new Map<string, Map<string, Pairing>>();
  private readonly recoveries = new Map<string, Mean>();
  private readonly handshakes = new Map<string, Mean>();

  add(peer: string, protocol: string, { kind, ms, outcome, timed }: Sample, nowMs: number): void {
    const key = `${peer} ${protocol}`;
    const inARow = outcome === "answered" ? 0 : this.lostInARow(peer, protocol, nowMs) + 1;
    const before = this.lossOf(key, nowMs);
    // Who carries the work would else answer for it: the others, which carry none, lose none of it.
    const share = outcome === "overdue" ? before : before * (1 - LOSS_WEIGHT) + (outcome === "lost" ? LOSS_WEIGHT : 0);
    this.losses.set(key, { share, at: nowMs, inARow });
    this.tried.set(key, nowMs);
    if (outcome === "answered" && timed) this.compareWithOthers(peer, protocol, kind, { ms, at: nowMs, comparedWith: new Set() });
  }

  /** A handshake that completed; `afterLoss`: with a peer that had been lost. */
  handshake(protocol: string, ms: number, afterLoss: boolean): void {
    const means = afterLoss ? this.recoveries : this.handshakes;
    means.set(protocol, update(means.get(protocol), ms));
  }

  /**
   * How long the handshakes of two protocols take, ms: those after a death, or else the others, where there are enough of both; null: nowhere.
   * A peer that has just been started answers slower than one that runs, so that these are never compared with those.
   */
  handshakesOf(one: string, other: string): { readonly of: readonly [Mean, Mean]; readonly afterLoss: boolean } | null {
    for (const means of [this.recoveries, this.handshakes]) {
      const [first, second] = [means.get(one), means.get(other)];
      if (first !== undefined && second !== undefined && Math.min(first.n, second.n) >= MIN_HANDSHAKES)
        return { of: [first, second], afterLoss: means === this.recoveries };
    }
    return null;
  }

  /** The peer's process is gone, and with it what was lost to it; how fast a protocol is stays known. */
  forgive(peer: string): void {
    for (const by of [this.losses, this.tried]) for (const key of by.keys()) if (key.startsWith(`${peer} `)) by.delete(key);
  }

  /** Whether it was tried with a peer that has not died since. */
  wasTried(protocol: string): boolean {
    return this.tried.keys().some((key) => key.endsWith(` ${protocol}`));
  }

  /** What was overdue is among them. */
  lostInARow(peer: string, protocol: string, nowMs: number): number {
    const { inARow, at } = this.losses.get(`${peer} ${protocol}`) ?? { inARow: 0, at: nowMs };
    return nowMs - at < ROW_FORGOTTEN_MS ? inARow : 0;
  }

  /** When it was last tried with this peer; -Infinity: never. */
  lastTried(peer: string, protocol: string): number {
    return this.tried.get(`${peer} ${protocol}`) ?? Number.NEGATIVE_INFINITY;
  }

  /**
   * Two protocols by the kinds of message in which they were seen side by side often enough, with this peer or else with any; null: in
   * none. `of`: only by these kinds; `pairs`: so often is enough.
   */
  compare(
    peer: string,
    [one, other]: readonly [string, string],
    { of, pairs = MIN_PAIRS }: { readonly of: (kind: string) => boolean; readonly pairs?: number },
    nowMs: number,
  ): Comparison | null {
    const names = [one, other].toSorted().join(" ");
    const known = [peer, ANYBODY]
      .map((whose) =>
        [...(this.pairings.get(`${whose} ${names}`) ?? [])].flatMap(([kind, its]) => (of(kind) && its.n >= pairs ? [its] : [])),
      )
      .find(({ length }) => length > 0);
    if (known === undefined) return null;
    const [first, second] = one < other ? ([0, 1] as const) : ([1, 0] as const);
    const average = (side: 0 | 1): number => known.reduce((sum, { means }) => sum + means[side], 0) / known.length;
    const variance = known.reduce((sum, pairing) => sum + pairing.variance / Math.min(pairing.n, EFFECTIVE), 0);
    return {
      ms: [Math.exp(average(first)), Math.exp(average(second))],
      loss: [this.lossOf(`${peer} ${one}`, nowMs), this.lossOf(`${peer} ${other}`, nowMs)],
      n: known.reduce((sum, { n }) => sum + n, 0),
      error: Math.sqrt(variance) / known.length,
    };
  }

  private compareWithOthers(peer: string, protocol: string, kind: string, answer: Recent): void {
    const recent = getOrMake(this.recent, `${peer} ${kind}`, () => new Map<string, Recent>());
    for (const [other, its] of recent) {
      if (other === protocol || its.comparedWith.has(protocol) || answer.at - its.at > SIDE_BY_SIDE_MS) continue;
      its.comparedWith.add(protocol);
      answer.comparedWith.add(other);
      const isFirst = protocol < other;
      const logs = (isFirst ? [answer, its] : [its, answer]).map((one) => Math.log(Math.max(one.ms, MIN_MS)));
      const names = isFirst ? `${protocol} ${other}` : `${other} ${protocol}`;
      for (const whose of [peer, ANYBODY]) {
        const byKind = getOrMake(this.pairings, `${whose} ${names}`, () => new Map<string, Pairing>());
        byKind.set(kind, pairUp(byKind.get(kind) ?? { n: 0, means: [0, 0], variance: 0 }, logs as [number, number]));
      }
    }
    recent.set(protocol, answer);
  }

  private lossOf(key: string, nowMs: number): number {
    const { share, at } = this.losses.get(key) ?? { share: 0, at: nowMs };
    return share * 0.5 ** ((nowMs - at) / LOSS_HALF_LIFE_MS);
  }
}

function getOrMake<T>(map: Map<string, T>, key: string, make: () => T): T {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
