import type { AgentId } from "@failstorm/core";
import { createLinkForecast, type LinkForecast } from "./forecast.ts";
import type { DetectorEffect, DetectorInput, DetectorOptions, FailureDetector, PeerStatus } from "./types.ts";

interface Watched {
  readonly incarnation: number;
  readonly forecast: LinkForecast;
}

/** Of the interval: a tick so late finds answers unread behind it, as in silence.ts. */
const LATE_SHARE = 1 / 8;
/** With fewer links there is nothing to compare with. */
const MIN_LINKS = 3;

/**
 * A detector of any kind that also foretells: `standby` effects for monitored peers whose links give signs of a failure to come (forecast.ts).
 * Nothing else of the detector changes. When more than half of the links give signs at the same time, the trouble is this agent's own, or
 * the machine's, and nothing is said.
 */
export class Foresight implements FailureDetector {
  private readonly detector: FailureDetector;
  private readonly options: DetectorOptions;
  private readonly links = new Map<AgentId, Watched>();
  private stalledAt = Number.NEGATIVE_INFINITY;
  private actedAt = Number.NEGATIVE_INFINITY;
  private lookedAt = Number.NEGATIVE_INFINITY;

  constructor(detector: FailureDetector, options: DetectorOptions) {
    this.detector = detector;
    this.options = options;
    this.follow();
  }

  tick(now: number): DetectorEffect[] {
    this.forgive(now);
    const effects = this.detector.tick(now);
    this.note(effects, now);
    return [...effects, ...this.foretell(now)];
  }

  receive(input: DetectorInput, now: number): DetectorEffect[] {
    this.forgive(now);
    const effects = this.detector.receive(input, now);
    // Effects first: who is dead, or another incarnation, has no history.
    this.note(effects, now);
    if (input.kind !== "answered" && input.kind !== "heard") return effects;
    const link = this.links.get(input.peer);
    if (link === undefined || (input.incarnation !== null && input.incarnation !== link.incarnation)) return effects;
    if (input.kind === "heard") link.forecast.heard();
    else if (input.sentAt < this.stalledAt) link.forecast.heard();
    else link.forecast.answered(input.sentAt, now);
    return [...effects, ...this.foretell(now)];
  }

  nextWakeAt(): number | null {
    let wakeAt = this.detector.nextWakeAt();
    for (const { forecast } of this.links.values()) {
      const { fearAt } = forecast;
      // What was looked at and not told (most links gave signs) is looked at again whenever something happens.
      if (fearAt !== null && fearAt > this.lookedAt) wakeAt = Math.min(wakeAt ?? Number.POSITIVE_INFINITY, fearAt);
    }
    return wakeAt;
  }

  status(): readonly PeerStatus[] {
    return this.detector.status();
  }

  monitor(peers: readonly AgentId[], now: number): void {
    this.detector.monitor(peers, now);
    this.follow();
  }

  forget(peer: AgentId): void {
    this.detector.forget(peer);
    this.links.delete(peer);
  }

  /** When this agent stood still, whatever it does first when it goes on finds everybody silent for as long. */
  private forgive(now: number): void {
    const lateMs = now - Math.max(this.nextWakeAt() ?? now, this.actedAt);
    this.actedAt = now;
    if (lateMs <= this.options.intervalMs * LATE_SHARE) return;
    this.stalledAt = now;
    for (const { forecast } of this.links.values()) forecast.forgive(lateMs);
  }

  private note(effects: readonly DetectorEffect[], now: number): void {
    if (effects.some(({ kind }) => kind === "dead" || kind === "alive")) this.follow();
    for (const effect of effects) if (effect.kind === "probe") this.links.get(effect.peer)?.forecast.probed(now);
  }

  /** A forecast for each incarnation that is monitored and believed to live. */
  private follow(): void {
    for (const { peer, incarnation, state, monitored } of this.detector.status()) {
      if (!monitored || state === "dead") this.links.delete(peer);
      else if (this.links.get(peer)?.incarnation !== incarnation)
        this.links.set(peer, { incarnation, forecast: createLinkForecast(this.options.intervalMs) });
    }
  }

  private foretell(now: number): DetectorEffect[] {
    this.lookedAt = now;
    const feared = [...this.links].filter(([, { forecast }]) => forecast.fear(now) !== null);
    if (this.links.size >= MIN_LINKS && feared.length * 2 > this.links.size) return [];
    return feared.flatMap(([peer, { incarnation, forecast }]): DetectorEffect[] => {
      const sign = forecast.foretell(now);
      return sign === null ? [] : [{ kind: "standby", peer, incarnation, ...sign }];
    });
  }
}
