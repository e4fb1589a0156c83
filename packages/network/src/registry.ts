import type { AgentId } from "@failstorm/core";
import type { DetectorEffect } from "./detector/types.ts";
import { compareIds } from "./order.ts";
import { rendezvousFirst } from "./ownership.ts";
import { type Member, type MembershipView, viewInOrder } from "./view.ts";

/** Active: believed live and serving; Inactive: silent too long; Disconnected: declared dead; Maintenance: up, but not serving (yet). */
export const NODE_STATUSES = ["Active", "Inactive", "Disconnected", "Maintenance"] as const;
export type NodeStatus = (typeof NODE_STATUSES)[number];

/** One agent as the others know it. Instants are ms of the clock whose `now` the registry is given. */
export interface AgentNode {
  readonly nodeId: string;
  readonly agentId: AgentId;
  readonly incarnation: number;
  readonly address: string;
  readonly port: number;
  readonly capabilities: readonly string[];
  readonly status: NodeStatus;
  readonly lastHeartbeat: number;
  readonly joinedAt: number;
  readonly version: string;
  readonly metadata: Readonly<Record<string, string>>;
}

export type NodeRegistration = Omit<AgentNode, "nodeId" | "status" | "lastHeartbeat" | "joinedAt" | "version" | "metadata"> &
  Partial<Pick<AgentNode, "nodeId" | "status" | "version" | "metadata">>;

export type NodeUpdate = Partial<Omit<AgentNode, "nodeId" | "agentId" | "joinedAt">>;

export type RegistryChange =
  | { readonly kind: "registered"; readonly node: AgentNode; readonly before: AgentNode | null }
  | { readonly kind: "updated"; readonly node: AgentNode; readonly before: AgentNode }
  | { readonly kind: "deregistered"; readonly node: AgentNode };

export type SelectionPolicy =
  | { readonly kind: "round-robin" }
  | { readonly kind: "least-loaded"; readonly load: (node: AgentNode) => number }
  | { readonly kind: "rendezvous"; readonly key: string };

/** Who there is and who is live: the one place that knows. Views and look-ups are derived from it. */
export interface AgentRegistry {
  /**
   * Adds the node, or replaces the one of the same agent. An older incarnation than the known one is not taken in: the known node
   * is returned unchanged.
   */
  registerNode(registration: NodeRegistration, now: number): AgentNode;
  /** A graceful leave, not a crash. False when it was not registered. */
  deregisterNode(agentId: AgentId): boolean;
  /** Null when it is not registered, or the update is about an older incarnation. */
  updateNode(agentId: AgentId, update: NodeUpdate): AgentNode | null;
  /** A sign of life: brings an Inactive node back, but not a Disconnected one (that takes a detector). No change event of its own. */
  updateHeartbeat(agentId: AgentId, incarnation: number, now: number): boolean;
  node(agentId: AgentId): AgentNode | null;
  nodes(): readonly AgentNode[];
  activeNodes(): readonly AgentNode[];
  /** Active ones only. */
  findNodesByCapability(capability: string): readonly AgentNode[];
  /** One active holder of the capability; null when there is none. */
  selectNode(capability: string, policy: SelectionPolicy, exclude?: ReadonlySet<AgentId>): AgentNode | null;
  /** Heartbeat time-outs: Active and silent → Inactive; not Active and silent for longer → removed. */
  cleanupInactiveNodes(now: number): { readonly inactivated: readonly AgentId[]; readonly removed: readonly AgentId[] };
  statistics(): { readonly total: number; readonly byStatus: Readonly<Record<NodeStatus, number>> };
  /** Calls `listener` after each change; the answer unsubscribes. */
  onChange(listener: (change: RegistryChange) => void): () => void;
  /** The active nodes as a view; the same object until one comes, goes or changes its incarnation. */
  view(): MembershipView;
}

/** Null switches the time-out off (where a failure detector decides). */
interface RegistryTimeouts {
  readonly inactiveAfterMs: number | null;
  readonly removeAfterMs: number | null;
}

const NO_TIMEOUTS: RegistryTimeouts = { inactiveAfterMs: null, removeAfterMs: null };

export const createAgentRegistry = (timeouts: RegistryTimeouts = NO_TIMEOUTS): AgentRegistry => new Registry(timeouts);

/** Applies what a detector declared; what is said of an older incarnation than the registered one changes nothing. */
export function recordDetection(registry: AgentRegistry, effect: DetectorEffect, now: number): void {
  if (effect.kind === "dead") {
    registry.updateNode(effect.peer, { incarnation: effect.incarnation, status: "Disconnected" });
  } else if (effect.kind === "alive") {
    registry.updateNode(effect.peer, { incarnation: effect.incarnation, status: "Active", lastHeartbeat: now });
  }
}

class Registry implements AgentRegistry {
  private readonly timeouts: RegistryTimeouts;
  private readonly byId = new Map<AgentId, AgentNode>();
  private readonly listeners = new Set<(change: RegistryChange) => void>();
  private readonly turns = new Map<string, number>();
  private cachedView: MembershipView | null = null;
  /** All ids, sorted; null when some came or went since. */
  private sortedIds: readonly AgentId[] | null = null;

  constructor(timeouts: RegistryTimeouts) {
    this.timeouts = timeouts;
  }

  registerNode(registration: NodeRegistration, now: number): AgentNode {
    const before = this.byId.get(registration.agentId) ?? null;
    if (before !== null && registration.incarnation < before.incarnation) return before;
    const node: AgentNode = {
      nodeId: `${registration.agentId}#${registration.incarnation}`,
      status: "Active",
      version: "",
      metadata: {},
      ...registration,
      lastHeartbeat: now,
      joinedAt: before?.incarnation === registration.incarnation ? before.joinedAt : now,
    };
    this.store(node, before);
    this.announce({ kind: "registered", node, before });
    return node;
  }

  deregisterNode(agentId: AgentId): boolean {
    const node = this.byId.get(agentId);
    if (node === undefined) return false;
    this.byId.delete(agentId);
    this.cachedView = null;
    this.sortedIds = null;
    this.announce({ kind: "deregistered", node });
    return true;
  }

  updateNode(agentId: AgentId, update: NodeUpdate): AgentNode | null {
    const before = this.byId.get(agentId);
    if (before === undefined || (update.incarnation ?? before.incarnation) < before.incarnation) return null;
    const incarnation = update.incarnation ?? before.incarnation;
    const nodeId = incarnation === before.incarnation ? before.nodeId : `${agentId}#${incarnation}`;
    const node: AgentNode = { ...before, ...update, nodeId };
    this.store(node, before);
    this.announce({ kind: "updated", node, before });
    return node;
  }

  updateHeartbeat(agentId: AgentId, incarnation: number, now: number): boolean {
    const before = this.byId.get(agentId);
    if (before?.incarnation !== incarnation) return false;
    if (before.status === "Inactive") this.updateNode(agentId, { status: "Active", lastHeartbeat: now });
    else this.byId.set(agentId, { ...before, lastHeartbeat: now });
    return true;
  }

  node(agentId: AgentId): AgentNode | null {
    return this.byId.get(agentId) ?? null;
  }

  nodes(): readonly AgentNode[] {
    return [...this.byId.values()];
  }

  activeNodes(): readonly AgentNode[] {
    return this.nodes().filter((node) => node.status === "Active");
  }

  findNodesByCapability(capability: string): readonly AgentNode[] {
    return this.activeNodes().filter((node) => node.capabilities.includes(capability));
  }

  selectNode(capability: string, policy: SelectionPolicy, exclude: ReadonlySet<AgentId> = new Set()): AgentNode | null {
    const holders = this.findNodesByCapability(capability).filter((node) => !exclude.has(node.agentId));
    switch (policy.kind) {
      case "round-robin": {
        const turn = this.turns.get(capability) ?? 0;
        this.turns.set(capability, turn + 1);
        return holders[turn % holders.length] ?? null;
      }
      case "least-loaded":
        return holders.reduce<AgentNode | null>(
          (best, node) => (best === null || policy.load(node) < policy.load(best) ? node : best),
          null,
        );
      case "rendezvous": {
        const ids = holders.map((node) => node.agentId);
        const chosen = rendezvousFirst(policy.key, ids);
        return holders.find((node) => node.agentId === chosen) ?? null;
      }
      default:
        return policy satisfies never;
    }
  }

  cleanupInactiveNodes(now: number): { inactivated: readonly AgentId[]; removed: readonly AgentId[] } {
    const { inactiveAfterMs, removeAfterMs } = this.timeouts;
    const silentFor = (node: AgentNode, limitMs: number | null): boolean =>
      limitMs !== null && now - node.lastHeartbeat >= limitMs;
    const removed = this.nodes().filter((node) => node.status !== "Active" && silentFor(node, removeAfterMs));
    const inactivated = this.activeNodes().filter((node) => silentFor(node, inactiveAfterMs));
    for (const node of removed) this.deregisterNode(node.agentId);
    for (const node of inactivated) this.updateNode(node.agentId, { status: "Inactive" });
    return { inactivated: inactivated.map((node) => node.agentId), removed: removed.map((node) => node.agentId) };
  }

  statistics(): { total: number; byStatus: Record<NodeStatus, number> } {
    const byStatus: Record<NodeStatus, number> = { Active: 0, Inactive: 0, Disconnected: 0, Maintenance: 0 };
    for (const node of this.byId.values()) byStatus[node.status] += 1;
    return { total: this.byId.size, byStatus };
  }

  onChange(listener: (change: RegistryChange) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  view(): MembershipView {
    this.cachedView ??= this.makeView();
    return this.cachedView;
  }

  private makeView(): MembershipView {
    this.sortedIds ??= [...this.byId.keys()].toSorted(compareIds);
    const [live, gone]: [Member[], Member[]] = [[], []];
    for (const id of this.sortedIds) {
      const { status, incarnation } = this.byId.get(id) as AgentNode;
      (status === "Active" ? live : gone).push({ id, incarnation });
    }
    return viewInOrder(live, gone);
  }

  private store(node: AgentNode, before: AgentNode | null): void {
    this.byId.set(node.agentId, node);
    if (before === null) this.sortedIds = null;
    const sameMember = before !== null && before.status === node.status && before.incarnation === node.incarnation;
    if (!sameMember) this.cachedView = null;
  }

  private announce(change: RegistryChange): void {
    for (const listener of this.listeners) listener(change);
  }
}
