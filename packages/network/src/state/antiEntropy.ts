import type { MessagePayload } from "../json.ts";
import { BUCKETS, type StateStore } from "./stateStore.ts";

/*
 * Finding what two replicas differ in (Merkle 1987; Demers et al. 1987), over the buckets both keep: 64 groups of 64 buckets. One asks with
 * a hash for each group; the other answers with the hashes of the buckets in groups that differ; the first lists the states in
 * buckets that differ by id and checksum; the other says which of its own to take and which it wants. What travels grows with the
 * differences; for equal replicas it is one request of 512 bytes.
 */

const GROUPS = 64;
const HASH_BYTES = 8;
/** Of a checksum, in a list: enough to tell versions of one state apart. */
const SHORT_CHECKSUM = 12;

/** Which buckets are compared: those both replicas keep. */
export type BucketFilter = (bucket: number) => boolean;

const bucketsOf = (group: number): number[] => Array.from({ length: BUCKETS / GROUPS }, (_, i) => group + i * GROUPS);

function pack(hashes: readonly { readonly low: number; readonly high: number }[]): Buffer {
  const bytes = Buffer.allocUnsafe(hashes.length * HASH_BYTES);
  for (const [index, { low, high }] of hashes.entries()) {
    bytes.writeInt32BE(low, index * HASH_BYTES);
    bytes.writeInt32BE(high, index * HASH_BYTES + 4);
  }
  return bytes;
}

const at = (bytes: Uint8Array, index: number): Uint8Array => bytes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);

/** Indices at which two packed lists of hashes differ. */
const differing = (own: Buffer, other: Uint8Array): number[] =>
  Array.from({ length: own.length / HASH_BYTES }, (_, index) => index).filter(
    (index) => Buffer.compare(at(own, index), at(other, index)) !== 0,
  );

const isHashes = (value: unknown, count: number): value is Uint8Array =>
  value instanceof Uint8Array && value.length === count * HASH_BYTES;

const hashesOf = (store: StateStore, group: number, keeps: BucketFilter): Buffer =>
  pack(bucketsOf(group).map((bucket) => (keeps(bucket) ? store.hashOf(bucket) : { low: 0, high: 0 })));

/** A hash for each group. */
export function groupHashes(store: StateStore, keeps: BucketFilter): Buffer {
  const sums = Array.from({ length: GROUPS }, (_, group) => {
    const sum = { low: 0, high: 0 };
    for (const bucket of bucketsOf(group)) {
      if (!keeps(bucket)) continue;
      const { low, high } = store.hashOf(bucket);
      sum.low = (sum.low + low) | 0;
      sum.high = (sum.high + high) | 0;
    }
    return sum;
  });
  return pack(sums);
}

/** The answer to `groupHashes` of another: the hashes of the buckets of every group that differs. Null when it is malformed. */
export function answerGroups(store: StateStore, keeps: BucketFilter, groups: unknown): MessagePayload | null {
  if (!isHashes(groups, GROUPS)) return null;
  return differing(groupHashes(store, keeps), groups).map((group) => [group, hashesOf(store, group, keeps)]);
}

/** The buckets that differ, from that answer. Null when it is malformed. */
export function differingBuckets(store: StateStore, keeps: BucketFilter, answer: unknown): number[] | null {
  if (!Array.isArray(answer)) return null;
  const buckets: number[] = [];
  for (const item of answer as readonly unknown[]) {
    if (!Array.isArray(item)) return null;
    const [group, hashes] = item as readonly unknown[];
    const isGroup = Number.isSafeInteger(group) && (group as number) >= 0 && (group as number) < GROUPS;
    if (!isGroup || !isHashes(hashes, BUCKETS / GROUPS)) return null;
    const all = bucketsOf(group as number);
    buckets.push(...differing(hashesOf(store, group as number, keeps), hashes).map((index) => all[index] as number));
  }
  return buckets;
}

/** What is in a bucket: id, checksum and version of each. */
export const listBucket = (store: StateStore, bucket: number): MessagePayload => [
  bucket,
  store.inBucket(bucket).flatMap(({ stateId, checksum, version }) => [stateId, checksum.slice(0, SHORT_CHECKSUM), version]),
];

export interface BucketDifference {
  /** Held here, and by the other not, or in an earlier version. */
  readonly give: readonly string[];
  /** The other way round. Concurrent versions may be in both. */
  readonly want: readonly string[];
}

interface Listed {
  readonly checksum: string;
  readonly version: number;
}

const FIELDS = 3;

function readList(values: readonly unknown[]): Map<string, Listed> | null {
  const listed = new Map<string, Listed>();
  for (let i = 0; i < values.length; i += FIELDS) {
    const [stateId, checksum, version] = values.slice(i, i + FIELDS);
    if (typeof stateId !== "string" || typeof checksum !== "string" || typeof version !== "number") return null;
    listed.set(stateId, { checksum, version });
  }
  return listed;
}

/** Compares lists of buckets with what is here. Null when they are malformed. `isMerging`: versions are merged, so that both must travel. */
export function compareLists(
  store: StateStore,
  keeps: BucketFilter,
  lists: unknown,
  isMerging: boolean,
): BucketDifference | null {
  if (!Array.isArray(lists)) return null;
  const give: string[] = [];
  const want: string[] = [];
  for (const item of lists as readonly unknown[]) {
    if (!Array.isArray(item)) return null;
    const [bucket, values] = item as readonly unknown[];
    const theirs = Array.isArray(values) ? readList(values) : null;
    if (!Number.isSafeInteger(bucket) || theirs === null) return null;
    if (!keeps(bucket as number)) continue;
    for (const { stateId, checksum, version } of store.inBucket(bucket as number)) {
      const other = theirs.get(stateId);
      if (other === undefined) give.push(stateId);
      else if (other.checksum !== checksum.slice(0, SHORT_CHECKSUM)) {
        // The greater version is the winner, if it comes to that.
        if (isMerging || version >= other.version) give.push(stateId);
        if (isMerging || version <= other.version) want.push(stateId);
      }
    }
    for (const stateId of theirs.keys()) if (store.latest(stateId) === null) want.push(stateId);
  }
  return { give, want };
}
