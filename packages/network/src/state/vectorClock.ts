/** How often each node has written, as one of them knows it; absent = 0. Never changed in place. */
export type VectorClock = Readonly<Record<string, number>>;

export type ClockOrder = "equal" | "before" | "after" | "concurrent";

const at = (clock: VectorClock, node: string): number => (Object.hasOwn(clock, node) ? (clock[node] ?? 0) : 0);

/** What `a` is to `b` (Fidge 1988, Mattern 1989): a partial order. */
export function compareClocks(a: VectorClock, b: VectorClock): ClockOrder {
  let isLess = false;
  let isMore = false;
  for (const node of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const difference = at(a, node) - at(b, node);
    isLess ||= difference < 0;
    isMore ||= difference > 0;
  }
  if (isLess) return isMore ? "concurrent" : "before";
  return isMore ? "after" : "equal";
}

/** The least clock that is not before either. */
export function mergeClocks(a: VectorClock, b: VectorClock): VectorClock {
  const nodes = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
  return Object.fromEntries(nodes.map((node) => [node, Math.max(at(a, node), at(b, node))]));
}

/** One more write by `node`. */
export const tickClock = (clock: VectorClock, node: string): VectorClock => ({ ...clock, [node]: at(clock, node) + 1 });

/** All writes the clock knows of: whatever is after another clock has a greater sum. */
export const clockSum = (clock: VectorClock): number => Object.values(clock).reduce((sum, count) => sum + count, 0);
