/** Share of the table that may be full before it doubles. */
const MAX_LOAD = 0.5;
const EMPTY = -1;

/** 53 bits of an id: two FNV-1a sums with different bases over its UTF-16 units. Equal ids have equal hashes; seldom others have, too. */
export function hashOf(id: string): number {
  let high = 0x811c9dc5;
  let low = 0x1b873593;
  for (let at = 0; at < id.length; at++) {
    const unit = id.charCodeAt(at);
    high = Math.imul(high ^ unit, 0x01000193);
    low = Math.imul(low ^ unit, 0x01000193) ^ (low >>> 15);
  }
  return (high >>> 11) * 0x1_0000_0000 + (low >>> 0);
}

/** A set of hashes in 16 to 32 bytes each, where a Set of the ids themselves takes a hundred. */
export class HashSet {
  private slots = new Float64Array(1024).fill(EMPTY);
  private used = 0;

  /** Returns false when it was there already. */
  add(hash: number): boolean {
    if (this.used >= this.slots.length * MAX_LOAD) this.grow();
    return this.put(hash);
  }

  private put(hash: number): boolean {
    const mask = this.slots.length - 1;
    let at = hash % this.slots.length;
    while (this.slots[at] !== EMPTY) {
      if (this.slots[at] === hash) return false;
      at = (at + 1) & mask;
    }
    this.slots[at] = hash;
    this.used += 1;
    return true;
  }

  private grow(): void {
    const before = this.slots;
    this.slots = new Float64Array(before.length * 2).fill(EMPTY);
    this.used = 0;
    for (const hash of before) if (hash !== EMPTY) this.put(hash);
  }
}
