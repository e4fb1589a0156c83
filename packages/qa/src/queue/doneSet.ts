/**
 * Which of the numbers 0, 1, 2, … are done, in memory that does not grow with how many are: all below `watermark` are, and those of a
 * set above it. As long as whoever adds stays within `lead` of the watermark, the set has fewer than `lead` members.
 */
export class DoneSet {
  private readonly above = new Set<number>();
  private low = 0;

  /** The smallest number that is not done. */
  get watermark(): number {
    return this.low;
  }

  get size(): number {
    return this.low + this.above.size;
  }

  /** Numbers held singly: what this costs in memory. */
  get held(): number {
    return this.above.size;
  }

  has(seq: number): boolean {
    return seq < this.low || this.above.has(seq);
  }

  /** Returns false when it was there already. */
  add(seq: number): boolean {
    if (this.has(seq)) return false;
    this.above.add(seq);
    while (this.above.delete(this.low)) this.low += 1;
    return true;
  }
}
