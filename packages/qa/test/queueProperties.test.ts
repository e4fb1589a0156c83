import { createPrng } from "@failstorm/core";
import { DoneSet, QUEUE_DEFAULTS, type QueueEffect, QueueEngine, type QueueEngineConfig } from "@failstorm/qa";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

/** Something that happens to a queue. Indices are taken modulo what there is. */
type Happening =
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "answer"; readonly message: number; readonly question: number; readonly empty: boolean }
  | { readonly kind: "answer_all"; readonly message: number }
  | { readonly kind: "fail"; readonly message: number; readonly code: "reset" | "refused" | "garbage" | "remote" }
  | { readonly kind: "missing"; readonly message: number; readonly question: number }
  | { readonly kind: "unhealthy"; readonly worker: number }
  | { readonly kind: "probe"; readonly probe: number; readonly ok: boolean }
  /** The coordinator is killed and starts again from its journal; what is under way to it is lost. */
  | { readonly kind: "restart" };

const index = fc.nat({ max: 20 });
const happening: fc.Arbitrary<Happening> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("wait"), ms: fc.integer({ min: 0, max: 150 }) }) },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("answer"), message: index, question: index, empty: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("answer_all"), message: index }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("fail"),
      message: index,
      code: fc.constantFrom("reset" as const, "refused" as const, "garbage" as const, "remote" as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("missing"), message: index, question: index }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("unhealthy"), worker: index }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("probe"), probe: index, ok: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart") }) },
);

interface SentMessage {
  readonly id: number;
  readonly worker: string;
  readonly seqs: readonly number[];
  /** By the effects, as whoever carries them out knows it. */
  readonly open: Set<number>;
}

/** A coordinator around the engine, as a model: it carries out effects and checks after each that they are allowed. */
class Coordinator {
  readonly journal: { readonly seq: number; readonly status: string; readonly attempts: number }[] = [];
  /** Everything this incarnation sent: what was given up may still be answered. */
  sent: SentMessage[] = [];
  probes: { readonly worker: string; readonly probe: number }[] = [];
  now = 0;
  duplicates = 0;
  engine: QueueEngine;
  private quarantined = new Set<string>();
  private offered = 0;
  private readonly count: number;
  private readonly config: QueueEngineConfig;
  private readonly concurrency: number;

  private readonly workers: readonly string[];

  constructor(count: number, config: QueueEngineConfig, concurrency: number, workers: number) {
    this.workers = ["a", "b", "c"].slice(0, workers);
    this.count = count;
    this.config = config;
    this.concurrency = concurrency;
    this.engine = this.restart();
  }

  restart(): QueueEngine {
    const done = new DoneSet();
    for (const { seq } of this.journal) done.add(seq);
    this.sent = [];
    this.probes = [];
    this.quarantined = new Set();
    this.offered = 0;
    this.engine = new QueueEngine({ config: this.config, prng: createPrng(7), now: this.now, done });
    for (const worker of this.workers) this.carryOut(this.engine.addWorker(worker, this.concurrency, this.now));
    this.pull();
    return this.engine;
  }

  pull(): void {
    for (let n = this.engine.wanted(); n > 0 && this.offered < this.count; n = this.engine.wanted()) {
      const seq = this.offered;
      this.offered += 1;
      this.carryOut(this.engine.offer([{ seq, id: `q${seq}`, q: "?", gold: null }], this.now));
    }
    if (this.offered === this.count) this.engine.endOfSource();
  }

  carryOut(effects: readonly QueueEffect[]): void {
    for (const effect of effects) this.carryOutOne(effect);
    const { inFlight, waiting, recorded } = this.engine.status();
    expect(inFlight + waiting).toBeLessThanOrEqual(this.config.window);
    expect(inFlight).toBe(this.sent.reduce((sum, message) => sum + message.open.size, 0));
    expect(recorded).toBeLessThanOrEqual(this.count);
  }

  private carryOutOne(effect: QueueEffect): void {
    const openAt = (worker: string): number => this.sent.filter((own) => own.worker === worker && own.open.size > 0).length;
    switch (effect.type) {
      case "send": {
        const seqs = effect.questions.map(({ question }) => question.seq);
        expect(this.quarantined).not.toContain(effect.worker);
        expect(openAt(effect.worker)).toBeLessThan(this.concurrency);
        expect(seqs.length).toBeLessThanOrEqual(this.config.batch === "auto" ? 16 : this.config.batch);
        for (const { attempt } of effect.questions) expect(attempt).toBeLessThanOrEqual(this.config.maxAttempts);
        for (const seq of seqs) {
          expect(this.journal.map((line) => line.seq)).not.toContain(seq);
          expect(this.sent.flatMap((other) => [...other.open])).not.toContain(seq);
        }
        this.sent.push({ id: effect.message, worker: effect.worker, seqs, open: new Set(seqs) });
        return;
      }
      case "record":
        this.journal.push(effect.result);
        for (const message of this.sent) message.open.delete(effect.result.seq);
        return;
      case "failed":
        this.sent.find(({ id }) => id === effect.message)?.open.delete(effect.question.seq);
        return;
      case "quarantine":
        this.quarantined.add(effect.worker);
        return;
      case "returned":
        this.quarantined.delete(effect.worker);
        return;
      case "probe":
        this.probes.push(effect);
        return;
      case "duplicate":
        this.duplicates += 1;
        return;
      case "cancel":
      case "starved":
    }
  }

  happen(what: Happening): void {
    const { engine, now } = this;
    const message = "message" in what ? this.sent[what.message % Math.max(1, this.sent.length)] : undefined;
    if (what.kind === "wait") {
      this.now += what.ms;
      this.carryOut(engine.tick(this.now));
    } else if (what.kind === "restart") this.restart();
    else if (what.kind === "unhealthy")
      this.carryOut(engine.unhealthy(this.workers[what.worker % this.workers.length] ?? "a", "silent", now));
    else if (what.kind === "probe") {
      const asked = this.probes[what.probe % Math.max(1, this.probes.length)];
      if (asked !== undefined) this.carryOut(engine.probed(asked.worker, asked.probe, what.ok, now));
    } else if (message !== undefined) {
      if (what.kind === "fail") this.carryOut(engine.failed({ message: message.id, code: what.code, detail: "" }, now));
      else if (what.kind === "answer_all") this.answerAll(message);
      else {
        const seq = message.seqs[what.question % message.seqs.length] ?? -1;
        if (what.kind === "missing")
          this.carryOut(engine.failed({ message: message.id, code: "missing", detail: "", seqs: [seq] }, now));
        else
          this.carryOut(
            engine.answered({ message: message.id, worker: message.worker, seq, answer: what.empty ? null : "x" }, now),
          );
      }
    }
    this.pull();
  }

  answerAll({ id, worker, seqs }: SentMessage): void {
    for (const seq of seqs) this.carryOut(this.engine.answered({ message: id, worker, seq, answer: "x" }, this.now));
  }

  /** From here on everything is well: whatever is asked is answered, whoever is probed is there. */
  heal(): void {
    for (let turn = 0; !this.engine.finished; turn++) {
      if (turn > 50 * this.count + 500) throw new Error(`hangs: ${JSON.stringify(this.engine.status())}`);
      const open = this.sent.find((message) => message.open.size > 0);
      const probe = this.probes.pop();
      if (open !== undefined) this.answerAll(open);
      else if (probe !== undefined) this.carryOut(this.engine.probed(probe.worker, probe.probe, true, this.now));
      else {
        const due = this.engine.nextDueAt();
        if (due === null) throw new Error(`nothing is due: ${JSON.stringify(this.engine.status())}`);
        this.now = Math.max(this.now, due);
        this.carryOut(this.engine.tick(this.now));
      }
      this.pull();
    }
  }
}

const config = (overrides: Partial<QueueEngineConfig>): QueueEngineConfig => ({
  ...QUEUE_DEFAULTS,
  deadlineMs: 100,
  backoff: { baseMs: 10, factor: 2, maxMs: 80, jitter: 0.5 },
  quarantineAfter: 2,
  probe: { intervalMs: 20, maxIntervalMs: 100, timeoutMs: 30, successes: 2 },
  starvedAfterMs: 500,
  ...overrides,
});

describe("any interleaving of answers, failures, deaths, duplicates and restarts", () => {
  it("records every question exactly once, loses none, and never hangs", { timeout: 60_000 }, () => {
    fc.assert(
      fc.property(
        fc.record({
          count: fc.integer({ min: 1, max: 24 }),
          batch: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.constant("auto" as const)),
          window: fc.integer({ min: 1, max: 12 }),
          lead: fc.integer({ min: 1, max: 16 }),
          maxAttempts: fc.integer({ min: 1, max: 4 }),
          concurrency: fc.integer({ min: 1, max: 3 }),
          workers: fc.integer({ min: 1, max: 3 }),
          happenings: fc.array(happening, { maxLength: 80 }),
        }),
        ({ count, batch, window, lead, maxAttempts, concurrency, workers, happenings }) => {
          const coordinator = new Coordinator(count, config({ batch, window, lead, maxAttempts }), concurrency, workers);
          for (const what of happenings) coordinator.happen(what);
          coordinator.heal();
          expect(coordinator.journal.map(({ seq }) => seq).sort((a, b) => a - b)).toEqual(
            Array.from({ length: count }, (_, i) => i),
          );
          for (const { status, attempts } of coordinator.journal) if (status === "failed") expect(attempts).toBe(maxAttempts);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("counts every answer: recorded, duplicate, or stray", { timeout: 60_000 }, () => {
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 60 }), (happenings) => {
        const coordinator = new Coordinator(12, config({ batch: 2, window: 6 }), 2, 3);
        let answers = 0;
        let failedRecords = 0;
        for (const what of happenings) {
          if (what.kind === "restart") continue;
          const message = "message" in what ? coordinator.sent[what.message % Math.max(1, coordinator.sent.length)] : undefined;
          if (message !== undefined && what.kind === "answer") answers += 1;
          if (message !== undefined && what.kind === "answer_all") answers += message.seqs.length;
          coordinator.happen(what);
        }
        failedRecords = coordinator.journal.filter(({ status }) => status === "failed").length;
        expect(coordinator.journal.length - failedRecords + coordinator.duplicates).toBe(answers);
        expect(coordinator.engine.status()).toMatchObject({ strays: 0, duplicates: coordinator.duplicates });
      }),
      { numRuns: 150 },
    );
  });
});
