import type { AgentId } from "@failstorm/core";
import { addNews, isNews } from "./gossip.ts";
import type { GossipEntry, GossipItem } from "./types.ts";

/**
 * So many messages of news are on their way to one agent. A single one would hold up what is found out while it is answered, which in a storm takes
 * as long as finding out does.
 */
const MOST_ON_THEIR_WAY = 3;

interface Lane {
  onTheirWay: number;
  waiting: readonly GossipEntry[];
}

/**
 * Carries out what detectors tell others: few messages at a time to each, and what is learnt meanwhile travels together with the next. So an agent that
 * is late is sent fewer messages, not more, which would make it later still. Indirect probes wait for nothing.
 */
export class GossipLanes {
  private readonly send: (to: AgentId, items: readonly GossipItem[]) => Promise<unknown>;
  private readonly undelivered: (to: AgentId, items: readonly GossipItem[]) => void;
  private isStopped = false;
  private readonly lanes = new Map<AgentId, Lane>();

  /** `send` rejects when they did not arrive: `undelivered` is told of that, with what waited behind it. */
  constructor(send: GossipLanes["send"], undelivered: GossipLanes["undelivered"]) {
    this.send = send;
    this.undelivered = undelivered;
  }

  carry(to: AgentId, items: readonly GossipItem[]): void {
    const news = items.filter(isNews);
    if (news.length < items.length) {
      void this.deliver(to, items).then((arrived) => arrived || this.undelivered(to, items));
      return;
    }
    const lane = this.lanes.get(to) ?? { onTheirWay: 0, waiting: [] };
    this.lanes.set(to, lane);
    lane.waiting = news.reduce(addNews, lane.waiting);
    this.proceed(to, lane);
  }

  /** What waits is not sent any more. */
  stop(): void {
    this.isStopped = true;
  }

  private proceed(to: AgentId, lane: Lane): void {
    if (this.isStopped || lane.onTheirWay === MOST_ON_THEIR_WAY) return;
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
    if (!arrived) this.undelivered(to, failed);
  }

  private deliver(to: AgentId, items: readonly GossipItem[]): Promise<boolean> {
    return this.send(to, items).then(
      () => true,
      () => false,
    );
  }
}
