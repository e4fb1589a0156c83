import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { createPrng, InputError } from "@failstorm/core";
import {
  type BadLine,
  generateQueue,
  openQuestionFile,
  type QuestionSource,
  questionStream,
  type QueueQuestion,
} from "@failstorm/qa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HashSet, hashOf } from "../src/queue/idHashes.ts";

let dir = "";
beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), "failstorm-questions-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const fileWith = (text: string | Buffer): string => {
  const file = path.join(dir, `q${Math.floor(process.hrtime()[1])}.jsonl`);
  writeFileSync(file, text);
  return file;
};

async function all(source: QuestionSource): Promise<QueueQuestion[]> {
  const found: QueueQuestion[] = [];
  for await (const question of source.questions()) found.push(question);
  return found;
}

const refusal = async (text: string | Buffer, options = {}): Promise<string> => {
  const error: unknown = await openQuestionFile(fileWith(text), options).then(
    () => new Error("was taken"),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(InputError);
  return (error as InputError).message;
};

describe("a file of questions", () => {
  it("is read in order, with gold answers where there are some; byte order mark, CRLF, empty lines and a missing last newline are no matter", async () => {
    const file = fileWith('\uFEFF{"id":"x","q":"Who?","a":"Ada"}\r\n\r\n{"id":7,"q":" Why? "}\n\n{"id":"ä","q":"Où?","more":1}');
    const { source, bad } = await openQuestionFile(file);
    expect(bad).toEqual([]);
    expect(source).toMatchObject({ kind: "file", count: 3 });
    const expected = [
      { seq: 0, id: "x", q: "Who?", gold: "Ada" },
      { seq: 1, id: "7", q: " Why? ", gold: null },
      { seq: 2, id: "ä", q: "Où?", gold: null },
    ];
    expect(await all(source)).toEqual(expected);
    expect(await all(source)).toEqual(expected); // a restarted coordinator begins anew
  });

  it("names the first bad lines and how many there are", async () => {
    const lines = [
      "nonsense",
      '["id"]',
      '{"q":"no id"}',
      '{"id":"a"}',
      '{"id":"b","q":" "}',
      '{"id":"c","q":"ok","a":3}',
      '{"id":"d","q":"ok"}',
    ];
    const message = await refusal(lines.join("\n"));
    expect(message).toMatch(
      /6 lines are not a question: line 1: it is not JSON; line 2: it is not a JSON object; line 3: "id" must be/,
    );
    expect(message).toMatch(/and 1 more; mend them, or leave them out/);
  });

  it("names an id that is there twice, with both lines", async () => {
    expect(await refusal('{"id":"a","q":"1"}\n\n{"id":"a","q":"2"}\n')).toMatch(
      /1 line is not a question: line 3: the id "a" is on line 1 already/,
    );
  });

  it("leaves bad lines out when told to, and says which", async () => {
    const file = fileWith('x\n{"id":"a","q":"1"}\n{"id":"a","q":"2"}\n{"id":"b","q":"3"}\n');
    const { source, bad, badCount } = await openQuestionFile(file, { skipBad: true });
    expect(bad.map(({ line }) => line)).toEqual([1, 3]);
    expect(badCount).toBe(2);
    expect((await all(source)).map(({ seq, id }) => [seq, id])).toEqual([
      [0, "a"],
      [1, "b"],
    ]);
  });

  it("an empty file, one of empty lines, one of bad lines only, and one that is not there are refused with what to do", async () => {
    expect(await refusal("")).toMatch(/holds no question \(the file is empty\); a line looks like/);
    expect(await refusal("\uFEFF\n \n")).toMatch(/holds no question/);
    expect(await refusal("x\n", { skipBad: true })).toMatch(/holds no question: .*line 1: it is not JSON/);
    await expect(openQuestionFile(path.join(dir, "none"))).rejects.toThrow(/none: cannot be read \(ENOENT/);
    await expect(openQuestionFile(dir)).rejects.toThrow(/cannot be read \(EISDIR/);
  });

  it("has a fingerprint of its questions, not of its white space", async () => {
    const of = async (text: string): Promise<string | null> => (await openQuestionFile(fileWith(text))).source.fingerprint;
    const plain = await of('{"id":"a","q":"1"}\n');
    expect(await of('\n{ "id": "a", "q": "1" }')).toBe(plain);
    expect(await of('{"id":"a","q":"2"}\n')).not.toBe(plain);
  });
});

describe("an endless stream of questions", () => {
  const read = async (chunks: readonly (string | Buffer)[]): Promise<{ questions: QueueQuestion[]; bad: BadLine[] }> => {
    const bad: BadLine[] = [];
    const source = questionStream(Readable.from(chunks), { onBad: (line) => bad.push(line) });
    return { questions: await all(source), bad };
  };

  it("takes lines as they come, in whatever pieces, characters cut in two included", async () => {
    const bytes = Buffer.from('\uFEFF{"id":"a","q":"Où?"}\r\n{"id":"b","q":"é"}');
    const { questions, bad } = await read([...bytes].map((byte) => Buffer.from([byte])));
    expect(questions.map(({ seq, id, q }) => [seq, id, q])).toEqual([
      [0, "a", "Où?"],
      [1, "b", "é"],
    ]);
    expect(bad).toEqual([]);
  });

  it("tells bad lines by number, repeated ids and endless lines, and goes on", async () => {
    const { questions, bad } = await read([
      '{"id":"a","q":"1"}\nno\n{"id":"a","q":"2"}\n',
      "z".repeat(1 << 20),
      "z".repeat(9),
      '\n{"id":"b","q":"3"}\n',
    ]);
    expect(questions.map(({ id }) => id)).toEqual(["a", "b"]);
    expect(bad.map(({ line }) => line)).toEqual([2, 3, 4]);
    expect(bad[2]?.reason).toMatch(/more than 1048576 characters/);
  });

  it("is read only as far as somebody asks: whoever writes waits", async () => {
    let written = 0;
    const endless = new Readable({
      highWaterMark: 1024,
      read() {
        written += 1;
        this.push(`{"id":"q${written}","q":"${"?".repeat(500)}"}\n`);
      },
    });
    const source = questionStream(endless, { onBad: () => undefined });
    const questions = source.questions()[Symbol.asyncIterator]();
    for (let n = 0; n < 5; n++) await questions.next();
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBeLessThan(20);
    await questions.return?.();
    expect(endless.destroyed).toBe(true);
  });
});

describe("generated questions", () => {
  it("come with gold answers, and round again under new ids when there are more than different ones", {
    timeout: 60_000,
  }, async () => {
    const { source, distinct } = await generateQueue({ prng: createPrng(3), count: 5, passages: 300, hops: [1], distinct: 3 });
    const questions = await all(source);
    expect(distinct).toBe(3);
    expect(questions.map(({ seq, id }) => `${seq} ${id}`)).toEqual([
      "0 q-000001",
      "1 q-000002",
      "2 q-000003",
      "3 q-000004",
      "4 q-000005",
    ]);
    expect(questions[3]).toMatchObject({ q: questions[0]?.q, gold: questions[0]?.gold });
    expect(new Set(questions.map(({ q }) => q)).size).toBe(3);
    for (const { gold } of questions) expect(gold).toMatch(/\S/);
  });

  it("none is refused", async () => {
    await expect(generateQueue({ prng: createPrng(3), count: 0, passages: 300, hops: [1] })).rejects.toThrow(
      /questions 0: must be a whole number, at least 1/,
    );
  });
});

describe("hashes of ids", () => {
  it("are the same for the same id, differ for ids that are much alike, and the set knows which it has", () => {
    const set = new HashSet();
    const ids = Array.from({ length: 20_000 }, (_, i) => `q-${String(i).padStart(6, "0")}`);
    expect(ids.filter((id) => !set.add(hashOf(id)))).toEqual([]);
    expect(ids.filter((id) => set.add(hashOf(id)))).toEqual([]);
    for (const id of ["", "ä", "q".repeat(1000)]) expect(Number.isSafeInteger(hashOf(id)) && hashOf(id) >= 0).toBe(true);
  });
});
