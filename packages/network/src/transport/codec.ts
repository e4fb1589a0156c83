import { fromJson, toJson } from "../json.ts";
import { isBoundedMsgpack } from "./msgpackBounds.ts";

/** Encodings that links can agree upon, in the order in which they are preferred. */
export const CODEC_NAMES = ["msgpack", "json"] as const;
export type CodecName = (typeof CODEC_NAMES)[number];

export interface Codec {
  readonly name: CodecName;
  /**
   * The bytes are the caller's; the first `room` of them (255 at most) are free for it to fill. Throws for what it cannot say, or what the other side
   * would not read: cycles, nesting without end, dates, functions.
   */
  encode(value: unknown, room: number): Buffer;
  /** Throws when the bytes are not one whole value. Bytes inside it are copies. */
  decode(bytes: Uint8Array): unknown;
}

const json: Codec = {
  name: "json",
  encode(value, room) {
    const text = toJson(value);
    const bytes = Buffer.allocUnsafe(room + Buffer.byteLength(text));
    bytes.write(text, room);
    return bytes;
  },
  decode: (bytes) => fromJson(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8")),
};

/** Loaded when a link needs it: a program that uses another transport does not wait for it. */
async function loadMsgpack(): Promise<Codec> {
  const { Packr, RESERVE_START_SPACE } = await import("msgpackr");
  // Plain MessagePack, readable by any implementation: no record extension, no shared structures.
  const packr = new Packr({ useRecords: false, int64AsType: "number", copyBuffers: true, encodeUndefinedAsNil: true });
  return {
    name: "msgpack",
    encode(value, room) {
      const bytes = packr.pack(value, RESERVE_START_SPACE + room);
      // What the other side would refuse (a Date, nesting without end) must not cost the connection.
      if (!isBoundedMsgpack(bytes, room)) throw new TypeError("it holds what is neither JSON nor bytes, or is nested too deep");
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
