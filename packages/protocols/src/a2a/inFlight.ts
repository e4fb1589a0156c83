import type { AgentId } from "@failstorm/core";

/** A message that was sent, and what is known of the peer's task for it. */
export interface Attempt {
  readonly messageId: string;
  /** The conversation it was sent in, when there was one. */
  readonly contextId: string | undefined;
  /** The peer's clock when it was sent, from its latest answer: the task for this message is no older. */
  readonly since: string | undefined;
  taskId: string | null;
}

/** Of more work lost at one peer than this the oldest is forgotten. */
const MAX_LOST = 64;
/** What was lost longer ago is nobody's concern any more, ms. */
const CONCERN_MS = 60_000;

interface PeerState {
  contextId: string | undefined;
  since: string | undefined;
  lost: { readonly at: number; readonly attempt: Attempt }[];
}

/**
 * What this agent lost sight of at its peers, so that a reconnection can ask what became of it. A blocking SendMessage tells the
 * peer's task id only with its answer; until then the task is found by the conversation (contextId, the peer's own) and messageId.
 */
export class InFlight {
  private readonly peers = new Map<AgentId, PeerState>();
  private readonly now: () => number;

  constructor(now: () => number) {
    this.now = now;
  }

  /** A message is about to be sent; `contextId` overrides the conversation kept with this peer. */
  begin(peer: AgentId, messageId: string, contextId: string | undefined): Attempt {
    const state = this.peer(peer);
    return { messageId, contextId: contextId ?? state.contextId, since: state.since, taskId: null };
  }

  /** The peer answered; its task's conversation is kept for the messages to come. */
  answered(
    peer: AgentId,
    attempt: Attempt,
    task: { readonly contextId: string | undefined; readonly timestamp: string | undefined },
  ): void {
    const state = this.peer(peer);
    if (attempt.contextId === undefined) state.contextId ??= task.contextId;
    if (task.timestamp !== undefined && (state.since === undefined || task.timestamp > state.since)) state.since = task.timestamp;
  }

  /** Contact was lost before the answer came, so the peer may still have the work. */
  lost(peer: AgentId, attempt: Attempt): void {
    const { lost } = this.peer(peer);
    lost.push({ at: this.now(), attempt });
    if (lost.length > MAX_LOST) lost.shift();
  }

  lostAt(peer: AgentId): readonly Attempt[] {
    const cutoff = this.now() - CONCERN_MS;
    return (this.peers.get(peer)?.lost ?? []).filter(({ at }) => at > cutoff).map(({ attempt }) => attempt);
  }

  /** Contact was made anew, what became of `known` was asked: a peer that restarted may not know the old conversation. */
  reconnected(peer: AgentId, known: readonly Attempt[]): void {
    const state = this.peer(peer);
    state.lost = state.lost.filter(({ attempt }) => !known.includes(attempt));
    state.contextId = undefined;
  }

  forgetAll(): void {
    this.peers.clear();
  }

  private peer(peer: AgentId): PeerState {
    let state = this.peers.get(peer);
    if (state === undefined) {
      state = { contextId: undefined, since: undefined, lost: [] };
      this.peers.set(peer, state);
    }
    return state;
  }
}
