/** A frame is its length (32 bits, big endian) and that many bytes. */
export const HEADER_BYTES = 4;

export interface FrameReader {
  /**
   * Calls `onFrame` for each frame that `chunk` completes; the bytes are valid during the call only where they are kept by nobody else.
   * False when a frame is announced that is larger than allowed: the stream is of no use any more. `onFrame` returning false stops.
   */
  push(chunk: Uint8Array, onFrame: (body: Uint8Array) => boolean): boolean;
  /** Bytes a body may have from now on. */
  limit(maxBytes: number): void;
}

export function createFrameReader(maxBytes: number): FrameReader {
  let limit = maxBytes;
  /** What is there of an unfinished frame, header included. */
  let parts: Uint8Array[] = [];
  let have = 0;
  let need = HEADER_BYTES;

  const gathered = (): Buffer => {
    const whole = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts, have);
    parts = [whole];
    return Buffer.isBuffer(whole) ? whole : Buffer.from(whole.buffer, whole.byteOffset, whole.byteLength);
  };

  return {
    limit(bytes) {
      limit = bytes;
    },
    push(chunk, onFrame) {
      parts.push(chunk);
      have += chunk.length;
      if (have < need) return true;
      const bytes = gathered();
      let at = 0;
      need = HEADER_BYTES;
      while (bytes.length - at >= HEADER_BYTES) {
        const length = bytes.readUInt32BE(at);
        if (length > limit) return false;
        if (bytes.length - at < HEADER_BYTES + length) {
          need = HEADER_BYTES + length;
          break;
        }
        at += HEADER_BYTES + length;
        if (!onFrame(bytes.subarray(at - length, at))) return true;
      }
      have = bytes.length - at;
      parts = have === 0 ? [] : [bytes.subarray(at)];
      return true;
    },
  };
}

/** Fills in the header of a frame that is already there. */
export function fillHeader(framed: Buffer): Buffer {
  framed.writeUInt32BE(framed.length - HEADER_BYTES, 0);
  return framed;
}

/** One buffer with header, body and what follows the body inside the frame. */
export function frame(body: Uint8Array, trailer: Uint8Array | null = null): Buffer {
  const length = body.length + (trailer?.length ?? 0);
  const framed = Buffer.allocUnsafe(HEADER_BYTES + length);
  framed.writeUInt32BE(length, 0);
  framed.set(body, HEADER_BYTES);
  if (trailer !== null) framed.set(trailer, HEADER_BYTES + body.length);
  return framed;
}
