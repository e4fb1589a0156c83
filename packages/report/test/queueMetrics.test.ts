import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { NewEvent, QueueResult } from "@failstorm/core";
import {
  computeQueueMetrics,
  PUBLISHED_QUEUE,
  publishedQueueRows,
  QUEUE_METRICS_FILE,
  QUEUE_RESULTS_FILE,
  queueMetricsSchema,
  queueRows,
  writeQueueMetrics,
} from "@failstorm/report";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "failstorm-queue-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const WORKERS = ["w1", "w2"].map((worker) => ({
  worker,
  endpoint: `http://127.0.0.1/${worker}`,
  protocol: "a2a",
  external: false,
}));

/** A run as its coordinator `c` and the orchestrator would have written it. */
class Run {
  private readonly events = new Map<string, string[]>();
  private readonly results: string[] = [];
  private readonly seqs = new Map<string, number>();
  inc = 1;

  constructor(rate: number | null = null) {
    const scenario = { name: "queue", protocol: "a2a", seed: 7 };
    this.at(0, { ev: "run.started", runId: "r1", wallMs: 0, config: { scenario, queue: { rate } } }, "orchestrator");
  }

  at(t: number, event: NewEvent, src = "c"): this {
    const inc = src === "orchestrator" ? 0 : this.inc;
    const seq = this.seqs.get(`${src}/${inc}`) ?? 0;
    this.seqs.set(`${src}/${inc}`, seq + 1);
    this.events.set(src, [...(this.events.get(src) ?? []), JSON.stringify({ t, src, inc, seq, ...event })]);
    return this;
  }

  opened(t: number, questions: number | null = 4, workers = WORKERS, src = "c", recorded = 0): this {
    return this.at(t, { ev: "queue.opened", source: "file", questions, recorded, batch: 1, workers }, src);
  }

  sent(t: number, message: number, worker: string, id: string, attempt = 1, src = "c"): this {
    return this.at(t, { ev: "queue.dispatched", message, worker, questions: [id], attempt }, src);
  }

  failed(t: number, message: number, worker: string, id: string, code = "reset", retryInMs: number | null = 10): this {
    const cost = { ms: 1, bytesSent: 100, bytesReceived: 0 };
    return this.at(t, { ev: "queue.failed", message, worker, questions: [id], attempt: 1, code, detail: "", retryInMs, ...cost });
  }

  /** The line first, then the event, as a coordinator does; `event: false`: it was killed in between. */
  done(finishedAt: number, id: string, how: Partial<QueueResult> & { sentAt: number; event?: boolean; src?: string }): this {
    const { event = true, src = "c", ...given } = how;
    const line: QueueResult = {
      seq: Number(id.slice(1)),
      id,
      status: "answered",
      answer: "x",
      gold: null,
      worker: "w1",
      protocol: "a2a",
      attempts: 1,
      code: null,
      intendedAt: how.sentAt,
      finishedAt,
      inc: this.inc,
      ...given,
    };
    if (src === "c") this.results.push(JSON.stringify(line));
    if (!event) return this;
    const { worker, attempts: attempt, status, answer, intendedAt } = line;
    const cost = { ms: finishedAt - how.sentAt, bytesSent: 200, bytesReceived: 300 };
    const latencyMs = finishedAt - intendedAt;
    return this.at(
      finishedAt,
      { ev: "queue.result", question: id, worker, attempt, status, answer, intendedAt, latencyMs, ...cost },
      src,
    );
  }

  closed(t: number): this {
    return this.at(t, { ev: "queue.closed", recorded: 0, failed: 0, rejected: 0 });
  }

  killed(t: number, agent: string): this {
    const stamps = { before: t, after: t + 0.1, cycle: 1, agentInc: 1, pid: 1, fake: false };
    return this.at(t + 0.2, { ev: "fault.injected", kind: "sigkill", agent, ...stamps }, "orchestrator");
  }

  /** `merged`: one file in order of time; else one for each process, as while a run goes on. */
  write(merged: boolean, results = true): this {
    const lines = [...this.events.values()].flat();
    const byTime = lines.toSorted((a, b) => (JSON.parse(a) as { t: number }).t - (JSON.parse(b) as { t: number }).t);
    if (merged) writeFileSync(path.join(dir, "events.ndjson"), `${byTime.join("\n")}\n`);
    else {
      for (const [src, own] of this.events) {
        const file = src === "orchestrator" ? "orchestrator.ndjson" : path.join("workspaces", src, "events.ndjson");
        mkdirSync(path.dirname(path.join(dir, file)), { recursive: true });
        writeFileSync(path.join(dir, file), `${own.join("\n")}\n`);
      }
    }
    if (results) writeFileSync(path.join(dir, QUEUE_RESULTS_FILE), this.results.map((line) => `${line}\n`).join(""));
    return this;
  }
}

describe("the measures of a queue", () => {
  const simple = (): Run =>
    new Run()
      .opened(1000)
      .sent(1010, 1, "w1", "q0")
      .sent(1010, 2, "w2", "q1")
      .done(1020, "q0", { sentAt: 1010, gold: "X." })
      .sent(1020, 3, "w1", "q2")
      .failed(1030, 2, "w2", "q1", "timeout")
      .sent(1040, 4, "w1", "q1", 2)
      .done(1050, "q1", { sentAt: 1040, intendedAt: 1010, attempts: 2, gold: "y" })
      .done(1060, "q2", { sentAt: 1020, worker: "w2", status: "no_answer", answer: null })
      .failed(1070, 5, "w2", "q3", "garbage", null)
      .done(1110, "q3", { sentAt: 1065, status: "failed", answer: null, attempts: 3, code: "garbage", gold: "z" })
      .closed(1111);

  it("worked example, from merged files and from those of a run that goes on", async () => {
    for (const merged of [true, false]) {
      simple().write(merged);
      const metrics = await computeQueueMetrics(dir);
      expect(metrics).toMatchObject({
        run_id: "r1",
        protocol: "a2a",
        seed: 7,
        coordinator: "c",
        partial: false,
        questions: 4,
        recorded: 4,
        missing: 0,
        answered: 2,
        no_answer: 1,
        failed: 1,
        success_rate: 0.5,
        correctness: { graded: 3, right: 1, rate: 1 / 3 },
        total_ms: 100,
        throughput_per_s: 40,
        timeouts: 1,
        errors: { timeout: 1, garbage: 1 },
        network_errors: 1,
        attempts: { messages: 4, retried_questions: 2, retries: 1, max: 3, mean: 7 / 4 },
        longest_gap: { ms: 50, from_ms: 50 },
        bad_lines: 0,
        repeated_lines: 0,
        only_in_events: 0,
      });
      // 10, 40 (from the first pull, over the retry), 40; the failed one has none
      expect(metrics.latency_ms).toMatchObject({ n: 3, mean: 30, min: 10, max: 40, p50: 40 });
      expect(metrics.service_ms).toMatchObject({ n: 3, mean: 20, min: 10, max: 40 });
      // w1 answered two, w2 one: shares 2/3 and 1/3
      expect(metrics.balance.by_worker).toMatchObject({ n: 2, gini: 0.166666667, variance: 0.027777778 });
      // three answers and two failures, 500 and 100 bytes
      expect(metrics.bytes).toMatchObject({ sent: 800, received: 900, per_question: 425 });
      expect(() => queueMetricsSchema.parse(metrics)).not.toThrow();
    }
  });

  it("a coordinator that starts again reads the bad lines again: they count once, those that were not told too", async () => {
    const bad = (run: Run, t: number): Run =>
      [3, 4].reduce((own, line) => own.at(t, { ev: "queue.rejected", line, reason: "it is not JSON" }), run);
    const run = bad(new Run(), 990).opened(1000);
    run.inc = 2;
    bad(run, 1100).opened(1110).write(true);
    expect(await computeQueueMetrics(dir)).toMatchObject({ rejected_lines: 2 });
    run.at(1200, { ev: "queue.closed", recorded: 0, failed: 0, rejected: 1500 }).write(true);
    expect(await computeQueueMetrics(dir)).toMatchObject({ rejected_lines: 1500 });
  });

  it("are written whole, checked against their schema, and told as a table", async () => {
    simple().write(true);
    const { file, metrics } = await writeQueueMetrics(dir);
    expect(file).toBe(path.join(dir, QUEUE_METRICS_FILE));
    expect(queueMetricsSchema.parse(JSON.parse(readFileSync(file, "utf8")))).toEqual(metrics);
    const rows = queueRows(metrics);
    const value = (measure: string): string | undefined => rows.find((row) => row.measure === measure)?.value;
    expect(value("total time")).toBe("0.1");
    expect(value("success")).toBe("50");
    expect(value("latency")).toBe("30 / 17.32 / 10 / 40");
    expect(rows.find((row) => row.measure === "errors")?.note).toBe("1 of the network; timeout 1, garbage 1");
    const published = publishedQueueRows(metrics, PUBLISHED_QUEUE);
    expect(published.map(({ measure }) => measure)).toEqual([
      "ours: a2a",
      "published: acp",
      "published: a2a",
      "published: anp",
      "published: agora",
    ]);
    expect(published[0]).toMatchObject({ value: "0.1 / 0.03 / 0.01 / 0.04 / 0.017", note: "2 of 4 answered, 2/1 per worker" });
    expect(published[4]).toMatchObject({
      value: "3,298 / 13.1 / 0.524 / 28.2 / 5.089",
      note: "998 of 1000 answered, 253/251/251/243 per worker",
    });
  });

  it("a stall of one worker shows in the corrected percentiles, though it is one answer of a thousand", {
    timeout: 60_000,
  }, async () => {
    const run = new Run().opened(0, 1000);
    let t = 0;
    for (let n = 0; n < 1000; n++) {
      const took = n === 500 ? 5000 : 5;
      run.sent(t, n, "w1", `q${n}`).done(t + took, `q${n}`, { sentAt: t });
      t += took;
    }
    run.closed(t).write(true);
    const { latency_ms: plain, latency_corrected_ms: corrected, longest_gap: gap, per_bin } = await computeQueueMetrics(dir);
    expect(plain).toMatchObject({ p90: 5, p99: 5, max: 5000 });
    expect(corrected).toMatchObject({ interval_ms: 5, missing: 999 });
    expect(corrected?.p90).toBeGreaterThan(3500);
    expect(gap).toEqual({ ms: 5000, from_ms: 2500 });
    expect(per_bin.results.slice(2, 8)).toEqual([101, 0, 0, 0, 0, 100]); // the one at 2 500 ms precisely
  });

  it("of an open loop, latency counts from the schedule and needs no correction", async () => {
    const run = new Run(100).opened(0, 2).sent(300, 1, "w1", "q0").done(310, "q0", { sentAt: 300, intendedAt: 10 });
    run.sent(310, 2, "w1", "q1").done(320, "q1", { sentAt: 310, intendedAt: 20 }).closed(321).write(true);
    const metrics = await computeQueueMetrics(dir);
    expect(metrics).toMatchObject({
      rate_per_s: 100,
      latency_ms: { mean: 300 },
      service_ms: { mean: 10 },
      latency_corrected_ms: null,
    });
    expect(metrics.reasons["latency_corrected_ms"]).toMatch(/due by a schedule/);
  });

  it("a worker that is killed: detection, what was in flight, sent again, answered twice and recorded once", async () => {
    new Run()
      .opened(0, 3)
      .sent(10, 1, "w1", "q0")
      .sent(10, 2, "w2", "q1")
      .killed(50, "w1")
      .failed(80, 1, "w1", "q0")
      .at(81, { ev: "worker.quarantined", worker: "w1", reason: "reset", failures: 1 })
      .done(90, "q1", { sentAt: 10, worker: "w2" })
      .sent(95, 3, "w2", "q0", 2)
      .done(120, "q0", { sentAt: 95, intendedAt: 10, attempts: 2, worker: "w2" })
      .at(130, { ev: "queue.duplicate", question: "q0", worker: "w1", attempt: 1, same: true })
      .sent(140, 4, "w2", "q2")
      .done(150, "q2", { sentAt: 140, worker: "w2" })
      .at(400, { ev: "worker.returned", worker: "w1", afterMs: 319, probes: 3 })
      .closed(401)
      .write(true);
    const metrics = await computeQueueMetrics(dir);
    expect(metrics.crashes).toEqual([
      {
        agent: "w1",
        role: "worker",
        coordinator: "c",
        kind: "sigkill",
        cycle: 1,
        at_ms: 40,
        in_flight: 1,
        noticed_ms: 30,
        noticed_by: "reset",
        quarantined_ms: 31,
        returned_ms: 350,
        redispatched: 1,
        redispatch_first_ms: 45,
        redispatch_last_ms: 45,
        finished: 1,
        finished_last_ms: 70,
        duplicates: 1,
        gap_ms: 40,
      },
    ]);
    expect(metrics.workers.map(({ worker, answered, quarantine_ms }) => [worker, answered, quarantine_ms])).toEqual([
      ["w1", 0, 319],
      ["w2", 3, 0],
    ]);
    expect(metrics.duplicates).toEqual({ n: 1, same_answer: 1 });
    expect(queueRows(metrics).find((row) => row.measure === "w1 killed")?.value).toBe("30 / 31");
  });

  it("a coordinator that is killed: latency counts from the pull by the one that died, results without an event count", async () => {
    const run = new Run().opened(0, 3).sent(10, 1, "w1", "q0").sent(10, 2, "w2", "q1");
    run.done(40, "q0", { sentAt: 10, event: false }).killed(41, "c");
    run.inc = 2;
    run.opened(1000, 3).sent(1010, 1, "w1", "q1").done(1050, "q1", { sentAt: 1010, attempts: 1 });
    run.sent(1050, 2, "w1", "q2").done(1060, "q2", { sentAt: 1050 }).closed(1061).write(true);
    const metrics = await computeQueueMetrics(dir);
    expect(metrics).toMatchObject({ recorded: 3, missing: 0, restarts: 1, only_in_events: 0, total_ms: 1050 });
    expect(metrics.latency_ms).toMatchObject({ n: 3, max: 1040, min: 10 }); // q1: 10 → 1050
    expect(metrics.crashes).toMatchObject([
      { role: "coordinator", in_flight: 2, returned_ms: 959, redispatched: 1, finished: 1, gap_ms: 1009 },
    ]);
  });

  it("goes on from an earlier session, perhaps of another boot: its results count, its times do not", async () => {
    new Run()
      .done(99_100, "q0", { sentAt: 99_050, event: false })
      .opened(5000, 2, WORKERS, "c", 1)
      .sent(5010, 1, "w1", "q1")
      .done(5030, "q1", { sentAt: 5010 })
      .closed(5031)
      .write(true);
    const metrics = await computeQueueMetrics(dir);
    expect(metrics).toMatchObject({ recorded: 2, recorded_before: 1, total_ms: 20, throughput_per_s: 50, latency_ms: { n: 1 } });
    expect(queueRows(metrics)[0]?.note).toBe("of 2, 1 of them by an earlier run");
  });

  it("resumed in its own folder: the pause is in no measure, and what was open is due anew", async () => {
    const config = { scenario: { name: "queue", protocol: "a2a", seed: 7 } };
    const run = new Run().opened(0, 3).sent(10, 1, "w1", "q0").done(20, "q0", { sentAt: 10 }).sent(20, 2, "w1", "q1");
    run.at(9000, { ev: "run.started", runId: "r1", wallMs: 1, config }, "orchestrator");
    run.inc = 2;
    run.opened(9100, 3).sent(9110, 1, "w1", "q1").done(9150, "q1", { sentAt: 9110 });
    run.sent(9150, 2, "w1", "q2").done(9180, "q2", { sentAt: 9150 }).closed(9181).write(true);
    const metrics = await computeQueueMetrics(dir);
    // 10 → 20, and 9 110 → 9 180
    expect(metrics).toMatchObject({ sessions: 2, restarts: 0, paused_ms: 9090, total_ms: 80 });
    expect(metrics.latency_ms).toMatchObject({ n: 3, max: 40 });
    expect(metrics.longest_gap).toEqual({ ms: 40, from_ms: 9100 });
  });

  it("without its results file says so, and computes from the events what they tell", async () => {
    simple().write(true, false);
    const metrics = await computeQueueMetrics(dir);
    expect(metrics).toMatchObject({ recorded: 4, only_in_events: 4, correctness: { graded: 0, rate: null }, total_ms: 100 });
    expect(metrics.reasons["correctness.rate"]).toBe("the questions have no gold answers");
  });

  it("an interrupted run is partial, with what is missing; a stream has no number of questions", async () => {
    new Run().opened(0, 10).sent(1, 1, "w1", "q0").done(5, "q0", { sentAt: 1 }).write(false);
    expect(await computeQueueMetrics(dir)).toMatchObject({ partial: true, recorded: 1, missing: 9 });
    rmSync(dir, { recursive: true });
    mkdirSync(dir);
    new Run().opened(0, null).sent(1, 1, "w1", "q0").done(5, "q0", { sentAt: 1 }).write(false);
    expect(await computeQueueMetrics(dir)).toMatchObject({ partial: true, recorded: 1, missing: null });
  });

  it("a queue in layers: shares are those of the workers who do the work", async () => {
    const subs = ["s1"].map((worker) => ({ worker, endpoint: "http://x", protocol: "acp", external: false }));
    new Run()
      .opened(0, 2, subs)
      .opened(1, null, WORKERS, "s1")
      .sent(10, 1, "s1", "q0")
      .sent(11, 1, "w1", "q0", 1, "s1")
      .done(19, "q0", { sentAt: 11, src: "s1" })
      .done(20, "q0", { sentAt: 10, worker: "s1", protocol: "acp" })
      .closed(21)
      .write(true);
    const metrics = await computeQueueMetrics(dir);
    expect(metrics.coordinator).toBe("c");
    expect(metrics.recorded).toBe(1);
    expect(metrics.balance.by_worker).toMatchObject({ n: 2, gini: 0.5 });
    expect(metrics.protocols).toMatchObject([{ protocol: "a2a", answered: 1, share: 1, workers: 2 }]);
  });

  it("bytes are those of all messages with questions where the counts by second tell, others apart", async () => {
    const second = { second: 0, cause: "work", n: 3, failed: 0, roundTrips: 3, msSum: 1, msMax: 1 } as const;
    simple()
      .at(1200, { ev: "msg.second", kind: "question", bytesSent: 4000, bytesReceived: 1000, ...second })
      .at(1200, { ev: "msg.second", kind: "probe", bytesSent: 40, bytesReceived: 2, ...second })
      .at(1200, { ev: "msg.second", kind: "probe", bytesSent: 999, bytesReceived: 999, ...second }, "w1")
      .write(true);
    expect((await computeQueueMetrics(dir)).bytes).toEqual({
      sent: 4000,
      received: 1000,
      per_question: 1250,
      other: { probe: 42 },
    });
  });

  it("counts damaged lines, and refuses a folder that is none", async () => {
    simple().write(true);
    writeFileSync(path.join(dir, QUEUE_RESULTS_FILE), '{"seq":0}\n', { flag: "a" });
    expect((await computeQueueMetrics(dir)).bad_lines).toBe(1);
    await expect(computeQueueMetrics(path.join(dir, "none"))).rejects.toThrow(/no events found/);
    expect(existsSync(path.join(dir, QUEUE_METRICS_FILE))).toBe(false);
  });
});

describe("the published table", () => {
  it("is what its source says of itself: completion times differ by 36.5 %, mean latencies by 3.48 s", () => {
    const totals = PUBLISHED_QUEUE.rows.map((row) => row.total_ms);
    const means = PUBLISHED_QUEUE.rows.map((row) => row.mean_ms);
    expect(Math.max(...totals) / Math.min(...totals) - 1).toBeCloseTo(0.365, 2);
    expect((Math.max(...means) - Math.min(...means)) / 1000).toBeCloseTo(3.48, 1);
    for (const { per_worker, answered } of PUBLISHED_QUEUE.rows)
      if (per_worker !== null && answered === 1000) expect(per_worker.reduce((a, b) => a + b, 0)).toBe(1000);
  });
});
