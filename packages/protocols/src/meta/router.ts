import type { RouteChoice } from "@failstorm/core";
import { Costs, type Declared, type Need, type RouterSettings } from "./costs.ts";
import { Exploration } from "./exploration.ts";
import type { Sample } from "./measurements.ts";
import { type Errand, errandOf, LARGE } from "./sizes.ts";

/** A message to be carried. */
export interface Demand {
  readonly kind: string;
  /** Its answer's time tells something of the protocol. */
  readonly timed: boolean;
  /** What its sender requires. */
  readonly required: readonly Need[];
  /** What would do it good, most important first. */
  readonly wished: readonly Need[];
  readonly large: boolean;
}

export type Decision =
  | {
      readonly kind: "route";
      readonly protocol: string;
      /** What was chosen, or chosen anew, with this message; mostly nothing. */
      readonly choices: readonly RouteChoice[];
      /** What nothing that the peer hosts has. */
      readonly unmet: readonly Need[];
    }
  /** What protects a message is not dropped for want of a protocol that has it. */
  | { readonly kind: "refused"; readonly reason: string };

interface Route {
  protocol: string;
  /** When it was last compared with others. */
  comparedMs: number;
  /** Messages so far, for every so-many-th. */
  carried: number;
  /** Bytes have been compared with all others: from now on once per dwell. */
  weighed: boolean;
}

/** Those that may carry an errand. */
interface Among {
  readonly able: readonly string[];
  readonly errand: Errand;
}

const PROTECTION: ReadonlySet<Need> = new Set(["authentication", "encryption"]);
/** So many losses in a row and a route is left before its time. */
const LOST_IN_A_ROW = 3;

const LINK = "link";

/**
 * Which of a peer's protocols carries what. There is a route for the link (handshakes, probes, messages that need nothing) and one
 * for each choice of protocols that some needs leave. A route stands for `dwellMs` at least, is then compared once in as long,
 * and is left only for one that is cheaper by `margin` and by more than chance; at once when it has lost several messages in a row, for one
 * that has not, or with the peer's death, which ends all that was set up. Cost is the latency measured for equal kinds of message, and
 * the share lost times `lossPenaltyMs`. No clock and no I/O: instants are given, in ms.
 */
export class Router {
  private readonly settings: RouterSettings;
  private readonly declared: (protocol: string) => Declared;
  private readonly costs: Costs;
  private readonly exploration: Exploration;
  private readonly routes = new Map<string, Route>();
  private readonly lost = new Set<string>();
  /** Those by which a handshake was begun. */
  private readonly shaken = new Set<string>();

  constructor(settings: RouterSettings, declared: (protocol: string) => Declared) {
    this.settings = settings;
    this.declared = declared;
    this.costs = new Costs(settings, declared);
    this.exploration = new Exploration(settings.exploreEvery);
  }

  /** For a message to `peer`, which hosts these. */
  message(peer: string, hosted: readonly string[], demand: Demand, nowMs: number): Decision {
    const required = [...new Set([...this.settings.require, ...demand.required])];
    const { able, unmet, why } = this.ableTo(hosted, { ...demand, required });
    const denied = unmet.filter((need) => PROTECTION.has(need));
    if (denied.length > 0)
      return { kind: "refused", reason: `${peer} hosts ${hosted.join(", ")}, and none has ${denied.join(" and ")}` };
    return this.carry(peer, this.eligible(hosted), demand, { able, unmet, why }, nowMs);
  }

  /** For a probe of `peer`: the link's protocol, and now and then another, so that there is something to compare. */
  probe(peer: string, hosted: readonly string[], nowMs: number): Decision {
    const demand: Demand = { kind: "probe", timed: true, required: [], wished: [], large: false };
    // It carries nothing that could need protection: whether a peer lives is found out also where no message may go.
    const able = this.eligible(hosted);
    return this.carry(peer, able, demand, { able, unmet: [], why: "" }, nowMs);
  }

  private carry(
    peer: string,
    eligible: readonly string[],
    demand: Demand,
    { able, unmet, why }: { readonly able: readonly string[]; readonly unmet: readonly Need[]; readonly why: string },
    nowMs: number,
  ): Decision {
    const link = this.link(peer, eligible, nowMs);
    const choices = link.choice === null ? [] : [link.choice];
    const errand = errandOf(demand.kind);
    const key = this.keyOf(errand, able.length === eligible.length ? null : able);
    let route = this.routes.get(`${peer} ${key}`);
    if (route === undefined) {
      const before = link.route.protocol;
      route = { protocol: able.includes(before) ? before : this.first(able), comparedMs: nowMs, carried: 0, weighed: false };
      this.routes.set(`${peer} ${key}`, route);
      // A route that begins as the link's is no choice yet.
      if (route.protocol !== before) choices.push({ peer, protocol: route.protocol, before, reason: why });
    }
    const anew = this.reconsider(peer, route, { able, errand }, nowMs);
    if (anew !== null) choices.push(anew);
    const aside = demand.timed ? this.explore(peer, route, { able, errand }, nowMs) : null;
    return { kind: "route", protocol: aside ?? route.protocol, choices, unmet };
  }

  /** For a handshake with `peer`: protocols in the order in which they may be tried. */
  handshake(peer: string, all: readonly string[], nowMs: number): { order: readonly string[]; choice: RouteChoice | null } {
    const hosted = this.eligible(all);
    const { route, choice } = this.link(peer, hosted, nowMs);
    const others = hosted.filter((protocol) => protocol !== route.protocol);
    const isLost = this.lost.has(peer);
    const leaner = this.settings.per === "kind" ? this.costs.leanerHandshake(route.protocol, others) : null;
    const better = (isLost ? this.costs.fasterBack(route.protocol, others) : null) ?? leaner;
    const moved = better === null ? null : this.move(peer, route, better.protocol, better.reason, nowMs);
    const first = (isLost ? null : this.untriedHandshake(hosted)) ?? route.protocol;
    this.shaken.add(first);
    return { order: [first, ...hosted.filter((protocol) => protocol !== first)], choice: moved ?? choice };
  }

  /** A handshake completed, with this protocol; `failed`: those that were tried before it, and how they failed. */
  connected(
    peer: string,
    protocol: string,
    {
      ms: took,
      failed,
    }: { readonly ms: number; readonly failed: readonly { readonly protocol: string; readonly code: string }[] },
    nowMs: number,
  ): RouteChoice | null {
    const isBack = this.lost.delete(peer);
    this.costs.measured.handshake(protocol, took, isBack);
    // Handshakes that nobody answered while it was away were lost by whichever protocol had to try.
    if (isBack) this.costs.measured.forgive(peer);
    const route = this.routes.get(`${peer} ${LINK}`);
    // A route that has been moved while the handshake was under way is not moved back by it.
    if (route === undefined || !failed.some((attempt) => attempt.protocol === route.protocol)) return null;
    const words = failed.map((attempt) => `${attempt.protocol} (${attempt.code})`).join(", ");
    return this.move(peer, route, protocol, `it answered the handshake where ${words} failed`, nowMs);
  }

  /** What an operation came to. */
  observe(peer: string, protocol: string, sample: Sample, nowMs: number): void {
    this.costs.add(peer, protocol, sample, nowMs);
  }

  /** The peer, or its process, is gone: whatever carries the next handshake, it starts from nothing. */
  died(peer: string): void {
    this.lost.add(peer);
    this.costs.measured.forgive(peer);
  }

  /** The link's route, made when there is none. */
  private link(peer: string, hosted: readonly string[], nowMs: number): { route: Route; choice: RouteChoice | null } {
    const known = this.routes.get(`${peer} ${LINK}`);
    if (known !== undefined) return { route: known, choice: null };
    const protocol = this.first(hosted);
    const route: Route = { protocol, comparedMs: nowMs, carried: 0, weighed: false };
    this.routes.set(`${peer} ${LINK}`, route);
    return { route, choice: { peer, protocol, before: null, reason: this.firstReason(peer, protocol, hosted) } };
  }

  /** By the configuration's preference, then by the round trips of the handshake, then as they are listed. */
  private first(able: readonly string[]): string {
    const { prefer } = this.settings;
    const rank = (protocol: string): number => (prefer.includes(protocol) ? prefer.indexOf(protocol) : prefer.length);
    const [best] = able.toSorted(
      (a, b) =>
        rank(a) - rank(b) || this.declared(a).roundTrips - this.declared(b).roundTrips || able.indexOf(a) - able.indexOf(b),
    );
    if (best === undefined) throw new RangeError("a route needs a protocol");
    return best;
  }

  private firstReason(peer: string, protocol: string, hosted: readonly string[]): string {
    if (hosted.length === 1)
      return `${peer} hosts nothing else${this.settings.require.length === 0 ? "" : ` that has ${this.settings.require.join(" and ")}`}`;
    if (this.settings.prefer.includes(protocol)) return "nothing is measured yet; the configuration prefers it";
    const others = hosted.filter((other) => other !== protocol).map((other) => `${other} ${this.declared(other).roundTrips}`);
    return `nothing is measured yet; round trips of a handshake: ${protocol} ${this.declared(protocol).roundTrips}, ${others.join(", ")}`;
  }

  /** Those that may carry what goes to the peer at all; as far as there are any. */
  private eligible(hosted: readonly string[]): readonly string[] {
    return this.settings.require.length === 0
      ? hosted
      : this.ableTo(hosted, { required: this.settings.require, wished: [] }).able;
  }

  /** Those that have what is required, and of these, where there are any, those that have what is wished. */
  private ableTo(
    hosted: readonly string[],
    { required, wished }: Pick<Demand, "required" | "wished">,
  ): { able: readonly string[]; unmet: readonly Need[]; why: string } {
    let able = hosted;
    const unmet: Need[] = [];
    const by: string[] = [];
    const narrow = (need: Need, verb: string): boolean => {
      const left = able.filter((protocol) => this.declared(protocol).needs.has(need));
      if (left.length === 0) return false;
      if (left.length < able.length)
        by.push(`${verb} ${need}, which ${hosted.filter((one) => !left.includes(one)).join(", ")} has not`);
      able = left;
      return true;
    };
    for (const need of required) if (!narrow(need, "it requires")) unmet.push(need);
    if (this.settings.per === "message") for (const need of wished) narrow(need, "it gains by");
    return { able, unmet, why: by.join("; ") };
  }

  /** Every so-many-th message goes by what was tried longest ago; not by what is known to lose them. */
  private explore(peer: string, route: Route, { able, errand }: Among, nowMs: number): string | null {
    const { exploreEvery, per } = this.settings;
    if (able.length < 2 || exploreEvery === 0) return null;
    const sound = (): readonly string[] =>
      able.filter((protocol) => protocol !== route.protocol && this.isSound(peer, protocol, nowMs));
    const tried = (protocol: string): number => this.costs.measured.lastTried(peer, protocol);
    if (per === "kind") {
      // With whom it has dealt before: what it has to find out first is found out once.
      const met = sound().filter(
        (protocol) => tried(protocol) > Number.NEGATIVE_INFINITY || !this.costs.measured.wasTried(protocol),
      );
      return this.exploration.next(errand, met, (protocol) => this.costs.isKnown([protocol, route.protocol], errand, nowMs));
    }
    route.carried += 1;
    if (route.carried % exploreEvery !== 0) return null;
    return sound().toSorted((a, b) => (tried(a) < tried(b) ? -1 : 1))[0] ?? null;
  }

  /** Leaves the route where another is better by enough, for long enough. */
  private reconsider(peer: string, route: Route, { able, errand }: Among, nowMs: number): RouteChoice | null {
    const others = able.filter((protocol) => protocol !== route.protocol);
    const inARow = this.costs.measured.lostInARow(peer, route.protocol, nowMs);
    // Not for one that loses as well: where nothing gets through the route would go to and fro.
    const sound = others.filter((protocol) => this.isSound(peer, protocol, nowMs));
    if (inARow >= LOST_IN_A_ROW && sound.length > 0)
      return this.move(peer, route, this.first(sound), `${route.protocol} has lost ${inARow} in a row`, nowMs);
    const isDue = nowMs - route.comparedMs >= this.settings.dwellMs;
    const isNew = this.settings.per === "kind" && !route.weighed;
    if (!isDue && !isNew) return null;
    const where = { peer, errand };
    if (isDue) route.comparedMs = nowMs;
    let better = isDue ? this.costs.cheaper(where, route.protocol, sound, nowMs) : null;
    if (this.settings.per === "kind") {
      route.weighed = this.costs.areWeighed(errand, route.protocol, sound);
      better ??= this.costs.leaner(where, route.protocol, sound, nowMs);
    }
    return better === null ? null : this.move(peer, route, better.protocol, better.reason, nowMs);
  }

  private keyOf(errand: Errand, able: readonly string[] | null): string {
    const large = errand === "large" ? LARGE : "";
    if (this.settings.per === "kind") return errand + (able?.join("+") ?? "");
    return able === null && large === "" ? LINK : (able?.join("+") ?? "") + large;
  }

  /** One of those that could be first but for their bytes, which have not been seen. */
  private untriedHandshake(hosted: readonly string[]): string | null {
    if (this.settings.per !== "kind" || this.settings.exploreEvery === 0) return null;
    return hosted.find((protocol) => !this.shaken.has(protocol) && !this.costs.isSlowToMeet(protocol, hosted)) ?? null;
  }

  private isSound(peer: string, protocol: string, nowMs: number): boolean {
    return this.costs.measured.lostInARow(peer, protocol, nowMs) < LOST_IN_A_ROW;
  }

  private move(peer: string, route: Route, protocol: string, reason: string, nowMs: number): RouteChoice {
    const before = route.protocol;
    Object.assign(route, { protocol, comparedMs: nowMs, carried: 0, weighed: true });
    return { peer, protocol, before, reason };
  }
}
