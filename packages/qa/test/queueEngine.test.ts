import { createPrng } from "@failstorm/core";
import {
  DoneSet,
  QUEUE_DEFAULTS,
  type QueueEffect,
  QueueEngine,
  type QueueEngineConfig,
  type QueueQuestion,
} from "@failstorm/qa";
import { describe, expect, it } from "vitest";

const CONFIG: QueueEngineConfig = {
  ...QUEUE_DEFAULTS,
  batch: 1,
  deadlineMs: 100,
  backoff: { baseMs: 10, factor: 2, maxMs: 80, jitter: 0 },
};

const question = (seq: number): QueueQuestion => ({ seq, id: `q${seq}`, q: `what is ${seq}?`, gold: null });
const questions = (count: number, from = 0): QueueQuestion[] => Array.from({ length: count }, (_, i) => question(from + i));

function start(
  options: { config?: Partial<QueueEngineConfig>; workers?: readonly (readonly [string, number])[]; done?: DoneSet } = {},
): QueueEngine {
  const engine = new QueueEngine({
    config: { ...CONFIG, ...options.config },
    prng: createPrng(1),
    now: 0,
    ...(options.done === undefined ? {} : { done: options.done }),
  });
  for (const [worker, concurrency] of options.workers ?? [
    ["a", 1],
    ["b", 1],
  ])
    engine.addWorker(worker, concurrency, 0);
  return engine;
}

const of = <T extends QueueEffect["type"]>(effects: readonly QueueEffect[], type: T): Extract<QueueEffect, { type: T }>[] =>
  effects.filter((effect): effect is Extract<QueueEffect, { type: T }> => effect.type === type);
const sends = (effects: readonly QueueEffect[]): string[] =>
  of(effects, "send").map(({ worker, questions: sent }) => `${worker}:${sent.map(({ question: { seq } }) => seq).join("+")}`);

describe("who gets which question", () => {
  it("a free worker pulls the next question, a busy one none", () => {
    const engine = start();
    expect(sends(engine.offer(questions(5), 0))).toEqual(["a:0", "b:1"]);
    expect(sends(engine.answered({ message: 2, worker: "b", seq: 1, answer: "x" }, 5))).toEqual(["b:2"]);
    expect(sends(engine.answered({ message: 3, worker: "b", seq: 2, answer: "x" }, 9))).toEqual(["b:3"]);
    expect(engine.status()).toMatchObject({ recorded: 2, inFlight: 2, waiting: 1 });
  });

  it("the least loaded worker is chosen, by its share of what it may have", () => {
    const engine = start({
      workers: [
        ["small", 1],
        ["large", 4],
      ],
    });
    expect(sends(engine.offer(questions(5), 0))).toEqual(["small:0", "large:1", "large:2", "large:3", "large:4"]);
  });

  it("a pull takes a batch, but leaves to other free workers their share", () => {
    const engine = start({ config: { batch: 4 } });
    expect(sends(engine.offer(questions(6), 0))).toEqual(["a:0+1+2", "b:3+4+5"]);
    engine.offer(questions(9, 6), 1);
    for (const seq of [0, 1]) expect(sends(engine.answered({ message: 1, worker: "a", seq, answer: "x" }, 5))).toEqual([]);
    expect(sends(engine.answered({ message: 1, worker: "a", seq: 2, answer: "x" }, 6))).toEqual(["a:6+7+8+9"]);
  });

  describe("with batch: auto", () => {
    /** Answers all of a message `ms` after it was sent; returns what is sent then. */
    const answerAll = (engine: QueueEngine, sent: QueueEffect[], now: number): QueueEffect[] =>
      of(sent, "send").flatMap(({ message, worker, questions: asked }) =>
        asked.flatMap(({ question: { seq } }) => engine.answered({ message, worker, seq, answer: "x" }, now)),
      );
    const sizes = (engine: QueueEngine, first: QueueEffect[], latencies: readonly number[]): number[] => {
      let [now, sent] = [0, first];
      return latencies.map((ms) => {
        now += ms;
        sent = answerAll(engine, sent, now);
        return of(sent, "send")[0]?.questions.length ?? 0;
      });
    };
    const one = { workers: [["a", 1]] as const, config: { batch: "auto" as const, window: 1000, deadlineMs: 1000 } };

    it("a worker that answers at once gets one more each time, up to 16; one that does not, fewer", () => {
      const engine = start(one);
      const quick = Array.from({ length: 17 }, () => 2);
      expect(sizes(engine, engine.offer(questions(400), 0), quick)).toEqual([
        2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16, 16,
      ]);
      const slow = start(one);
      expect(sizes(slow, slow.offer(questions(400), 0), [2, 2, 2, 25, 60, 60, 60, 10])).toEqual([2, 3, 4, 4, 2, 1, 1, 2]);
    });

    it("a worker that thinks gets one at a time", () => {
      const engine = start(one);
      expect(sizes(engine, engine.offer(questions(9), 0), [100, 100, 30])).toEqual([1, 1, 1]);
    });

    it("a message that was not full says nothing about fuller ones, and after a failure it is one again", () => {
      const engine = start(one);
      const first = engine.offer(questions(2), 0);
      const second = answerAll(engine, first, 1);
      expect(sends(second)).toEqual(["a:1"]);
      answerAll(engine, second, 2);
      const third = engine.offer(questions(10, 2), 3);
      expect(sends(third)).toEqual(["a:2+3"]);
      const [lost] = of(third, "send");
      const after = engine.failed({ message: lost?.message ?? 0, code: "garbage", detail: "" }, 4);
      expect(sends(after)).toEqual(["a:4"]);
    });

    it("a stranger, who takes one question a message, gets no more", () => {
      const engine = new QueueEngine({
        config: { ...CONFIG, ...one.config },
        prng: createPrng(1),
        now: 0,
        takesBatches: () => false,
      });
      engine.addWorker("a", 1, 0);
      expect(sizes(engine, engine.offer(questions(9), 0), [1, 1, 1])).toEqual([1, 1, 1]);
    });
  });

  it("asks the source for what fits into the window, and no further ahead than the lead", () => {
    const engine = start({ config: { window: 4, lead: 6 } });
    expect(engine.wanted()).toBe(4);
    engine.offer(questions(4), 0);
    expect(engine.wanted()).toBe(0);
    // 0 stays open at a; b answers one after the other.
    for (const seq of [1, 2]) engine.answered({ message: seq + 1, worker: "b", seq, answer: "x" }, seq);
    expect(engine.wanted()).toBe(2);
    engine.offer(questions(2, 4), 3);
    engine.answered({ message: 4, worker: "b", seq: 3, answer: "x" }, 4);
    expect(engine.wanted()).toBe(0); // 6 - 0 = the lead, although the window has room
    engine.answered({ message: 1, worker: "a", seq: 0, answer: "x" }, 5);
    expect(engine.wanted()).toBe(2);
  });

  it("questions that are done already are not asked again", () => {
    const done = new DoneSet();
    for (const seq of [0, 1, 3]) done.add(seq);
    const engine = start({ done });
    expect(sends(engine.offer(questions(6), 0))).toEqual(["a:2", "b:4"]);
  });

  it("refuses questions out of order", () => {
    expect(() => start().offer([question(1)], 0)).toThrow(/question 1 offered, 0 was next/);
  });
});

describe("what fails is tried again", () => {
  it("elsewhere, after a back-off that doubles, and with the latency counting from the first pull", () => {
    const engine = start();
    engine.offer(questions(1), 0);
    const failed = engine.failed({ message: 1, code: "reset", detail: "cut" }, 3);
    expect(of(failed, "failed")).toMatchObject([{ worker: "a", attempt: 1, code: "reset", retryInMs: 10 }]);
    expect(engine.nextDueAt()).toBe(13);
    expect(sends(engine.tick(12.9))).toEqual([]);
    expect(sends(engine.tick(13))).toEqual(["b:0"]);
    expect(of(engine.failed({ message: 2, code: "remote", detail: "no" }, 20), "failed")).toMatchObject([{ retryInMs: 20 }]);
    expect(sends(engine.tick(40))).toEqual(["a:0"]);
    const [record] = of(engine.answered({ message: 3, worker: "a", seq: 0, answer: "x" }, 50), "record");
    expect(record?.result).toMatchObject({
      intendedAt: 0,
      sentAt: 40,
      finishedAt: 50,
      attempts: 3,
      worker: "a",
      status: "answered",
    });
  });

  it("waits for another worker that is busy, rather than ask the same one again", () => {
    const engine = start();
    engine.offer(questions(3), 0); // a:0 b:1, 2 waits
    expect(sends(engine.failed({ message: 1, code: "garbage", detail: "" }, 1))).toEqual(["a:2"]);
    engine.answered({ message: 3, worker: "a", seq: 2, answer: "x" }, 5);
    expect(sends(engine.tick(20))).toEqual([]); // a is free, but has failed it
    expect(sends(engine.answered({ message: 2, worker: "b", seq: 1, answer: "x" }, 30))).toEqual(["b:0"]);
  });

  it("asks the same worker again when it is the only one", () => {
    const engine = start({ workers: [["a", 1]] });
    engine.offer(questions(1), 0);
    engine.failed({ message: 1, code: "remote", detail: "" }, 1);
    expect(sends(engine.tick(11))).toEqual(["a:0"]);
  });

  it("a message without an answer fails at its deadline, and is cancelled", () => {
    const engine = start();
    engine.offer(questions(1), 0);
    expect(engine.nextDueAt()).toBe(100);
    const effects = engine.tick(100);
    expect(effects).toMatchObject([
      { type: "cancel", message: 1, worker: "a", reason: "deadline" },
      { type: "failed", code: "timeout", attempt: 1 },
    ]);
  });

  it("is recorded as failed when every attempt is used up: never lost", () => {
    const engine = start({ config: { maxAttempts: 2 } });
    engine.offer(questions(1), 0);
    engine.endOfSource();
    engine.failed({ message: 1, code: "remote", detail: "" }, 1);
    engine.tick(11);
    const effects = engine.failed({ message: 2, code: "garbage", detail: "?" }, 12);
    expect(effects).toMatchObject([
      { type: "failed", attempt: 2, retryInMs: null },
      { type: "record", result: { seq: 0, status: "failed", answer: null, attempts: 2, code: "garbage", worker: "b" } },
    ]);
    expect(engine.finished).toBe(true);
    expect(engine.nextDueAt()).toBeNull();
  });

  it("in a batch, only what has no answer", () => {
    const engine = start({ workers: [["a", 1]], config: { batch: 3 } });
    engine.offer(questions(3), 0);
    engine.answered({ message: 1, worker: "a", seq: 1, answer: "x" }, 1);
    const effects = engine.failed({ message: 1, code: "missing", detail: "", seqs: [0, 1] }, 2);
    expect(of(effects, "failed").map(({ question: { seq } }) => seq)).toEqual([0]);
    expect(engine.status()).toMatchObject({ recorded: 1, inFlight: 1, waiting: 1 });
  });

  it("back-off is seeded by question and attempt, whatever happens in between", () => {
    const delays = (order: readonly number[]): unknown[] => {
      const engine = start({ config: { backoff: { baseMs: 10, factor: 2, maxMs: 80, jitter: 0.5 }, quarantineAfter: 99 } });
      engine.offer(questions(2), 0);
      return order
        .flatMap((message) => of(engine.failed({ message, code: "remote", detail: "" }, 1), "failed"))
        .sort((x, y) => x.question.seq - y.question.seq)
        .map(({ retryInMs }) => retryInMs);
    };
    const [first, second] = delays([1, 2]) as number[];
    expect(delays([2, 1])).toEqual([first, second]);
    for (const delay of [first, second]) expect(delay).toSatisfy((ms: number) => ms >= 5 && ms <= 10);
    expect(first).not.toBe(second);
  });
});

describe("finished twice, recorded once", () => {
  it("the late answer of a message that was given up counts when it is the first", () => {
    const engine = start();
    engine.offer(questions(1), 0);
    engine.tick(100);
    expect(sends(engine.tick(110))).toEqual(["b:0"]);
    const late = engine.answered({ message: 1, worker: "a", seq: 0, answer: "late" }, 120);
    expect(late).toMatchObject([
      { type: "record", result: { worker: "a", answer: "late", sentAt: 0, attempts: 2 } },
      { type: "cancel", message: 2, worker: "b", reason: "answered" },
    ]);
    expect(engine.answered({ message: 2, worker: "b", seq: 0, answer: "other" }, 121)).toEqual([
      { type: "duplicate", message: 2, worker: "b", seq: 0, id: "q0", attempt: 2, same: false },
    ]);
    expect(engine.status()).toMatchObject({ recorded: 1, duplicates: 1, inFlight: 0, free: 2 });
  });

  it("a worker that answers twice", () => {
    const engine = start();
    engine.offer(questions(1), 0);
    engine.answered({ message: 1, worker: "a", seq: 0, answer: "x" }, 1);
    expect(engine.answered({ message: 1, worker: "a", seq: 0, answer: "x" }, 2)).toMatchObject([
      { type: "duplicate", same: true },
    ]);
    expect(engine.status().recorded).toBe(1);
  });

  it("an answer to a question that was not in the message is a stray and settles nothing", () => {
    const engine = start();
    engine.offer(questions(2), 0);
    expect(engine.answered({ message: 1, worker: "a", seq: 1, answer: "x" }, 1)).toEqual([]);
    expect(engine.status()).toMatchObject({ recorded: 0, strays: 1 });
  });
});

describe("quarantine", () => {
  it("after failures in a row a worker gets nothing, until health checks have succeeded", () => {
    const engine = start({ workers: [["a", 1]] });
    engine.offer(questions(2), 0);
    engine.failed({ message: 1, code: "garbage", detail: "" }, 1);
    engine.failed({ message: 2, code: "garbage", detail: "" }, 2);
    engine.tick(11);
    const last = engine.failed({ message: 3, code: "garbage", detail: "" }, 20);
    expect(of(last, "quarantine")).toEqual([{ type: "quarantine", worker: "a", reason: "garbage", failures: 3 }]);
    expect(engine.tick(219)).toEqual([]);
    const [probe] = of(engine.tick(220), "probe");
    expect(probe).toMatchObject({ worker: "a", deadlineAt: 2220 });
    expect(engine.probed("a", probe?.probe ?? -1, true, 221)).toEqual([]);
    const [second] = of(engine.tick(421), "probe");
    const back = engine.probed("a", second?.probe ?? -1, true, 430);
    expect(back[0]).toEqual({ type: "returned", worker: "a", afterMs: 410, probes: 2 });
    expect(sends(back)).toEqual(["a:1"]);
  });

  it("after a failure it gets one message at a time, until it has answered", () => {
    const engine = start({ workers: [["a", 3]], config: { quarantineAfter: 9 } });
    engine.offer(questions(9), 0); // a has 0, 1, 2
    expect(sends(engine.failed({ message: 1, code: "reset", detail: "" }, 1))).toEqual([]);
    expect(sends(engine.failed({ message: 2, code: "reset", detail: "" }, 1))).toEqual([]);
    expect(sends(engine.failed({ message: 3, code: "reset", detail: "" }, 1))).toEqual(["a:3"]);
    expect(sends(engine.answered({ message: 4, worker: "a", seq: 3, answer: "x" }, 5))).toEqual(["a:4", "a:5", "a:6"]);
    expect(engine.status().free).toBe(0);
  });

  it("a refused connection is enough: nobody is there", () => {
    const engine = start();
    engine.offer(questions(2), 0);
    expect(of(engine.failed({ message: 1, code: "refused", detail: "" }, 1), "quarantine")).toHaveLength(1);
    expect(sends(engine.tick(11))).toEqual([]);
    expect(sends(engine.answered({ message: 2, worker: "b", seq: 1, answer: "x" }, 12))).toEqual(["b:0"]);
  });

  it("one that is not well when it comes is asked nothing, which would cost a question its attempt", () => {
    const engine = start({ workers: [["a", 1]], config: { maxAttempts: 1 } });
    engine.offer(questions(3), 0);
    const effects = engine.addWorker("b", 2, 5, "handshake: refused");
    expect(effects).toEqual([{ type: "quarantine", worker: "b", reason: "handshake: refused", failures: 0 }]);
    expect(engine.status()).toMatchObject({ recorded: 0, inFlight: 1, waiting: 2, quarantined: 1, free: 0 });
    expect(of(engine.tick(205), "probe")).toHaveLength(1);
  });

  it("an answer in between starts the count anew", () => {
    const engine = start({ workers: [["a", 1]], config: { maxAttempts: 99 } });
    let sent = of(engine.offer(questions(4), 0), "send");
    let now = 0;
    for (let message = 1; message <= 9; message++) {
      now += 50;
      const seq = sent[0]?.questions[0]?.question.seq ?? -1;
      const effects =
        message % 3 === 0
          ? engine.answered({ message, worker: "a", seq, answer: "x" }, now)
          : engine.failed({ message, code: "remote", detail: "" }, now);
      expect(of(effects, "quarantine")).toEqual([]);
      now += 45;
      sent = of([...effects, ...engine.tick(now)], "send");
    }
  });

  it("probes that fail or are not answered come less and less often", () => {
    const engine = start({ workers: [["a", 1]], config: { starvedAfterMs: 1e9 } });
    engine.offer(questions(1), 0);
    engine.failed({ message: 1, code: "refused", detail: "" }, 0);
    const asked: number[] = [];
    for (let now = 0; asked.length < 6; now = engine.nextDueAt() ?? Number.NaN) {
      const [probe] = of(engine.tick(now), "probe");
      if (probe === undefined) continue;
      asked.push(now);
      // The first two are answered with a failure at once, the others never.
      if (asked.length <= 2) engine.probed("a", probe.probe, false, now);
    }
    expect(asked).toEqual([200, 600, 1400, 5000, 10_200, 17_200]);
  });

  it("an unhealthy worker's questions go elsewhere at once, without their deadlines", () => {
    const engine = start();
    engine.offer(questions(2), 0);
    engine.answered({ message: 2, worker: "b", seq: 1, answer: "x" }, 1);
    const effects = engine.unhealthy("a", "no heartbeat", 5);
    expect(effects.map(({ type }) => type)).toEqual(["quarantine", "cancel", "failed"]);
    expect(sends(engine.tick(15))).toEqual(["b:0"]);
  });

  it("without any worker the queue is starved: it says so once, keeps what is open, and goes on when one returns", () => {
    const engine = start({ workers: [["a", 1]], config: { starvedAfterMs: 1000 } });
    engine.offer(questions(2), 0);
    engine.failed({ message: 1, code: "refused", detail: "" }, 0);
    const told: QueueEffect[] = [];
    let probe = -1;
    for (let now = 0; now <= 3000; now = engine.nextDueAt() ?? Number.POSITIVE_INFINITY) {
      const effects = engine.tick(now);
      told.push(...of(effects, "starved"));
      for (const asked of of(effects, "probe")) {
        probe = asked.probe;
        if (now < 2000) engine.probed("a", probe, false, now);
      }
    }
    expect(told).toEqual([{ type: "starved", open: 2, sinceMs: 1000 }]);
    expect(engine.status()).toMatchObject({ phase: "starved", recorded: 0, waiting: 2 });
    expect(engine.wanted()).toBe(0);
    engine.probed("a", probe, true, 3200);
    const [second] = of(engine.tick(3400), "probe");
    expect(sends(engine.probed("a", second?.probe ?? -1, true, 3401))).toHaveLength(1);
    expect(engine.status().phase).toBe("running");
  });
});

describe("memory", () => {
  it("50 000 questions leave nothing but a watermark", { timeout: 60_000 }, () => {
    const done = new DoneSet();
    const engine = start({ done, config: { window: 64 } });
    const busy = new Map<number, { worker: string; seq: number }>();
    let offered = 0;
    let held = 0;
    const note = (effects: readonly QueueEffect[]): void => {
      for (const {
        message,
        worker,
        questions: [first],
      } of of(effects, "send"))
        busy.set(message, { worker, seq: first?.question.seq ?? -1 });
    };
    while (!engine.finished) {
      const wanted = Math.min(engine.wanted(), 50_000 - offered);
      note(engine.offer(questions(wanted, offered), offered));
      offered += wanted;
      if (offered === 50_000) engine.endOfSource();
      const [[message, { worker, seq }] = [0, { worker: "", seq: 0 }]] = busy;
      busy.delete(message);
      note(engine.answered({ message, worker, seq, answer: "x" }, offered));
      held = Math.max(held, done.held);
    }
    expect(done.watermark).toBe(50_000);
    expect(held).toBeLessThan(64);
  });
});
