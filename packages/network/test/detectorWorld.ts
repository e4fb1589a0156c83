import type { DetectorKind } from "@failstorm/core";
import { createFailureDetector, type DetectorEffect, type FailureDetector } from "../src/index.ts";

/** Half-open interval of ms. */
export type Span = readonly [from: number, until: number];

export interface World {
  readonly kind: DetectorKind;
  /** When the observer's own loop stands still. */
  readonly observerStalls: readonly Span[];
  /** Per peer: when it stands still (its answers wait), and when it dies for good. */
  readonly peers: readonly { readonly stalls: readonly Span[]; readonly diesAt: number | null; readonly phase: number }[];
  readonly latencyMs: number;
  readonly endAt: number;
}

interface Declared {
  readonly at: number;
  readonly effect: DetectorEffect;
}

export const INTERVAL_MS = 1000;
export const TIMEOUT_MS = 3000;

const endOfStall = (stalls: readonly Span[], at: number): number =>
  stalls.find(([from, until]) => from <= at && at < until)?.[1] ?? at;

/**
 * One observer and its peers over simulated time. While the observer stalls, answers pile up; afterwards it runs its late timer first and
 * reads them then, as an event loop does.
 */
export function simulate(world: World): Declared[] {
  const ids = world.peers.map((_, i) => `agent-${i + 1}`);
  const detector: FailureDetector = createFailureDetector(world.kind, {
    self: "agent-0",
    incarnation: 1,
    peers: ids.map((agentId) => ({ agentId, incarnation: 1 })),
    monitored: ids,
    intervalMs: INTERVAL_MS,
    timeoutMs: TIMEOUT_MS,
    transportSignals: false,
    gossip: false,
    phase: (id) => world.peers[ids.indexOf(id)]?.phase ?? 0, // SWIM asks for its own: 0
    startAt: 0,
  });
  const declared: Declared[] = [];
  let inbox: { readonly at: number; readonly peer: string; readonly sentAt: number; readonly refused: boolean }[] = [];

  const carryOut = (effects: readonly DetectorEffect[], now: number): void => {
    for (const effect of effects) {
      if (effect.kind !== "probe") {
        declared.push({ at: now, effect });
        continue;
      }
      const index = ids.indexOf(effect.peer);
      const { stalls = [], diesAt = null } = world.peers[index] ?? {};
      const answersAt = endOfStall(stalls, now + world.latencyMs / 2) + world.latencyMs / 2;
      const refused = diesAt !== null && answersAt >= diesAt;
      inbox.push({ at: refused ? now + world.latencyMs : answersAt, peer: effect.peer, sentAt: now, refused });
    }
  };

  for (;;) {
    const wakeAt = detector.nextWakeAt() ?? Number.POSITIVE_INFINITY;
    const arrival = inbox.toSorted((a, b) => a.at - b.at)[0];
    const tickAt = endOfStall(world.observerStalls, wakeAt);
    const readAt = endOfStall(world.observerStalls, arrival?.at ?? Number.POSITIVE_INFINITY);
    const now = Math.min(tickAt, readAt);
    if (now > world.endAt) return declared;
    if (tickAt <= readAt || arrival === undefined) {
      carryOut(detector.tick(now), now);
    } else {
      inbox = inbox.filter((item) => item !== arrival);
      const { peer, sentAt } = arrival;
      const input = arrival.refused
        ? ({ kind: "unanswered", peer, refused: true, sentAt } as const)
        : ({ kind: "answered", peer, incarnation: 1, sentAt } as const);
      carryOut(detector.receive(input, now), now);
    }
  }
}
