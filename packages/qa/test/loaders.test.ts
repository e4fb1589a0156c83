import { existsSync } from "node:fs";
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createPrng, InputError } from "@failstorm/core";
import { exactMatch } from "@failstorm/core/scores.ts";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import {
  generateCorpus,
  loadCorpus,
  loadDocument,
  loadShardedCorpus,
  parseDocument,
  readDataSet,
  writeDataSet,
} from "../src/index.ts";

const root = await mkdtemp(join(tmpdir(), "failstorm-qa-"));
afterAll(() => rm(root, { recursive: true }));
let dir = root;
let count = 0;
beforeEach(async () => {
  dir = join(root, String(count++));
  await mkdir(dir);
});

const row = (group: number, question: string, content: string, answer: string): string =>
  JSON.stringify({ group_id: group, question, content, answer });
const SHARD0 = [
  row(
    0,
    "Where was Ada Lovelace born?",
    "Ada Lovelace: Ada Lovelace was a writer. | Ada Lovelace:  She was born in London.",
    "London",
  ),
  row(1, "Who built the Clifton Bridge?", "Clifton Bridge: The Clifton Bridge was built by Brunel: an engineer.", "Brunel"),
];
const SHARD1 = [
  row(0, "Is Ada Lovelace a river?", "Thames: The Thames is a river of London.", "no"),
  row(1, "Who built the Clifton Bridge?", "Avon: The Avon is a river.", "Brunel"),
];
const writeShards = async (...shards: (readonly string[])[]): Promise<void> => {
  for (const [index, lines] of shards.entries()) await writeFile(join(dir, `shard${index}.jsonl`), `${lines.join("\n")}\n`);
};

describe("loadShardedCorpus", () => {
  it("reads groups: each line's own question, repeated ones once, sentences of one article together", async () => {
    await writeShards(SHARD0, SHARD1);
    const set = await loadShardedCorpus({ dir, shards: 2 });
    expect(set.questions.map(({ id, gold, evidence }) => [id, gold, evidence])).toEqual([
      ["0.0", "London", ["q0.s0.0", "q0.s1.0"]],
      ["0.1", "no", []],
      ["1.0", "Brunel", ["q1.s0.0"]],
    ]);
    expect(parseDocument(set.document)[0]?.[0]?.text).toBe("Ada Lovelace was a writer. She was born in London.");
    expect(parseDocument(set.document)[0]?.[1]?.text).toBe("The Clifton Bridge was built by Brunel: an engineer.");
    expect([set.calibrated, set.shardCount]).toEqual([false, 2]);
  });

  it("deals the passages out anew for another number of shards", async () => {
    await writeShards(SHARD0, SHARD1);
    const set = await loadShardedCorpus({ dir, shards: 4 });
    expect(parseDocument(set.document).map((passages) => passages.length)).toEqual([1, 1, 1, 1]);
    await expect(loadShardedCorpus({ dir, shards: 5 })).rejects.toThrow(/4 passages do not fill 5 shards; use fewer agents/);
  });

  it.each([
    ["not JSON", [SHARD0, [SHARD1[0] ?? "", "{oops"]], /shard1\.jsonl:2: it is not JSON; mend the line/],
    ["no object", [["[1]"]], /shard0\.jsonl:1: it is not a JSON object/],
    ["no question", [[`{"group_id":0,"content":"A: b","answer":"b"}`]], /shard0\.jsonl:1: "question"/],
    ["no title", [[row(0, "q?", "words only", "b")]], /shard0\.jsonl:1: "content" has a passage without title: "words only"/],
    ["another group", [SHARD0, SHARD1.toReversed()], /shard1\.jsonl:1: its group_id is 1, .* shard0\.jsonl is 0/],
    [
      "another answer",
      [SHARD0, [SHARD1[0] ?? "", row(1, "Who built the Clifton Bridge?", "A: b", "Telford")]],
      /shard1\.jsonl:2: .*another answer/,
    ],
    ["a group twice", [[SHARD0[0] ?? "", "", SHARD0[0] ?? ""]], /shard0\.jsonl:3: its group_id 0 is already that of line 1/],
    [
      "a huge passage",
      [[row(0, "q?", `A: ${"b ".repeat(150_000)}`, "b")]],
      /shard0\.jsonl:1: the text of a passage has 299999 char/,
    ],
    [
      "a huge title",
      [[row(0, "q?", `${"A".repeat(501)}: b`, "b")]],
      /shard0\.jsonl:1: the title of a passage has 501 characters/,
    ],
    [
      "a huge question",
      [[row(0, "q".repeat(10_001), "A: b", "b")]],
      /shard0\.jsonl:1: the question has 10001 characters, at most/,
    ],
    ["a line missing", [SHARD0, SHARD1.slice(0, 1)], /shard1\.jsonl has 1 questions, shard0\.jsonl has 2/],
    ["empty", [[]], /shard0\.jsonl has no question/],
  ])("refuses a corpus with %s", async (_what, shards, message) => {
    await writeShards(...shards);
    const refused = loadShardedCorpus({ dir, shards: 1 });
    await expect(refused).rejects.toThrow(InputError);
    await expect(refused).rejects.toThrow(message);
  });

  it("takes a byte order mark, CRLF, and passages as large as they may be, in capitals; refuses what is no UTF-8", async () => {
    const shout = `A: ${"SHOUTING NAMES ".repeat(13_000)}`;
    const lines = [row(0, `What is the capital of ${"x".repeat(9_000)}?`, shout, "b"), row(1, "Who?", "B: b", "b")];
    await writeFile(join(dir, "shard0.jsonl"), `\uFEFF${lines.join("\r\n")}\r\n\r\n`);
    expect((await loadShardedCorpus({ dir, shards: 1 })).questions.map(({ id }) => id)).toEqual(["0.0", "1.0"]);
    const latin = Buffer.from(`${SHARD0[0]}\n${row(1, "Where is São Tomé?", "A: b", "b")}\n`, "latin1");
    await writeFile(join(dir, "shard0.jsonl"), latin);
    await expect(loadShardedCorpus({ dir, shards: 1 })).rejects.toThrow(/shard0\.jsonl:2: it is not UTF-8; mend the line/);
  });

  it("refuses a folder with a gap, without shards, or that is not there", async () => {
    await expect(loadShardedCorpus({ dir, shards: 1 })).rejects.toThrow(/there is no shard0\.jsonl/);
    await writeFile(join(dir, "shard1.jsonl"), SHARD1.join("\n"));
    await expect(loadShardedCorpus({ dir, shards: 1 })).rejects.toThrow(/shard0\.jsonl is missing/);
    await expect(loadCorpus({ dir: join(dir, "absent"), shards: 1 })).rejects.toThrow(/absent: cannot be read/);
  });
});

describe("the published HotpotQA shards", () => {
  const published = join(import.meta.dirname, "../../../../shared/data/hotpot-shards");

  // The data lie beside the checkout and are no part of it: a clone elsewhere has only the rest of these tests.
  it.skipIf(!existsSync(published))(
    "load over eight shards with an answer for almost every question",
    async () => {
      // 100 of the 300 groups: their fault-free answers take 2 s, all would take 6.
      const set = await loadCorpus({ dir: published, shards: 8, questions: 800 });
      expect(set.questions.at(-1)?.id).toBe("99.7");
      const shards = parseDocument(set.document);
      expect(shards.map((passages) => passages.at(-1)?.id.split(".")[0])).toEqual(Array.from({ length: 8 }, () => "q299"));
      const home = new Map(shards.flatMap((passages, shard) => passages.map(({ id }) => [id, String(shard)] as const)));
      const foreign = set.questions.filter(
        ({ id, evidence }) => evidence.length > 0 && !evidence.some((passage) => home.get(passage) === id.split(".")[1]),
      );
      // "The passages that answer a question usually lie in other agents' shards."
      expect(foreign.length / set.questions.length).toBeGreaterThan(0.7);
      expect(set.questions.filter(({ expected }) => expected !== "").length).toBeGreaterThan(780);
      // Without a model a modest share is right; far fewer would mean that the heuristics broke.
      const right = set.questions.filter(({ expected, gold }) => exactMatch(expected, gold)).length;
      expect(right / set.questions.length).toBeGreaterThan(0.2);
    },
    60_000,
  );
});

describe("loadDocument", () => {
  const TEXT = `# Rivers\n\nThe Thames flows\nthrough London.\n\n## Bridges\nBrunel built the Clifton Bridge in 1864.\n\n${"It is long. ".repeat(120)}`;

  it("splits text into passages under their headings and asks the file's questions", async () => {
    await writeFile(join(dir, "text.md"), TEXT.replaceAll("\n", "\r\n"));
    await writeFile(
      join(dir, "q.jsonl"),
      `{"q":"Which river flows through London?","answer":"Thames"}\n\n{"id":7,"question":"When?","answer":"1864"}`,
    );
    const set = await loadDocument({ file: join(dir, "text.md"), questionsFile: join(dir, "q.jsonl"), shards: 2 });
    const passages = parseDocument(set.document).flat();
    expect(passages.find(({ text }) => text.startsWith("The Thames"))).toMatchObject({
      title: "Rivers",
      text: "The Thames flows through London.",
    });
    expect(passages.find(({ text }) => text.startsWith("Brunel"))?.title).toBe("Bridges");
    expect(passages.every(({ text }) => text.length <= 620)).toBe(true);
    expect(set.questions.map(({ id, gold }) => [id, gold])).toEqual([
      ["line-1", "Thames"],
      ["7", "1864"],
    ]);
    const short = { file: join(dir, "text.md"), questionsFile: join(dir, "q.jsonl"), shards: 2, questions: 1 };
    expect((await loadDocument(short)).questions).toEqual(set.questions.slice(0, 1));
  });

  it("keeps what stands under a heading apart, blank lines or not, and cuts what has no end", async () => {
    const endless = `${"word ".repeat(60_000)}${"x".repeat(3_000)}`;
    const text = `\uFEFF# Rivers\nThe Thames flows.\n## Bridges\nBrunel built it.\rIn 1864.\n#${"h".repeat(900)}\n${endless}`;
    await writeFile(join(dir, "text.md"), text);
    await writeFile(join(dir, "q.jsonl"), `{"q":"What is the capital of ${"y".repeat(9_000)}?","answer":"Thames"}`);
    const set = await loadDocument({ file: join(dir, "text.md"), questionsFile: join(dir, "q.jsonl"), shards: 2 });
    const passages = parseDocument(set.document)
      .flat()
      .toSorted((a, b) => (a.id < b.id ? -1 : 1));
    expect(passages.slice(0, 2)).toMatchObject([
      { title: "Rivers", text: "The Thames flows." },
      { title: "Bridges", text: "Brunel built it. In 1864." },
    ]);
    const cut = passages.slice(2);
    expect(Math.max(...cut.map((passage) => passage.text.length))).toBeLessThanOrEqual(601);
    expect(
      cut
        .map((passage) => passage.text)
        .join(" ")
        .replaceAll(/\s/g, ""),
    ).toBe(endless.replaceAll(" ", ""));
    expect(cut[0]?.title).toHaveLength(500);
  });

  it("names what is wrong", async () => {
    const [file, questionsFile] = [join(dir, "text.md"), join(dir, "q.jsonl")];
    const load = (shards = 1): Promise<unknown> => loadDocument({ file, questionsFile, shards });
    await expect(load()).rejects.toThrow(/text\.md: cannot be read .*; name a text file that exists/);
    await writeFile(file, Buffer.from([0x61, 0xff, 0xfe]));
    await writeFile(questionsFile, `{"q":"a?","answer":"b"}\n{"q":"a?"}`);
    await expect(load()).rejects.toThrow(/is not UTF-8/);
    await writeFile(file, "One passage.");
    await expect(load()).rejects.toThrow(/q\.jsonl:2: "answer" must be/);
    await expect(load(2)).rejects.toThrow(/1 passages do not fill 2 shards/);
    await writeFile(questionsFile, `{"id":1,"q":"a?","answer":"b"}\n{"id":"1","q":"c?","answer":"d"}`);
    await expect(load()).rejects.toThrow(/q\.jsonl:2: the id "1" is already taken/);
    await writeFile(questionsFile, `{"q":"${"a".repeat(10_001)}","answer":"b"}`);
    await expect(load()).rejects.toThrow(/q\.jsonl:1: "question" has 10001 characters/);
    await writeFile(questionsFile, "\n");
    await expect(load()).rejects.toThrow(/there is no question/);
    await writeFile(file, "\uFEFF \n# Only a heading\n");
    await expect(load()).rejects.toThrow(/0 passages do not fill 1 shards/);
  });
});

describe("data sets on disk", () => {
  const generated = generateCorpus({ prng: createPrng(7), shards: 4, passages: 400, questions: 30, hops: [2] });
  const write = async (): Promise<string> => {
    const out = join(dir, "set");
    await writeDataSet(out, await generated, { seed: 7 });
    return out;
  };

  it("come back as they were, leave nothing else behind, and replace an older one", async () => {
    const out = await write();
    expect(await readDataSet(out)).toEqual(await generated);
    expect(await loadCorpus({ dir: out, shards: 4 })).toEqual(await generated);
    const first = await readFile(join(out, "manifest.json"), "utf8");
    expect(JSON.parse(first)).toMatchObject({ seed: 7, passages: 400, questions: 30, hops: [2], shardCount: 4 });
    await write();
    expect(await readFile(join(out, "manifest.json"), "utf8")).toBe(first);
    expect(await readdir(dir)).toEqual(["set"]);
  });

  it("are calibrated anew for another number of shards", async () => {
    const set = await loadCorpus({ dir: await write(), shards: 3 });
    const shardOf = new Map(
      parseDocument(set.document).flatMap((passages, shard) => passages.map(({ id }) => [id, shard] as const)),
    );
    expect(set.questions.length).toBeGreaterThan(10);
    expect(set.questions.length).toBeLessThan(30);
    for (const { evidence } of set.questions) expect(new Set(evidence.map((id) => shardOf.get(id))).size).toBe(2);
    expect([set.shardCount, set.calibrated]).toEqual([3, true]);
    expect(set.leftOut).toBe(30 - set.questions.length);
  });

  it("are refused when changed, broken or incomplete", async () => {
    const out = await write();
    await appendFile(join(out, "questions.jsonl"), "{}\n");
    await expect(readDataSet(out)).rejects.toThrow(/questions\.jsonl:31: "id" must be a text/);
    await write();
    const document = await readFile(join(out, "document.ndjson"), "utf8");
    await writeFile(join(out, "document.ndjson"), document.replace("capital", "Capital"));
    await expect(readDataSet(out)).rejects.toThrow(/document\.ndjson: is not the file of its manifest/);
    await writeFile(join(out, "manifest.json"), "{}");
    await expect(readDataSet(out)).rejects.toThrow(/manifest\.json: is not the manifest/);
    await write();
    await rm(join(out, "document.ndjson"));
    await expect(readDataSet(out)).rejects.toThrow(/document\.ndjson: cannot be read/);
  });

  it("never overwrite what is not theirs, and leave nothing half-written", async () => {
    await writeFile(join(dir, "thesis.tex"), "dear");
    await expect(writeDataSet(dir, await generated, { seed: 7 })).rejects.toThrow(/holds other files \(thesis\.tex\)/);
    await expect(writeDataSet(join(dir, "thesis.tex"), await generated, { seed: 7 })).rejects.toThrow(InputError);
    const failed = writeDataSet(join(dir, "thesis.tex", "set"), await generated, { seed: 7 });
    await expect(failed).rejects.toThrow(/cannot be written|is not a folder/);
    // Node's own way of making folders never comes back from there.
    await expect(writeDataSet("/proc/absent/set", await generated, { seed: 7 })).rejects.toThrow(/cannot be written/);
    expect(await readdir(dir)).toEqual(["thesis.tex"]);
  });
});
