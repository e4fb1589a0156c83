import type { AgentMessage } from "./message.ts";

export interface HistoryEntry {
  readonly direction: "sent" | "received";
  readonly message: AgentMessage;
  /** Ms since the Unix epoch. */
  readonly at: number;
}

export interface History {
  add(direction: HistoryEntry["direction"], message: AgentMessage, at: number): void;
  /** Oldest first. */
  entries(): readonly HistoryEntry[];
}

/** The last `size` messages. */
export function createHistory(size: number): History {
  const ring: HistoryEntry[] = [];
  let next = 0;
  return {
    add(direction, message, at) {
      if (size === 0) return;
      ring[next] = { direction, message, at };
      next = (next + 1) % size;
    },
    entries: () => (ring.length < size ? [...ring] : [...ring.slice(next), ...ring.slice(0, next)]),
  };
}
