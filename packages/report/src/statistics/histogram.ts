/** Half of them cut each power of two into equal parts: values are kept to within 1/64, below 2 %. */
const SUB_BITS = 7;
const SUB = 2 ** SUB_BITS;

/** A histogram as it is stored: bucket index → count, in ascending order. */
export type HistogramData = readonly (readonly [bucket: number, count: number])[];

/**
 * Counts of values in buckets of equal relative width, as the HDR histogram has them (Tene, http://hdrhistogram.org): histograms
 * of agents and runs add up without loss, where percentiles cannot be averaged. Values are ms, kept in whole µs.
 */
export interface LatencyHistogram {
  readonly count: number;
  record(ms: number): void;
  add(other: HistogramData): void;
  /** The smallest value that at least the share `q` of the values does not exceed, at most 1/64 above it; null when there is none. */
  quantile(q: number): number | null;
  /** Share of the values at or below each bucket's upper end, for a curve. */
  cumulative(): { ms: number; share: number }[];
  data(): HistogramData;
}

/** Values below SUB µs have a bucket each; above, each power of two is cut into SUB / 2 of them. */
function bucketOf(ms: number): number {
  const us = Math.max(0, Math.round(ms * 1000));
  if (us < SUB) return us;
  const exponent = Math.floor(Math.log2(us)) - SUB_BITS + 1;
  return exponent * (SUB / 2) + Math.floor(us / 2 ** exponent);
}

/** The largest value of a bucket, ms. */
function upperEnd(bucket: number): number {
  if (bucket < SUB) return bucket / 1000;
  const exponent = Math.floor(bucket / (SUB / 2)) - 1;
  const mantissa = bucket - exponent * (SUB / 2);
  return ((mantissa + 1) * 2 ** exponent - 1) / 1000;
}

export function createHistogram(data: HistogramData = []): LatencyHistogram {
  const counts = new Map<number, number>();
  let count = 0;
  const put = (bucket: number, n: number): void => {
    counts.set(bucket, (counts.get(bucket) ?? 0) + n);
    count += n;
  };
  const sorted = (): [number, number][] => [...counts.entries()].sort(([a], [b]) => a - b);
  const histogram: LatencyHistogram = {
    get count() {
      return count;
    },
    record: (ms) => put(bucketOf(ms), 1),
    add: (other) => {
      for (const [bucket, n] of other) put(bucket, n);
    },
    quantile: (q) => {
      const wanted = Math.max(1, Math.ceil(q * count - 1e-9));
      let seen = 0;
      for (const [bucket, n] of sorted()) {
        seen += n;
        if (seen >= wanted) return upperEnd(bucket);
      }
      return null;
    },
    cumulative: () => {
      let seen = 0;
      return sorted().map(([bucket, n]) => {
        seen += n;
        return { ms: upperEnd(bucket), share: seen / count };
      });
    },
    data: sorted,
  };
  histogram.add(data);
  return histogram;
}
