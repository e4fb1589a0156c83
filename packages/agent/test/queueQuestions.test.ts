import { appendFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { FakeClock } from "@failstorm/core";
import type { QuestionSource, QueueQuestion } from "@failstorm/qa";
import { describe, expect, it } from "vitest";
import { firstDispatches, openQuestions, paced } from "../src/queue/questions.ts";
import { folder } from "./recorded.ts";

const numbered = (count: number): QuestionSource => ({
  kind: "generated",
  count,
  fingerprint: null,
  async *questions() {
    for (let seq = 0; seq < count; seq++) yield { seq, id: `q${seq}`, q: "?", gold: null };
  },
});

describe("the questions of a coordinator", () => {
  it("a file that is still being written is read as far as it is whole, and tells how far it was read", async () => {
    const file = path.join(folder(), "questions.jsonl");
    const first = '{"id": 1, "q": "first"}\n{"id": 2, "q": "sec';
    writeFileSync(file, first);
    const read: number[] = [];
    const bad: number[] = [];
    const { source, followed } = await openQuestions({
      path: file,
      kind: "stdin",
      onBad: (line) => bad.push(line),
      onRead: (bytes) => read.push(bytes),
    });
    const questions = source.questions()[Symbol.asyncIterator]();
    followed?.grow(first.length, false);
    expect((await questions.next()).value).toMatchObject({ seq: 0, id: "1" });
    let second: QueueQuestion | null = null;
    const take = async (): Promise<void> => {
      second = (await questions.next()).value as QueueQuestion;
    };
    const waiting = take();
    await new Promise((resolve) => setImmediate(resolve));
    expect(second, "it is not whole").toBeNull();
    appendFileSync(file, 'ond"}\nrubbish\n');
    followed?.grow(first.length + 14, true);
    await waiting;
    expect(second).toMatchObject({ seq: 1, id: "2", q: "second" });
    expect((await questions.next()).done).toBe(true);
    expect(bad).toEqual([3]);
    expect(read.at(-1)).toBe(first.length + 14);
  });

  it("of very many lines that are no questions the first thousand are told, the others counted", async () => {
    const file = path.join(folder(), "questions.jsonl");
    writeFileSync(file, `{"id": 1, "q": "fine"}\n${"rubbish\n".repeat(1005)}`);
    let told = 0;
    const { badUntold } = await openQuestions({ path: file, kind: "file", onBad: () => void told++, onRead: () => undefined });
    expect({ told, badUntold }).toEqual({ told: 1000, badUntold: 5 });
  });

  it("at a rate each is due at its time, those before the start at once, and none goes early", async () => {
    const clock = new FakeClock(5000);
    const questions = paced(numbered(4), { rate: 10, t0: 5000, from: 2, clock }).questions()[Symbol.asyncIterator]();
    const due = async (): Promise<number | undefined> =>
      ((await questions.next()).value as QueueQuestion | undefined)?.intendedAt;
    expect([await due(), await due(), await due()]).toEqual([5000, 5000, 5000]);
    const late = due();
    await clock.advance(99);
    let isThere = false;
    const watch = async (): Promise<void> => {
      await late;
      isThere = true;
    };
    void watch();
    await clock.advance(0);
    expect(isThere).toBe(false);
    await clock.advance(1);
    expect(await late).toBe(5100);
  });

  it("what was under way at a crash keeps the time it first left; what is finished, or of another run, is forgotten", async () => {
    const file = path.join(folder(), "events.ndjson");
    const event = (t: number, fields: object): string => JSON.stringify({ t, src: "c", inc: 1, seq: 0, ...fields });
    const sent = (t: number, ...questions: string[]): string => event(t, { ev: "queue.dispatched", questions });
    writeFileSync(
      file,
      [
        sent(1, "old"),
        event(9, { ev: "queue.opened", recorded: 4 }),
        sent(10, "a", "b"),
        sent(20, "c"),
        event(25, { ev: "queue.result", question: "b" }),
        event(26, { ev: "msg.second" }),
        event(29, { ev: "queue.opened", recorded: 6 }),
        sent(30, "a"),
        '{"t": 31, "ev":"queue.dis',
      ].join("\n"),
    );
    const earlier = await firstDispatches(file, 5);
    expect([...earlier.sent]).toEqual([
      ["a", 10],
      ["c", 20],
    ]);
    expect(earlier.recorded, "when the first of them began").toBe(4);
    expect((await firstDispatches(file, 30)).recorded).toBeNull();
  });
});
