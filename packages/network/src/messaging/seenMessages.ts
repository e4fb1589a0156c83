/** Which messages of others were taken in already. Exact, and no larger than what the senders still have under way. */
export interface SeenMessages {
  /** False when the message was seen before, or its sender has declared it finished. Remembers it. */
  take(namespace: string, sequence: number, low: number): boolean;
  /** It was not kept after all (no room): the next copy is news. */
  release(namespace: string, sequence: number): void;
}

interface Window {
  low: number;
  readonly seen: Set<number>;
}

/** Nodes remembered; the one silent for longest is forgotten first. */
const MAX_NAMESPACES = 4096;

/** Of one node. An honest sender stays far below: it forgets for us by `low`. */
const MAX_SEEN = 200_000;

/** Looking for what may be forgotten costs a pass over the window: not with every message. */
const FORGET_EVERY = 256;

export function createSeenMessages(): SeenMessages {
  const windows = new Map<string, Window>();
  // Most messages follow one of the same sender.
  let last: { readonly namespace: string; readonly window: Window } | null = null;

  const windowOf = (namespace: string): Window => {
    if (last?.namespace === namespace) return last.window;
    const window = windows.get(namespace) ?? { low: 0, seen: new Set<number>() };
    windows.delete(namespace);
    windows.set(namespace, window);
    if (windows.size > MAX_NAMESPACES) windows.delete(windows.keys().next().value as string);
    last = { namespace, window };
    return window;
  };

  return {
    take(namespace, sequence, low) {
      const window = windowOf(namespace);
      if (low > window.low + FORGET_EVERY) {
        window.low = low;
        for (const seen of window.seen) if (seen < low) window.seen.delete(seen);
      }
      if (sequence < window.low || window.seen.has(sequence)) return false;
      window.seen.add(sequence);
      if (window.seen.size > MAX_SEEN) window.seen.delete(window.seen.values().next().value as number);
      return true;
    },
    release(namespace, sequence) {
      windows.get(namespace)?.seen.delete(sequence);
    },
  };
}
