import { describe, expect, it } from "vitest";
import { createAgentRegistry, type NodeRegistration, recordDetection, type RegistryChange } from "../src/index.ts";

const node = (index: number, incarnation = 1, capabilities: readonly string[] = []): NodeRegistration => ({
  agentId: `agent-${index}`,
  incarnation,
  address: "127.0.0.1",
  port: 9000 + index,
  capabilities,
});

function storm(count: number) {
  const registry = createAgentRegistry();
  for (let i = 0; i < count; i++) registry.registerNode(node(i, 1, [i % 2 === 0 ? "tool:search" : "tool:extract"]), 100);
  return registry;
}

describe("AgentRegistry", () => {
  it("a newer incarnation replaces the older, never the other way round", () => {
    const registry = storm(2);
    registry.registerNode({ ...node(1, 3), port: 9999 }, 200);
    expect(registry.registerNode(node(1, 2), 300)).toMatchObject({
      incarnation: 3,
      port: 9999,
      joinedAt: 200,
      nodeId: "agent-1#3",
    });
    expect(registry.updateNode("agent-1", { incarnation: 2, port: 1 })).toBeNull();
    expect(registry.updateHeartbeat("agent-1", 2, 400)).toBe(false);
    expect(registry.node("agent-1")).toMatchObject({ incarnation: 3, port: 9999, lastHeartbeat: 200 });
  });

  it("finds and selects active holders of a capability", () => {
    const registry = storm(6);
    registry.updateNode("agent-2", { status: "Disconnected" });
    const holders = registry.findNodesByCapability("tool:search").map((holder) => holder.agentId);
    expect(holders).toEqual(["agent-0", "agent-4"]);
    const turns = [1, 2, 3, 4].map(() => registry.selectNode("tool:search", { kind: "round-robin" })?.agentId);
    expect(turns).toEqual(["agent-0", "agent-4", "agent-0", "agent-4"]);
    const load = (holder: { port: number }): number => -holder.port;
    expect(registry.selectNode("tool:search", { kind: "least-loaded", load })?.agentId).toBe("agent-4");
    const chosen = registry.selectNode("tool:search", { kind: "rendezvous", key: "t-1" })?.agentId;
    expect(registry.selectNode("tool:search", { kind: "rendezvous", key: "t-1" })?.agentId).toBe(chosen);
    expect(registry.selectNode("tool:search", { kind: "rendezvous", key: "t-1" }, new Set([chosen ?? ""]))?.agentId).not.toBe(
      chosen,
    );
    expect(registry.selectNode("tool:none", { kind: "round-robin" })).toBeNull();
  });

  it("capabilities come and go at run time", () => {
    const registry = storm(2);
    registry.updateNode("agent-1", { capabilities: ["tool:extract", "shard:0"] });
    expect(registry.findNodesByCapability("shard:0")).toHaveLength(1);
    registry.updateNode("agent-1", { capabilities: [] });
    expect(registry.findNodesByCapability("tool:extract")).toHaveLength(0);
  });

  it("silent nodes become inactive, then go; a heartbeat brings an inactive one back, not a disconnected one", () => {
    const registry = createAgentRegistry({ inactiveAfterMs: 1000, removeAfterMs: 5000 });
    for (let i = 0; i < 3; i++) registry.registerNode(node(i), 0);
    registry.updateNode("agent-2", { status: "Disconnected" });
    registry.updateHeartbeat("agent-0", 1, 900);
    expect(registry.cleanupInactiveNodes(1000)).toEqual({ inactivated: ["agent-1"], removed: [] });
    expect(registry.statistics()).toEqual({ total: 3, byStatus: { Active: 1, Inactive: 1, Disconnected: 1, Maintenance: 0 } });
    registry.updateHeartbeat("agent-1", 1, 1100);
    registry.updateHeartbeat("agent-2", 1, 1100);
    expect(registry.activeNodes().map((active) => active.agentId)).toEqual(["agent-0", "agent-1"]);
    expect(registry.cleanupInactiveNodes(6100).removed).toEqual(["agent-2"]);
    expect(registry.cleanupInactiveNodes(6101).removed).toEqual(["agent-0", "agent-1"]);
  });

  it("tells of changes, and no more after unsubscribing", () => {
    const registry = storm(1);
    const changes: RegistryChange[] = [];
    const unsubscribe = registry.onChange((change) => changes.push(change));
    registry.registerNode(node(1), 0);
    registry.updateHeartbeat("agent-1", 1, 5);
    registry.updateNode("agent-1", { status: "Maintenance" });
    registry.deregisterNode("agent-1");
    unsubscribe();
    registry.registerNode(node(2), 0);
    expect(changes.map(({ kind, node: changed }) => `${kind} ${changed.agentId} ${changed.status}`)).toEqual([
      "registered agent-1 Active",
      "updated agent-1 Maintenance",
      "deregistered agent-1 Maintenance",
    ]);
    expect(registry.deregisterNode("agent-1")).toBe(false);
  });
});

describe("the view of a registry", () => {
  it("is the same object until membership changes, and then another", () => {
    const registry = storm(3);
    const view = registry.view();
    registry.updateHeartbeat("agent-1", 1, 500);
    registry.updateNode("agent-1", { capabilities: ["shard:1"] });
    expect(registry.view()).toBe(view);
    registry.updateNode("agent-1", { status: "Disconnected" });
    expect(registry.view()).not.toBe(view);
    expect(registry.view().liveIds).toEqual(["agent-0", "agent-2"]);
    expect(view.isLive("agent-1")).toBe(true);
  });

  it("hashes the live (id, incarnation) pairs and nothing else", () => {
    const [a, b] = [storm(12), storm(12)];
    recordDetection(a, { kind: "dead", peer: "agent-10", incarnation: 1, how: "probe", lastHeard: 5 }, 900);
    expect(a.view().hash).not.toBe(b.view().hash);
    recordDetection(b, { kind: "dead", peer: "agent-10", incarnation: 1, how: "gossip", lastHeard: 7 }, 950);
    expect(a.view().hash).toBe(b.view().hash);
    recordDetection(a, { kind: "alive", peer: "agent-10", incarnation: 2, how: "incarnation", was: "dead" }, 999);
    expect(a.view().live.at(-2)).toEqual({ id: "agent-10", incarnation: 2 });
    expect(a.view().hash).not.toBe(storm(12).view().hash);
  });

  it("remembers the incarnation of the dead", () => {
    const registry = storm(2);
    recordDetection(registry, { kind: "dead", peer: "agent-1", incarnation: 1, how: "probe", lastHeard: 5 }, 900);
    expect(registry.view().isLive("agent-1")).toBe(false);
    expect(registry.view().incarnationOf("agent-1")).toBe(1);
    expect(registry.view().incarnationOf("agent-9")).toBeNull();
  });

  it("late news of an old incarnation change nothing", () => {
    const registry = storm(2);
    recordDetection(registry, { kind: "alive", peer: "agent-1", incarnation: 3, how: "incarnation", was: "dead" }, 900);
    recordDetection(registry, { kind: "dead", peer: "agent-1", incarnation: 2, how: "gossip", lastHeard: 5 }, 901);
    expect(registry.node("agent-1")).toMatchObject({ incarnation: 3, status: "Active" });
  });
});
