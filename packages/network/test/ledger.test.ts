import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  compareHlc,
  createHlc,
  createTaskLedger,
  decodeDigest,
  decodeEntry,
  type LedgerEntry,
  type TaskLedger,
} from "../src/index.ts";

const hlc = fc.record({ ms: fc.integer({ min: 0, max: 3 }), counter: fc.integer({ min: 0, max: 2 }) });
const base = {
  task: fc.constantFrom("t-1", "t-2", "t-3"),
  owner: fc.constantFrom("agent-1", "agent-2"),
  incarnation: fc.integer({ min: 1, max: 2 }),
  attempt: fc.integer({ min: 1, max: 2 }),
  hlc,
};
const entry: fc.Arbitrary<LedgerEntry> = fc.oneof(
  fc.record({ ...base, kind: fc.constant("started" as const) }),
  fc.record({
    ...base,
    kind: fc.constant("outcome" as const),
    status: fc.constantFrom("answered" as const, "no_answer" as const, "expired" as const),
    answer: fc.constantFrom("Paris", "Rome", null),
  }),
);
const entries = fc.array(entry, { maxLength: 12 });

const ledgerOf = (self = "agent-0", relay = false): TaskLedger => createTaskLedger({ self, incarnation: 1, relay });

function merged(...batches: readonly (readonly LedgerEntry[])[]): TaskLedger {
  const ledger = ledgerOf();
  for (const batch of batches) ledger.merge(batch, 0);
  return ledger;
}

/** All that can be read from a ledger, whatever the order in which it learnt it. */
const reading = (ledger: TaskLedger) => ({
  size: ledger.size,
  conflicts: ledger.conflicts,
  outcomes: ledger.outcomes(),
  started: ["t-1", "t-2", "t-3"].map((task) => ledger.startedBy(task)),
  attempts: ["t-1", "t-2", "t-3"].map((task) => ledger.highestAttempt(task)),
  digest: ledger.digest(),
  finalDigest: ledger.finalDigest(),
});

describe("merge", () => {
  it("is commutative", () => {
    fc.assert(
      fc.property(entries, entries, (a, b) => {
        expect(reading(merged(a, b))).toEqual(reading(merged(b, a)));
      }),
    );
  });

  it("is associative", () => {
    fc.assert(
      fc.property(entries, entries, entries, (a, b, c) => {
        expect(reading(merged(a, merged(b, c).entries()))).toEqual(reading(merged(merged(a, b).entries(), c)));
      }),
    );
  });

  it("is idempotent, and says what was news", () => {
    fc.assert(
      fc.property(entries, (a) => {
        const ledger = merged(a);
        const before = reading(ledger);
        expect(ledger.merge(a, 0)).toEqual({ added: [], conflicts: 0 });
        expect(reading(ledger)).toEqual(before);
        expect(merged().merge(a, 0).added).toHaveLength(ledger.size);
      }),
    );
  });

  it("different sets of entries have different digests", () => {
    fc.assert(
      fc.property(entries, entry, (a, extra) => {
        const ledger = merged(a);
        const before = { digest: ledger.digest(), final: ledger.finalDigest() };
        const isNews = ledger.merge([extra], 0).added.length === 1;
        expect(ledger.finalDigest() === before.final).toBe(!isNews);
        expect(JSON.stringify(ledger.digest()) === JSON.stringify(before.digest)).toBe(!isNews);
      }),
    );
  });
});

describe("outcomes", () => {
  it("the first by hybrid logical clock is canonical, ties broken alike everywhere", () => {
    const outcome = (owner: string, ms: number, answer: string): LedgerEntry => ({
      kind: "outcome",
      task: "t-1",
      owner,
      incarnation: 1,
      attempt: 1,
      hlc: { ms, counter: 0 },
      status: "answered",
      answer,
    });
    const [late, early, tie] = [outcome("agent-1", 9, "Rome"), outcome("agent-2", 5, "Paris"), outcome("agent-3", 5, "Oslo")];
    expect(merged([late], [tie], [early]).outcomeOf("t-1")).toEqual(early);
    expect(merged([late, tie]).conflicts).toBe(1);
    expect(merged([late], [tie, early]).conflicts).toBe(2);
    expect(merged([outcome("agent-1", 1, "Rome"), outcome("agent-2", 2, "Rome")]).conflicts).toBe(0);
    expect(merged().outcomeOf("t-1")).toBeNull();
  });

  it("conflicts that a merge brings to light add up to the total", () => {
    fc.assert(
      fc.property(fc.array(entries, { maxLength: 4 }), (batches) => {
        const ledger = ledgerOf();
        const sum = batches.reduce((total, batch) => total + ledger.merge(batch, 0).conflicts, 0);
        expect(ledger.conflicts).toBe(sum);
      }),
    );
  });

  it("records carry owner, incarnation and attempt", () => {
    const ledger = createTaskLedger({ self: "agent-4", incarnation: 3, relay: false });
    ledger.recordStarted({ task: "t-9", attempt: 2 }, 50);
    const outcome = ledger.recordOutcome({ task: "t-9", attempt: 2, status: "expired", answer: null }, 60);
    expect(outcome).toMatchObject({ owner: "agent-4", incarnation: 3, attempt: 2, hlc: { ms: 60, counter: 0 } });
    expect(ledger.startedBy("t-9")).toHaveLength(1);
    expect(ledger.highestAttempt("t-9")).toBe(2);
    expect(ledger.highestAttempt("t-8")).toBe(0);
  });
});

describe("replication", () => {
  it("pushes what was recorded here, once to each peer; a failed push is repeated with what came after it", () => {
    const ledger = ledgerOf();
    ledger.recordStarted({ task: "t-1", attempt: 1 }, 1);
    const first = ledger.takeDelta("agent-1");
    expect(first.entries).toHaveLength(1);
    expect(ledger.takeDelta("agent-1").entries).toEqual([]);
    ledger.returnDelta("agent-1", first);
    ledger.recordStarted({ task: "t-2", attempt: 1 }, 2);
    expect(ledger.takeDelta("agent-1").entries.map(({ task }) => task)).toEqual(["t-1", "t-2"]);
    expect(ledger.takeDelta("agent-2", 1).entries.map(({ task }) => task)).toEqual(["t-1"]);
    expect(ledger.takeDelta("agent-2", 1).entries.map(({ task }) => task)).toEqual(["t-2"]);
    ledger.markSynced("agent-3", ledger.size);
    expect(ledger.takeDelta("agent-3").entries).toEqual([]);
  });

  it.each([false, true])("passes on what it learnt from others only when asked to (relay %s), never back", (relay) => {
    const source = ledgerOf("agent-1");
    source.recordStarted({ task: "t-1", attempt: 1 }, 1);
    const middle = ledgerOf("agent-2", relay);
    middle.merge(source.takeDelta("agent-2").entries, 2, "agent-1");
    expect(middle.takeDelta("agent-3").entries).toHaveLength(relay ? 1 : 0);
    expect(middle.takeDelta("agent-1").entries).toEqual([]);
  });

  it("floods a ring with relays, and ends", () => {
    const ledgers = Array.from({ length: 6 }, (_, i) => ledgerOf(`agent-${i}`, true));
    for (const [i, ledger] of ledgers.entries()) ledger.recordStarted({ task: `t-${i}`, attempt: 1 }, i);
    let pushed = 0;
    for (let round = 0; round < 4; round++) {
      for (const [i, ledger] of ledgers.entries()) {
        for (const next of [(i + 1) % 6, (i + 5) % 6]) {
          const delta = ledger.takeDelta(`agent-${next}`);
          pushed += delta.entries.length;
          ledgers[next]?.merge(delta.entries, 10, `agent-${i}`);
        }
      }
    }
    expect(new Set(ledgers.map((ledger) => ledger.finalDigest())).size).toBe(1);
    expect(pushed).toBeLessThanOrEqual(6 * 12);
  });

  it("anti-entropy both ways leaves both with the union", () => {
    fc.assert(
      fc.property(entries, entries, entries, (both, onlyA, onlyB) => {
        const [a, b] = [merged(both, onlyA), merged(both, onlyB)];
        b.merge(a.diff(b.digest()), 0);
        a.merge(b.diff(a.digest()), 0);
        expect(reading(a)).toEqual(reading(b));
        expect(reading(a)).toEqual(reading(merged(both, onlyA, onlyB)));
        expect(a.diff(b.digest())).toEqual([]);
      }),
    );
  });

  it("little travels when little differs", () => {
    const [a, b] = [ledgerOf("agent-1"), ledgerOf("agent-2")];
    for (let i = 0; i < 20_000; i++) a.recordStarted({ task: `t-${i}`, attempt: 1 }, i);
    b.merge(a.entries(), 0);
    for (let i = 0; i < 10; i++) a.recordStarted({ task: `t-${i * 7}`, attempt: 2 }, 30_000);
    const answer = a.diff(b.digest());
    expect(b.merge(answer, 0).added).toHaveLength(10);
    expect(answer.length).toBeLessThan(20_000 / 10);
    expect(JSON.stringify(b.digest()).length + JSON.stringify(answer).length).toBeLessThan(250_000);
  });
});

describe("what comes over the network", () => {
  it("an entry survives JSON; anything else is refused", () => {
    fc.assert(
      fc.property(entry, (value) => {
        expect(decodeEntry(JSON.parse(JSON.stringify(value)))).toEqual(value);
      }),
    );
    fc.assert(
      fc.property(fc.anything(), (value) => {
        expect(decodeEntry(value)).toBeNull();
      }),
    );
    const good = { task: "t", kind: "started", owner: "a", incarnation: 1, attempt: 1, hlc: { ms: 1, counter: 0 } };
    expect(decodeEntry(good)).not.toBeNull();
    for (const bad of [{ hlc: { ms: Number.NaN, counter: 0 } }, { attempt: -1 }, { kind: "outcome" }, { owner: 7 }]) {
      expect(decodeEntry({ ...good, ...bad })).toBeNull();
    }
  });

  it("so does a digest", () => {
    const digest = merged([]).digest();
    expect(decodeDigest(JSON.parse(JSON.stringify(digest)))).toEqual(digest);
    for (const bad of [
      null,
      {},
      { entries: 1, buckets: [] },
      { entries: 1, buckets: ["", "", ""] },
      { entries: 1, buckets: [1, 2] },
    ]) {
      expect(decodeDigest(bad)).toBeNull();
    }
  });
});

describe("hybrid logical clock", () => {
  it("stamps grow, with physical time standing still or going back, and beyond all that was observed", () => {
    const events = fc.array(fc.oneof(fc.record({ now: fc.nat(50) }), fc.record({ now: fc.nat(50), remote: hlc })), {
      maxLength: 30,
    });
    fc.assert(
      fc.property(events, (list) => {
        const clock = createHlc();
        let last = { ms: -1, counter: 0 };
        for (const event of list) {
          if ("remote" in event) {
            clock.observe(event.remote, event.now);
            if (compareHlc(event.remote, last) > 0) last = event.remote;
            continue;
          }
          const stamp = clock.tick(event.now);
          expect(compareHlc(stamp, last)).toBeGreaterThan(0);
          expect(stamp.ms).toBeGreaterThanOrEqual(event.now);
          last = stamp;
        }
      }),
    );
  });

  it("follows physical time when nothing is ahead of it", () => {
    const clock = createHlc();
    expect(clock.tick(10)).toEqual({ ms: 10, counter: 0 });
    expect(clock.tick(10)).toEqual({ ms: 10, counter: 1 });
    clock.observe({ ms: 25, counter: 4 }, 11);
    expect(clock.tick(12)).toEqual({ ms: 25, counter: 5 });
    expect(clock.tick(26)).toEqual({ ms: 26, counter: 0 });
    clock.observe({ ms: 30, counter: Number.MAX_SAFE_INTEGER }, 26);
    expect(clock.tick(26)).toEqual({ ms: 31, counter: 0 });
  });
});
