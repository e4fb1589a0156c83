import type { DetectorKind } from "@failstorm/core";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
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
const END = 60_000;

const KINDS: readonly DetectorKind[] = ["heartbeat", "phi-accrual", "swim"];

describe.each(KINDS)("%s detector, one observer simulated", (kind) => {
  it("declares no live peer dead: peers stall for half the timeout, the observer for one and a half", () => {
    const peer = fc.record({ stalls: stalls(TIMEOUT_MS / 2, 3000), diesAt: fc.constant(null), phase });
    fc.assert(
      fc.property(
        stalls(TIMEOUT_MS * 1.5, 3000),
        fc.array(peer, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 1, max: 80 }),
        (observerStalls, peers, latencyMs) => {
          const declared = simulate({ kind, observerStalls, peers, latencyMs, endAt: END });
          expect(declared.filter(({ effect }) => effect.kind === "dead")).toEqual([]);
        },
      ),
      { numRuns: 150 },
    );
  });

  it("declares every dead peer dead once, in time", () => {
    // SWIM where no helper ever answers: a round of four and the probe's three quarters of a period, slowed down by as many failures that
    // might be its own, and the whole timeout.
    const withinMs = kind === "swim" ? 4 * 4.75 * INTERVAL_MS + TIMEOUT_MS : TIMEOUT_MS + INTERVAL_MS;
    const peer = fc.record({ stalls: fc.constant([]), diesAt: fc.integer({ min: 0, max: 20_000 }), phase });
    fc.assert(
      fc.property(fc.array(peer, { minLength: 1, maxLength: 4 }), fc.integer({ min: 1, max: 80 }), (peers, latencyMs) => {
        const declared = simulate({ kind, observerStalls: [], peers, latencyMs, endAt: END });
        for (const [i, { diesAt }] of peers.entries()) {
          const deaths = declared.filter(({ effect }) => effect.kind === "dead" && effect.peer === `agent-${i + 1}`);
          expect(deaths).toHaveLength(1);
          expect(deaths[0]?.at).toBeLessThanOrEqual(diesAt + withinMs);
          const effect = deaths[0]?.effect;
          if (kind === "heartbeat" && effect?.kind === "dead") expect(deaths[0]?.at).toBe(effect.lastHeard + TIMEOUT_MS);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("finds the dead even while it stalls again and again", () => {
    fc.assert(
      fc.property(stalls(2000, 1500), fc.integer({ min: 0, max: 15_000 }), phase, (observerStalls, diesAt, phase) => {
        const declared = simulate({ kind, observerStalls, peers: [{ stalls: [], diesAt, phase }], latencyMs: 5, endAt: END });
        expect(declared.filter(({ effect }) => effect.kind === "dead")).toHaveLength(1);
      }),
      { numRuns: 100 },
    );
  });
});
