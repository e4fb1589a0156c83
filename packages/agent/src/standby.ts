import type { AgentId, Clock, CommBackend } from "@failstorm/core";
import { createView, type MembershipView } from "@failstorm/network";
import { HandshakeGate } from "./handshakeGate.ts";
import { measured } from "./measured.ts";
import type { Recorder } from "./recorder.ts";

/** It is no emergency yet. */
const HANDSHAKES_AT_ONCE = 2;

/**
 * Stand-by handshakes: when a link gives signs that its peer will fail, with those who would be linked with, or turned to, in the view without
 * it. They make no link. What is gained is what the protocol keeps of a handshake (descriptions, keys, sessions) and, for as long as a
 * connection at rest is kept, an open connection. No fault has caused them, and they are paid for whether one comes or not: their
 * messages have the cause `heartbeat`, beside the probes that gave rise to them, and never count as reconnection.
 */
export class Standby {
  private readonly gate = new HandshakeGate(HANDSHAKES_AT_ONCE);
  private readonly stopping = new AbortController();
  private readonly options: {
    readonly self: AgentId;
    readonly clock: Clock;
    readonly recorder: Recorder;
    readonly backend: CommBackend;
    readonly connectTimeoutMs: number;
    readonly neighboursIn: (view: MembershipView) => readonly AgentId[];
    readonly replacementsOf: (dead: AgentId, view: MembershipView) => readonly { readonly agentId: AgentId }[];
  };

  constructor(options: Standby["options"]) {
    this.options = options;
  }

  /** Shakes hands with whoever would come into `peer`'s place here. */
  prepare(peer: AgentId, view: MembershipView): void {
    const { self, neighboursIn, replacementsOf } = this.options;
    const present = neighboursIn(view);
    if (!present.includes(peer)) return;
    const without = createView(view.live.filter(({ id }) => id !== peer));
    const wanted = new Set([
      ...replacementsOf(peer, without).map(({ agentId }) => agentId),
      ...neighboursIn(without).filter((id) => !present.includes(id)),
    ]);
    wanted.delete(self);
    for (const id of wanted) void this.shakeHands(id);
  }

  stop(): void {
    this.stopping.abort();
  }

  private async shakeHands(peer: AgentId): Promise<void> {
    const { self, backend, connectTimeoutMs } = this.options;
    const leave = await this.gate.enter("live", this.stopping.signal);
    if (leave === null) return;
    const signal = AbortSignal.any([this.stopping.signal, AbortSignal.timeout(connectTimeoutMs)]);
    const how = { kind: "handshake", cause: "heartbeat" } as const;
    // A failure is on record; whether it matters will show when the peer has failed indeed.
    await measured(this.options, { to: peer, ...how }, () => backend.connect(self, peer, { signal, ...how })).catch(() => {});
    leave();
  }
}
