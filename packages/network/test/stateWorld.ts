import type { AgentId } from "@failstorm/core";
import { createStateManager, DEFAULT_POLICY, type DrivenStateManager, nodeIdOf, type StateManagerOptions } from "../src/index.ts";
import { MessagingWorld } from "./messagingWorld.ts";

/** Agents that keep states for each other over a network in memory, on a fake clock; all are members from the beginning. */
export class StateWorld extends MessagingWorld {
  readonly states = new Map<AgentId, DrivenStateManager>();
  readonly members: AgentId[];
  /** Bytes of JSON that state managers have sent. */
  bytes = 0;

  constructor(
    ids: readonly AgentId[],
    options: Partial<StateManagerOptions> = {},
    seed = 1,
    roles: Readonly<Record<string, string>> = {},
  ) {
    super(seed);
    this.members = [...ids];
    for (const id of ids) {
      const role = roles[id] ?? "member";
      const { messages } = this.add(id, { role, limits: { retryMs: 200, maxRetryMs: 1_000 } });
      const manager = createStateManager({
        self: { agentId: id, nodeId: nodeIdOf(id, 1) },
        clock: this.clock,
        log: this.log.log,
        policy: DEFAULT_POLICY,
        members: () => this.members,
        messages: {
          ask: (to, payload, timeoutMs) => messages.sendQuery(to, payload, { type: "StateSync", timeoutMs }),
          tell: (to, payload) => messages.sendMessage(to, "StateSync", payload, { queueOffline: false }),
          roleOf: (peer) => roles[peer] ?? "member",
        },
        ...options,
      });
      messages.onMessage("StateSync", ({ payload }, sender) => manager.answer(payload, sender));
      this.states.set(id, manager);
    }
  }

  of(id: AgentId): DrivenStateManager {
    const manager = this.states.get(id);
    if (manager === undefined) throw new RangeError(id);
    return manager;
  }

  async linkAll(): Promise<void> {
    for (const a of this.members) for (const b of this.members) if (a < b) await this.link(a, b);
  }

  /** Lets time pass until the promise is settled. */
  async settle<T>(promise: Promise<T>, mostMs = 60_000): Promise<T> {
    const settled = new AbortController();
    const mark = (): void => settled.abort();
    promise.then(mark, mark);
    for (let ms = 0; !settled.signal.aborted && ms < mostMs; ms += 50) await this.clock.advance(50);
    return promise;
  }

  /** Anti-entropy between all pairs, and what follows from it. */
  async syncAll(): Promise<void> {
    for (const a of this.members) {
      for (const b of this.members)
        if (a !== b)
          await this.settle(
            this.of(a)
              .syncState(b)
              .catch(() => null),
          );
    }
    for (const id of this.members) await this.settle(this.of(id).maintain());
  }
}
