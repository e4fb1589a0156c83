import { type AgentId, RunError } from "@failstorm/core";

/** Starts and stops of agents, one after the other for each: of two starts at once both would find it down. */
export class Turns {
  private readonly last = new Map<AgentId, Promise<unknown>>();
  private isClosed = false;

  take<T>(agent: AgentId, act: () => Promise<T>): Promise<T> {
    const before = this.last.get(agent) ?? Promise.resolve();
    const turn = before.then(() => {
      this.check();
      return act();
    });
    this.last.set(
      agent,
      turn.catch(() => undefined),
    );
    return turn;
  }

  /** Throws RunError once it is closed: nobody would end what is started now. */
  check(): void {
    if (this.isClosed) throw networkClosed();
  }

  /** No further turn begins; resolves when those that have are over. */
  async close(): Promise<void> {
    this.isClosed = true;
    await Promise.all(this.last.values());
  }
}

export const networkClosed = (): RunError =>
  new RunError("NETWORK_CLOSED", "the network is closed; createFailstormMetaNetwork makes another one");
