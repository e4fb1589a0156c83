import { createHmac } from "node:crypto";
import * as fc from "fast-check";
import { Packr } from "msgpackr";
import { beforeAll, describe, expect, it } from "vitest";
import type { Packet } from "../src/index.ts";
import { fromWire, toWire } from "../src/messaging/wire.ts";
import { type Codec, loadCodecs } from "../src/transport/codec.ts";
import { createFrameReader, frame } from "../src/transport/frames.ts";
import { isBoundedMsgpack } from "../src/transport/msgpackBounds.ts";
import { createRecordSeal } from "../src/transport/records.ts";

const bytes = fc.uint8Array({ maxLength: 40 });

/** The bytes cut at the given places. */
function cut(whole: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [0, ...places.map((place) => place % (whole.length + 1)).sort((a, b) => a - b), whole.length];
  return sorted.slice(1).map((end, index) => whole.subarray(sorted[index], end));
}

describe("frames", () => {
  it("come out as they went in, however the stream is cut", () => {
    fc.assert(
      fc.property(fc.array(bytes), fc.array(fc.nat(), { maxLength: 12 }), (bodies, places) => {
        const reader = createFrameReader(40);
        const got: Buffer[] = [];
        for (const chunk of cut(Buffer.concat(bodies.map((body) => frame(body))), places)) {
          expect(reader.push(chunk, (body) => got.push(Buffer.from(body)) > 0)).toBe(true);
        }
        expect(got).toEqual(bodies.map((body) => Buffer.from(body)));
      }),
    );
  });

  it("larger than allowed are refused when their length is read, not when they are there", () => {
    const reader = createFrameReader(40);
    expect(reader.push(frame(Buffer.alloc(41)).subarray(0, 4), () => true)).toBe(false);
    expect(createFrameReader(40).push(Buffer.from([0xff, 0xff, 0xff, 0xff]), () => true)).toBe(false);
  });

  it("are no longer read once the reader of one says so", () => {
    const got: number[] = [];
    createFrameReader(40).push(Buffer.concat([frame(Buffer.from([1])), frame(Buffer.from([2]))]), ([first = 0]) => {
      got.push(first);
      return false;
    });
    expect(got).toEqual([1]);
  });
});

describe("sealed records", () => {
  const [sender, receiver] = [createRecordSeal(Buffer.alloc(32, 1)), createRecordSeal(Buffer.alloc(32, 1))];
  const sealed = (text: string): Buffer => Buffer.concat([Buffer.from(text), sender.seal(Buffer.from(text))]);

  it("open once, in order, and unchanged only", () => {
    const [one, two, three] = ["one", "two", "three"].map(sealed) as [Buffer, Buffer, Buffer];
    expect(receiver.open(two)).toBeNull();
    expect(receiver.open(one)?.toString()).toBe("one");
    expect(receiver.open(one)).toBeNull();
    const changed = Buffer.from(two);
    changed[0] = (changed[0] ?? 0) ^ 1;
    expect(receiver.open(changed)).toBeNull();
    expect(receiver.open(two.subarray(0, 10))).toBeNull();
    expect(receiver.open(two)?.toString()).toBe("two");
    expect(createRecordSeal(Buffer.alloc(32, 2)).open(three)).toBeNull();
    expect(receiver.open(three)?.toString()).toBe("three");
  });

  it("carry the beginning of an HMAC-SHA-256 over number and record", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), bytes, (key, record) => {
        const expected = createHmac("sha256", key).update(Buffer.alloc(8)).update(record).digest().subarray(0, 16);
        expect(createRecordSeal(key).seal(record)).toEqual(expected);
      }),
    );
  });
});

describe("MessagePack bounds", () => {
  const packr = new Packr({ useRecords: false });
  const value = fc.letrec<{ any: unknown }>((tie) => ({
    any: fc.oneof(
      { maxDepth: 5 },
      fc.constantFrom<unknown>(null, true, false, "", "é"),
      fc.integer(),
      fc.double(),
      fc.string({ maxLength: 300 }),
      fc.uint8Array({ maxLength: 300 }).map((data) => Buffer.from(data)),
      fc.array(tie("any"), { maxLength: 20 }),
      fc.dictionary(fc.string(), tie("any"), { maxKeys: 20 }),
    ),
  })).any;

  it("hold for all that is packed, and for nothing that is cut short or goes on", () => {
    fc.assert(
      fc.property(value, fc.nat(), (original, place) => {
        const packed = packr.pack(original);
        expect(isBoundedMsgpack(packed)).toBe(true);
        expect(isBoundedMsgpack(packed.subarray(0, place % packed.length))).toBe(false);
        expect(isBoundedMsgpack(Buffer.concat([packed, Buffer.from([0])]))).toBe(false);
      }),
    );
  });

  it("let nothing through that makes the decoder take more than there is", () => {
    const hostile = [
      [0xdd, 0x7f, 0xff, 0xff, 0xff], // an array of 2^31 - 1
      [0xdf, 0x7f, 0xff, 0xff, 0xff], // a map of as many
      [0xdc, 0xff, 0xff, 0xc0],
      [0xc6, 0xff, 0xff, 0xff, 0xff, 0x00], // bytes that are not there
      [0xd4, 0x72, 0x40], // the record extension of msgpackr
      [0xc7, 0x01, 0xff, 0x00], // any extension
      [0xc1], // never used
      Array.from({ length: 100 }, () => 0x91), // nested without end
      [],
    ];
    for (const input of hostile) expect(isBoundedMsgpack(Buffer.from(input))).toBe(false);
  });

  it("hold only where decoding ends well, but for maps whose keys are containers, which the decoder refuses", () => {
    const decode = (data: Uint8Array): string => {
      try {
        packr.unpack(data);
        return "a value";
      } catch (error) {
        return String(error);
      }
    };
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 60 }), (data) => {
        if (isBoundedMsgpack(data)) expect(decode(data)).toMatch(/^a value$|Invalid property type/);
      }),
      { numRuns: 3_000 },
    );
  });
});

describe("encodings", () => {
  let codecs: readonly Codec[];
  beforeAll(async () => {
    codecs = [...(await loadCodecs(["msgpack", "json"])).values()];
  });
  const ends = { self: { agentId: "b", nodeId: "b#1" }, peer: { agentId: "a", nodeId: "a#2" } };

  const packets: readonly Packet[] = [
    {
      kind: "message",
      message: {
        id: "a#2:7",
        correlationId: "b#1:3",
        replyTo: "a",
        from: "a",
        to: "b",
        type: "Query",
        priority: "Critical",
        timestamp: 1_795_274_328_386.25,
        ttlMs: 60_000,
        payload: { text: "é", none: null, list: [1, -1, 0.5, 2 ** 40], bytes: Buffer.from([0, 255]) },
      },
      namespace: "a#2",
      sequence: 7,
      low: 2,
      ageMs: 1.5,
    },
    { kind: "ack", namespace: "b#1", sequences: [1, 2, 1_000_000] },
    { kind: "ack", namespace: "b#0", sequences: [] },
    { kind: "refused", namespace: "b#1", sequence: 3, reason: "no" },
  ];

  it("carry packets unchanged", () => {
    for (const codec of codecs) {
      const room = 4;
      const record = codec.encode(
        packets.map((packet) => toWire(packet, { sender: "a#2", receiver: "b#1" })),
        room,
      );
      const values = codec.decode(record.subarray(room)) as unknown[];
      expect(values.map((value) => fromWire(value, ends))).toEqual(packets);
    }
  });

  it("refuse to say what the other side would not read", () => {
    const cycle: unknown[] = [];
    cycle.push(cycle);
    for (const codec of codecs) {
      expect(() => codec.encode(cycle, 0)).toThrow(RangeError);
      if (codec.name === "msgpack") expect(() => codec.encode([new Date()], 0)).toThrow(TypeError);
    }
  });

  it("a packet is one of ours or none: whatever arrives, nothing throws, and nobody speaks for another", () => {
    const [first] = packets;
    const good = first === undefined ? [] : toWire(first, { sender: "a#2", receiver: "b#1" });
    const anything = fc.anything({ withBigInt: true, withDate: true, withTypedArray: true });
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat({ max: good.length }), anything), { minLength: 1, maxLength: 3 }), (changes) => {
        const wire = [...good];
        for (const [index, changed] of changes) wire[index] = changed;
        const packet = fromWire(wire, ends);
        if (packet?.kind === "message") expect(packet.message).toMatchObject({ from: "a" });
      }),
      { numRuns: 2_000 },
    );
    expect(fromWire([0, "c#1", ...good.slice(2)], ends)).toBeNull();
    expect(fromWire([0, "a#1#1", ...good.slice(2)], ends)).toBeNull();
    expect(fromWire([0, "a#1", ...good.slice(2)], ends)).toMatchObject({ namespace: "a#1", message: { id: "a#1:7", from: "a" } });
  });
});
