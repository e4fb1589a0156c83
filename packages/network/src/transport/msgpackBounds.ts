/*
 * A walk over MessagePack (github.com/msgpack/msgpack/blob/master/spec.md) that builds nothing. A decoder makes room for the number of elements
 * that an array announces before it reads one: five bytes can ask for gigabytes. So before decoding, every announced length is
 * held against the bytes that are there, nesting is bounded, and extension types, which nobody here sends, are refused.
 */

const MAX_DEPTH = 64;

/** Bytes of the value after its first byte, by first byte; negative: see `sized`. */
const FIXED_SIZES = new Map([
  [0xc0, 0], // nil
  [0xc2, 0], // false
  [0xc3, 0], // true
  [0xca, 4], // float 32
  [0xcb, 8], // float 64
  [0xcc, 1], // uint 8
  [0xcd, 2],
  [0xce, 4],
  [0xcf, 8],
  [0xd0, 1], // int 8
  [0xd1, 2],
  [0xd2, 4],
  [0xd3, 8],
]);

/** First byte → bytes of the length that follows. */
const BLOB_LENGTHS = new Map([
  [0xc4, 1], // bin 8
  [0xc5, 2],
  [0xc6, 4],
  [0xd9, 1], // str 8
  [0xda, 2],
  [0xdb, 4],
]);
const CONTAINER_LENGTHS = new Map([
  [0xdc, { bytes: 2, each: 1 }], // array 16
  [0xdd, { bytes: 4, each: 1 }],
  [0xde, { bytes: 2, each: 2 }], // map 16
  [0xdf, { bytes: 4, each: 2 }],
]);

/** What a first byte says: so many bytes to skip, a length to read, or so many values to come. */
type Token =
  | { readonly kind: "skip"; readonly bytes: number }
  | { readonly kind: "blob"; readonly lengthBytes: number }
  | { readonly kind: "container"; readonly lengthBytes: number; readonly each: number; readonly values: number }
  | { readonly kind: "bad" };

function tokenOf(first: number): Token {
  if (first <= 0x7f || first >= 0xe0) return { kind: "skip", bytes: 0 }; // fixint
  if (first <= 0x8f) return { kind: "container", lengthBytes: 0, each: 2, values: (first & 0x0f) * 2 };
  if (first <= 0x9f) return { kind: "container", lengthBytes: 0, each: 1, values: first & 0x0f };
  if (first <= 0xbf) return { kind: "skip", bytes: first & 0x1f }; // fixstr
  const size = FIXED_SIZES.get(first);
  if (size !== undefined) return { kind: "skip", bytes: size };
  const blob = BLOB_LENGTHS.get(first);
  if (blob !== undefined) return { kind: "blob", lengthBytes: blob };
  const container = CONTAINER_LENGTHS.get(first);
  if (container !== undefined) return { kind: "container", lengthBytes: container.bytes, each: container.each, values: 0 };
  return { kind: "bad" }; // extension types, and 0xc1, which is never used
}

const TOKENS: readonly Token[] = Array.from({ length: 256 }, (_, first) => tokenOf(first));

/** Whether `bytes`, from `from` on, are one whole value that a decoder may be given. */
export function isBoundedMsgpack(bytes: Uint8Array, from = 0): boolean {
  const open: number[] = [];
  let left = 1; // values still to come in the innermost container
  let at = from;
  for (;;) {
    while (left === 0) {
      const outer = open.pop();
      if (outer === undefined) return at === bytes.length;
      left = outer;
    }
    if (at >= bytes.length) return false;
    const token = TOKENS[bytes[at++] as number] as Token;
    left -= 1;
    if (token.kind === "skip") {
      at += token.bytes;
      continue;
    }
    if (token.kind === "bad" || at + token.lengthBytes > bytes.length) return false;
    let length = 0;
    for (let i = 0; i < token.lengthBytes; i++) length = length * 256 + (bytes[at++] as number);
    if (token.kind === "blob") {
      at += length;
      continue;
    }
    const values = token.lengthBytes === 0 ? token.values : length * token.each;
    // Every value takes a byte at least.
    if (values > bytes.length - at || open.length >= MAX_DEPTH) return false;
    open.push(left);
    left = values;
  }
}
