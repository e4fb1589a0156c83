import type { AgentId } from "@failstorm/core";
import type { Beliefs } from "../beliefs.ts";
import type { IndirectProbe } from "../types.ts";

interface Favour {
  readonly peer: AgentId;
  readonly asker: AgentId;
  readonly until: number;
}

/** Indirect probes made for others, who wait for word of them. */
export class Favours {
  private readonly beliefs: Beliefs;
  private open: readonly Favour[] = [];

  constructor(beliefs: Beliefs) {
    this.beliefs = beliefs;
  }

  /** Somebody asks for an indirect probe, and waits for it until then. What is known of the peer by now is told with the answer. */
  ask(id: AgentId, asker: AgentId, until: number, now: number): void {
    const peer = this.beliefs.peers.get(id);
    if (peer === undefined || !this.beliefs.peers.has(asker)) return;
    const isFirst = !this.open.some((favour) => favour.peer === id);
    this.open = [...this.open.filter((favour) => favour.peer !== id || favour.asker !== asker), { peer: id, asker, until }];
    if (peer.changed) this.beliefs.news.correct(id, asker, now);
    if (isFirst) this.beliefs.probe(peer, now);
  }

  /** Tells all who asked for a probe of this peer. */
  tell(peer: AgentId, outcome: "answered" | "unanswered"): void {
    const settled = this.open.filter((favour) => favour.peer === peer);
    if (settled.length === 0) return;
    this.drop(peer);
    for (const favour of settled) this.tellOf(favour, outcome);
  }

  /** Those whose time is up are told that there was no answer. */
  expire(now: number): void {
    const expired = this.open.filter(({ until }) => until <= now);
    if (expired.length === 0) return;
    this.open = this.open.filter(({ until }) => until > now);
    for (const favour of expired) this.tellOf(favour, "unanswered");
  }

  drop(peer: AgentId): void {
    this.open = this.open.filter((favour) => favour.peer !== peer);
  }

  dueAt(): number {
    return this.open.reduce((dueAt, { until }) => Math.min(dueAt, until), Number.POSITIVE_INFINITY);
  }

  private tellOf({ peer: id, asker }: Favour, outcome: IndirectProbe["probe"]): void {
    const peer = this.beliefs.peers.get(id);
    if (peer === undefined) return;
    this.beliefs.act(this.beliefs.news.withNews(asker, { peer: id, incarnation: peer.incarnation, probe: outcome }));
  }
}
