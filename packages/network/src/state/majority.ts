import { compareStates, type DistributedState } from "./state.ts";

/** So many of `count` that any two majorities have one in common. */
export const majorityOf = (count: number): number => Math.floor(count / 2) + 1;

/** The greatest version among answers; null where nobody has one. */
export const greatest = (states: readonly (DistributedState | null)[]): DistributedState | null =>
  states.reduce((best, state) => (state !== null && (best === null || compareStates(best, state) < 0) ? state : best), null);

/** Runs `act` for all at once; resolves with the results as soon as there are `needed`, or when all are through. */
export function gather<T, R>(items: readonly T[], needed: number, act: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  let left = items.length;
  return new Promise((resolve) => {
    if (left === 0) resolve(results);
    const tryOne = async (item: T): Promise<void> => {
      try {
        results.push(await act(item));
      } catch {
        // Who cannot be reached counts as one that did not answer.
      }
      left -= 1;
      if (results.length >= needed || left === 0) resolve([...results]);
    };
    for (const item of items) void tryOne(item);
  });
}
