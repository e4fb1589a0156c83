import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createHeartbeatDetector, decodeGossip, type DetectorEffect, type GossipItem } from "../src/index.ts";
import { INTERVAL_MS, simulate, type Span, TIMEOUT_MS } from "./detectorWorld.ts";

/** Stalls of at most `longest`, with room to breathe in between. */
const stalls = (longest: number, apart: number): fc.Arbitrary<Span[]> =>
  fc
    .array(fc.record({ gap: fc.integer({ min: apart, max: 8000 }), length: fc.integer({ min: 1, max: longest }) }), {
      maxLength: 4,
    })
    .map((list) => {
      let at = 0;
      return list.map(({ gap, length }): Span => {
        const from = at + gap;
        at = from + length;
        return [from, at];
      });
    });

const phase = fc.integer({ min: 0, max: INTERVAL_MS - 1 });
const END = 40_000;

describe("heartbeat detector, simulated", () => {
  it("declares no live peer dead: peers stall for half the timeout, the observer for one and a half", () => {
    const peer = fc.record({ stalls: stalls(TIMEOUT_MS / 2, 3000), diesAt: fc.constant(null), phase });
    fc.assert(
      fc.property(
        stalls(TIMEOUT_MS * 1.5, 3000),
        fc.array(peer, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 1, max: 80 }),
        (observerStalls, peers, latencyMs) => {
          const declared = simulate({ observerStalls, peers, latencyMs, endAt: END });
          expect(declared.filter(({ effect }) => effect.kind === "dead")).toEqual([]);
        },
      ),
      { numRuns: 150 },
    );
  });

  it("declares every dead peer dead once, within timeout + interval", () => {
    const peer = fc.record({ stalls: fc.constant([]), diesAt: fc.integer({ min: 0, max: 20_000 }), phase });
    fc.assert(
      fc.property(fc.array(peer, { minLength: 1, maxLength: 4 }), fc.integer({ min: 1, max: 80 }), (peers, latencyMs) => {
        const declared = simulate({ observerStalls: [], peers, latencyMs, endAt: END });
        for (const [i, { diesAt }] of peers.entries()) {
          const deaths = declared.filter(({ effect }) => effect.kind === "dead" && effect.peer === `agent-${i + 1}`);
          expect(deaths).toHaveLength(1);
          expect(deaths[0]?.at).toBeLessThanOrEqual(diesAt + TIMEOUT_MS + INTERVAL_MS);
          const effect = deaths[0]?.effect;
          if (effect?.kind === "dead") expect(deaths[0]?.at).toBe(effect.lastHeard + TIMEOUT_MS);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("finds the dead even while it stalls again and again", () => {
    fc.assert(
      fc.property(stalls(2000, 1500), fc.integer({ min: 0, max: 15_000 }), phase, (observerStalls, diesAt, phase) => {
        const declared = simulate({ observerStalls, peers: [{ stalls: [], diesAt, phase }], latencyMs: 5, endAt: END });
        expect(declared.filter(({ effect }) => effect.kind === "dead")).toHaveLength(1);
      }),
      { numRuns: 100 },
    );
  });
});

describe("gossip", () => {
  const ids = ["agent-0", "agent-1", "agent-2", "agent-3", "agent-4"];
  const entry = fc.record({
    peer: fc.constantFrom("agent-3", "agent-4"),
    incarnation: fc.integer({ min: 1, max: 3 }),
    refutation: fc.integer({ min: 0, max: 2 }),
    state: fc.constantFrom("alive" as const, "dead" as const),
  });
  const observer = (self: string, monitored: readonly string[], gossip = true) =>
    createHeartbeatDetector({
      self,
      incarnation: 1,
      peers: ids.map((agentId) => ({ agentId, incarnation: 1 })),
      monitored,
      intervalMs: INTERVAL_MS,
      timeoutMs: TIMEOUT_MS,
      transportSignals: false,
      gossip,
      phase: () => 0,
      startAt: 0,
    });
  const beliefs = (detector: ReturnType<typeof observer>) =>
    detector.status().map(({ peer, incarnation, state }) => `${peer}#${incarnation} ${state}`);

  it("ends in the same belief in whatever order, and however often, it arrives", () => {
    fc.assert(
      fc.property(
        fc
          .array(entry, { maxLength: 8 })
          .chain((entries) =>
            fc.tuple(fc.constant(entries), fc.shuffledSubarray([...entries, ...entries], { minLength: entries.length * 2 })),
          ),
        ([entries, shuffled]) => {
          const [a, b] = [observer("agent-0", []), observer("agent-0", [])];
          for (const item of entries) a.receive({ kind: "gossip", from: "agent-1", entries: [item] }, 10);
          for (const item of shuffled) b.receive({ kind: "gossip", from: "agent-2", entries: [item] }, 20);
          expect(beliefs(b)).toEqual(beliefs(a));
        },
      ),
    );
  });

  it("reaches everybody over directed edges, with each agent passing each piece of news on at most once", () => {
    const count = 24;
    const all = Array.from({ length: count }, (_, i) => `agent-${i}`);
    const successors = (i: number): string[] => [1, 2, 3].map((step) => all[(i + step) % count] as string);
    const detectors = all.map((self, i) =>
      createHeartbeatDetector({
        self,
        incarnation: 1,
        peers: all.map((agentId) => ({ agentId, incarnation: 1 })),
        monitored: successors(i),
        intervalMs: INTERVAL_MS,
        timeoutMs: TIMEOUT_MS,
        transportSignals: true,
        gossip: true,
        phase: () => 999,
        startAt: 0,
      }),
    );
    const queue: { from: string; effect: DetectorEffect }[] = [];
    const push = (from: string, effects: readonly DetectorEffect[]): void =>
      void queue.push(...effects.map((effect) => ({ from, effect })));
    push("agent-4", detectors[4]?.receive({ kind: "closed", peer: "agent-5", incarnation: 1 }, 10) ?? []);
    push("agent-4", detectors[4]?.receive({ kind: "unanswered", peer: "agent-5", refused: true }, 11) ?? []);
    let messages = 0;
    for (const { from, effect } of queue) {
      if (effect.kind !== "gossip") continue;
      for (const to of effect.to) {
        messages += 1;
        const index = all.indexOf(to);
        if (to !== "agent-5") push(to, detectors[index]?.receive({ kind: "gossip", from, entries: effect.entries }, 12) ?? []);
      }
    }
    for (const [i, detector] of detectors.entries()) {
      if (i !== 5) expect(detector.status().find(({ peer }) => peer === "agent-5")?.state, `agent-${i}`).toBe("dead");
    }
    expect(messages).toBeLessThanOrEqual((count - 1) * 3);
  });

  it("where everybody monitors everybody, reaches all in N log N messages", () => {
    const count = 40;
    const all = Array.from({ length: count }, (_, i) => `agent-${i}`);
    const detectors = new Map(
      all.map((self) => [
        self,
        createHeartbeatDetector({
          self,
          incarnation: 1,
          peers: all.map((agentId) => ({ agentId, incarnation: 1 })),
          monitored: all.filter((id) => id !== self),
          intervalMs: INTERVAL_MS,
          timeoutMs: TIMEOUT_MS,
          transportSignals: false,
          gossip: true,
          phase: () => 999,
          startAt: 0,
        }),
      ]),
    );
    const queue: { from: string; to: string; entries: readonly GossipItem[] }[] = [
      { from: "agent-7", to: "agent-8", entries: [{ peer: "agent-3", incarnation: 1, refutation: 0, state: "dead" }] },
    ];
    for (const { from, to, entries } of queue) {
      for (const effect of detectors.get(to)?.receive({ kind: "gossip", from, entries }, 10) ?? []) {
        if (effect.kind === "gossip") queue.push(...effect.to.map((next) => ({ from: to, to: next, entries: effect.entries })));
      }
    }
    const convinced = all.filter(
      (id) =>
        detectors
          .get(id)
          ?.status()
          .find(({ peer }) => peer === "agent-3")?.state === "dead",
    );
    expect(convinced).toHaveLength(count - 1);
    expect(queue.length).toBeLessThanOrEqual(count * Math.ceil(Math.log2(count)) + 1);
  });

  it("takes in nothing malformed", () => {
    const good = { peer: "agent-1", incarnation: 1, refutation: 0, state: "dead" };
    expect(
      decodeGossip([good, null, 3, {}, { ...good, state: "undead" }, { ...good, incarnation: -1 }, { ...good, refutation: 0.5 }]),
    ).toEqual([good]);
  });
});
