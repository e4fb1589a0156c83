import { hashLanes, type HashLanes, toHex } from "../hash.ts";

/** A summary of a set of entries: one hash for each bucket (a power of two of them), "" for an empty one. */
export interface LedgerDigest {
  readonly entries: number;
  readonly buckets: readonly string[];
}

export const FINEST_BUCKETS = 4096;
const FEWEST_BUCKETS = 16;

/** Checks a digest that came over the network; null when it is none. */
export function decodeDigest(value: unknown): LedgerDigest | null {
  if (typeof value !== "object" || value === null) return null;
  const { entries, buckets } = value as Record<string, unknown>;
  if (!Number.isSafeInteger(entries) || !Array.isArray(buckets)) return null;
  const count = buckets.length;
  const isPowerOfTwo = count > 0 && (count & (count - 1)) === 0;
  if (!isPowerOfTwo || count > FINEST_BUCKETS || !buckets.every((bucket) => typeof bucket === "string")) return null;
  return { entries: entries as number, buckets };
}

/** Sums of entry hashes by bucket, kept up to date entry by entry. The sum (mod 2^32, per lane) does not depend on the order. */
export interface DigestTree {
  add(task: string, key: string): void;
  /** Takes back an `add` of the same. */
  remove(task: string, key: string): void;
  /** One of the finest buckets by itself. */
  cell(bucket: number): HashLanes;
  /** The bucket of `task` among `bucketCount`. */
  bucketOf(task: string, bucketCount: number): number;
  digest(bucketCount?: number): LedgerDigest;
  /** All entries in one hash. */
  total(): HashLanes;
}

export function createDigestTree(): DigestTree {
  const low = new Int32Array(FINEST_BUCKETS);
  const high = new Int32Array(FINEST_BUCKETS);
  const counts = new Int32Array(FINEST_BUCKETS);
  let entries = 0;

  // Bucket counts are powers of two: the bucket among fewer is the low bits of the finest one, so coarse digests are folded fine ones.
  const bucketOf = (task: string, bucketCount: number): number => hashLanes(task).low & (bucketCount - 1);

  const at = (cells: Int32Array, index: number): number => cells[index] as number;

  /** About the square root of the entries: neither the digest nor what one differing bucket costs dominates. */
  const fittingBuckets = (): number => {
    let buckets = FEWEST_BUCKETS;
    while (buckets * buckets < entries && buckets < FINEST_BUCKETS) buckets *= 2;
    return buckets;
  };

  const folded = (bucket: number, bucketCount: number): HashLanes & { readonly count: number } => {
    const sum = { low: 0, high: 0, count: 0 };
    for (let fine = bucket; fine < FINEST_BUCKETS; fine += bucketCount) {
      sum.low = (sum.low + at(low, fine)) | 0;
      sum.high = (sum.high + at(high, fine)) | 0;
      sum.count += at(counts, fine);
    }
    return sum;
  };

  const change = (task: string, key: string, sign: 1 | -1): void => {
    const bucket = bucketOf(task, FINEST_BUCKETS);
    const lanes = hashLanes(key);
    low[bucket] = at(low, bucket) + sign * lanes.low;
    high[bucket] = at(high, bucket) + sign * lanes.high;
    counts[bucket] = at(counts, bucket) + sign;
    entries += sign;
  };

  return {
    bucketOf,
    add: (task, key) => change(task, key, 1),
    remove: (task, key) => change(task, key, -1),
    cell: (bucket) => ({ low: at(low, bucket), high: at(high, bucket) }),
    digest(bucketCount = fittingBuckets()) {
      const buckets = Array.from({ length: bucketCount }, (_, bucket) => {
        const sum = folded(bucket, bucketCount);
        return sum.count === 0 ? "" : toHex(sum);
      });
      return { entries, buckets };
    },
    total: () => folded(0, 1),
  };
}
