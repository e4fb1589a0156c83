import type { AgentId, Clock } from "@failstorm/core";
import type { Closing } from "@failstorm/protocols";
import { Quiet } from "./quiet.ts";

/**
 * A closed stream is told of once no other was closed for so long, ms, for each stream that is held above so many; at most so many silences after
 * the first: 21 ms and a third of a second for 64 agents that hold streams to all.
 */
const SILENCE_EACH_MS = 0.375;
const AT_ONCE = 8;
const MOST_SILENCES = 16;

/** The stream that a peer holds to this agent. */
interface Theirs {
  readonly incarnation: number;
  isEnded: boolean;
}

interface ClosingsOptions {
  readonly clock: Clock;
  /** How many streams are held. */
  readonly streams: () => number;
  /** Of a stream of ours that was closed there is no more to be known by waiting. */
  readonly onClosed: (peer: AgentId, incarnation: number) => void;
  /** Ours to the peer and the peer's to us were both ended by its kernel. */
  readonly onGone: (peer: AgentId, incarnation: number) => void;
}

/**
 * The two streams between this agent and a peer: the one that it holds, and the one that the peer holds to it. A living agent never ends one in order:
 * what it no longer wants it resets, and its server's answers have no end. So when both are, there is no process any more, and nobody needs to be asked.
 * If only one is closed, whoever it was to may live: that is for the detector to find out, when it is quiet, since to ask while the kernel is still closing
 * the others' streams holds that up, and most of those asked so early still accept. (Where there is no such silence, among few agents, the peer is asked at
 * once, and most are known to be gone before they have answered.)
 */
export class Closings {
  /** Incarnations by whose end our stream was ended, until we hold one again. */
  private readonly ours = new Map<AgentId, number>();
  private readonly theirs = new Map<AgentId, Theirs>();
  private readonly waiting = new Map<AgentId, number>();
  private readonly quiet: Quiet;
  private readonly options: ClosingsOptions;

  constructor(options: ClosingsOptions) {
    const { clock, streams } = options;
    const silenceMs = (): number => SILENCE_EACH_MS * Math.max(0, streams() - AT_ONCE);
    this.options = options;
    this.quiet = new Quiet(clock, { silenceMs, mostSilences: MOST_SILENCES });
  }

  /** The peer holds a stream to this agent; what is returned is to be called when that is ended in order. */
  heldBy(peer: AgentId, incarnation: number): () => void {
    const theirs: Theirs = { incarnation, isEnded: false };
    this.theirs.set(peer, theirs);
    return () => {
      theirs.isEnded = true;
      // Another may have taken its place: then whoever holds that lives.
      if (this.theirs.get(peer) === theirs && this.ours.get(peer) === incarnation) this.tellGone(peer, incarnation);
    };
  }

  /** Our stream to the peer stands. */
  stands(peer: AgentId): void {
    this.ours.delete(peer);
    this.waiting.delete(peer);
  }

  /** Our stream to the peer was closed, or refused. */
  closed(peer: AgentId, incarnation: number, how: Closing): void {
    this.quiet.note();
    if (how === "ended") {
      const theirs = this.theirs.get(peer);
      if (theirs?.isEnded === true && theirs.incarnation === incarnation) {
        this.tellGone(peer, incarnation);
        return;
      }
      this.ours.set(peer, incarnation);
    }
    this.waiting.set(peer, incarnation);
    if (this.waiting.size === 1) this.quiet.wait(() => this.tellClosed());
  }

  /** What became of the peer may be known in a moment. */
  isWaiting(peer: AgentId): boolean {
    return this.waiting.has(peer);
  }

  private tellGone(peer: AgentId, incarnation: number): void {
    this.ours.delete(peer);
    this.waiting.delete(peer);
    this.options.onGone(peer, incarnation);
  }

  private tellClosed(): void {
    const closed = [...this.waiting];
    this.waiting.clear();
    for (const [peer, incarnation] of closed) this.options.onClosed(peer, incarnation);
  }
}
