import { MESSAGE_PRIORITIES, type MessagePriority } from "./message.ts";

/** First in, first out within a priority; a higher priority always goes first. */
export interface PriorityQueue<T> {
  readonly size: number;
  push(item: T, priority: MessagePriority): void;
  /** Back to the head of its priority. */
  unshift(item: T, priority: MessagePriority): void;
  shift(): T | undefined;
  /** In the order in which `shift` would give them. */
  items(): T[];
  /** Takes out all for which `matches` holds. */
  remove(matches: (item: T) => boolean): T[];
}

interface Lane<T> {
  items: T[];
  head: number;
}

/** So many given away and no longer needed at the head of a lane before it is copied. */
const COMPACT_FROM = 1024;

const HIGHEST_FIRST = MESSAGE_PRIORITIES.toReversed();

export function createPriorityQueue<T>(): PriorityQueue<T> {
  const lanes: readonly Lane<T>[] = HIGHEST_FIRST.map(() => ({ items: [], head: 0 }));
  const byPriority = new Map(HIGHEST_FIRST.map((priority, index) => [priority, lanes[index] as Lane<T>]));
  const laneOf = (priority: MessagePriority): Lane<T> => byPriority.get(priority) as Lane<T>;
  const rest = (lane: Lane<T>): T[] => lane.items.slice(lane.head);
  let size = 0;
  return {
    get size() {
      return size;
    },
    push(item, priority) {
      laneOf(priority).items.push(item);
      size += 1;
    },
    unshift(item, priority) {
      const lane = laneOf(priority);
      if (lane.head > 0) lane.items[--lane.head] = item;
      else lane.items.unshift(item);
      size += 1;
    },
    shift() {
      if (size === 0) return undefined;
      const lane = lanes.find(({ items, head }) => head < items.length) as Lane<T>;
      const item = lane.items[lane.head++];
      size -= 1;
      if (lane.head === lane.items.length) {
        lane.items.length = 0;
        lane.head = 0;
      } else if (lane.head >= COMPACT_FROM && lane.head * 2 > lane.items.length) {
        lane.items = rest(lane);
        lane.head = 0;
      }
      return item;
    },
    items: () => lanes.flatMap(rest),
    remove(matches) {
      const removed: T[] = [];
      for (const lane of lanes) {
        const kept: T[] = [];
        for (const item of rest(lane)) (matches(item) ? removed : kept).push(item);
        lane.items = kept;
        lane.head = 0;
      }
      size -= removed.length;
      return removed;
    },
  };
}
