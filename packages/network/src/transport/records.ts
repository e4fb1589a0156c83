import { createHmac, timingSafeEqual } from "node:crypto";

/** HMAC-SHA-256, cut to 128 bits (RFC 2104 §5). */
const SEAL_BYTES = 16;

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
  const number = Buffer.alloc(8);
  let next = 0n;
  const sealOf = (record: Uint8Array): Buffer => {
    number.writeBigUInt64BE(next);
    return createHmac("sha256", key).update(number).update(record).digest().subarray(0, SEAL_BYTES);
  };
  return {
    seal(record) {
      const seal = sealOf(record);
      next += 1n;
      return seal;
    },
    open(sealed) {
      if (sealed.length < SEAL_BYTES) return null;
      const at = sealed.length - SEAL_BYTES;
      const record = sealed.subarray(0, at);
      if (!timingSafeEqual(sealOf(record), sealed.subarray(at))) return null;
      next += 1n;
      return record;
    },
  };
}
