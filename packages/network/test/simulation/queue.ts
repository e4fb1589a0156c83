/** What is to happen when: the earliest first, what falls on one instant in the order in which it was put in. */
export interface EventQueue<T> {
  push(at: number, event: T): void;
  pop(): { readonly at: number; readonly event: T } | undefined;
}

export function createQueue<T>(): EventQueue<T> {
  const heap: { readonly at: number; readonly order: number; readonly event: T }[] = [];
  let pushed = 0;
  const isBefore = (a: number, b: number): boolean => {
    const [x, y] = [heap[a], heap[b]];
    return x !== undefined && y !== undefined && (x.at - y.at || x.order - y.order) < 0;
  };
  const swap = (a: number, b: number): void => {
    const [x, y] = [heap[a], heap[b]];
    if (x === undefined || y === undefined) return;
    heap[a] = y;
    heap[b] = x;
  };
  return {
    push(at, event) {
      heap.push({ at, order: pushed++, event });
      for (let i = heap.length - 1; i > 0; ) {
        const parent = (i - 1) >> 1;
        if (!isBefore(i, parent)) break;
        swap(i, parent);
        i = parent;
      }
    },
    pop() {
      swap(0, heap.length - 1);
      const first = heap.pop();
      for (let i = 0; ; ) {
        const left = 2 * i + 1;
        const child = isBefore(left + 1, left) ? left + 1 : left;
        if (!isBefore(child, i)) break;
        swap(i, child);
        i = child;
      }
      return first;
    },
  };
}
