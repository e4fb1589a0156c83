import type { DetectorKind } from "@failstorm/core";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  createFailureDetector,
  decodeGossip,
  type DetectorEffect,
  type DetectorOptions,
  type FailureDetector,
  type GossipItem,
} from "../src/index.ts";
import { INTERVAL_MS, TIMEOUT_MS } from "./detectorWorld.ts";

const KINDS: readonly DetectorKind[] = ["heartbeat", "phi-accrual", "swim"];

describe.each(KINDS)("gossip of %s detectors", (kind) => {
  const ids = ["agent-0", "agent-1", "agent-2", "agent-3", "agent-4"];
  const entry = fc.record({
    peer: fc.constantFrom("agent-3", "agent-4"),
    incarnation: fc.integer({ min: 1, max: 3 }),
    refutation: fc.integer({ min: 0, max: 2 }),
    state: fc.constantFrom("alive" as const, "dead" as const, "suspect" as const),
    by: fc.constantFrom("agent-1", "agent-2"),
  });
  const create = (self: string, all: readonly string[], monitored: readonly string[], more: Partial<DetectorOptions> = {}) =>
    createFailureDetector(kind, {
      self,
      incarnation: 1,
      peers: all.map((agentId) => ({ agentId, incarnation: 1 })),
      monitored,
      intervalMs: INTERVAL_MS,
      timeoutMs: TIMEOUT_MS,
      transportSignals: false,
      gossip: true,
      phase: () => INTERVAL_MS - 1,
      startAt: 0,
      ...more,
    });
  const beliefs = (detector: FailureDetector) =>
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
          const [a, b] = [create("agent-0", ids, []), create("agent-0", ids, [])];
          for (const item of entries) a.receive({ kind: "gossip", from: "agent-1", entries: [item] }, 10);
          for (const item of shuffled) b.receive({ kind: "gossip", from: "agent-2", entries: [item] }, 20);
          expect(beliefs(b)).toEqual(beliefs(a));
        },
      ),
    );
  });

  it("says nothing of one that is to be forgotten, and takes it for somebody new when it returns", () => {
    const detector = create("agent-0", ids, ids.slice(1));
    const advance = (until: number): DetectorEffect[] => {
      const effects: DetectorEffect[] = [];
      for (let at = detector.nextWakeAt() ?? until; at < until; at = Math.max(at + 1, detector.nextWakeAt() ?? until))
        effects.push(...detector.tick(at));
      return effects;
    };
    advance(INTERVAL_MS);
    detector.forget("agent-4");
    detector.receive({ kind: "undelivered", to: "agent-4", entries: [] }, INTERVAL_MS);
    const silent = advance(4 * TIMEOUT_MS);
    expect(silent.some((effect) => effect.kind === "dead" && effect.peer === "agent-3")).toBe(true);
    expect(silent.filter((effect) => JSON.stringify(effect).includes("agent-4"))).toEqual([]);
    expect(detector.status().map(({ peer }) => peer)).toEqual(ids.slice(1, 4));

    const now = 4 * TIMEOUT_MS;
    const back = detector.receive({ kind: "heard", peer: "agent-4", incarnation: 2 }, now);
    expect(back).toContainEqual({ kind: "alive", peer: "agent-4", incarnation: 2, how: "probe", was: "unknown" });
    detector.monitor(ids.slice(1), now);
    expect(advance(now + 4 * TIMEOUT_MS)).toContainEqual(
      expect.objectContaining({ kind: "dead", peer: "agent-4", incarnation: 2 }),
    );
  });

  it("reaches everybody over directed edges, with each agent passing each piece of news on at most once", () => {
    const count = 24;
    const all = Array.from({ length: count }, (_, i) => `agent-${i}`);
    const successors = (i: number): string[] => [1, 2, 3].map((step) => all[(i + step) % count] as string);
    const detectors = all.map((self, i) => create(self, all, successors(i), { transportSignals: true }));
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

  it("where everybody can be sent to, reaches all in N log N messages", () => {
    const count = 40;
    const all = Array.from({ length: count }, (_, i) => `agent-${i}`);
    const others = (self: string): string[] => all.filter((id) => id !== self);
    const detectors = new Map(all.map((self) => [self, create(self, all, others(self), { fullyLinked: true })]));
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

  const OPEN = { transportSignals: true, fullyLinked: true, fixedMembers: true };
  /**
   * agent-27 of forty, who can all send to all, finds agent-30 dead; `gone` are too, and nobody knows. `dying` dies when it has sent so many
   * messages, of which the agent before it learns in the next round. Who is not told, and how many messages are sent.
   */
  const wave = (unnoticed: readonly string[], dying?: { readonly id: string; readonly sends: number }) => {
    const all = Array.from({ length: 40 }, (_, i) => `agent-${i}`);
    const others = (self: string): string[] => all.filter((id) => id !== self);
    const detectors = new Map(all.map((self) => [self, create(self, all, others(self), OPEN)]));
    const at = (id: string): FailureDetector => detectors.get(id) as FailureDetector;
    const gone = new Set(unnoticed);
    let waiting: { from: string; to: string; entries: readonly GossipItem[] }[] = [];
    let sends = 0;
    const send = (from: string, effects: readonly DetectorEffect[]): void => {
      for (const effect of effects)
        for (const to of effect.kind === "gossip" ? effect.to : []) {
          if (gone.has(from)) return;
          if (effect.kind === "gossip") waiting.push({ from, to, entries: effect.entries });
          if (from === dying?.id && ++sends >= dying.sends) gone.add(from);
        }
    };
    const findDead = (finder: string, peer: string, now: number): void => {
      at(finder).receive({ kind: "closed", peer, incarnation: 1 }, now);
      send(finder, at(finder).receive({ kind: "unanswered", peer, refused: true }, now));
    };
    findDead("agent-27", "agent-30", 1);
    let messages = 0;
    let isKnown = dying === undefined;
    // Nobody probes anybody before the interval is over.
    for (let now = 3; now < INTERVAL_MS - 50; now += 40) {
      const sent = waiting;
      waiting = [];
      messages += sent.length;
      if (!isKnown && dying !== undefined && gone.has(dying.id)) {
        isKnown = true;
        findDead(all.findLast((id, i) => i < all.indexOf(dying.id) && !gone.has(id)) ?? "agent-39", dying.id, now);
      }
      for (const { from, to, entries } of sent) {
        if (gone.has(to)) send(from, at(from).receive({ kind: "undelivered", to, entries }, now));
        else send(to, at(to).receive({ kind: "gossip", from, entries }, now));
      }
      for (const id of all) if (!gone.has(id)) send(id, at(id).tick(now + 39));
    }
    const knows = (id: string): boolean =>
      at(id)
        .status()
        .some(({ peer, state }) => peer === "agent-30" && state === "dead");
    return { untold: all.filter((id) => id !== "agent-30" && !gone.has(id) && !knows(id)), messages };
  };
  it("deaths that all were signalled are told together when an interval is over, and none of one found alive by then", () => {
    const detector = create("agent-0", ids, ids.slice(1), { ...OPEN, allSignalled: true });
    const told: { at: number; to: string; dead: string[] }[] = [];
    const note = (at: number, effects: readonly DetectorEffect[]): void => {
      for (const effect of effects) {
        if (effect.kind !== "gossip") continue;
        const dead = effect.entries.flatMap((item) => ("probe" in item || item.state !== "dead" ? [] : [item.peer]));
        if (dead.length > 0) told.push(...effect.to.map((to) => ({ at, to, dead })));
      }
    };
    for (const [index, peer] of ["agent-2", "agent-3", "agent-4"].entries()) {
      const now = 1 + 10 * index;
      note(now, detector.receive({ kind: "closed", peer, incarnation: 1 }, now));
      note(now, detector.receive({ kind: "unanswered", peer, refused: true }, now));
    }
    note(40, detector.receive({ kind: "answered", peer: "agent-3", incarnation: 1, sentAt: 30 }, 40));
    for (
      let at = detector.nextWakeAt() ?? Infinity;
      at < 2 * INTERVAL_MS;
      at = Math.max(at + 1, detector.nextWakeAt() ?? Infinity)
    )
      note(at, detector.tick(at));
    const dead = ["agent-2", "agent-4"];
    const [back, ...together] = told;
    expect(back, "who is back is brought up to date").toEqual({ at: 40, to: "agent-3", dead });
    expect(together).toEqual(["agent-1", "agent-3"].map((to) => ({ at: 1 + INTERVAL_MS, to, dead })));
  });

  it("of many, deaths that all were signalled are told later, when what they make everybody do is over", () => {
    const many = Array.from({ length: 64 }, (_, i) => `agent-${i}`);
    const detector = create("agent-0", many, many.slice(1, 4), { ...OPEN, fixedMembers: true, allSignalled: true });
    const tells = (effects: readonly DetectorEffect[]): boolean =>
      effects.some(
        (effect) => effect.kind === "gossip" && effect.entries.some((item) => !("probe" in item) && item.peer === "agent-9"),
      );
    detector.receive({ kind: "closed", peer: "agent-9", incarnation: 1 }, 1);
    let isTold = tells(detector.receive({ kind: "unanswered", peer: "agent-9", refused: true }, 1));
    let at = 1;
    while (!isTold && at < 8 * INTERVAL_MS)
      isTold = tells(detector.tick((at = Math.max(at + 1, detector.nextWakeAt() ?? Infinity))));
    expect({ isTold, intervals: Math.floor(at / INTERVAL_MS) }).toEqual({ isTold: true, intervals: 4 });
  });

  it("and so are those of a second storm, though it comes when the first is told", () => {
    const many = Array.from({ length: 64 }, (_, i) => `agent-${i}`);
    const detector = create("agent-0", many, [], { ...OPEN, fixedMembers: true, allSignalled: true });
    const told = new Map<string, number>();
    const note = (at: number, effects: readonly DetectorEffect[]): void => {
      for (const effect of effects)
        if (effect.kind === "gossip")
          for (const { peer } of effect.entries) if (!told.has(peer)) told.set(peer, Math.floor(at / INTERVAL_MS));
    };
    const die = (peer: string, now: number): void => {
      note(now, detector.receive({ kind: "closed", peer, incarnation: 1 }, now));
      note(now, detector.receive({ kind: "unanswered", peer, refused: true }, now));
    };
    const run = (from: number, until: number): void => {
      for (let at = from; at < until; at = Math.max(at + 1, detector.nextWakeAt() ?? Infinity)) note(at, detector.tick(at));
    };
    die("agent-9", 1);
    die("agent-10", 1.5 * INTERVAL_MS);
    run(1.5 * INTERVAL_MS, 3.5 * INTERVAL_MS);
    die("agent-11", 3.5 * INTERVAL_MS);
    run(3.5 * INTERVAL_MS, 9 * INTERVAL_MS);
    expect(Object.fromEntries(told)).toEqual({ "agent-9": 4, "agent-10": 4, "agent-11": 7 });
  });

  const mortal = Array.from({ length: 40 }, (_, i) => `agent-${i}`).filter((id) => id !== "agent-27" && id !== "agent-30");

  it("where nobody joins or leaves, reaches each of many with one message", () => {
    // Not to agent-27, who found it out, nor to the dead.
    expect(wave([])).toEqual({ untold: [], messages: 38 });
  });

  it("where nobody joins or leaves, reaches all who live, whoever of those that pass things on has died unnoticed", () => {
    expect(wave(["agent-0", "agent-7", "agent-21", "agent-22", "agent-28"]).untold).toEqual([]);
    fc.assert(
      fc.property(fc.subarray(mortal, { maxLength: 16 }), (gone) => {
        expect(wave(gone).untold).toEqual([]);
      }),
      { numRuns: 30 },
    );
  });

  it("where nobody joins or leaves, reaches all who live, though a speaker dies when it has told some", () => {
    const speakers = fc.constantFrom("agent-0", "agent-7", "agent-14", "agent-21", "agent-28", "agent-35");
    const dying = fc.record({ id: speakers, sends: fc.integer({ min: 1, max: 12 }) });
    fc.assert(
      fc.property(fc.subarray(mortal, { maxLength: 10 }), dying, (gone, speaker) => {
        const others = gone.filter((id) => id !== speaker.id);
        expect(wave(others, speaker).untold).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  it("brings several agents to one belief, in whatever order and however often it gets around", () => {
    const group = ["agent-0", "agent-1", "agent-2"];
    const found = fc.record({ by: fc.nat({ max: group.length - 1 }), entry });
    fc.assert(
      fc.property(fc.array(found, { maxLength: 8 }), fc.array(fc.nat(), { minLength: 1, maxLength: 20 }), (findings, picks) => {
        const detectors = group.map((self) =>
          create(
            self,
            ids,
            ids.filter((id) => id !== self),
          ),
        );
        let waiting: { to: string; from: string; entries: readonly GossipItem[] }[] = [];
        const send = (from: string, effects: readonly DetectorEffect[]): void => {
          for (const effect of effects)
            if (effect.kind === "gossip") waiting.push(...effect.to.map((to) => ({ to, from, entries: effect.entries })));
        };
        for (const { by, entry } of findings)
          send(group[by] as string, detectors[by]?.receive({ kind: "gossip", from: "agent-4", entries: [entry] }, 10) ?? []);
        // Short enough for no suspicion to run out: half the timeout.
        for (let [now, turn] = [10, 0]; now < TIMEOUT_MS / 2 - INTERVAL_MS / 5; turn++) {
          const chosen = waiting[(picks[turn % picks.length] as number) % Math.max(1, waiting.length)];
          if (chosen === undefined) {
            now += INTERVAL_MS / 20;
            for (const [i, detector] of detectors.entries()) send(group[i] as string, detector.tick(now));
            continue;
          }
          if (turn % 3 > 0) waiting = waiting.filter((item) => item !== chosen);
          const { to, from, entries } = chosen;
          const receiver = detectors[group.indexOf(to)];
          if (receiver !== undefined) send(to, receiver.receive({ kind: "gossip", from, entries }, now));
        }
        const about = (detector: FailureDetector | undefined): string[] =>
          (detector?.status() ?? [])
            .filter(({ peer }) => !group.includes(peer))
            .map(({ peer, incarnation, state }) => `${peer}#${incarnation} ${state === "dead" ? state : "not dead"}`);
        for (const detector of detectors) expect(about(detector)).toEqual(about(detectors[0]));
      }),
      { numRuns: 200 },
    );
  });
});

describe("suspicion", () => {
  it("kills nobody once it is refuted, whoever suspects, and however late the rest of it comes", () => {
    const suspicion = fc.record({
      afterMs: fc.integer({ min: 0, max: 150 }),
      by: fc.constantFrom("agent-1", "agent-2", "agent-3"),
      refutation: fc.integer({ min: 0, max: 2 }),
    });
    fc.assert(
      fc.property(fc.array(suspicion, { maxLength: 8 }), fc.nat({ max: 8 }), (suspicions, refutedAfter) => {
        const ids = ["agent-0", "agent-1", "agent-2", "agent-3", "agent-4"];
        const detector = createFailureDetector("swim", {
          self: "agent-0",
          incarnation: 1,
          peers: ids.map((agentId) => ({ agentId, incarnation: 1 })),
          monitored: [],
          intervalMs: INTERVAL_MS,
          timeoutMs: TIMEOUT_MS,
          transportSignals: false,
          gossip: true,
          phase: () => 0,
          startAt: 0,
        });
        const said: DetectorEffect[] = [];
        let now = 0;
        const hear = (entry: GossipItem): void =>
          void said.push(...detector.receive({ kind: "gossip", from: "agent-1", entries: [entry] }, now));
        const refute = (): void => hear({ peer: "agent-4", incarnation: 1, refutation: 3, state: "alive" });
        for (const [i, { afterMs, by, refutation }] of suspicions.entries()) {
          if (i === refutedAfter) refute();
          now += afterMs;
          hear({ peer: "agent-4", incarnation: 1, refutation, state: "suspect", by });
        }
        if (refutedAfter >= suspicions.length) refute();
        for (let wakeAt = detector.nextWakeAt(); wakeAt !== null && wakeAt < 8 * TIMEOUT_MS; wakeAt = detector.nextWakeAt()) {
          now = Math.max(now, wakeAt);
          said.push(...detector.tick(now));
        }
        expect(said.filter(({ kind }) => kind === "dead")).toEqual([]);
        expect(detector.status().find(({ peer }) => peer === "agent-4")?.state).toBe("alive");
      }),
    );
  });
});

describe("decodeGossip", () => {
  it("takes in nothing malformed", () => {
    const good = { peer: "agent-1", incarnation: 1, refutation: 0, state: "dead" };
    expect(
      decodeGossip([good, null, 3, {}, { ...good, state: "undead" }, { ...good, incarnation: -1 }, { ...good, refutation: 0.5 }]),
    ).toEqual([good]);
    const asked = { peer: "agent-1", incarnation: 1, probe: "asked" };
    const suspicion = { ...good, state: "suspect", by: "agent-2" };
    expect(
      decodeGossip([asked, { ...asked, probe: "told" }, { ...good, state: "suspect" }, suspicion, { ...suspicion, extra: 1 }]),
    ).toEqual([asked, suspicion, suspicion]);
  });
});
