import { describe, expect, it } from "vitest";
import { Reprieve } from "../src/detector/reprieve.ts";
import { createFailureDetector, type DetectorEffect, type DetectorOptions } from "../src/index.ts";
import { INTERVAL_MS, TIMEOUT_MS } from "./detectorWorld.ts";

const idsOf = (count: number): string[] => Array.from({ length: count }, (_, i) => `agent-${i}`);

/** agent-0 of so many, which asks the three that follow it 900 ms into every interval. */
const optionsOf = (count: number, more: Partial<DetectorOptions> = {}): DetectorOptions => ({
  self: "agent-0",
  incarnation: 1,
  peers: idsOf(count)
    .slice(1)
    .map((agentId) => ({ agentId, incarnation: 1 })),
  monitored: ["agent-1", "agent-2", "agent-3"],
  intervalMs: INTERVAL_MS,
  timeoutMs: TIMEOUT_MS,
  transportSignals: true,
  allSignalled: true,
  fullyLinked: true,
  fixedMembers: true,
  gossip: true,
  phase: () => 900,
  startAt: 0,
  ...more,
});

describe("rounds of probes left out", () => {
  it("are the more the more agents there are, but no more than leave a question within the timeout", () => {
    const rounds = (count: number, patienceMs = TIMEOUT_MS): number =>
      new Reprieve(optionsOf(count)).rounds(INTERVAL_MS, patienceMs);
    expect([2, 8, 100, 101, 200, 1000].map((count) => rounds(count))).toEqual([1, 1, 1, 2, 2, 2]);
    expect([0.5, 1, 2, 2.5, 4, 20].map((intervals) => rounds(350, intervals * INTERVAL_MS))).toEqual([1, 1, 1, 1, 3, 4]);
  });

  it.each([
    { count: 100, probedAt: [900, 2900], deadAt: 4900 },
    { count: 128, probedAt: [900, 3900], deadAt: 5900 },
  ])("of $count agents, after the first closed stream, delay a silent death by no more", ({ count, probedAt, deadAt }) => {
    const detector = createFailureDetector("heartbeat", optionsOf(count));
    const probes: number[] = [];
    const dead: { peer: string; at: number }[] = [];
    const note = (effects: readonly DetectorEffect[], at: number): void => {
      for (const effect of effects) {
        if (effect.kind === "probe" && effect.peer === "agent-1") probes.push(at);
        if (effect.kind === "dead") dead.push({ peer: effect.peer, at });
      }
    };
    const runUntil = (end: number, from: number): void => {
      for (let at = from; at < end; at = Math.max(at + 1, detector.nextWakeAt() ?? end)) note(detector.tick(at), at);
    };
    runUntil(901, 0);
    for (const peer of ["agent-1", "agent-2", "agent-3"])
      note(detector.receive({ kind: "answered", peer, incarnation: 1, sentAt: 900 }, 901), 901);
    // agent-1 hangs silently in the moment in which another one dies.
    note(detector.receive({ kind: "closed", peer: "agent-9", incarnation: 1 }, 1000), 1000);
    note(detector.receive({ kind: "unanswered", peer: "agent-9", refused: true, sentAt: 1000 }, 1001), 1001);
    runUntil(deadAt + 1, 1002);
    expect(probes.slice(0, 2)).toEqual(probedAt);
    expect(dead.filter(({ peer }) => peer === "agent-9" || peer === "agent-1")).toEqual([
      { peer: "agent-9", at: 1001 },
      { peer: "agent-1", at: deadAt },
    ]);
  });

  it("are of a link's own pace as many as its own patience bears", () => {
    const detector = createFailureDetector("heartbeat", optionsOf(128, { adaptive: true }));
    const probes: number[] = [];
    const runUntil = (end: number, from: number): void => {
      for (let at = from; at < end; at = Math.max(at + 1, detector.nextWakeAt() ?? end))
        for (const effect of detector.tick(at)) if (effect.kind === "probe" && effect.peer === "agent-1") probes.push(at);
    };
    const answered = (sentAt: number): void => {
      for (const peer of ["agent-1", "agent-2", "agent-3"])
        detector.receive({ kind: "answered", peer, incarnation: 1, sentAt }, sentAt + 1);
    };
    runUntil(901, 0);
    answered(900);
    runUntil(1901, 902);
    answered(1900);
    detector.receive({ kind: "closed", peer: "agent-9", incarnation: 1 }, 2000);
    detector.receive({ kind: "unanswered", peer: "agent-9", refused: true, sentAt: 2000 }, 2001);
    runUntil(8000, 2002);
    // It is asked every one and a half seconds: two rounds less would be four and a half without a question.
    expect(Math.max(...probes.slice(1).map((at, i) => at - (probes[i] as number)))).toBeLessThan(TIMEOUT_MS);
  });
});
