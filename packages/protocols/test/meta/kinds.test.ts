import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Exploration } from "../../src/meta/exploration.ts";
import { type Decision, type Demand, Router } from "../../src/meta/router.ts";
import { LARGE, Sizes } from "../../src/meta/sizes.ts";

const ROUND_TRIPS: Readonly<Record<string, number>> = { card: 1, brief: 1, ping: 2 };
const ALL = Object.keys(ROUND_TRIPS);
const DWELL = 5_000;

const router = (exploreEvery = 0): Router =>
  new Router(
    {
      per: "kind",
      prefer: [],
      require: [],
      dwellMs: DWELL,
      margin: 0.25,
      bytesMargin: 0.05,
      lossPenaltyMs: 1_000,
      exploreEvery,
    },
    (name) => ({ needs: new Set(name === "ping" ? (["streaming"] as const) : []), roundTrips: ROUND_TRIPS[name] ?? 1 }),
  );

const LOOKUP: Demand = { kind: "lookup", timed: true, required: [], wished: [], large: false };

function routed(decision: Decision): Extract<Decision, { kind: "route" }> {
  if (decision.kind !== "route") throw new Error(decision.reason);
  return decision;
}

interface Answers {
  readonly kind?: string;
  readonly ms?: number;
  readonly carried?: number;
  readonly n?: number;
  readonly at?: number;
}

/** So many answers by each of these, which moved so many bytes. */
function moved(on: Router, by: Readonly<Record<string, number>>, options: Answers = {}): void {
  const { kind = "lookup", ms = 5, carried = 0, n = 2, at = 0 } = options;
  for (let i = 0; i < n; i++)
    for (const [protocol, bytes] of Object.entries(by))
      on.observe("agent-1", protocol, { kind, ms, outcome: "answered", timed: true, moved: { bytes, carried } }, at);
}

describe("per kind", () => {
  test("[meta-route-kind] handshakes, probes and messages go each by what moves the fewest bytes for them", () => {
    const on = router();
    moved(on, { card: 1_300, brief: 2_300 }, { kind: "handshake", n: 1 });
    moved(on, { card: 350, brief: 290, ping: 240 }, { kind: "probe" });
    moved(on, { card: 1_800, brief: 1_500, ping: 2_000 }, { carried: 900 });
    expect(on.handshake("agent-1", ALL, 0).order[0]).toBe("card");
    const probe = routed(on.probe("agent-1", ALL, 0));
    expect([probe.protocol, probe.choices.at(-1)?.reason]).toEqual([
      "ping",
      "it adds 240 bytes to a probe, card 350: 31 % fewer in all, and nothing known is faster",
    ]);
    const message = routed(on.message("agent-1", ALL, LOOKUP, 0));
    expect([message.protocol, message.choices.at(-1)?.reason]).toEqual([
      "brief",
      "it adds 600 bytes to a message, card 900: 17 % fewer in all, and nothing known is faster",
    ]);
    expect(on.handshake("agent-1", ALL, DWELL).order[0], "the link keeps its own").toBe("card");
  });

  test("[meta-route-kind] wishes do not count, requirements do", () => {
    const on = router();
    expect(routed(on.message("agent-1", ALL, { ...LOOKUP, wished: ["streaming"] }, 0)).protocol).toBe("card");
    expect(routed(on.message("agent-1", ALL, { ...LOOKUP, required: ["streaming"] }, 0)).protocol).toBe("ping");
  });

  test("[meta-route-bytes] not by less than the margin, and not by one answer, which pays for what is found out first", () => {
    const on = router();
    moved(on, { card: 1_000, brief: 960 }, { carried: 500 });
    expect(routed(on.message("agent-1", ALL, LOOKUP, 0)).protocol, "4 %").toBe("card");
    moved(on, { ping: 700 }, { n: 1, carried: 500 });
    expect(routed(on.message("agent-1", ALL, LOOKUP, DWELL)).protocol, "one").toBe("card");
    moved(on, { ping: 700 }, { n: 1, carried: 500 });
    expect(routed(on.message("agent-1", ALL, LOOKUP, 2 * DWELL)).protocol).toBe("ping");
  });

  test("[meta-route-bytes] what is carried is not compared: one that had the shorter texts is not leaner", () => {
    const on = router();
    moved(on, { card: 9_000 }, { carried: 8_000 });
    moved(on, { brief: 1_200 }, { carried: 100 });
    expect(routed(on.message("agent-1", ALL, LOOKUP, 0)).protocol).toBe("card");
  });

  test("[meta-route-bytes] decide only where latency leaves a choice", () => {
    const on = router();
    moved(on, { card: 1_800, ping: 1_000 }, { n: 20, ms: 4 });
    // brief is the leanest, and three times as slow as both.
    for (let i = 0; i < 20; i++) {
      moved(on, { card: 1_800 }, { n: 1, ms: 4 });
      moved(on, { brief: 600 }, { n: 1, ms: 12 });
    }
    expect(routed(on.message("agent-1", ALL, LOOKUP, DWELL)).protocol).toBe("ping");
    expect(routed(on.message("agent-1", ALL, LOOKUP, 2 * DWELL)).protocol).toBe("ping");
  });

  test("[meta-route-bytes] [meta-route-large] do not decide over large messages", () => {
    const on = router();
    moved(on, { card: 900_000, brief: 100_000 }, { kind: `lookup${LARGE}`, n: 20 });
    expect(routed(on.message("agent-1", ALL, { ...LOOKUP, kind: `lookup${LARGE}`, large: true }, DWELL)).protocol).toBe("card");
  });

  test("[meta-route-bytes] a handshake of more round trips is not chosen for its bytes", () => {
    const on = router();
    moved(on, { card: 1_300, brief: 2_300, ping: 300 }, { kind: "handshake", n: 1 });
    expect(on.handshake("agent-1", ALL, 0).order[0]).toBe("card");
    on.died("agent-1");
    expect(on.handshake("agent-1", ALL, 1).order[0]).toBe("card");
  });

  test("[meta-route-explore] of the handshakes with the fewest round trips each is tried once, and none with who came back", () => {
    const on = router(8);
    expect([0, 1, 2].map((n) => on.handshake(`agent-${n}`, ALL, n).order[0])).toEqual(["card", "brief", "card"]);
    const fresh = router(8);
    fresh.handshake("agent-1", ["card"], 0);
    fresh.died("agent-1");
    expect(fresh.handshake("agent-1", ALL, 1).order[0]).toBe("card");
  });

  test("[meta-route-explore] is tried with whom it has dealt before", () => {
    const on = router(2);
    moved(on, { brief: 1_000, ping: 1_000 }, { n: 1 });
    const taken = (peer: string): readonly string[] =>
      Array.from({ length: 12 }, () => routed(on.message(peer, ALL, LOOKUP, 0)).protocol);
    expect(new Set(taken("agent-2"))).toEqual(new Set(["card"]));
    expect(new Set(taken("agent-1"))).toEqual(new Set(["card", "brief", "ping"]));
  });
});

test("[meta-route-hysteresis] whatever the costs, each route settles, on what nothing beats", () => {
  const cost = fc.record({ ms: fc.integer({ min: 1, max: 40 }), bytes: fc.integer({ min: 100, max: 4_000 }) });
  fc.assert(
    fc.property(fc.record({ card: cost, brief: cost, ping: cost }), (costs) => {
      const on = router(4);
      let changed = 0;
      let last = "";
      for (let at = 0; at < 300_000; at += 100) {
        const { protocol, choices } = routed(on.message("agent-1", ALL, LOOKUP, at));
        changed += choices.filter(({ before }) => before !== null).length;
        last = choices.at(-1)?.protocol ?? last;
        const { ms, bytes } = costs[protocol as keyof typeof costs];
        on.observe(
          "agent-1",
          protocol,
          { kind: "lookup", ms, outcome: "answered", timed: true, moved: { bytes: bytes + 200, carried: 200 } },
          at,
        );
      }
      // At the very most: to the leanest, from there to what is faster, and once more to a leaner one of those.
      expect(changed).toBeLessThanOrEqual(4);
      const its = costs[last as keyof typeof costs];
      const seen = Object.values(costs).filter(({ bytes }) => bytes < its.bytes * 1.05);
      for (const other of seen)
        expect(its.ms - other.ms < 0.5 || other.ms > 0.75 * its.ms, JSON.stringify({ last, costs })).toBe(true);
    }),
    { numRuns: 60 },
  );
});

describe("what is tried", () => {
  const tries = (messages: number, isKnown: (protocol: string) => boolean): readonly string[] => {
    const exploration = new Exploration(8);
    return Array.from({ length: messages }, () => exploration.next("message", ["a", "b"], isKnown)).filter((one) => one !== null);
  };

  test("[meta-route-explore] as often as it says while little is known, by turns", () => {
    expect(tries(80, () => false)).toEqual(["a", "b", "a", "b", "a", "b", "a", "b", "a", "b"]);
  });

  test("[meta-route-explore] ever more rarely once it is: with the logarithm of the messages", () => {
    expect(tries(100_000, () => true).length).toBe(14);
    expect(tries(400_000, () => true).length).toBe(16);
    expect(new Exploration(0).next("message", ["a"], () => false)).toBeNull();
  });
});

describe("sizes", () => {
  test("[meta-route-bytes] are compared by equal kinds, large messages by themselves", () => {
    const sizes = new Sizes();
    for (let i = 0; i < 2; i++) {
      sizes.add("a", "lookup", { bytes: 1_000, carried: 400 });
      sizes.add("b", "ledger", { bytes: 10, carried: 0 });
      sizes.add("b", `lookup${LARGE}`, { bytes: 10, carried: 0 });
    }
    expect(sizes.compare("message", ["b", "a"])).toBeNull();
    for (let i = 0; i < 2; i++) sizes.add("b", "lookup", { bytes: 700, carried: 300 });
    expect(sizes.compare("message", ["b", "a"])).toEqual({ added: [400, 600], gain: 0.2 });
    expect(sizes.compare("message", ["a", "b"])?.gain).toBeCloseTo(-2 / 7);
  });

  test("[meta-route-bytes] a few outliers among the last fifteen do not count", () => {
    const sizes = new Sizes();
    for (let i = 0; i < 15; i++) {
      sizes.add("a", "probe", { bytes: 300, carried: 0 });
      sizes.add("b", "probe", { bytes: i % 3 === 0 ? 90_000 : 200, carried: 0 });
    }
    expect(sizes.compare("probe", ["b", "a"])?.added).toEqual([200, 300]);
  });
});
