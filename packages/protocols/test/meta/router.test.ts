import { createPrng } from "@failstorm/core";
import { describe, expect, test } from "vitest";
import type { Declared, Need, RouterSettings } from "../../src/meta/costs.ts";
import { type Decision, type Demand, Router } from "../../src/meta/router.ts";
import { LARGE } from "../../src/meta/sizes.ts";

const DECLARED: Readonly<Record<string, { needs: readonly Need[]; roundTrips: number }>> = {
  quick: { needs: ["streaming"], roundTrips: 1 },
  safe: { needs: ["idempotency", "authentication"], roundTrips: 2 },
  plain: { needs: [], roundTrips: 3 },
};
const ALL = ["quick", "safe", "plain"];
const DWELL = 5_000;

const router = (settings: Partial<RouterSettings> = {}): Router =>
  new Router(
    {
      per: "message",
      prefer: [],
      require: [],
      dwellMs: DWELL,
      margin: 0.25,
      bytesMargin: 0.1,
      lossPenaltyMs: 1_000,
      exploreEvery: 0,
      ...settings,
    },
    (name): Declared => {
      const { needs = [], roundTrips = 1 } = DECLARED[name] ?? {};
      return { needs: new Set(needs), roundTrips };
    },
  );

const PLAIN: Demand = { kind: "lookup", timed: true, required: [], wished: [], large: false };
const keyed: Demand = { ...PLAIN, wished: ["idempotency"] };

function routed(decision: Decision): Extract<Decision, { kind: "route" }> {
  if (decision.kind !== "route") throw new Error(decision.reason);
  return decision;
}

interface Answers {
  readonly n?: number;
  readonly at?: number;
  readonly kind?: string;
  readonly peer?: string;
}

/** So many answers of a kind by each of these, in turn, after so many ms. */
function answers(on: Router, by: Readonly<Record<string, number>>, options: Answers = {}): void {
  const { n = 10, at = 0, kind = "lookup", peer = "agent-1" } = options;
  for (let i = 0; i < n; i++)
    for (const [protocol, ms] of Object.entries(by))
      on.observe(peer, protocol, { kind, ms, outcome: "answered", timed: true }, at);
}

function losses(on: Router, protocol: string, n: number, at = 0, outcome: "lost" | "overdue" = "lost"): void {
  for (let i = 0; i < n; i++) on.observe("agent-1", protocol, { kind: "lookup", ms: 0, outcome, timed: false }, at);
}

describe("the first choice", () => {
  test("[meta-route-first] is what needs the fewest round trips, said once", () => {
    const on = router();
    expect(routed(on.message("agent-1", ["plain", "safe", "quick"], PLAIN, 0))).toEqual({
      kind: "route",
      protocol: "quick",
      choices: [
        {
          peer: "agent-1",
          protocol: "quick",
          before: null,
          reason: "nothing is measured yet; round trips of a handshake: quick 1, plain 3, safe 2",
        },
      ],
      unmet: [],
    });
    expect(routed(on.message("agent-1", ["plain", "safe", "quick"], PLAIN, 1)).choices).toEqual([]);
  });

  test("[meta-route-first] is what the configuration prefers, as far as the peer hosts it", () => {
    const on = router({ prefer: ["plain", "safe"] });
    expect(routed(on.message("agent-1", ["quick", "safe"], PLAIN, 0)).protocol).toBe("safe");
    expect(routed(on.message("agent-2", ALL, PLAIN, 0)).protocol).toBe("plain");
  });

  test("[meta-route-only] of a peer that hosts one protocol is no choice, and says so", () => {
    const { choices } = routed(router().message("agent-1", ["plain"], keyed, 0));
    expect(choices).toEqual([{ peer: "agent-1", protocol: "plain", before: null, reason: "agent-1 hosts nothing else" }]);
  });
});

describe("needs", () => {
  test("[meta-route-needs] a message goes by a protocol that has what it gains by; others keep to the link's", () => {
    const on = router();
    const first = routed(on.message("agent-1", ALL, PLAIN, 0));
    const second = routed(on.message("agent-1", ALL, keyed, 1));
    expect([first.protocol, second.protocol]).toEqual(["quick", "safe"]);
    expect(second.choices).toEqual([
      { peer: "agent-1", protocol: "safe", before: "quick", reason: "it gains by idempotency, which quick, plain has not" },
    ]);
    expect(routed(on.message("agent-1", ALL, keyed, 2)).choices, "said once").toEqual([]);
    expect(routed(on.message("agent-1", ALL, PLAIN, 3)).protocol).toBe("quick");
  });

  test("[meta-route-needs] what is required goes before what is gained by", () => {
    const both: Demand = { ...PLAIN, required: ["streaming"], wished: ["idempotency"] };
    const decision = routed(router().message("agent-1", ALL, both, 0));
    expect(decision.protocol).toBe("quick");
    expect(decision.unmet).toEqual([]);
  });

  test("[meta-route-unmet] without a protocol that has it, a message goes all the same, but never unprotected", () => {
    const on = router();
    const streaming = on.message("agent-1", ["safe", "plain"], { ...PLAIN, required: ["streaming"] }, 0);
    expect(streaming).toMatchObject({ kind: "route", protocol: "safe", unmet: ["streaming"] });
    for (const need of ["encryption", "authentication"] as const)
      expect(on.message("agent-2", ["quick", "plain"], { ...PLAIN, required: [need] }, 0)).toEqual({
        kind: "refused",
        reason: `agent-2 hosts quick, plain, and none has ${need}`,
      });
    expect(routed(on.message("agent-1", ["safe", "plain"], { ...PLAIN, required: ["authentication"] }, 0)).protocol).toBe("safe");
  });

  test("[meta-route-require] what the configuration requires of all holds for messages, links and handshakes", () => {
    const on = router({ require: ["authentication"] });
    expect(on.handshake("agent-1", ALL, 0)).toEqual({
      order: ["safe"],
      choice: {
        peer: "agent-1",
        protocol: "safe",
        before: null,
        reason: "agent-1 hosts nothing else that has authentication",
      },
    });
    expect(routed(on.message("agent-1", ALL, PLAIN, 0))).toEqual({ kind: "route", protocol: "safe", choices: [], unmet: [] });
    expect(routed(on.message("agent-1", ALL, { ...PLAIN, wished: ["streaming"] }, 0)).protocol).toBe("safe");
    expect(routed(on.probe("agent-1", ALL, 0)).protocol).toBe("safe");
    on.died("agent-1");
    expect(on.handshake("agent-1", ALL, 1).order).toEqual(["safe"]);
    expect(on.message("agent-2", ["quick", "plain"], PLAIN, 0)).toEqual({
      kind: "refused",
      reason: "agent-2 hosts quick, plain, and none has authentication",
    });
    expect(routed(on.probe("agent-2", ["quick", "plain"], 0)).protocol).toBe("quick");
    expect(on.message("agent-1", ALL, { ...PLAIN, required: ["encryption"] }, 0)).toMatchObject({ kind: "refused" });
  });

  test("[meta-route-link] per link, only what is required counts", () => {
    const on = router({ per: "link" });
    expect(routed(on.message("agent-1", ALL, keyed, 0)).protocol).toBe("quick");
    expect(routed(on.message("agent-1", ALL, { ...keyed, required: ["idempotency"] }, 0)).protocol).toBe("safe");
  });
});

describe("what is measured", () => {
  /** quick is taken first and answers in 10 ms. */
  function measured(ms: number, settings: Partial<RouterSettings> = {}): Router {
    const on = router(settings);
    on.message("agent-1", ALL, PLAIN, 0);
    answers(on, { quick: 10, safe: ms });
    return on;
  }

  test("[meta-route-measure] the cheaper one takes over, with the figures as the reason", () => {
    const on = measured(4);
    const { protocol, choices } = routed(on.message("agent-1", ALL, PLAIN, DWELL));
    expect(protocol).toBe("safe");
    expect(choices).toEqual([
      {
        peer: "agent-1",
        protocol: "safe",
        before: "quick",
        reason: "4.0 ms and 0 % lost, quick 10 ms and 0 % lost, 10 times side by side: 60 % cheaper",
      },
    ]);
  });

  test("[meta-route-hysteresis] not by less than the margin, and not before the dwell time is over", () => {
    expect(routed(measured(7.6).message("agent-1", ALL, PLAIN, DWELL)).protocol).toBe("quick");
    expect(routed(measured(7.4).message("agent-1", ALL, PLAIN, DWELL)).protocol).toBe("safe");
    expect(routed(measured(4).message("agent-1", ALL, PLAIN, DWELL - 1)).protocol).toBe("quick");
  });

  test("[meta-route-hysteresis] not for a gain of microseconds, whatever its share", () => {
    const on = router();
    on.message("agent-1", ALL, PLAIN, 0);
    answers(on, { quick: 0.5, safe: 0.1 });
    expect(routed(on.message("agent-1", ALL, PLAIN, DWELL)).protocol).toBe("quick");
  });

  test.each([
    ["are as fast as each other, it stays", 10, 0],
    ["differ by half, it changes once", 5, 1],
  ])("[meta-route-hysteresis] in ten noisy minutes in which both %s", (_what, safeMs, changes) => {
    for (let seed = 0; seed < 10; seed++) {
      const on = router({ exploreEvery: 16 });
      const prng = createPrng(seed, "noise");
      const mean: Readonly<Record<string, number>> = { quick: 10, safe: safeMs };
      let changed = -1;
      for (let at = 0; at < 600_000; at += 200) {
        const { protocol, choices } = routed(on.message("agent-1", ["quick", "safe"], PLAIN, at));
        changed += choices.length;
        // Latencies between a half and one and a half times the mean, ten times as much in every third minute.
        const load = at % 180_000 < 60_000 ? 10 : 1;
        const ms = load * (mean[protocol] ?? 0) * (0.5 + prng.next());
        on.observe("agent-1", protocol, { kind: "lookup", ms, outcome: "answered", timed: true }, at);
      }
      expect(changed, `seed ${seed}`).toBe(changes);
    }
  });

  test("[meta-route-hysteresis] not for what may be chance, however much it seems", () => {
    const on = router();
    on.message("agent-1", ALL, PLAIN, 0);
    for (let i = 0; i < 10; i++) answers(on, { quick: i % 2 === 0 ? 1 : 39, safe: i % 3 === 0 ? 1 : 14 }, { n: 1 });
    expect(routed(on.message("agent-1", ALL, PLAIN, DWELL)).protocol).toBe("quick");
  });

  test("[meta-route-kinds] only equal kinds of message are compared", () => {
    const on = router();
    on.message("agent-1", ALL, PLAIN, 0);
    answers(on, { quick: 10, safe: 9 });
    answers(on, { quick: 90 }, { kind: "ledger" });
    answers(on, { safe: 1 }, { kind: "probe" });
    expect(routed(on.message("agent-1", ALL, PLAIN, DWELL)).protocol, "10 ms against 9 ms is within the margin").toBe("quick");
  });

  test("[meta-route-kinds] answers are compared side by side, not over the stretches that each has seen", () => {
    const on = router();
    on.message("agent-1", ALL, PLAIN, 0);
    answers(on, { quick: 10, safe: 9 }, { n: 20 });
    // A stretch of load that only the link sees.
    answers(on, { quick: 500 }, { n: 100, at: 4_000 });
    expect(routed(on.message("agent-1", ALL, PLAIN, DWELL)).protocol).toBe("quick");
  });

  test("[meta-route-kinds] what is not known of this peer is taken from the others", () => {
    const on = router();
    on.message("agent-1", ALL, PLAIN, 0);
    answers(on, { quick: 10, safe: 4 }, { peer: "agent-2" });
    expect(routed(on.message("agent-1", ALL, PLAIN, DWELL)).protocol).toBe("safe");
  });

  test("[meta-route-large] large messages are measured apart and have a route of their own", () => {
    const on = measured(11);
    const large: Demand = { ...PLAIN, kind: `lookup${LARGE}`, large: true };
    on.message("agent-1", ALL, large, 0);
    answers(on, { quick: 900, safe: 300 }, { kind: large.kind });
    expect(routed(on.message("agent-1", ALL, large, DWELL)).protocol).toBe("safe");
    expect(routed(on.message("agent-1", ALL, PLAIN, DWELL)).protocol).toBe("quick");
  });

  test("[meta-route-explore] every so-many-th message goes by what was tried longest ago, and only one that tells something", () => {
    const on = router({ exploreEvery: 4 });
    const taken = Array.from({ length: 12 }, (_, at) => {
      const { protocol } = routed(on.message("agent-1", ALL, PLAIN, at));
      answers(on, { [protocol]: 10 }, { n: 1, at });
      return protocol;
    });
    expect(taken.map((protocol) => protocol[0]).join("")).toBe("qqqsqqqpqqqs");
    for (let i = 0; i < 8; i++) expect(routed(on.message("agent-1", ALL, { ...PLAIN, timed: false }, 20)).protocol).toBe("quick");
    const idempotent = Array.from({ length: 8 }, () => routed(on.message("agent-1", ALL, keyed, 20)).protocol);
    expect(new Set(idempotent), "nothing else would do").toEqual(new Set(["safe"]));
  });
});

describe("losses", () => {
  test("[meta-route-loss] three in a row end a route before its time", () => {
    const on = router();
    on.message("agent-1", ALL, PLAIN, 0);
    losses(on, "quick", 2, 10);
    expect(routed(on.message("agent-1", ALL, PLAIN, 11)).protocol).toBe("quick");
    losses(on, "quick", 1, 12);
    const { protocol, choices } = routed(on.message("agent-1", ALL, PLAIN, 13));
    expect(protocol).toBe("safe");
    expect(choices[0]?.reason).toBe("quick has lost 3 in a row");
  });

  test("[meta-route-loss] where all lose as many, none is better", () => {
    const on = router();
    on.message("agent-1", ALL, PLAIN, 0);
    for (const protocol of ALL) losses(on, protocol, 3, 10);
    expect(routed(on.message("agent-1", ALL, PLAIN, 11))).toMatchObject({ protocol: "quick", choices: [] });
  });

  test("[meta-route-loss] a share of losses counts as latency, and half as much after half a minute", () => {
    const lossy = (at: number): string => {
      const on = router();
      on.message("agent-1", ALL, PLAIN, 0);
      answers(on, { quick: 10, safe: 20 });
      losses(on, "quick", 1, 0);
      answers(on, { quick: 10 }, { n: 1 });
      return routed(on.message("agent-1", ALL, PLAIN, at)).protocol;
    };
    expect(lossy(DWELL), "9 % of a second are more than 10 ms").toBe("safe");
    expect(lossy(150_000), "0.3 % of a second are less").toBe("quick");
  });

  test("[meta-route-loss] where nothing gets through, the route does not go to and fro", () => {
    const on = router();
    const taken: string[] = [];
    for (let at = 0; at < 60_000; at += 500) {
      const { protocol } = routed(on.message("agent-1", ["quick", "safe"], PLAIN, at));
      if (taken.at(-1) !== protocol) taken.push(protocol);
      losses(on, protocol, 1, at);
    }
    // Back once half a minute is over: what was left may be whole again.
    expect(taken).toEqual(["quick", "safe", "quick"]);
  });

  test("[meta-route-loss] [meta-route-explore] what loses is not explored for half a minute", () => {
    const on = router({ exploreEvery: 2 });
    const explored = (at: number): string => {
      on.message("agent-1", ["quick", "safe"], PLAIN, at);
      return routed(on.message("agent-1", ["quick", "safe"], PLAIN, at)).protocol;
    };
    expect(explored(0)).toBe("safe");
    losses(on, "safe", 3, 0);
    expect([explored(1), explored(29_999), explored(30_000)]).toEqual(["quick", "quick", "safe"]);
  });

  test("[meta-route-loss] what is overdue for the work's sake is no share lost, but a row of it ends a route", () => {
    const on = router();
    on.message("agent-1", ALL, PLAIN, 0);
    answers(on, { quick: 10, safe: 10 });
    for (let i = 0; i < 20; i++) {
      losses(on, "quick", 2, 0, "overdue");
      answers(on, { quick: 10 }, { n: 1 });
    }
    expect(routed(on.message("agent-1", ALL, PLAIN, DWELL)).protocol).toBe("quick");
    losses(on, "quick", 3, DWELL, "overdue");
    expect(routed(on.message("agent-1", ALL, PLAIN, DWELL + 1)).protocol).toBe("safe");
  });

  test("[meta-route-death] what was lost with a process is not held against the protocol", () => {
    const on = router();
    on.message("agent-1", ALL, PLAIN, 0);
    losses(on, "quick", 5, 10);
    on.died("agent-1");
    expect(routed(on.message("agent-1", ALL, PLAIN, 11)).protocol).toBe("quick");
  });
});

describe("after a death", () => {
  const done = { ms: 5, failed: [] };
  /** So many peers that have only this protocol die and are met again. */
  const reconnect = (on: ReturnType<typeof router>, protocol: string, ms: number, times: number): void => {
    for (let i = 0; i < times; i++) {
      const peer = `${protocol}-${i}`;
      on.handshake(peer, [protocol], 0);
      on.died(peer);
      on.connected(peer, protocol, { ms, failed: [] }, 0);
    }
  };

  test("[meta-route-recovery] the handshake is in what came back soonest, as measured after other deaths", () => {
    const on = router({ prefer: ["quick"] });
    for (const [protocol, ms] of [
      ["quick", 8],
      ["safe", 3],
    ] as const)
      reconnect(on, protocol, ms, 5);
    on.handshake("agent-1", ["quick", "safe"], 0);
    expect(on.handshake("agent-1", ["quick", "safe"], 1).order[0], "the link stands").toBe("quick");
    on.died("agent-1");
    const { order, choice } = on.handshake("agent-1", ["quick", "safe"], 2);
    expect(order).toEqual(["safe", "quick"]);
    expect(choice).toEqual({
      peer: "agent-1",
      protocol: "safe",
      before: "quick",
      reason: "its handshakes take 3.0 ms (5 after a death), those of quick 8.0 ms (5 after a death)",
    });
    expect(on.handshake("agent-1", ["quick", "safe"], 3).choice, "each further attempt is by the same").toBeNull();
  });

  test("[meta-route-recovery] a few handshakes say nothing, and those after a death are not held against others", () => {
    const on = router({ prefer: ["quick"] });
    reconnect(on, "quick", 8, 5);
    reconnect(on, "safe", 3, 4);
    for (let i = 0; i < 5; i++) on.connected(`agent-${i + 20}`, "safe", { ms: 1, failed: [] }, 0);
    on.handshake("agent-1", ["quick", "safe"], 0);
    on.died("agent-1");
    expect(on.handshake("agent-1", ["quick", "safe"], 1)).toEqual({ order: ["quick", "safe"], choice: null });
  });

  test("[meta-route-recovery] as long as nothing is measured, by the round trips it takes", () => {
    const on = router({ prefer: ["plain"] });
    on.handshake("agent-1", ALL, 0);
    on.died("agent-1");
    const { order, choice } = on.handshake("agent-1", ALL, 1);
    expect(order).toEqual(["quick", "safe", "plain"]);
    expect(choice?.reason).toBe("round trips to reconnect: quick 1, plain 3");
  });

  test("[meta-route-recovery] and after it the link's messages go by what reconnected", () => {
    const on = router({ prefer: ["plain"] });
    on.handshake("agent-1", ALL, 0);
    on.died("agent-1");
    on.handshake("agent-1", ALL, 1);
    expect(on.connected("agent-1", "quick", done, 2)).toBeNull();
    expect(routed(on.message("agent-1", ALL, PLAIN, 3)).protocol).toBe("quick");
  });

  test("[meta-route-death] what its handshakes lost while it was away is not held against the protocol", () => {
    const on = router();
    on.handshake("agent-1", ALL, 0);
    answers(on, { quick: 10, safe: 9 });
    on.died("agent-1");
    losses(on, "quick", 8, 10);
    on.connected("agent-1", "quick", done, 20);
    expect(routed(on.message("agent-1", ALL, PLAIN, DWELL)).protocol).toBe("quick");
  });

  test("[meta-route-hysteresis] a handshake that ends after the route was moved does not move it back", () => {
    const on = router();
    expect(on.handshake("agent-1", ALL, 0).order[0]).toBe("quick");
    losses(on, "quick", 3, 1);
    expect(routed(on.message("agent-1", ALL, PLAIN, 2)).protocol).toBe("safe");
    expect(on.connected("agent-1", "quick", done, 3)).toBeNull();
    expect(routed(on.message("agent-1", ALL, PLAIN, 4)).protocol).toBe("safe");
  });

  test("[meta-route-fallback] a handshake that another protocol had to complete is a choice", () => {
    const on = router();
    const { order } = on.handshake("agent-1", ALL, 0);
    expect(order).toEqual(["quick", "safe", "plain"]);
    const failed = [{ protocol: "quick", code: "protocol" }];
    expect(on.connected("agent-1", "safe", { ms: 4, failed }, 1)).toEqual({
      peer: "agent-1",
      protocol: "safe",
      before: "quick",
      reason: "it answered the handshake where quick (protocol) failed",
    });
    expect(routed(on.message("agent-1", ALL, PLAIN, 2)).protocol).toBe("safe");
  });
});
