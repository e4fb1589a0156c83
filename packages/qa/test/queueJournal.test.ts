import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { InputError, type QueueResult, RunError } from "@failstorm/core";
import { type Journal, openJournal, writeResultsDocument } from "@failstorm/qa";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

let dir = "";
let file = "";
let opened: Journal[] = [];
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "failstorm-journal-"));
  file = path.join(dir, "queue_results.jsonl");
  opened = [];
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

let recreated = 0;
const open = (source: string | null = "s"): ReturnType<typeof openJournal> => {
  recreated = 0;
  const result = openJournal({ path: file, source, onRecreated: () => recreated++ });
  opened.push(result.journal);
  return result;
};

const result = (seq: number, extra: Partial<QueueResult> = {}): QueueResult => ({
  seq,
  id: `q${seq}`,
  status: "answered",
  answer: `a ${seq} ü`,
  gold: null,
  worker: "w",
  protocol: "a2a",
  attempts: 1,
  code: null,
  intendedAt: 1,
  sentAt: 1,
  finishedAt: 2,
  inc: 1,
  ...extra,
});
const seqs = (): number[] =>
  readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as QueueResult).seq);
const codeOf = (fn: () => unknown): string => {
  try {
    fn();
  } catch (error) {
    expect(error).toBeInstanceOf(RunError);
    return (error as RunError).code;
  }
  return "nothing thrown";
};

describe("the journal of a queue", () => {
  it("has one line for each result, there at once, and tells the next opener what is done", () => {
    const { journal } = open();
    journal.record(result(0));
    journal.record(result(2, { status: "failed", answer: null }));
    expect(seqs()).toEqual([0, 2]);
    const { replay } = open();
    expect(replay).toMatchObject({ recorded: 2, failed: 1, tornBytes: 0, repeated: 0, badLines: [] });
    expect([0, 1, 2].map((seq) => replay.done.has(seq))).toEqual([true, false, true]);
  });

  it("survives a kill at any byte: whole lines count, the torn one is cut off, and what follows is whole again", {
    timeout: 60_000,
  }, () => {
    const { journal } = open();
    for (const seq of [0, 1, 2]) journal.record(result(seq));
    const whole = readFileSync(file);
    const ends = [...whole.entries()].filter(([, byte]) => byte === 10).map(([at]) => at + 1);
    // Every byte around the ends of lines, and every ninth elsewhere: each takes a file and an fsync.
    const cuts = Array.from({ length: whole.length + 1 }, (_, at) => at);
    for (const cut of cuts.filter((at) => at % 9 === 0 || [0, ...ends].some((end) => Math.abs(at - end) <= 2))) {
      writeFileSync(file, whole.subarray(0, cut));
      const { journal: next, replay } = openJournal({ path: file, source: null });
      const kept = ends.filter((end) => end <= cut).length;
      expect(replay.recorded).toBe(kept);
      expect(replay.tornBytes).toBe(cut - (ends[kept - 1] ?? 0));
      next.record(result(9));
      next.close();
      expect(seqs()).toEqual([...[0, 1, 2].slice(0, kept), 9]);
    }
  });

  it("counts lines that are no results, by number, and lines that repeat one", () => {
    const { journal } = open();
    journal.record(result(0));
    appendFileSync(file, 'damage\n{"seq":-1}\n');
    journal.record(result(0));
    expect(open().replay).toMatchObject({ recorded: 1, badLines: [2, 3], repeated: 1 });
  });

  it("is refused for other questions than those it was written for", () => {
    open("sha256:one").journal.record(result(0));
    expect(() => open("sha256:two")).toThrow(InputError);
    expect(open("sha256:one").replay.recorded).toBe(1);
  });

  it("deleted or moved away in mid-run, it is made anew with everything that was in it", () => {
    const { journal } = open();
    journal.record(result(0));
    rmSync(file);
    journal.record(result(1));
    expect(seqs()).toEqual([0, 1]);
    renameSync(file, `${file}.elsewhere`);
    journal.check();
    journal.record(result(2));
    expect(seqs()).toEqual([0, 1, 2]);
    expect(recreated).toBe(2);
    rmSync(file);
    journal.close();
    expect(seqs()).toEqual([0, 1, 2]);
  });

  it("its whole folder deleted is a clear failure", () => {
    const { journal } = open();
    journal.record(result(0));
    rmSync(dir, { recursive: true });
    expect(codeOf(() => journal.record(result(1)))).toBe("JOURNAL_NOT_WRITTEN");
  });

  it("cut by somebody else, or replaced by another file, it is a clear failure, and the other file is left alone", () => {
    const { journal } = open();
    journal.record(result(0));
    const { size } = statSync(file);
    truncateSync(file, size - 3);
    expect(codeOf(() => journal.check())).toBe("JOURNAL_CUT");
    writeFileSync(`${file}.other`, "mine\n");
    truncateSync(file, 0);
    const second = open().journal;
    copyFileSync(`${file}.other`, `${file}.copy`);
    renameSync(`${file}.copy`, file);
    expect(codeOf(() => second.check())).toBe("JOURNAL_REPLACED");
    expect(readFileSync(file, "utf8")).toBe("mine\n");
  });

  it("notices within 64 records that it was cut", () => {
    const { journal } = open();
    journal.record(result(0));
    truncateSync(file, 0);
    const thrown = Array.from({ length: 64 }, (_, i) => codeOf(() => journal.record(result(i + 1))));
    expect(thrown).toContain("JOURNAL_CUT");
  });

  it("cannot be opened where it cannot be written", () => {
    expect(codeOf(() => openJournal({ path: path.join(dir, "no", "such", "folder"), source: null }))).toBe("JOURNAL_NOT_WRITTEN");
  });
});

describe("the results as one document", () => {
  it("has the metadata and every whole line, and is written whole", async () => {
    const { journal } = open();
    for (const seq of [1, 0]) journal.record(result(seq));
    appendFileSync(file, '{"torn');
    const target = path.join(dir, "queue_results.json");
    expect(await writeResultsDocument(file, target, { run: "r", answered: 2 })).toBe(2);
    const written = JSON.parse(readFileSync(target, "utf8")) as { metadata: unknown; results: QueueResult[] };
    expect(written.metadata).toEqual({ run: "r", answered: 2 });
    expect(written.results).toEqual([result(1), result(0)]);
  });

  it("of no results is a document all the same; where it cannot be written nothing is left behind", async () => {
    open();
    const target = path.join(dir, "queue_results.json");
    expect(await writeResultsDocument(file, target, {})).toBe(0);
    expect(JSON.parse(readFileSync(target, "utf8"))).toEqual({ metadata: {}, results: [] });
    const nowhere = path.join(dir, "none", "x.json");
    await expect(writeResultsDocument(file, nowhere, {})).rejects.toMatchObject({ code: "RESULTS_NOT_WRITTEN" });
    expect(existsSync(path.join(dir, "none"))).toBe(false);
  });
});
