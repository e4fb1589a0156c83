/** A hybrid logical time stamp: the largest physical time seen (ms), and a counter among equals. */
export interface HlcStamp {
  readonly ms: number;
  readonly counter: number;
}

export const compareHlc = (a: HlcStamp, b: HlcStamp): number => a.ms - b.ms || a.counter - b.counter;

const MAX_COUNTER = 2 ** 32;

export interface HybridLogicalClock {
  /** Stamps a local event at physical time `now`: later than every stamp given or observed before. */
  tick(now: number): HlcStamp;
  /** Takes note of a stamp received at physical time `now`. */
  observe(remote: HlcStamp, now: number): void;
}

/**
 * A hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014): stamps order as happened-before, and stay as close to
 * physical time as the physical clocks are to each other. `now` is ms of whatever clock all participants share or approximate.
 */
export function createHlc(): HybridLogicalClock {
  let last: HlcStamp = { ms: Number.NEGATIVE_INFINITY, counter: 0 };
  return {
    tick(now) {
      if (now > last.ms) last = { ms: now, counter: 0 };
      // Beyond, numbers are not whole any more, and nobody takes in a stamp with such: one that was observed may be as large as that.
      else if (last.counter >= MAX_COUNTER) last = { ms: last.ms + 1, counter: 0 };
      else last = { ms: last.ms, counter: last.counter + 1 };
      return last;
    },
    observe(remote, now) {
      if (compareHlc(remote, last) > 0) last = remote;
      if (now > last.ms) last = { ms: now, counter: 0 };
    },
  };
}
