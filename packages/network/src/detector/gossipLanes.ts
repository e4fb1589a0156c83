import type { AgentId, Clock } from "@failstorm/core";
import { addNews, isNews } from "./gossip.ts";
import { followPeaks } from "./peaks.ts";
import type { GossipEntry, GossipItem } from "./types.ts";

/**
 * So many messages of news are on their way to one agent. A single one would hold up what is found out while it is answered, which in a storm takes
 * as long as finding out does.
 */
const MOST_ON_THEIR_WAY = 3;
/** An answer is late after so many times what answers take of late, … */
const LATE_ROUND_TRIPS = 2;
/** … at least after this share of the detector's interval. */
const LATE_SHARE = 1 / 5;
/** Of an answer that took less than those before it: what it has to say in what they take now. */
const QUICKER_SHARE = 1 / 4;

interface Lane {
  onTheirWay: number;
  waiting: readonly GossipEntry[];
}

interface LaneOptions {
  readonly clock: Clock;
  readonly intervalMs: number;
  /** Rejects when they did not arrive. */
  readonly send: (to: AgentId, items: readonly GossipItem[]) => Promise<unknown>;
  /** No answer came in the time that it takes; it may come yet. */
  readonly late: (to: AgentId, items: readonly GossipItem[]) => void;
  /** What did not arrive, and what waited behind it. */
  readonly undelivered: (to: AgentId, items: readonly GossipItem[]) => void;
}

/**
 * Carries out what detectors tell others: few messages at a time to each, and what is learnt meanwhile travels together with the next. So an agent that
 * is late is sent fewer messages, not more, which would make it later still. Indirect probes wait for nothing.
 */
export class GossipLanes {
  private readonly options: LaneOptions;
  private readonly lanes = new Map<AgentId, Lane>();
  private answersTakeMs = 0;

  constructor(options: LaneOptions) {
    this.options = options;
  }

  carry(to: AgentId, items: readonly GossipItem[]): void {
    const news = items.filter(isNews);
    if (news.length < items.length) {
      void this.deliver(to, items).then((arrived) => arrived || this.options.undelivered(to, items));
      return;
    }
    const lane = this.lanes.get(to) ?? { onTheirWay: 0, waiting: [] };
    this.lanes.set(to, lane);
    lane.waiting = news.reduce(addNews, lane.waiting);
    this.proceed(to, lane);
  }

  private proceed(to: AgentId, lane: Lane): void {
    if (lane.onTheirWay === MOST_ON_THEIR_WAY) return;
    if (lane.waiting.length > 0) void this.dispatch(to, lane);
    else if (lane.onTheirWay === 0) this.lanes.delete(to);
  }

  private async dispatch(to: AgentId, lane: Lane): Promise<void> {
    const news = lane.waiting;
    lane.waiting = [];
    lane.onTheirWay += 1;
    const arrived = await this.deliver(to, news);
    lane.onTheirWay -= 1;
    const failed = arrived ? [] : lane.waiting.reduce(addNews, news);
    if (!arrived) lane.waiting = [];
    this.proceed(to, lane);
    if (!arrived) this.options.undelivered(to, failed);
  }

  private async deliver(to: AgentId, items: readonly GossipItem[]): Promise<boolean> {
    const { clock, intervalMs, send, late } = this.options;
    const sentAt = clock.now();
    const lateMs = Math.max(intervalMs * LATE_SHARE, LATE_ROUND_TRIPS * this.answersTakeMs);
    const cancel = clock.after(lateMs, () => late(to, items));
    try {
      await send(to, items);
      this.answersTakeMs = followPeaks(this.answersTakeMs, clock.now() - sentAt, QUICKER_SHARE);
      return true;
    } catch {
      return false;
    } finally {
      cancel();
    }
  }
}
