/**
 * One lane of a fast, non-cryptographic string hash: the block and final mixes of MurmurHash3 x86/32 (Appleby, public domain),
 * with one UTF-16 unit a block. A signed 32-bit integer, the same on every machine.
 */
export function hash32(text: string, seed: number): number {
  let h = seed | 0;
  for (let i = 0; i < text.length; i++) {
    let k = Math.imul(text.charCodeAt(i), 0xcc9e2d51);
    k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
    h ^= k;
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
  }
  h ^= text.length;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Two independent lanes for one text: what a 64-bit hash would be. */
export interface HashLanes {
  readonly low: number;
  readonly high: number;
}

const LOW_SEED = 0x2545f491;
const HIGH_SEED = 0x6c8e9cf5;

/** Both lanes of `text`, continuing from `seed`, so that hashing (key, id) needs no concatenated string. */
export function hashLanes(text: string, seed: HashLanes = { low: LOW_SEED, high: HIGH_SEED }): HashLanes {
  return { low: hash32(text, seed.low), high: hash32(text, seed.high) };
}

/** 53 bits of the lanes as a non-negative integer that a double holds exactly. */
export const to53Bits = (lanes: HashLanes): number => (lanes.high >>> 11) * 0x1_0000_0000 + (lanes.low >>> 0);

/** 16 hexadecimal digits. */
export const toHex = (lanes: HashLanes): string =>
  (lanes.high >>> 0).toString(16).padStart(8, "0") + (lanes.low >>> 0).toString(16).padStart(8, "0");
