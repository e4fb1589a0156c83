import { FakeClock } from "@failstorm/core";
import { createAgentRegistry, createFailureDetector, type GossipItem } from "@failstorm/network";
import { expect, test } from "vitest";
import { Membership } from "../src/membership.ts";
import { recording } from "./recorded.ts";

const IDS = ["agent-0", "agent-1", "agent-2", "agent-3"];

/** agent-0 among four, or others, watching two of them with real heartbeats; who is in `silent` answers no probe, who is in `deaf` gets no gossip. */
function setUp(ids: readonly string[] = IDS) {
  const clock = new FakeClock();
  const { recorder, of } = recording(clock);
  const registry = createAgentRegistry();
  for (const agentId of ids)
    registry.registerNode({ agentId, incarnation: 1, address: "127.0.0.1", port: 1, capabilities: [] }, clock.now());
  const silent = new Set<string>();
  const deaf = new Set<string>();
  const gossip: { to: string; entries: readonly GossipItem[] }[] = [];
  const doubts: string[][] = [];
  const losses: number[] = [];
  const suspects = (): string[] => membership.peers.filter(({ state }) => state === "suspect").map(({ peer }) => peer);
  const membership: Membership = new Membership({
    self: "agent-0",
    clock,
    recorder,
    registry,
    createDetector: () =>
      createFailureDetector("heartbeat", {
        self: "agent-0",
        incarnation: 1,
        peers: ids.slice(1).map((agentId) => ({ agentId, incarnation: 1 })),
        monitored: ["agent-1", "agent-2"],
        intervalMs: 1000,
        timeoutMs: 3000,
        transportSignals: false,
        gossip: true,
        phase: () => 0,
        startAt: clock.now(),
      }),
    probe: async (peer) => {
      if (silent.has(peer)) throw new Error("no answer");
      return { incarnation: 1 };
    },
    identify: () => {},
    gossip: async (to, entries) => {
      gossip.push({ to, entries });
      if (deaf.has(to)) throw new Error("no answer");
    },
    register: () => {},
    onPredicted: () => {},
    onLoss: () => losses.push(clock.now()),
    onDoubt: () => doubts.push(suspects()),
  });
  return { clock, membership, silent, deaf, gossip, doubts, losses, of };
}

test("a death is recorded before the view changes, and who waits for it is told", async () => {
  const { clock, membership, silent, of } = setUp();
  const views: string[] = [];
  membership.onChange((view, changes) => {
    const what = changes.map(({ peer, state }) => `${peer} ${state}`).join(", ");
    views.push(`${what}: ${view.liveIds.join(" ")} (${of("detect.dead").length})`);
  });
  membership.start();
  await clock.advance(1500);
  const { signal } = membership.watchDeath("agent-1");
  silent.add("agent-1");
  await clock.advance(4000);
  expect(views).toEqual(["agent-1 dead: agent-0 agent-2 agent-3 (1)"]);
  expect(signal.aborted).toBe(true);
});

test("deaths that come in a bunch are one change of the view, and come before whoever is back", async () => {
  const { clock, membership, of } = setUp();
  const heard: string[] = [];
  membership.onChange((view, changes) => {
    const what = changes.map(({ peer, incarnation, state }) => `${peer}#${incarnation} ${state}`).join(", ");
    heard.push(`${what}: ${view.live.length}`);
  });
  membership.start();
  await clock.advance(100);
  const dead = (peer: string): GossipItem => ({ peer, incarnation: 1, refutation: 0, state: "dead" });
  membership.feed({ kind: "gossip", from: "agent-1", entries: [dead("agent-2")] });
  await clock.advance(5);
  membership.feed({ kind: "gossip", from: "agent-1", entries: [dead("agent-3")] });
  expect(of("detect.dead").map(({ peer }) => peer)).toEqual(["agent-2", "agent-3"]);
  expect(heard).toEqual([]);
  await clock.advance(15);
  expect(heard).toEqual(["agent-2#1 dead, agent-3#1 dead: 2"]);
  expect(of("view.changed")).toHaveLength(2);
  membership.feed({ kind: "gossip", from: "agent-2", entries: [dead("agent-1")] });
  membership.feed({ kind: "heard", peer: "agent-3", incarnation: 2 });
  expect(heard.slice(1)).toEqual(["agent-1#1 dead: 1", "agent-3#2 alive: 2"]);
});

/** Somebody has just said that agent-3 died; `heard`: the deaths of each change of the view since. */
async function hearOfDeath(ids: readonly string[] = IDS) {
  const { clock, membership } = setUp(ids);
  const heard: string[] = [];
  membership.onChange((_view, changes) => heard.push(changes.map(({ peer }) => peer).join(", ")));
  membership.start();
  await clock.advance(100);
  membership.feed({
    kind: "gossip",
    from: "agent-1",
    entries: [{ peer: "agent-3", incarnation: 1, refutation: 0, state: "dead" }],
  });
  return { clock, membership, heard };
}

test("the bunch is waited for until nothing more is heard, but not for ever", async () => {
  const { clock, membership, heard } = await hearOfDeath();
  for (let notice = 0; notice < 3; notice++) {
    await clock.advance(8);
    membership.feed({ kind: "closed", peer: "agent-2", incarnation: 1 });
  }
  expect(heard).toEqual([]);
  await clock.advance(8);
  expect(heard).toEqual(["agent-3"]);
});

test("among many the bunch is waited for out of proportion longer: eight times the survivors, more than twenty times the silence", async () => {
  const { clock, heard } = await hearOfDeath(Array.from({ length: 65 }, (_, index) => `agent-${index}`));
  await clock.advance(220);
  expect(heard).toEqual([]);
  await clock.advance(10);
  expect(heard).toEqual(["agent-3"]);
});

test("doubts are told of as they come and go, and change no view", async () => {
  const { clock, membership, silent, doubts, of } = setUp();
  membership.start();
  await clock.advance(500);
  silent.add("agent-1");
  await clock.advance(1000);
  silent.clear();
  await clock.advance(1000);
  expect(doubts).toEqual([["agent-1"], []]);
  expect(of("view.changed")).toHaveLength(1);
});

test("losses are told of when somebody becomes suspect, and when it is found dead", async () => {
  const { clock, membership, silent, losses, of } = setUp();
  membership.start();
  await clock.advance(500);
  silent.add("agent-1");
  await clock.advance(6000);
  const at = (name: "detect.suspect" | "detect.dead"): number[] => of(name).map(({ t }) => t);
  expect(losses).toEqual([...at("detect.suspect"), ...at("detect.dead")]);
  expect(losses).toHaveLength(2);
});

test("news that do not arrive are told again", async () => {
  const { clock, membership, deaf, gossip } = setUp();
  membership.start();
  await clock.advance(100);
  deaf.add("agent-2");
  const death: GossipItem = { peer: "agent-3", incarnation: 1, refutation: 0, state: "dead" };
  membership.feed({ kind: "gossip", from: "agent-1", entries: [death] });
  await clock.advance(100);
  expect(gossip).toEqual([{ to: "agent-2", entries: [death] }]);
  deaf.clear();
  await clock.advance(2000);
  expect(gossip).toHaveLength(2);
  expect(gossip[1]).toEqual({ to: "agent-2", entries: [death] });
});
