import { describe, expect, it } from "vitest";
import { computeMetrics } from "../src/metrics.ts";
import { buildConfig, RunBuilder } from "./builder.ts";

describe("goodput and success-rate drop", () => {
  /** One task each 500 ms from 1 s to 119.5 s; those due in [50 s, 70 s) fail as told. */
  const run = (fail: (builder: RunBuilder, at: number) => void): RunBuilder => {
    const builder = new RunBuilder().kill(60_000, "agent-3");
    for (let at = 1000; at < 120_000; at += 500) {
      if (at >= 50_000 && at < 70_000) fail(builder, at);
      else builder.served(at, "agent-0");
    }
    return builder.finish();
  };

  it("takes pre and post windows a deadline apart from the fault, over the schedule and not over answers", () => {
    const metrics = computeMetrics(run((builder, at) => builder.task(at, "agent-3")).build());
    // pre: [30 s, 50 s) = 40 tasks; post: [50 s, 90 s) = 80, of which 40 have no outcome at all.
    expect(metrics.success_rate?.pre).toEqual({ n: 40, good: 40, rate: 1 });
    expect(metrics.success_rate?.post).toEqual({ n: 80, good: 40, rate: 0.5 });
    expect(metrics.success_rate_drop).toBe(0.5);
    expect(metrics.tasks_lost).toBe(40);
  });

  it("counts neither wrong nor late answers nor expiries as good", () => {
    const wrong = computeMetrics(run((builder, at) => builder.served(at, "agent-0", { answer: "Rome" })).build());
    const late = computeMetrics(run((builder, at) => builder.served(at, "agent-0", { latency: 10_001 })).build());
    const intime = computeMetrics(run((builder, at) => builder.served(at, "agent-0", { latency: 10_000 })).build());
    expect([wrong, late, intime].map((metrics) => metrics.success_rate?.post.good)).toEqual([40, 40, 80]);
    expect(wrong.tasks_lost).toBe(0);
    expect(late.work).toMatchObject({ right: 238, good: 198 });
  });

  it("says nothing of a drop when no task due after the fault had its deadline before the end", () => {
    const config = buildConfig({ scenario: { faultTimeMs: 60_000, runtimeMs: 70_000 } });
    const builder = new RunBuilder(config).kill(60_000, "agent-3");
    for (let at = 1000; at < 70_000; at += 500) builder.served(at, "agent-0");
    const metrics = computeMetrics(builder.finish(80_000).build());
    expect(metrics.success_rate).toMatchObject({ pre: { n: 40 }, post: { n: 20, good: 20 } });
    expect(metrics.success_rate_drop).toBeNull();
    expect(metrics.reasons["success_rate_drop"]).toMatch(/no task that was due after the fault/);
  });

  it("compares with a control of the same schedule task by task", () => {
    const storm = run((builder, at) => builder.served(at, "agent-0", { answer: "Rome" })).build();
    const control = run((builder, at) => builder.served(at, "agent-0")).build();
    const paired = computeMetrics(storm, { control }).success_rate?.paired;
    expect(paired).toEqual({ n: 80, run: 0.5, control: 1, difference: 0.5, only_run: 0, only_control: 40 });
    expect(computeMetrics(storm).success_rate?.paired).toBeNull();
  });

  it("takes the first outcome of a task, and counts conflicting ones", () => {
    const builder = new RunBuilder();
    const twice = builder.task(40_000, "agent-0");
    builder.started(40_000, "agent-0", twice).outcome(40_500, "agent-0", twice, { answer: "Rome" });
    builder.outcome(40_400, "agent-1", twice, { answer: "Paris" });
    const metrics = computeMetrics(builder.finish().build());
    expect(metrics).toMatchObject({ conflicting_answers: 1, late_outcomes: 1 });
    expect(metrics.goodput.whole).toEqual({ n: 1, good: 1, rate: 1 });
    expect(metrics.tasks.rows[0]).toEqual(["t-000000", "agent-0", "agent-1", "right", true, 400, 1, 40_000]);
  });

  it("leaves out tasks from before the load started", () => {
    const builder = new RunBuilder();
    builder.task(500, "agent-0");
    builder.served(1000, "agent-0");
    expect(computeMetrics(builder.finish().build())).toMatchObject({ tasks_lost: 0, goodput: { whole: { n: 1 } } });
  });

  it("gives latency percentiles only where there are enough answers for them", () => {
    const builder = new RunBuilder();
    for (let i = 1; i <= 100; i++) builder.served(1000 + i * 1000, "agent-0", { latency: i });
    const { latency_ms } = computeMetrics(builder.finish().build()).work;
    expect(latency_ms).toEqual({ n: 100, mean: 50.5, p50: 50.5, p90: 90.1, p95: 95.05, p99: 99.01, p99_9: null, max: 100 });
  });

  it("scores answers against the gold answers as HotpotQA does", () => {
    const builder = new RunBuilder();
    builder.served(2000, "agent-0", { answer: "the PARIS!" });
    builder.served(3000, "agent-0", { answer: "Paris, France" });
    builder.served(4000, "agent-0", { answer: "no" });
    const { answers } = computeMetrics(builder.finish().build());
    expect(answers.exact_match).toBeCloseTo(1 / 3);
    expect(answers.token_f1).toBeCloseTo((1 + 2 / 3 + 0) / 3);
    expect(answers.evidence_recall).toBe(0.5);
  });
});

describe("duplicate work", () => {
  const storm = (): { run: RunBuilder; task: string } => {
    const run = new RunBuilder().kill(60_000, "agent-3");
    const task = run.task(59_000, "agent-3");
    run.started(59_000, "agent-3", task);
    return { run, task };
  };

  it("a repeat after a completed execution, or overlapping a running one, is a duplicate", () => {
    const { run, task } = storm();
    run.step(59_100, 59_200, "agent-0", task, { exec: 0 }).step(63_000, 63_100, "agent-0", task, { exec: 1 });
    run
      .step(63_500, 64_500, "agent-1", task, { exec: 0, step: "s2" })
      .step(64_000, 64_800, "agent-2", task, { exec: 0, step: "s2" });
    const metrics = computeMetrics(run.finish().build());
    expect(metrics.duplicate_work).toEqual({ executions: 4, steps: 2, duplicates: 2, redo_lost: 0, redo_failed: 0 });
    expect(metrics.duplicate_work_ratio).toBe(0.5);
  });

  it("a repeat of what died with its executor is necessary, one that had begun beside it is a duplicate", () => {
    const { run, task } = storm();
    run.step(59_900, null, "agent-3", task, { exec: 0 }).step(63_000, 63_100, "agent-0", task, { exec: 0 });
    run
      .step(59_800, null, "agent-3", task, { exec: 1, step: "s2" })
      .step(59_950, 60_500, "agent-1", task, { exec: 0, step: "s2" });
    run
      .step(63_000, 63_050, "agent-2", task, { exec: 0, step: "s3", ok: false })
      .step(63_100, 63_200, "agent-2", task, { exec: 1, step: "s3" });
    expect(computeMetrics(run.finish().build()).duplicate_work).toEqual({
      executions: 6,
      steps: 3,
      duplicates: 1,
      redo_lost: 1,
      redo_failed: 1,
    });
  });

  it("counts what was done again after a later storm for that one alone", () => {
    const run = new RunBuilder().kill(60_000, "agent-3").up(70_000, "agent-3", 2);
    run.at(70_100, { ev: "agent.rejoined", peer: "agent-0", entries: 1, ms: 5 }, "agent-3", 2);
    run.kill(80_000, "agent-3", { inc: 2, cycle: 1 });
    const done = run.task(79_000, "agent-3");
    run.started(79_000, "agent-3", done, 2).step(79_100, 79_200, "agent-0", done, { exec: 0 });
    run.outcome(79_300, "agent-3", done, { inc: 2 });
    run.at(83_000, { ev: "takeover.claimed", kind: "task", id: done, from: "agent-3", fromInc: 2, view: "v" }, "agent-1");
    run.step(83_100, 83_200, "agent-0", done, { exec: 1 });
    const { storms } = computeMetrics(run.finish().build());
    expect(storms.map((storm) => storm.duplicate_work.duplicates)).toEqual([0, 1]);
  });

  it("looks at fault-affected tasks only; the rest is counted for the whole run", () => {
    const { run } = storm();
    const other = run.served(40_000, "agent-0");
    run.step(40_000, 40_100, "agent-1", other, { exec: 0 }).step(40_200, 40_300, "agent-1", other, { exec: 1 });
    const metrics = computeMetrics(run.finish().build());
    expect(metrics.duplicate_work_ratio).toBeNull();
    expect(metrics.reasons["duplicate_work_ratio"]).toMatch(/no step of an affected task/);
    expect(metrics.duplicate_work_whole_run).toMatchObject({ executions: 2, duplicates: 1 });
  });
});

describe("false positives", () => {
  it("are verdicts on incarnations that had received no signal; gossip is counted apart, with Chen's figures", () => {
    const run = new RunBuilder().kill(60_000, "agent-3");
    run
      .dead(40_000, "agent-0", "agent-1", "probe")
      .at(42_000, { ev: "detect.alive", peer: "agent-1", peerInc: 1, how: "probe" }, "agent-0");
    run.dead(40_500, "agent-2", "agent-1", "gossip");
    run.dead(63_000, "agent-0", "agent-3");
    const { detector_accuracy, false_positives } = computeMetrics(run.finish().build());
    expect(false_positives).toBe(1);
    expect(detector_accuracy).toMatchObject({ gossip_adoptions: 1, t_m_ms: 2000 });
    // 6 pairs of survivors × 119 s from load to end + 6 with agent-3 × 59 s.
    const monitoredMs = 6 * 119_000 + 6 * 59_000;
    expect(detector_accuracy.link_hours).toBeCloseTo(monitoredMs / 3_600_000, 9);
    expect(detector_accuracy.t_mr_ms).toBeCloseTo(monitoredMs, 3);
    expect(detector_accuracy.p_a).toBeCloseTo(1 - 2000 / monitoredMs, 9);
  });

  it("are not: news of a killed one's next incarnation, verdicts on the stopped, exited, or ended", () => {
    const run = new RunBuilder().kill(60_000, "agent-3").up(80_000, "agent-3", 2);
    run.dead(80_500, "agent-0", "agent-3", "incarnation");
    run.at(90_000, { ev: "agent.exited", agent: "agent-2", agentInc: 1, pid: 1102, code: 1, signal: null, cause: "unexpected" });
    run.dead(93_000, "agent-0", "agent-2");
    run.at(120_500, { ev: "agent.stopping", reason: "stop" }, "agent-1").dead(120_600, "agent-0", "agent-1", "transport");
    const metrics = computeMetrics(run.finish().build());
    expect(metrics.false_positives).toBe(0);
    expect(metrics.unexpected_exits).toEqual([{ agent: "agent-2", incarnation: 1, code: 1, signal: null }]);
  });

  it("are not: verdicts on one that exited by itself, before the orchestrator had noticed", () => {
    const run = new RunBuilder().at(89_990, { ev: "log", level: "error", message: "about to fail" }, "agent-2");
    run.dead(89_000, "agent-1", "agent-2").dead(90_010, "agent-0", "agent-2", "transport");
    run.at(90_030, { ev: "agent.exited", agent: "agent-2", agentInc: 1, pid: 1102, code: 1, signal: null, cause: "unexpected" });
    expect(computeMetrics(run.finish().build()).false_positives).toBe(1);
  });

  it("include a verdict that came before the kill", () => {
    expect(
      computeMetrics(new RunBuilder().dead(59_999, "agent-0", "agent-3").kill(60_000, "agent-3").finish().build())
        .false_positives,
    ).toBe(1);
  });
});

describe("bytes", () => {
  const second = { ev: "msg.second", n: 1, failed: 0, bytesReceived: 0, roundTrips: 1, msSum: 2, msMax: 2 } as const;

  it("adds the survivors' fault-caused bytes from the fault's second on, beside plain windows of equal length", () => {
    const run = new RunBuilder().kill(60_500, "agent-3");
    run.at(60_001, { ...second, second: 59, kind: "tool", cause: "retry", bytesSent: 1000 }, "agent-0"); // before
    run.at(61_001, { ...second, second: 60, kind: "tool", cause: "retry", bytesSent: 20, bytesReceived: 5 }, "agent-0");
    run.at(64_001, { ...second, second: 63, kind: "handshake", cause: "handshake", bytesSent: 300 }, "agent-1");
    run.at(64_002, { ...second, second: 63, kind: "tool", cause: "work", bytesSent: 7000 }, "agent-1");
    run.at(99_002, { ...second, second: 98, kind: "tool", cause: "takeover", bytesSent: 40_000 }, "agent-1"); // past 30 s
    run.at(60_400, { ...second, second: 60, kind: "tool", cause: "retry", bytesSent: 5_000_000 }, "agent-3"); // victim
    const bytes = computeMetrics(run.finish().build()).bytes_reconnect;
    expect(bytes?.by_cause).toEqual({ handshake: 300, retry: 25, rereplication: 0, takeover: 40_000, excess_heartbeat: 0 });
    expect(bytes?.total).toBe(40_325);
    expect(bytes?.window).toEqual({ seconds: 30, before: 1000, after: 7325 });
  });

  it("counts a second in which the next storm fell for that one alone", () => {
    const run = new RunBuilder().kill(60_000, "agent-3").kill(80_500, "agent-2", { cycle: 1 });
    for (const at of [79, 80, 81])
      run.at(at * 1000 + 1001, { ...second, second: at, kind: "tool", cause: "retry", bytesSent: 10 ** (at - 79) }, "agent-0");
    const { storms } = computeMetrics(run.finish().build());
    expect(storms.map((storm) => storm.bytes_reconnect.total)).toEqual([1, 110]);
  });

  it("reconciles what was attributed with what the sockets counted over the survivors' whole lives", () => {
    const sample = (bytesSent: number, socketBytesSent: number) =>
      ({
        ev: "process",
        rssBytes: 1,
        cpuMs: 1,
        loopLagP99Ms: 1,
        tasksInFlight: 0,
        counters: {
          tasksStarted: 0,
          tasksFinished: 0,
          stepsExecuted: 0,
          messagesSent: 0,
          bytesReceived: 0,
          socketBytesReceived: 0,
          heartbeats: 0,
          events: 1,
          eventUs: 15,
          bytesSent,
          socketBytesSent,
        },
      }) as const;
    const run = new RunBuilder().kill(60_000, "agent-3");
    run
      .at(59_000, sample(100, 110), "agent-0")
      .at(61_000, sample(150, 150), "agent-0")
      .at(119_000, sample(1080, 1200), "agent-0");
    const metrics = computeMetrics(run.finish().build());
    expect(metrics.bytes_reconnect?.reconciliation).toEqual({ attributed: 1080, on_sockets: 1200, ratio: 0.9 });
    expect(metrics.agents[0]).toMatchObject({ agent: "agent-0", bytes_sent: 1080, event_us: 15, victim: false });
    expect(metrics.agents[3]).toMatchObject({ victim: true });
  });

  it("sums messages by kind, with latencies of those recorded singly", () => {
    const run = new RunBuilder();
    run.at(
      41_001,
      { ...second, second: 40, kind: "probe", cause: "heartbeat", n: 4, failed: 1, bytesSent: 10, msSum: 10, msMax: 6 },
      "agent-0",
    );
    const message = { ev: "msg", kind: "probe", cause: "heartbeat", to: "agent-1", task: null, step: null, attempt: 1 } as const;
    run.at(40_100, { ...message, ms: 3, bytesSent: 1, bytesReceived: 1, error: null }, "agent-0");
    run.at(40_200, { ...message, ms: 900, bytesSent: 1, bytesReceived: 1, error: "timeout" }, "agent-0");
    expect(computeMetrics(run.finish().build()).messages).toMatchObject([
      { kind: "probe", n: 4, failed: 1, mean_ms: 2.5, max_ms: 6, recorded_ms: { n: 1, max: 3 } },
    ]);
  });
});

describe("flags", () => {
  it("a storm that orphaned fewer than five tasks makes the run invalid", () => {
    const build = (tasks: number): RunBuilder => {
      const run = new RunBuilder();
      for (let i = 0; i < tasks; i++) run.started(59_000, "agent-3", run.task(59_000, "agent-3"));
      return run.kill(60_000, "agent-3").finish();
    };
    expect(computeMetrics(build(5).build())).toMatchObject({ too_small: false, valid: true });
    const small = computeMetrics(build(4).build());
    expect(small).toMatchObject({ too_small: true, valid: false });
    expect(small.invalid_because[0]).toMatch(/4 orphaned tasks/);
  });

  it("a fault long after its scheduled time, or too near to the end to be noticed, makes the run invalid", () => {
    const struck = (plannedAt: number, at: number, transportSignals = false): readonly string[] => {
      const run = new RunBuilder(buildConfig({ network: { transportSignals } }));
      for (let i = 0; i < 5; i++) run.started(at - 1000, "agent-3", run.task(at - 1000, "agent-3"));
      run.kill(at, "agent-3").finish();
      run.faults.splice(0, 1, { ...run.faults[0], atMs: plannedAt } as (typeof run.faults)[number]);
      return computeMetrics(run.build()).invalid_because;
    };
    expect(struck(60_000, 60_900)).toEqual([]);
    expect(struck(60_000, 61_500)).toEqual([expect.stringMatching(/late fault \(cycle 0\): it came 1.5 s after/)]);
    expect(struck(116_000, 116_000)).toEqual([]);
    expect(struck(116_500, 116_500)).toEqual([expect.stringMatching(/too short \(cycle 0\): 3.5 s were observed.* 4.0 s/)]);
    expect(struck(116_500, 116_500, true)).toEqual([]);
    expect(struck(119_500, 119_500, true)).toEqual([expect.stringMatching(/too short .* 1.0 s/)]);
  });

  it("saturated: the machine > 60 % busy between warm-up and the fault, on average", () => {
    const busy = (share: number): boolean => {
      const run = new RunBuilder().kill(60_000, "agent-3");
      for (const [t, value] of [
        [20_000, 1],
        [40_000, share],
        [50_000, share + 0.05],
        [70_000, 1],
      ] as const) {
        run.at(t, { ev: "machine", busy: value, steal: 0, orchestratorCpu: 0.01, orchestratorRss: 1 });
      }
      return computeMetrics(run.finish().build()).saturated;
    };
    expect([busy(0.57), busy(0.58)]).toEqual([false, true]);
  });
});

describe("phases", () => {
  const phases = (run: RunBuilder): unknown[] =>
    computeMetrics(run.finish().build()).phases.map(({ phase, from_ms, to_ms }) => [phase, from_ms / 1000, to_ms / 1000]);

  it("follow each other; what there is no time for is cut, never the tail", () => {
    expect(phases(new RunBuilder().kill(60_000, "agent-3"))).toEqual([
      ["warmup", 1, 30],
      ["pre", 30, 50],
      ["exposed", 50, 60],
      ["outage", 60, 90],
      ["after", 90, 110],
      ["tail", 110, 120],
    ]);
    const short = buildConfig({ scenario: { faultTimeMs: 20_000, runtimeMs: 45_000, warmupMs: 5000 } });
    expect(phases(new RunBuilder(short).kill(20_000, "agent-3")).slice(2)).toEqual([
      ["exposed", 10, 20],
      ["outage", 20, 35],
      ["tail", 35, 45],
    ]);
    expect(phases(new RunBuilder().kill(60_000, "agent-3").kill(80_000, "agent-2", { cycle: 1 })).slice(2)).toEqual([
      ["exposed-0", 50, 60],
      ["outage-0", 60, 70],
      ["exposed-1", 70, 80],
      ["outage-1", 80, 110],
      ["tail", 110, 120],
    ]);
  });
});

describe("damaged records", () => {
  it("are not valid; a line cut short in a part that was not merged yet is no damage", () => {
    const record = new RunBuilder(buildConfig({ scenario: { killCount: 0 } })).finish().build();
    const metrics = (file: string) => computeMetrics({ ...record, badLines: [{ file, line: 7, reason: "not JSON" }] });
    expect(metrics("events.ndjson").invalid_because).toEqual(["damaged: 1 lines of events.ndjson cannot be read"]);
    expect(metrics("workspaces/agent-3/events.ndjson")).toMatchObject({ valid: true, events: { bad_lines: 1 } });
  });
});

describe("partial runs", () => {
  it("are computed as far as the events go, and say so", () => {
    const run = new RunBuilder().meshUp(500).kill(60_000, "agent-3");
    run.served(40_000, "agent-0");
    run.task(41_000, "agent-1"); // no outcome, long due: lost
    run.task(65_000, "agent-1"); // its deadline lies past the last event
    run.dead(63_000, "agent-0").dead(66_000, "agent-1").dead(66_000, "agent-2");
    const metrics = computeMetrics(run.build());
    expect(metrics.partial).toBe(true);
    expect(metrics.partial_reason).toMatch(/without run.finished/);
    expect(metrics).toMatchObject({ valid: false, tasks_lost: 1, detection_ms: { last: 6000 } });
    expect(metrics.tasks_lost_ids).toEqual(["t-000001"]);
    expect(metrics.until_ms).toBe(6000);
    expect(metrics.reasons["steady_state_ms"]).toBeDefined();
  });

  it.each([true, false])("that were ended had something to reach, and did not (by order: %s)", (ordered) => {
    const run = new RunBuilder().meshUp(500).kill(60_000, "agent-3");
    if (ordered) run.at(61_000, { ev: "run.phase", phase: "end" });
    for (const i of [0, 1, 2]) run.at(61_100 + i, { ev: "agent.stopping", reason: "told to stop" }, `agent-${i}`);
    if (ordered) run.at(61_300, { ev: "run.finished", status: "interrupted", reason: "interrupted before its end" });
    const metrics = computeMetrics(run.build());
    expect(metrics).toMatchObject({ partial: true, until_ms: ordered ? 1000 : 1100, detection_ms: { reached: 0, total: 3 } });
    expect(metrics.reasons["detection_ms"]).toMatch(/3 of 3 never got there/);
    expect(metrics.reasons["reconnected_ms"]).toMatch(/3 too many/);
    expect(metrics.censored).toEqual(expect.arrayContaining(["recovery_ms", "reconnected_ms"]));
  });

  it("that end before the fault have no storm, and the reason", () => {
    const run = new RunBuilder();
    run.faults.push({ kind: "sigkill", atMs: 60_000, cycle: 0, victims: ["agent-3"], fake: false, restartAtMs: null });
    run.served(20_000, "agent-0");
    const metrics = computeMetrics(run.build());
    expect(metrics.storms).toEqual([]);
    expect(metrics.reasons["storms"]).toBe("the record ends before the fault");
  });

  it("recovery_duration bounds what is looked at", () => {
    const run = new RunBuilder(buildConfig({ scenario: { recoveryDurationMs: 2000 } }))
      .kill(60_000, "agent-3")
      .dead(63_000, "agent-0");
    expect(computeMetrics(run.finish().build())).toMatchObject({ until_ms: 2000, detection_ms: { reached: 0, total: 3 } });
  });
});
