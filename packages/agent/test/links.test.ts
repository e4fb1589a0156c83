import { type AgentDescription, type CommBackend, CommError, createPrng, FakeClock } from "@failstorm/core";
import { createView, type MembershipView } from "@failstorm/network";
import { expect, test } from "vitest";
import { Links } from "../src/links.ts";
import { recording } from "./recorded.ts";

/** Links of agent-0 in a mesh of three, over handshakes whose outcome the test decides. */
function setUp() {
  const clock = new FakeClock();
  const { recorder, of } = recording(clock);
  const peers = new Map<string, AgentDescription | "refused">();
  const dialled: string[] = [];
  const connect = async (_src: string, dst: string) => {
    dialled.push(dst);
    const peer = peers.get(dst) ?? "refused";
    if (peer === "refused") throw new CommError("refused", dst, "nobody listens");
    return { peer, traffic: { bytesSent: 10, bytesReceived: 20, roundTrips: 1, firstByteAt: clock.now(), ms: 0 } };
  };
  const links = new Links({
    self: "agent-0",
    clock,
    prng: createPrng(1),
    recorder,
    backend: { connect } as unknown as CommBackend,
    connectTimeoutMs: 10_000,
    timeScale: 1,
    rejoining: false,
    neighboursIn: (view) => view.liveIds.filter((id) => id !== "agent-0"),
    replacementsOf: (dead, view) =>
      dead === "agent-1" && view.isLive("agent-2") ? [{ agentId: "agent-2", capability: "shard:1" }] : [],
    onDescription: () => {},
  });
  const up = (): string[] => of("link.up").map(({ peer, peerInc, reason, lost }) => `${peer}#${peerInc} ${reason} ${lost}`);
  const is = (agentId: string, incarnation: number, capabilities: string[] = []) =>
    peers.set(agentId, { agentId, incarnation, capabilities });
  return { clock, links, peers, dialled, up, is, of };
}

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
  links.follow(withoutOne, { peer: "agent-1", incarnation: 1, state: "dead" });
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
  links.follow(view(["agent-0", 1], ["agent-1", 2], ["agent-2", 1]), { peer: "agent-1", incarnation: 2, state: "alive" });
  await clock.advance(5_000);
  expect(dialled).toEqual([]);
});

test("the same incarnation answering again is a healed link; news of a new one are acted upon at once", async () => {
  const { clock, links, is, up, peers } = setUp();
  is("agent-1", 1);
  is("agent-2", 1);
  await links.setUp(everybody, new AbortController().signal);
  peers.set("agent-1", "refused");
  links.follow(withoutOne, { peer: "agent-1", incarnation: 1, state: "dead" });
  await clock.advance(10_000);
  is("agent-1", 1);
  links.follow(everybody, { peer: "agent-1", incarnation: 1, state: "alive" });
  await clock.advance(0);
  expect(up().at(-1)).toBe("agent-1#1 healed agent-1");
});

test("stopping ends every dial", async () => {
  const { clock, links, is, dialled } = setUp();
  is("agent-1", 1);
  is("agent-2", 1);
  await links.setUp(everybody, new AbortController().signal);
  links.follow(withoutOne, { peer: "agent-1", incarnation: 1, state: "dead" });
  links.stop();
  await clock.advance(0);
  dialled.length = 0;
  await clock.advance(30_000);
  expect(dialled).toEqual([]);
});
