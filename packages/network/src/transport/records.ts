import { createHash, hash, timingSafeEqual } from "node:crypto";

/** HMAC-SHA-256, cut to 128 bits (RFC 2104 §5). */
const SEAL_BYTES = 16;

const BLOCK_BYTES = 64;

/** HMAC-SHA-256 (RFC 2104) over a number and a record: by hand, since node:crypto's own takes 20 µs to begin. `key` is a block at most. */
function createSealer(key: Uint8Array): (number: bigint, record: Uint8Array) => Buffer {
  const inner = Buffer.alloc(BLOCK_BYTES + 8, 0x36);
  const outer = Buffer.alloc(BLOCK_BYTES + 32, 0x5c);
  for (const [index, byte] of key.entries()) {
    inner[index] = byte ^ 0x36;
    outer[index] = byte ^ 0x5c;
  }
  return (number, record) => {
    inner.writeBigUInt64BE(number, BLOCK_BYTES);
    createHash("sha256").update(inner).update(record).digest().copy(outer, BLOCK_BYTES);
    return hash("sha256", outer, "buffer").subarray(0, SEAL_BYTES);
  };
}

/** Seals and opens the records of one direction of one connection, in order. */
export interface RecordSeal {
  /** What follows the record inside its frame. */
  seal(record: Uint8Array): Buffer;
  /** The record without its seal; null when it was changed, repeated, left out, reordered, or is from another connection. */
  open(sealed: Uint8Array): Uint8Array | null;
}

/**
 * The seal covers the record's number in this direction, which is not sent: a repeated frame has the wrong one. It proves origin and order; it
 * hides nothing, which is what TLS is for.
 */
export function createRecordSeal(key: Uint8Array): RecordSeal {
  const sealOf = createSealer(key);
  let next = 0n;
  return {
    seal(record) {
      const seal = sealOf(next, record);
      next += 1n;
      return seal;
    },
    open(sealed) {
      if (sealed.length < SEAL_BYTES) return null;
      const at = sealed.length - SEAL_BYTES;
      const record = sealed.subarray(0, at);
      if (!timingSafeEqual(sealOf(next, record), sealed.subarray(at))) return null;
      next += 1n;
      return record;
    },
  };
}
