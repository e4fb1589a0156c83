import { InputError } from "@failstorm/core";
import { array, assert as check, property, string, tuple } from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeDocument, parseDocument } from "../src/index.ts";

describe("document", () => {
  it("comes back as it was, whatever the words", () => {
    const shardsOfTexts = array(array(tuple(string({ unit: "grapheme" }), string()), { minLength: 1, maxLength: 4 }), {
      maxLength: 5,
    });
    check(
      property(shardsOfTexts, (shards) => {
        const passages = shards.map((texts, shard) =>
          texts.map(([title, text], index) => ({ id: `${shard}.${index}`, title, text })),
        );
        expect(parseDocument(encodeDocument(passages))).toEqual(passages);
      }),
      { numRuns: 100 },
    );
  });

  it("names the broken line, empty lines counted", () => {
    const good = (id: string): string => `{"shard":0,"id":"${id}","title":"t","text":"x"}`;
    const parse =
      (...lines: string[]) =>
      () =>
        parseDocument(Buffer.from(lines.join("\n")));
    expect(parse(good("a"), "", "{oops", good("b"))).toThrow(/line 3 is broken: it is not JSON/);
    expect(parse(good("a"), `{"shard":-1,"id":"b","title":"t","text":"x"}`)).toThrow(/line 2 is broken: "shard"/);
    expect(parse(`{"shard":1e9,"id":"b","title":"t","text":"x"}`)).toThrow(/line 1 is broken: "shard"/);
    expect(parse(good("a"), good("a"))).toThrow(/line 2 .*"a" is already taken/);
    expect(parse("null")).toThrow(InputError);
    expect(parse(`{"shard":0,"id":"b","title":"t"}`)).toThrow(/"title" and "text"/);
  });

  it("builds only the shards wanted but checks all", () => {
    const bytes = encodeDocument([[{ id: "a", title: "", text: "one" }], [{ id: "b", title: "", text: "two" }]]);
    expect(parseDocument(bytes, new Set([1]))).toEqual([[], [{ id: "b", title: "", text: "two" }]]);
  });
});
