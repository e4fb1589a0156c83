import type { Requirements } from "@failstorm/core";
import { type Comparison, Measurements, type Sample } from "./measurements.ts";
import { type Errand, errandOf, LARGE, Sizes } from "./sizes.ts";

/** What a message may need of the protocol that carries it. */
export type Need = keyof Requirements;

export interface RouterSettings {
  /**
   * `link`: one protocol for all that goes to a peer, unless a message requires another; `message`: what a message wishes counts too; `kind`:
   * handshakes, probes and messages each by their own, by bytes where latency and loss leave a choice.
   */
  readonly per: "message" | "kind" | "link";
  /** Which protocol is taken first while nothing has been measured, best first. */
  readonly prefer: readonly string[];
  /** What every message requires of the protocol that carries it, beside what its sender says; only such are used for handshakes, too. */
  readonly require: readonly Need[];
  /** So long a choice stands at least, ms. */
  readonly dwellMs: number;
  /** By this share another protocol must be cheaper, (0, 1). */
  readonly margin: number;
  /** By this share another protocol must move fewer bytes, where latency and loss do not decide, (0, 1); `per: kind`. */
  readonly bytesMargin: number;
  /** What a lost message counts for, ms. */
  readonly lossPenaltyMs: number;
  /** Each so-many-th message of a kind that is timed goes by another protocol, so that there is something to compare; 0: none does. */
  readonly exploreEvery: number;
}

/** What a protocol declares. */
export interface Declared {
  readonly needs: ReadonlySet<Need>;
  readonly roundTrips: number;
}

/** What is better than the present, and why. */
export interface Better {
  readonly protocol: string;
  readonly reason: string;
}

/** What a route carries to a peer. */
interface Where {
  readonly peer: string;
  readonly errand: Errand;
}

/** A difference of fewer standard errors may be chance: it is looked for again and again. */
const CERTAIN = 4;
/** Less than this is no gain, whatever its share. */
const MIN_GAIN_MS = 0.5;
/** So many answers side by side show whether another is likely to be faster, no more. */
const GLIMPSE = 3;
/** Over all peers. */
const ANYBODY = "";

const ms = (value: number): string => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
const percent = (share: number): string => `${Math.round(100 * share)} %`;

/**
 * What protocols cost, as measured and as declared, and which of them is better by enough. Latency and loss come first; where they leave several,
 * bytes decide (`per: kind`). No clock and no I/O: instants are given, in ms.
 */
export class Costs {
  readonly measured = new Measurements();
  private readonly sizes = new Sizes();
  private readonly settings: RouterSettings;
  private readonly declared: (protocol: string) => Declared;

  constructor(settings: RouterSettings, declared: (protocol: string) => Declared) {
    this.settings = settings;
    this.declared = declared;
  }

  add(peer: string, protocol: string, sample: Sample, nowMs: number): void {
    this.measured.add(peer, protocol, sample, nowMs);
    if (sample.moved !== undefined) this.sizes.add(protocol, sample.kind, sample.moved);
  }

  /** What has answered sooner, or lost less, by the margin; of several the cheapest. */
  cheaper({ peer, errand }: Where, present: string, others: readonly string[], nowMs: number): Better | null {
    const gains = others.flatMap((protocol) => {
      const compared = this.compare(peer, [protocol, present], errand, nowMs);
      return compared === null ? [] : [{ protocol, compared, gain: this.gain(compared) }];
    });
    const [best] = gains.toSorted((a, b) => b.gain - a.gain);
    if (best === undefined || best.gain < this.settings.margin) return null;
    return { protocol: best.protocol, reason: this.gainReason(present, best.compared, best.gain) };
  }

  /** What moves fewer bytes by the margin, of those that nothing else beats in latency and loss: else it would be left for that again. */
  leaner({ peer, errand }: Where, present: string, others: readonly string[], nowMs: number): Better | null {
    const all = [present, ...others];
    return this.leanest(present, others, errand, (protocol) => this.cheaper({ peer, errand }, protocol, all, nowMs) !== null);
  }

  leanerHandshake(present: string, others: readonly string[]): Better | null {
    const all = [present, ...others];
    return this.leanest(present, others, "handshake", (protocol) => this.isSlowToMeet(protocol, all));
  }

  /** Whether the bytes of all of these have been seen, or do not matter. */
  areWeighed(errand: Errand, present: string, others: readonly string[]): boolean {
    return errand === "large" || others.every((protocol) => this.sizes.compare(errand, [protocol, present]) !== null);
  }

  /** Whether little would be learnt of the first that would make it preferred to the second. */
  isKnown(both: readonly [string, string], errand: Errand, nowMs: number): boolean {
    const size = this.sizes.compare(errand, both);
    if (size === null && errand !== "large") return false;
    if (this.compare(ANYBODY, both, errand, nowMs) !== null) return true;
    if (size === null || -size.gain < this.settings.bytesMargin) return false;
    const glimpse = this.compare(ANYBODY, both, errand, nowMs, GLIMPSE);
    return glimpse !== null && glimpse.ms[0] >= glimpse.ms[1];
  }

  /** Whether another's handshakes are faster by enough, as measured or else by their round trips. */
  isSlowToMeet(protocol: string, hosted: readonly string[]): boolean {
    const others = hosted.filter((other) => other !== protocol);
    return others.some((other) => this.fasterBack(protocol, [other]) !== null);
  }

  /** What comes back sooner after a death; as long as too little is measured, what needs fewer round trips. */
  fasterBack(present: string, others: readonly string[]): Better | null {
    const measured = others.flatMap((protocol) => {
      const seen = this.measured.handshakesOf(protocol, present);
      return seen === null ? [] : [{ protocol, ...seen }];
    });
    if (measured.length > 0) {
      const share = ({ of: [its, known] }: (typeof measured)[number]): number => its.value / known.value;
      const [best] = measured.toSorted((a, b) => share(a) - share(b));
      if (best === undefined) return null;
      const { of: both, afterLoss } = best;
      const [its, known] = both;
      if (known.value - its.value < MIN_GAIN_MS || share(best) > 1 - this.settings.margin) return null;
      const said = ({ value, n }: typeof its): string => `${ms(value)} (${n}${afterLoss ? " after a death" : ""})`;
      return { protocol: best.protocol, reason: `its handshakes take ${said(its)}, those of ${present} ${said(known)}` };
    }
    const rounds = (protocol: string): number => this.declared(protocol).roundTrips;
    const [fewest] = others.toSorted((a, b) => rounds(a) - rounds(b));
    if (fewest === undefined || rounds(fewest) >= rounds(present)) return null;
    return { protocol: fewest, reason: `round trips to reconnect: ${fewest} ${rounds(fewest)}, ${present} ${rounds(present)}` };
  }

  private leanest(
    present: string,
    others: readonly string[],
    errand: Errand,
    isBeaten: (protocol: string) => boolean,
  ): Better | null {
    // What a protocol adds to a large message is nothing.
    if (errand === "large") return null;
    const found = others.flatMap((protocol) => {
      const size = this.sizes.compare(errand, [protocol, present]);
      return size === null || size.gain < this.settings.bytesMargin ? [] : [{ protocol, ...size }];
    });
    const best = found.toSorted((a, b) => b.gain - a.gain).find(({ protocol }) => !isBeaten(protocol));
    if (best === undefined) return null;
    const [its, known] = best.added.map((bytes) => Math.round(bytes).toLocaleString("en"));
    const words = `it adds ${its} bytes to a ${errand}, ${present} ${known}: ${percent(best.gain)} fewer in all, and nothing known is faster`;
    return { protocol: best.protocol, reason: words };
  }

  private compare(
    peer: string,
    both: readonly [string, string],
    errand: Errand,
    nowMs: number,
    pairs?: number,
  ): Comparison | null {
    const of = (kind: string): boolean =>
      this.settings.per === "kind" ? errandOf(kind) === errand : kind.endsWith(LARGE) === (errand === "large");
    return this.measured.compare(peer, both, pairs === undefined ? { of } : { of, pairs }, nowMs);
  }

  /** By which share the first is cheaper than the second; 0 where it is not, or by too little to matter. Latencies that differ by chance are equal. */
  private gain({ ms: both, loss, error }: Comparison): number {
    const [its, present] = both;
    const isCertain = Math.abs(Math.log(its / present)) >= CERTAIN * error;
    const costs = (isCertain ? its : present) + loss[0] * this.settings.lossPenaltyMs;
    const presentCosts = present + loss[1] * this.settings.lossPenaltyMs;
    return presentCosts - costs < MIN_GAIN_MS ? 0 : (presentCosts - costs) / presentCosts;
  }

  private gainReason(before: string, { ms: both, loss, n }: Comparison, gain: number): string {
    const side = (index: 0 | 1): string => `${ms(both[index])} and ${percent(loss[index])} lost`;
    return `${side(0)}, ${before} ${side(1)}, ${n} times side by side: ${percent(gain)} cheaper`;
  }
}
