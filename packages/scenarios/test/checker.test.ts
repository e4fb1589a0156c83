import { type GradedTask, type NewEvent, type PlannedFault, type RunConfig, type RunEvent, taskId } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { checkRun } from "../src/checker.ts";
import type { CheckedRun } from "../src/checkedRun.ts";

const T0 = 1_000_000;

const config = {
  scenario: { agentCount: 3, killCount: 1, warmupMs: 30_000, runtimeMs: 120_000, fakeFault: false },
  network: { heartbeatTimeoutMs: 3000, heartbeatIntervalMs: 1000, ledgerSyncMs: 1000 },
  tasks: { deadlineMs: 10_000 },
} as unknown as RunConfig;

type Writing = { t: number; src: string; inc: number; event: NewEvent };

/** A sound run of three agents: agent-2 is killed at 60 s with five tasks in flight and comes back; then each test breaks it. */
class Story {
  readonly tasks: GradedTask[] = [];
  faults: PlannedFault[] = [{ kind: "sigkill", atMs: 60_000, cycle: 0, victims: ["agent-2"], fake: false, restartAtMs: 80_000 }];
  private readonly writings: Writing[] = [];

  constructor() {
    this.say(0, { ev: "run.load", t0: T0, loadFromMs: 1000 });
    for (const agent of ["agent-0", "agent-1", "agent-2"]) {
      const index = Number(agent.at(-1));
      this.say(-900, { ev: "agent.up", pid: index, port: 9000 + index, homeTool: "search", shard: index, wallMs: 0 }, agent);
      this.say(100, { ev: "document.stored", sha256: "aa", bytes: 1, from: null, ms: 1 }, agent);
      this.say(200, { ev: "shard.indexed", shard: index, passages: 1, ms: 1, role: "home" }, agent);
      for (const t of [40_000, 50_000]) this.sample(t, agent, t / 1000);
    }
    this.say(50_000, { ev: "machine", busy: 0.3, steal: 0, orchestratorCpu: 0, orchestratorRss: 0 });
    for (let i = 0; i < 8; i++) {
      const task = this.task(58_000 + i, i < 5 ? "agent-2" : "agent-0");
      if (i < 5) {
        this.started(58_000 + i, task, "agent-2").started(63_100 + i, task, "agent-0", 1, 2);
        this.outcome(64_000 + i, task, "agent-0", 1, 2);
      } else this.started(58_000 + i, task, "agent-0").outcome(58_500 + i, task, "agent-0");
    }
    this.step(58_600, 58_700, "agent-1", 0);
    const pid = 2;
    this.say(60_001, {
      ev: "fault.injected",
      kind: "sigkill",
      cycle: 0,
      agent: "agent-2",
      agentInc: 1,
      pid,
      before: T0 + 60_000,
      after: T0 + 60_000.1,
      fake: false,
    });
    this.say(60_004, { ev: "agent.exited", agent: "agent-2", agentInc: 1, pid, code: null, signal: "SIGKILL", cause: "fault" });
    this.say(80_300, { ev: "agent.up", pid: 9, port: 9002, homeTool: "search", shard: 2, wallMs: 0 }, "agent-2", 2);
    this.say(80_400, { ev: "agent.rejoined", peer: "agent-0", entries: 8, ms: 5 }, "agent-2", 2);
    this.ends("d1", 8);
  }

  say(t: number, event: NewEvent, src = "orchestrator", inc = src === "orchestrator" ? 0 : 1): this {
    this.writings.push({ t, src, inc, event });
    return this;
  }

  /** Takes away what `which` accepts, as if it had never been written. */
  without(which: (writing: Writing) => boolean): this {
    const kept = this.writings.filter((writing) => !which(writing));
    this.writings.splice(0, this.writings.length, ...kept);
    return this;
  }

  task(atMs: number, homeOwner: string): string {
    const task = taskId(this.tasks.length);
    this.tasks.push({ task, atMs, homeOwner, question: "?", questionId: "q", hops: 2, gold: "a", expected: "a", evidence: [] });
    return task;
  }

  started(t: number, task: string, src: string, inc = 1, attempt = 1): this {
    return this.say(t, { ev: "task.started", task, attempt, view: "v", orphanOf: null }, src, inc);
  }

  outcome(t: number, task: string, src: string, inc = 1, attempt = 1, status: "answered" | "expired" = "answered"): this {
    return this.say(
      t,
      { ev: "task.outcome", task, attempt, status, answer: "a", latencyMs: 1, evidence: [], orphanOf: null },
      src,
      inc,
    );
  }

  step(from: number, to: number | null, src: string, exec: number, inc = 1): this {
    const step = { exec, task: "t-000000", step: "s", attempt: 1 };
    this.say(from, { ev: "step.started", ...step, tool: "search", caller: "agent-0" }, src, inc);
    return to === null ? this : this.say(to, { ev: "step.finished", ...step, ok: true }, src, inc);
  }

  sample(t: number, src: string, count: number, loopLagP99Ms = 1): this {
    const counters = {
      tasksStarted: count,
      tasksFinished: 0,
      stepsExecuted: 0,
      messagesSent: 0,
      bytesSent: 0,
      bytesReceived: 0,
      socketBytesSent: 0,
      socketBytesReceived: 0,
      heartbeats: 0,
      events: 0,
      eventUs: 0,
    };
    return this.say(t, { ev: "process", rssBytes: 1, cpuMs: count, loopLagP99Ms, tasksInFlight: 0, counters }, src);
  }

  /** The final ledgers (agent-0 speaks) and the end of the run. */
  ends(digest: string, entries: number): this {
    this.without(({ event }) => event.ev === "ledger.final" || event.ev === "run.finished");
    const said = this.tasks.map((_, i): [string, string] => [taskId(i), `answered|agent-0|1|${i < 5 ? 2 : 1}`]);
    this.say(
      121_000,
      { ev: "ledger.final", digest: "d1", entries: 8, conflicts: 0, outcomes: Object.fromEntries(said) },
      "agent-0",
    );
    this.say(121_000, { ev: "ledger.final", digest, entries, conflicts: 0, outcomes: null }, "agent-1");
    return this.say(121_500, { ev: "run.finished", status: "done", reason: null });
  }

  run(): CheckedRun {
    const seqs = new Map<string, number>();
    const events: RunEvent[] = [];
    for (const { t, src, inc, event } of this.writings.toSorted((a, b) => a.t - b.t)) {
      const seq = seqs.get(`${src}/${inc}`) ?? 0;
      seqs.set(`${src}/${inc}`, seq + 1);
      events.push({ t: T0 + t, src, inc, seq, ...event });
    }
    return { events, schedule: { version: 1, seed: 1, tasks: this.tasks, faults: this.faults, calibrated: true }, config };
  }
}

const broken = (run: CheckedRun): string[] => [...new Set(checkRun(run).violations.map((violation) => violation.invariant))];
const warned = (run: CheckedRun): string[] => checkRun(run).warnings.map((warning) => warning.invariant);
const breaking = (change: (story: Story) => unknown): CheckedRun => {
  const story = new Story();
  change(story);
  return story.run();
};

describe("a sound run", () => {
  it("breaks nothing and warns of nothing", () => {
    expect(checkRun(new Story().run())).toEqual({ violations: [], warnings: [] });
  });

  it("may have the last lines of a killed incarnation cut off", () => {
    const run = new Story().run();
    const last = run.events.findLast((event) => event.src === "agent-2" && event.inc === 1);
    expect(broken({ ...run, events: run.events.filter((event) => event !== last) })).toEqual([]);
  });
});

describe("each invariant, broken once, is named", () => {
  it.each<[string, (story: Story) => unknown]>([
    ["no-task-lost", (story) => story.task(70_000, "agent-1")],
    ["counters-never-decrease", (story) => story.sample(70_000, "agent-1", 3)],
    [
      "incarnations-increase",
      (story) => story.say(100_000, { ev: "agent.up", pid: 5, port: 1, homeTool: "search", shard: 1, wallMs: 0 }, "agent-1"),
    ],
    [
      "one-incarnation-at-a-time",
      (story) => story.say(100_000, { ev: "agent.up", pid: 5, port: 1, homeTool: "search", shard: 1, wallMs: 0 }, "agent-1", 2),
    ],
    ["nothing-after-death", (story) => story.step(60_200, null, "agent-2", 7)],
    ["serves-after-rejoin", (story) => story.step(80_350, null, "agent-2", 0, 2)],
    ["outcome-after-start", (story) => story.outcome(59_000, "t-000000", "agent-1")],
    [
      "outcome-after-start",
      (story) => story.started(58_000, "t-000000", "agent-1", 1, 1).outcome(59_000, "t-000000", "agent-1", 1, 2),
    ],
    ["outcome-of-scheduled-task", (story) => story.started(58_000, "t-9", "agent-1").outcome(58_100, "t-9", "agent-1")],
    ["expired-never-started", (story) => story.started(68_100, "t-000000", "agent-1")],
    ["finish-after-start", (story) => story.step(59_000, 58_900, "agent-1", 1)],
    [
      "finish-after-start",
      (story) =>
        story
          .step(59_000, 59_100, "agent-1", 1)
          .say(59_200, { ev: "step.finished", exec: 1, task: "t-000000", step: "s", attempt: 1, ok: true }, "agent-1"),
    ],
    ["executions-numbered-once", (story) => story.step(59_000, null, "agent-1", 0)],
    ["ledgers-equal", (story) => story.ends("d2", 8)],
    ["ledgers-equal", (story) => story.ends("d2", 7)],
    [
      "fake-fault-kills-nobody",
      (story) => (story.faults = story.faults.map((fault) => Object.assign({}, fault, { fake: true }))),
    ],
    ["faults-as-planned", (story) => (story.faults = [])],
    [
      "faults-as-planned",
      (story) => (story.faults = story.faults.map((fault) => Object.assign({}, fault, { victims: ["agent-1", "agent-2"] }))),
    ],
    ["faults-as-planned", (story) => (story.faults = story.faults.map((fault) => Object.assign({}, fault, { atMs: 60_001 })))],
    ["indexed-before-load", (story) => story.without(({ event, src }) => event.ev === "shard.indexed" && src === "agent-1")],
    [
      "one-document",
      (story) => story.say(150, { ev: "document.stored", sha256: "bb", bytes: 1, from: "agent-0", ms: 1 }, "agent-1"),
    ],
    ["ledger-agrees", (story) => story.without(({ event }) => event.ev === "task.outcome" && event.task === "t-000007")],
    [
      "ledger-agrees",
      (story) => story.started(70_000, story.task(70_000, "agent-1"), "agent-1").outcome(70_100, "t-000008", "agent-1"),
    ],
  ])("%s", (invariant, change) => {
    const { violations } = checkRun(breaking(change));
    const found = violations.filter((violation) => violation.invariant === invariant);
    expect(found.length).toBeGreaterThan(0);
    expect(found[0]?.message).not.toMatch(/undefined|NaN/);
  });

  it("events-gapless: an event missing, or twice", () => {
    const run = new Story().run();
    const middle = run.events.find((event) => event.src === "agent-1" && event.seq === 3);
    expect(broken({ ...run, events: run.events.filter((event) => event !== middle) })).toContain("events-gapless");
    expect(broken({ ...run, events: [...run.events, ...run.events.filter((event) => event === middle)] })).toContain(
      "events-gapless",
    );
  });

  it("events-gapless: the last events of one that ended in order", () => {
    const exit = { ev: "agent.exited", agent: "agent-1", agentInc: 1, pid: 1, signal: null, cause: "stop" } as const;
    const ended = (code: number | null) => new Story().say(121_400, { ...exit, code });
    expect(broken(ended(0).run())).toEqual(["events-gapless"]);
    expect(broken(ended(0).say(121_300, { ev: "agent.stopping", reason: "told to stop" }, "agent-1").run())).toEqual([]);
    expect(broken(ended(null).run())).toEqual([]);
  });

  it("events-in-order: a clock that went back", () => {
    const run = new Story().run();
    const events = run.events.map((event) =>
      event.src === "agent-1" && event.seq === 3 ? { ...event, t: event.t - 50_000 } : event,
    );
    expect(broken({ ...run, events })).toContain("events-in-order");
  });

  it("names the events that show it", () => {
    const { violations } = checkRun(breaking((story) => story.step(60_200, null, "agent-2", 7)));
    expect(violations[0]?.events.at(-1)).toMatchObject({ src: "agent-2", inc: 1 });
    expect(violations[0]?.message).toMatch(/agent-2 \(incarnation 1\) logged step\.started/);
  });
});

describe("what is no violation", () => {
  it("an expiry without a start; an event of the victim within the slack of the kill", () => {
    const run = breaking((story) =>
      story.outcome(68_100, "t-000000", "agent-1", 1, 3, "expired").step(60_001, null, "agent-2", 9),
    );
    expect(broken(run)).toEqual([]);
  });

  it("of a run that broke off: what was not due yet", () => {
    const story = new Story().without(({ t, event }) => t > 70_000 || event.ev === "run.finished");
    story.faults.push({ kind: "sigkill", atMs: 90_000, cycle: 1, victims: ["agent-1"], fake: false, restartAtMs: null });
    story.task(69_000, "agent-1");
    expect(broken(story.run())).toEqual([]);
    story.task(40_000, "agent-1");
    expect(broken(story.run())).toEqual(["no-task-lost"]);
  });

  it("of a run that broke off: what swim may not have noticed yet, which waits longer after a false death", () => {
    const story = new Story().without(({ t, event }) => t > 70_000 || event.ev === "run.finished");
    story.sample(70_000, "agent-0", 70);
    story.task(51_500, "agent-1");
    const swim = { ...config, network: { ...config.network, detector: "swim" } } satisfies RunConfig;
    expect(broken(story.run())).toEqual(["no-task-lost"]);
    expect(broken({ ...story.run(), config: swim })).toEqual([]);
  });

  it("of a run that was broken off: what would have been due while its agents were being ended", () => {
    const story = new Story().without(({ t, event }) => t > 70_000 || event.ev === "run.finished");
    story.task(48_000, "agent-1");
    story.say(60_500, { ev: "run.phase", phase: "end" });
    story.say(69_000, { ev: "run.finished", status: "interrupted", reason: "interrupted before its end" });
    expect(broken(story.run())).toEqual([]);
  });

  it("an outcome that never left its killed writer is not missed in the ledger", () => {
    const story = new Story();
    const task = story.task(59_500, "agent-2");
    story.started(59_500, task, "agent-2").outcome(59_999, task, "agent-2");
    expect(broken(story.run())).toEqual([]);
  });
});

describe("warnings", () => {
  it.each<[string, (story: Story) => unknown]>([
    ["storm-big-enough", (story) => story.outcome(59_000, "t-000000", "agent-2")],
    [
      "machine-not-saturated",
      (story) => story.say(45_000, { ev: "machine", busy: 0.95, steal: 0, orchestratorCpu: 0, orchestratorRss: 0 }),
    ],
    [
      "machine-not-saturated",
      (story) => story.sample(52_000, "agent-1", 60, 21).sample(53_000, "agent-1", 61, 21).sample(54_000, "agent-1", 61, 21),
    ],
    [
      "no-unexpected-exit",
      (story) =>
        story.say(122_000, {
          ev: "agent.exited",
          agent: "agent-1",
          agentInc: 1,
          pid: 1,
          code: 1,
          signal: null,
          cause: "unexpected",
        }),
    ],
  ])("%s", (warning, change) => {
    const run = breaking(change);
    expect(warned(run)).toEqual([warning]);
    expect(broken(run)).toEqual([]);
  });

  it("a storm is too small when its victims end their tasks in order", () => {
    const orderly = breaking((story) => story.outcome(60_030, "t-000000", "agent-2"));
    expect(warned(orderly)).toEqual(["storm-big-enough"]);
  });

  it("without a fault the machine is looked at to the end of the run, and not while agents are ended", () => {
    const busy = (at: number): CheckedRun =>
      breaking((story) => {
        story.without(
          ({ src, inc, event, t }) =>
            event.ev === "fault.injected" || event.ev === "agent.exited" || (src === "agent-2" && (inc === 2 || t > 60_000)),
        );
        story.faults = [];
        for (let i = 0; i < 9; i++)
          story.say(at + i, { ev: "machine", busy: 1, steal: 0, orchestratorCpu: 0, orchestratorRss: 0 });
      });
    expect(warned(busy(100_000))).toContain("machine-not-saturated");
    expect(warned(busy(120_500))).not.toContain("machine-not-saturated");
  });

  it("a ledger that nobody wrote whole is said to be unchecked", () => {
    const run = breaking((story) => story.without(({ event }) => event.ev === "ledger.final" && event.outcomes !== null));
    expect(checkRun(run)).toMatchObject({ violations: [], warnings: [{ invariant: "ledger-agrees" }] });
  });

  it("ledgers that differ by entries made just before the end are explained", () => {
    const story = new Story().ends("d2", 7);
    const task = story.task(118_000, "agent-0");
    const run = story.started(118_000, task, "agent-0").outcome(120_500, task, "agent-0").run();
    expect(checkRun(run)).toMatchObject({ violations: [], warnings: [{ invariant: "ledgers-equal" }] });
  });
});
