import { createHash } from "node:crypto";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";

/** A seeded source of randomness. Two with the same seed and path of forks give the same values in the same order. */
export interface Prng {
  /** Uniform in [0, 1), 32 random bits. */
  next(): number;
  /** Uniform integer in [0, boundExclusive). */
  int(boundExclusive: number): number;
  /** Exponentially distributed with the given mean; 0 when the mean is 0. */
  exponential(mean: number): number;
  /** One of `items`; throws RangeError when there is none. */
  pick<T>(items: readonly T[]): T;
  /** A new array, shuffled (Fisher–Yates). */
  shuffle<T>(items: readonly T[]): T[];
  /** An independent source, named: the order of forks and draws elsewhere does not change it. */
  fork(label: string): Prng;
}

const hash32 = (text: string): number => createHash("sha256").update(text).digest().readInt32LE(0);

/** A Prng over xoroshiro128+ (pure-rand), seeded with a number and a path of labels. */
export function createPrng(seed: number, path = ""): Prng {
  const generator = xoroshiro128plus(hash32(`${seed}|${path}`));
  const next = (): number => (generator.next() >>> 0) / 0x1_0000_0000;
  const int = (bound: number): number => Math.floor(next() * bound);
  return {
    next,
    int,
    exponential: (mean) => (mean === 0 ? 0 : -mean * Math.log(1 - next())),
    pick: (items) => {
      if (items.length === 0) throw new RangeError("pick from no items");
      return items[int(items.length)] as (typeof items)[number];
    },
    shuffle: (items) => {
      const out = [...items];
      for (let i = out.length - 1; i > 0; i--) {
        const j = int(i + 1);
        const held = out[i] as (typeof out)[number];
        out[i] = out[j] as (typeof out)[number];
        out[j] = held;
      }
      return out;
    },
    fork: (label) => createPrng(seed, `${path}/${label}`),
  };
}
