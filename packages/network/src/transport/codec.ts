import { fromJson, toJson } from "../json.ts";
import { isBoundedMsgpack } from "./msgpackBounds.ts";

/** Encodings that links can agree upon, in the order in which they are preferred. */
export const CODEC_NAMES = ["msgpack", "json"] as const;
export type CodecName = (typeof CODEC_NAMES)[number];

export interface Codec {
  readonly name: CodecName;
  /** Throws for what it cannot say (cycles, BigInt in JSON, functions). The bytes are the caller's. */
  encode(value: unknown): Uint8Array;
  /** Throws when the bytes are not one whole value. Bytes inside it are copies. */
  decode(bytes: Uint8Array): unknown;
}

const json: Codec = {
  name: "json",
  encode: (value) => Buffer.from(toJson(value)),
  decode: (bytes) => fromJson(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8")),
};

/** Loaded when a link needs it: a program that uses another transport does not wait for it. */
async function loadMsgpack(): Promise<Codec> {
  const { Packr } = await import("msgpackr");
  // Plain MessagePack, readable by any implementation: no record extension, no shared structures.
  const packr = new Packr({ useRecords: false, int64AsType: "number", copyBuffers: true, encodeUndefinedAsNil: true });
  return {
    name: "msgpack",
    encode(value) {
      const bytes = packr.pack(value);
      // What the other side would refuse (a Date, a Map, nesting without end) must not cost the connection.
      if (!isBoundedMsgpack(bytes)) throw new TypeError("it holds what is neither JSON nor bytes, or is nested too deep");
      return bytes;
    },
    decode(bytes) {
      if (!isBoundedMsgpack(bytes)) throw new RangeError("not one whole MessagePack value within bounds");
      return packr.unpack(bytes);
    },
  };
}

export const loadCodecs = async (names: readonly CodecName[]): Promise<ReadonlyMap<CodecName, Codec>> =>
  new Map(await Promise.all(names.map(async (name) => [name, name === "json" ? json : await loadMsgpack()] as const)));
