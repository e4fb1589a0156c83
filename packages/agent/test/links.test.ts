import { type AgentDescription, type CommBackend, CommError, type ConnectResult, createPrng, FakeClock } from "@failstorm/core";
import { createView, type MembershipView } from "@failstorm/network";
import { expect, test } from "vitest";
import { Links } from "../src/links.ts";
import { recording } from "./recorded.ts";

type Replacements = readonly { readonly agentId: string; readonly capability: string }[];

/** Links of one agent (agent-0) in a mesh, over handshakes whose outcome and duration the test decides. */
function setUp({ self = "agent-0", handshakeMs = 0, replacementsOf = oneForOne, neighboursIn = everybodyElse } = {}) {
  const clock = new FakeClock();
  const { recorder, of } = recording(clock);
  const peers = new Map<string, AgentDescription | "refused" | "silent">();
  const dialled: string[] = [];
  const startedAt: number[] = [];
  const underWay = { now: 0, most: 0 };
  const recovered = new Map<string, ConnectResult["recovered"]>();
  const connect = async (_src: string, dst: string, { signal }: { signal: AbortSignal }) => {
    dialled.push(dst);
    startedAt.push(clock.now());
    underWay.most = Math.max(underWay.most, ++underWay.now);
    try {
      if (peers.get(dst) === "silent") await clock.sleep(1e9, signal);
      if (handshakeMs > 0) await clock.sleep(handshakeMs, signal);
    } finally {
      underWay.now -= 1;
    }
    const peer = peers.get(dst) ?? "refused";
    if (typeof peer === "string") throw new CommError("refused", dst, "nobody listens");
    const told = recovered.get(dst);
    return {
      peer,
      ...(told === undefined ? {} : { recovered: told }),
      traffic: { bytesSent: 10, bytesReceived: 20, roundTrips: 1, firstByteAt: clock.now(), ms: 0 },
    };
  };
  const links = new Links({
    self,
    clock,
    prng: createPrng(1),
    recorder,
    backend: { connect } as unknown as CommBackend,
    connectTimeoutMs: 10_000,
    timeScale: 1,
    rejoining: false,
    neighboursIn: (view) => neighboursIn(view, self),
    replacementsOf,
    onDescription: () => {},
  });
  const up = (): string[] => of("link.up").map(({ peer, peerInc, reason, lost }) => `${peer}#${peerInc} ${reason} ${lost}`);
  const is = (agentId: string, incarnation: number, capabilities: string[] = []) =>
    peers.set(agentId, { agentId, incarnation, capabilities });
  return { clock, links, peers, recovered, dialled, startedAt, underWay, up, is, of };
}

const everybodyElse = (view: MembershipView, self: string): string[] => view.liveIds.filter((id) => id !== self);
const oneForOne = (dead: string, view: MembershipView): Replacements =>
  dead === "agent-1" && view.isLive("agent-2") ? [{ agentId: "agent-2", capability: "shard:1" }] : [];

const view = (...members: Array<[string, number]>): MembershipView =>
  createView(members.map(([id, incarnation]) => ({ id, incarnation })));
const everybody = view(["agent-0", 1], ["agent-1", 1], ["agent-2", 1]);
const withoutOne = view(["agent-0", 1], ["agent-2", 1]);

test("the first handshakes are tried until they succeed", async () => {
  const { clock, links, is, up, of } = setUp();
  is("agent-2", 1);
  const done = links.setUp(everybody, new AbortController().signal);
  await clock.advance(1_000);
  expect(up()).toEqual(["agent-2#1 setup null"]);
  is("agent-1", 1);
  await clock.advance(2_000);
  await done;
  expect(up()).toEqual(["agent-2#1 setup null", "agent-1#1 setup null"]);
  expect(of("link.failed").length).toBeGreaterThan(0);
});

test("after a death: the replacement once it describes itself as one, and the dead with back-off until its next incarnation answers", async () => {
  const { clock, links, is, up, peers, dialled, of } = setUp();
  is("agent-1", 1);
  is("agent-2", 1);
  await links.setUp(everybody, new AbortController().signal);
  peers.set("agent-1", "refused");
  dialled.length = 0;
  links.follow(withoutOne, [{ peer: "agent-1", incarnation: 1, state: "dead" }]);
  await clock.advance(3_000);
  // agent-2 answers, but has not taken over yet: no reconnect.
  expect(up()).toHaveLength(2);
  is("agent-2", 1, ["shard:1"]);
  await clock.advance(500);
  expect(up().at(-1)).toBe("agent-2#1 replacement agent-1");
  expect(of("link.down").map(({ peer, peerInc }) => `${peer}#${peerInc}`)).toEqual(["agent-1#1"]);
  dialled.length = 0;
  await clock.advance(20_000);
  // Back-off: no more than one try every base interval, none stops.
  expect(dialled.filter((peer) => peer === "agent-1").length).toBeGreaterThan(8);
  expect(dialled.filter((peer) => peer === "agent-1").length).toBeLessThan(80);
  expect(dialled).not.toContain("agent-2");
  is("agent-1", 2);
  await clock.advance(2_000);
  expect(up().at(-1)).toBe("agent-1#2 incarnation agent-1");
  dialled.length = 0;
  links.follow(view(["agent-0", 1], ["agent-1", 2], ["agent-2", 1]), [{ peer: "agent-1", incarnation: 2, state: "alive" }]);
  await clock.advance(5_000);
  expect(dialled).toEqual([]);
});

test("the same incarnation answering again is a healed link; news of a new one are acted upon at once", async () => {
  const { clock, links, is, up, peers } = setUp();
  is("agent-1", 1);
  is("agent-2", 1);
  await links.setUp(everybody, new AbortController().signal);
  peers.set("agent-1", "refused");
  links.follow(withoutOne, [{ peer: "agent-1", incarnation: 1, state: "dead" }]);
  await clock.advance(10_000);
  is("agent-1", 1);
  links.follow(everybody, [{ peer: "agent-1", incarnation: 1, state: "alive" }]);
  await clock.advance(0);
  expect(up().at(-1)).toBe("agent-1#1 healed agent-1");
});

test("stopping ends every dial", async () => {
  const { clock, links, is, dialled } = setUp();
  is("agent-1", 1);
  is("agent-2", 1);
  await links.setUp(everybody, new AbortController().signal);
  links.follow(withoutOne, [{ peer: "agent-1", incarnation: 1, state: "dead" }]);
  links.stop();
  await clock.advance(0);
  dialled.length = 0;
  await clock.advance(30_000);
  expect(dialled).toEqual([]);
});

const ids = (count: number): string[] => Array.from({ length: count }, (_, index) => `agent-${index}`);
const viewOf = (members: readonly string[]): MembershipView => view(...members.map((id): [string, number] => [id, 1]));
const deaths = (peers: readonly string[]) => peers.map((peer) => ({ peer, incarnation: 1, state: "dead" as const }));
const range = (from: number, to: number): string[] => ids(to).slice(from);

test("one handshake with a replacement is enough for all it shows; the traffic is counted once", async () => {
  const both: Replacements = [
    { agentId: "agent-2", capability: "shard:1" },
    { agentId: "agent-2", capability: "tool:search" },
  ];
  const replacementsOf = (dead: string): Replacements =>
    dead === "agent-1" ? both : [{ agentId: "agent-2", capability: "shard:3" }];
  const { clock, links, is, dialled, of } = setUp({ replacementsOf });
  for (const id of range(1, 4)) is(id, 1);
  await links.setUp(viewOf(ids(4)), new AbortController().signal);
  is("agent-2", 1, ["shard:1", "shard:2", "shard:3", "tool:search"]);
  dialled.length = 0;
  links.follow(viewOf(["agent-0", "agent-2"]), deaths(["agent-1", "agent-3"]));
  await clock.advance(60);
  expect(dialled.filter((peer) => peer === "agent-2")).toHaveLength(1);
  const failovers = of("link.up").filter(({ reason }) => reason === "replacement");
  expect(failovers.map(({ lost, bytesSent, roundTrips }) => [lost, bytesSent, roundTrips])).toEqual([
    ["agent-1", 10, 1],
    ["agent-3", 0, 0],
  ]);
});

test("what a replacement does not show yet is asked for again, and what it has shown is not", async () => {
  const replacementsOf = (): Replacements => [
    { agentId: "agent-2", capability: "shard:1" },
    { agentId: "agent-2", capability: "tool:search" },
  ];
  const { clock, links, is, up, peers, of } = setUp({ replacementsOf });
  is("agent-1", 1);
  is("agent-2", 1);
  await links.setUp(everybody, new AbortController().signal);
  peers.set("agent-1", "refused");
  is("agent-2", 1, ["shard:1"]);
  links.follow(withoutOne, deaths(["agent-1"]));
  await clock.advance(700);
  expect(up().slice(2)).toEqual(["agent-2#1 replacement agent-1"]);
  is("agent-2", 1, ["shard:1", "tool:search"]);
  await clock.advance(700);
  expect(up().slice(3)).toEqual(["agent-2#1 replacement agent-1"]);
  expect(of("link.up")).toHaveLength(4);
});

test("a neighbour that is among many dead is lost, not left out of the topology", async () => {
  const next = (view: MembershipView): string[] => view.liveIds.slice(1, 2);
  const { clock, links, is, of, up } = setUp({ neighboursIn: next });
  for (const id of ids(4)) is(id, 1, ["shard:1"]);
  await links.setUp(viewOf(ids(4)), new AbortController().signal);
  links.follow(viewOf(["agent-0", "agent-2"]), deaths(["agent-3", "agent-1"]));
  await clock.advance(60);
  expect(of("link.down").map(({ peer, reason }) => [peer, reason])).toEqual([["agent-1", "declared dead"]]);
  expect(up()).toContain("agent-2#1 replacement agent-1");
  expect(up()).toContain("agent-2#1 repair null");
});

/** 40 agents, of which 12 die at once; each of the dead has a replacement of its own. */
const STORM = { victims: range(1, 13), replacements: range(20, 32) } as const;
const stormOf = (options: { self?: string; handshakeMs?: number }) => {
  const replacementsOf = (dead: string): Replacements => [
    { agentId: STORM.replacements[STORM.victims.indexOf(dead)] ?? "", capability: "shard" },
  ];
  const world = setUp({ ...options, replacementsOf });
  for (const id of ids(40)) world.is(id, 1, ["shard"]);
  const strike = (): void => {
    world.dialled.length = 0;
    world.startedAt.length = 0;
    world.underWay.most = 0;
    world.links.follow(viewOf(ids(40).filter((id) => !STORM.victims.includes(id))), deaths(STORM.victims));
  };
  return { ...world, strike };
};

test("many lost links at once: one handshake at once, the others spread over 50 ms, never more than 8 under way", async () => {
  const { clock, links, peers, dialled, startedAt, underWay, strike, of } = stormOf({ handshakeMs: 20 });
  const linked = links.setUp(viewOf(ids(40)), new AbortController().signal);
  await clock.advance(500);
  await linked;
  expect(underWay.most).toBe(8);
  for (const id of STORM.victims) peers.set(id, "refused");
  const at = clock.now();
  strike();
  await clock.advance(0);
  expect(dialled).toHaveLength(1);
  expect(STORM.replacements).toContain(dialled[0]);
  await clock.advance(150);
  const first = STORM.replacements.map((id) => startedAt[dialled.indexOf(id)] ?? Number.NaN);
  expect(Math.min(...first)).toBe(at);
  expect(Math.max(...first)).toBeLessThan(at + 50 + 20 * 3);
  expect(new Set(first).size).toBeGreaterThan(4);
  expect(underWay.most).toBeLessThanOrEqual(8);
  expect(of("link.up").filter(({ reason }) => reason === "replacement")).toHaveLength(12);
});

test("survivors turn to different replacements first", async () => {
  const firsts: (string | undefined)[] = [];
  for (const self of range(33, 39)) {
    const { clock, links, peers, dialled, strike } = stormOf({ self });
    await links.setUp(viewOf(ids(40)), new AbortController().signal);
    for (const id of STORM.victims) peers.set(id, "refused");
    strike();
    await clock.advance(0);
    firsts.push(dialled[0]);
    links.stop();
  }
  expect(new Set(firsts).size).toBeGreaterThan(3);
});

test("those who do not answer leave room for those who do", async () => {
  const { clock, links, peers, underWay, strike, of } = stormOf({});
  await links.setUp(viewOf(ids(40)), new AbortController().signal);
  for (const id of STORM.victims) peers.set(id, "silent");
  strike();
  await clock.advance(200);
  expect(of("link.up").filter(({ reason }) => reason === "replacement")).toHaveLength(12);
  expect(underWay.now).toBe(4);
  links.stop();
});

test("what a returned peer tells of the work that was in flight there is recorded with the link", async () => {
  const { clock, links, is, recovered, of } = setUp();
  is("agent-1", 1);
  is("agent-2", 1);
  await links.setUp(everybody, new AbortController().signal);
  links.follow(withoutOne, [{ peer: "agent-1", incarnation: 1, state: "dead" }]);
  recovered.set("agent-1", [{ workId: "w1", state: "failed" }]);
  is("agent-1", 2);
  links.follow(view(["agent-0", 1], ["agent-1", 2], ["agent-2", 1]), [{ peer: "agent-1", incarnation: 2, state: "alive" }]);
  await clock.advance(1000);
  const last = of("link.up").at(-1);
  expect(last).toMatchObject({ peer: "agent-1", peerInc: 2, recovered: ["failed"] });
  links.stop();
});
