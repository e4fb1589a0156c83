import type { AgentId, Cancel, Clock } from "@failstorm/core";
import type { HeldStreams } from "./heldStreams.ts";
import type { Membership } from "./membership.ts";
import type { createTopology } from "./topology.ts";

/** Keeps to whom is monitored, and to whom streams are held, as the view says and as doubts do. */
export class Watch {
  private pending: Cancel | null = null;
  private pendingAt = 0;
  private readonly options: {
    readonly clock: Clock;
    readonly membership: Membership;
    readonly topology: ReturnType<typeof createTopology>;
    readonly streams: HeldStreams;
  };

  constructor(options: Watch["options"]) {
    this.options = options;
  }

  /** Holds streams to those of this view; resolves when they stand, or have failed to. */
  hold(): Promise<void> {
    const { membership, streams, topology } = this.options;
    return streams.follow(membership.view, topology.signalled(membership.view));
  }

  update(): void {
    this.stop();
    const { membership, streams, topology } = this.options;
    const { view, peers } = membership;
    const doubtful: ReadonlySet<AgentId> = new Set(peers.filter(({ state }) => state === "suspect").map(({ peer }) => peer));
    membership.monitor(topology.monitored(view, doubtful));
    void streams.follow(view, topology.signalled(view, doubtful));
  }

  /** At the latest in so long, ms; 0: after what is to be done in this turn of the loop, whose doubts would each find the others' outdated. */
  updateWithin(delayMs: number): void {
    const at = this.options.clock.now() + delayMs;
    if (this.pending !== null && this.pendingAt <= at) return;
    this.pending?.();
    this.pendingAt = at;
    this.pending = this.options.clock.after(delayMs, () => this.update());
  }

  stop(): void {
    this.pending?.();
    this.pending = null;
  }
}
