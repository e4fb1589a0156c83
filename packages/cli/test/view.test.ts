import type { NewEvent, PlannedFault, RunEvent, RunPlan } from "@failstorm/core";
import { FakeClock } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { describeDetail, describeEvent, describeProgress } from "../src/view/describe.ts";
import { formatLine, painter, plain } from "../src/view/log.ts";
import { createRunView, type RunView } from "../src/view/runView.ts";
import { openTerminal } from "../src/view/terminal.ts";
import { describeShortfall } from "../src/view/victims.ts";
import { renderWindow } from "../src/view/window.ts";

const T0 = 10_000;
const bare = painter(false);

const options = (agentCount = 3, taskCount = 4) => ({
  runId: "20261121-110533-7",
  agentCount,
  protocol: "simple_json",
  seed: 7,
  runtimeMs: 100_000,
  deadlineMs: 10_000,
  faultTimesMs: [50_000],
  tasks: Array.from({ length: taskCount }, (_, index) => ({ task: `t-${index}`, atMs: index * 1000, expected: "Paris" })),
});

/** Events with their envelope; `at` is seconds after t=0. */
let seq = 0;
const event = (at: number, src: string, what: NewEvent): RunEvent => ({ t: T0 + at * 1000, src, inc: 1, seq: seq++, ...what });

const ready = (id: string, inc = 1): RunEvent =>
  event(-1, "orchestrator", {
    ev: "agent.ready",
    agent: id,
    agentInc: inc,
    pid: 4,
    port: 9000 + Number(id.slice(6)),
    rssBytes: 1,
    ms: 812,
  });
const load = event(0, "orchestrator", { ev: "run.load", t0: T0, loadFromMs: 0 });
const kill = (at: number, agent: string, fake = false): RunEvent =>
  event(at, "orchestrator", {
    ev: "fault.injected",
    kind: "sigkill",
    cycle: 0,
    agent,
    agentInc: 1,
    pid: 4,
    before: T0 + at * 1000,
    after: T0 + at * 1000,
    fake,
  });
const dead = (at: number, by: string, of: string, peerInc = 1): RunEvent =>
  event(at, by, { ev: "detect.dead", peer: of, peerInc, how: "probe", lastHeard: 0 });
const started = (at: number, by: string, task: string): RunEvent =>
  event(at, by, { ev: "task.started", task, attempt: 1, view: "v", orphanOf: null });
const outcome = (at: number, by: string, task: string, answer: string | null, latencyMs = 500): RunEvent =>
  event(at, by, {
    ev: "task.outcome",
    task,
    attempt: 1,
    status: answer === null ? "no_answer" : "answered",
    answer,
    latencyMs,
    evidence: [],
    orphanOf: null,
  });

const viewOf = (events: readonly RunEvent[], given = options()): RunView => {
  const view = createRunView(given);
  for (const one of events) view.apply(one);
  return view;
};
const up = [ready("agent-0"), ready("agent-1"), ready("agent-2"), load];
const stateOf = (view: RunView, id: string): unknown => view.agents.get(id)?.state.kind;

describe("agents", () => {
  it("are killed, restarted, and up again only after they rejoined", () => {
    const view = viewOf([...up, kill(50, "agent-2")]);
    expect(stateOf(view, "agent-2")).toBe("killed");
    view.apply(
      event(50, "orchestrator", {
        ev: "agent.exited",
        agent: "agent-2",
        agentInc: 1,
        pid: 4,
        code: null,
        signal: "SIGKILL",
        cause: "fault",
      }),
    );
    expect(stateOf(view, "agent-2")).toBe("killed");
    view.apply(event(70, "orchestrator", { ev: "agent.spawned", agent: "agent-2", pid: 5 }));
    view.apply(ready("agent-2", 2));
    expect(view.agents.get("agent-2")).toMatchObject({ state: { kind: "restarting" }, incarnation: 2 });
    view.apply(event(71, "agent-2", { ev: "agent.rejoined", peer: "agent-0", entries: 5, ms: 900 }));
    expect(view.agents.get("agent-2")?.state).toEqual({ kind: "up", rejoined: true });
    expect(view.rejoins).toBe(1);
  });

  it("that end though nobody killed them are crashes, and their detection is no false positive", () => {
    const exit = event(20, "orchestrator", {
      ev: "agent.exited",
      agent: "agent-1",
      agentInc: 1,
      pid: 4,
      code: 7,
      signal: null,
      cause: "unexpected",
    });
    const view = viewOf([...up, exit, dead(23, "agent-0", "agent-1")]);
    expect(stateOf(view, "agent-1")).toBe("crashed");
    expect(view).toMatchObject({ crashes: 1, falsePositives: 0 });
    expect(describeEvent(exit, view)).toMatchObject({
      level: "ERROR",
      tag: "agent-1",
      text: expect.stringContaining("exit code 7"),
    });
  });

  it("are not touched by a fake fault", () => {
    const view = viewOf([...up, kill(50, "agent-2", true)]);
    expect(stateOf(view, "agent-2")).toBe("up");
  });
});

describe("tasks", () => {
  it("are right when the answer is, in its deadline; the first outcome counts; silence counts at the deadline", () => {
    const view = viewOf([
      ...up,
      outcome(1, "agent-0", "t-0", "Paris"),
      outcome(2, "agent-1", "t-0", "Rome"),
      outcome(3, "agent-0", "t-1", "Rome"),
      outcome(4, "agent-0", "t-2", "Paris", 10_001),
    ]);
    expect(view.goodput()).toEqual({ settled: 3, right: 1 });
    view.now = T0 + 13_001;
    expect(view.goodput()).toEqual({ settled: 4, right: 1 });
  });

  it("intended before the load was on are no part of it", () => {
    const view = viewOf([event(1.5, "orchestrator", { ev: "run.load", t0: T0, loadFromMs: 1500 })]);
    view.now = T0 + 60_000;
    expect(view.goodput()).toEqual({ settled: 2, right: 0 });
  });

  it("are orphaned by their owner's death and in flight again when another takes them", () => {
    const view = viewOf([...up, started(49, "agent-2", "t-0"), started(49, "agent-0", "t-1"), kill(50, "agent-2")]);
    expect([view.inFlight(), view.orphaned()]).toEqual([1, 1]);
    view.apply(started(53, "agent-0", "t-0"));
    expect([view.inFlight(), view.orphaned(), view.agents.get("agent-0")?.inFlight]).toEqual([2, 0, 2]);
    view.apply(outcome(54, "agent-0", "t-0", "Paris"));
    expect([view.inFlight(), view.agents.get("agent-0")?.inFlight, view.agents.get("agent-2")?.inFlight]).toEqual([1, 1, 0]);
  });
});

describe("detections", () => {
  it("count from the victim's own kill", () => {
    const view = viewOf([...up, kill(50, "agent-2"), dead(53.1, "agent-0", "agent-2")]);
    expect(view.detections).toEqual([{ by: "agent-0", of: "agent-2", at: T0 + 53_100, how: "probe", afterMs: 3100 }]);
    expect(view.falsePositives).toBe(0);
  });

  it("of a new incarnation, or of one nobody touched, are false positives, and said", () => {
    const view = viewOf([...up, kill(50, "agent-2"), dead(60, "agent-0", "agent-2", 2)]);
    expect(view.falsePositives).toBe(1);
    expect(describeEvent(dead(61, "agent-1", "agent-0"), viewOf([...up, dead(61, "agent-1", "agent-0")]))).toMatchObject({
      level: "WARNING",
      text: "61.0 s: false positive: declared agent-0 dead, which nobody had touched (probe)",
    });
  });

  it("at the end are the agents ending", () => {
    const last = dead(101, "agent-0", "agent-1");
    const view = viewOf([...up, event(100, "orchestrator", { ev: "run.phase", phase: "end" }), last]);
    expect(view.falsePositives).toBe(0);
    expect(describeEvent(last, view)).toBeNull();
  });

  it("are one line per victim when there are many agents", () => {
    const view = viewOf([load, kill(50, "agent-9"), dead(53, "agent-0", "agent-9")], options(40));
    expect(describeEvent(dead(53, "agent-0", "agent-9"), view)?.text).toContain("agent-9 3000 ms after the signal");
    const second = dead(54, "agent-1", "agent-9");
    view.apply(second);
    expect(describeEvent(second, view)).toBeNull();
  });
});

describe("lines", () => {
  it("carry level, tag and words", () => {
    const view = viewOf([...up, kill(50, "agent-2")]);
    const line = describeEvent(kill(50, "agent-2"), view);
    expect(line).not.toBeNull();
    if (line !== null) expect(formatLine(line, bare)).toBe("WARNING  [agent-2] 50.0 s: SIGKILL to pid 4, incarnation 1");
  });

  it("show progress", () => {
    const view = viewOf([
      ...up,
      outcome(1, "agent-0", "t-0", "Paris"),
      started(2, "agent-1", "t-1"),
      event(5, "orchestrator", { ev: "run.phase", phase: "normal" }),
    ]);
    expect(describeProgress(view)).toEqual({
      level: "PROGRESS",
      tag: "simple_json",
      text: "5 of 100 s, normal: 3 of 3 agents up, goodput 1.0000 (1 of 1), 1 tasks in flight",
    });
  });

  it("do not let an agent's words move the cursor", () => {
    expect(plain("bad\u001b[2J\u001b[1;1Hnews\r\n\u0007!")).toBe("badnews   !");
  });

  it("leave the finest events out even of --debug", () => {
    expect(
      describeDetail(event(1, "agent-0", { ev: "step.finished", exec: 1, task: "t-0", step: "s", attempt: 1, ok: true })),
    ).toBeNull();
    expect(describeDetail(event(1, "agent-0", { ev: "view.changed", view: "v", live: ["agent-0"] }))?.text).toBe(
      'view.changed {"view":"v","live":["agent-0"]}',
    );
  });
});

describe("window", () => {
  const size = (rows: number, columns = 80) => ({ rows, columns, paint: bare });
  it("marks the fault on the bar and fills what has passed", () => {
    const view = viewOf([...up]);
    view.now = T0 + 25_000;
    const bar = renderWindow(view, [], size(24))[1] ?? "";
    expect(bar).toContain("25.0 of 100 s");
    expect(bar.slice(0, 40)).toBe(`${"█".repeat(10)}${"░".repeat(10)}│${"░".repeat(19)}`);
  });

  it("fits the terminal, and shows first to whom something happened", () => {
    const many = Array.from({ length: 40 }, (_, index) => ready(`agent-${index}`));
    const view = viewOf([...many, load, kill(50, "agent-33")], options(40));
    const latest = Array.from({ length: 15 }, (_, index) => ({
      level: "INFO" as const,
      tag: "agent-1",
      text: `${index} ${"x".repeat(200)}`,
    }));
    const lines = renderWindow(view, latest, size(20, 70));
    expect(lines.length).toBeLessThan(20);
    expect(lines[4]).toContain("agent-33");
    expect(lines[4]).toContain("killed at 50.0 s");
    expect(lines.join("\n")).toContain("39 of 40 up");
    expect(lines.every((line) => line.length < 105)).toBe(true);
    expect(lines.at(-1)).toContain("14 xxx");
    expect(lines.at(-1)?.length).toBeLessThan(70);
  });
});

describe("terminal", () => {
  const open = async (level: "info" | "warning" | "error", clock: FakeClock) => {
    const written: string[] = [];
    const stream = { isTTY: false, write: (text: string) => written.push(text) } as unknown as NodeJS.WriteStream;
    const terminal = await openTerminal({ view: options(), clock, stream, mode: "lines", level, timeScale: 1 });
    return { terminal, written };
  };

  it("says where the run is every 10 s, and nothing after its end", async () => {
    const clock = new FakeClock(T0);
    const { terminal, written } = await open("info", clock);
    terminal.onEvent(load);
    await clock.advance(30_000);
    expect(written.filter((text) => text.startsWith("PROGRESS")).length).toBe(3);
    terminal.onEvent(event(31, "orchestrator", { ev: "run.finished", status: "done", reason: null }));
    terminal.close();
    await clock.advance(60_000);
    expect(written.length).toBe(4);
  });

  it("keeps to the level, and says the same complaint once", async () => {
    const events = [
      load,
      kill(50, "agent-2"),
      ...["a", "a", "b"].map((message) => event(51, "agent-0", { ev: "log", level: "error", message })),
    ];
    const counts = [];
    for (const level of ["info", "warning", "error"] as const) {
      const { terminal, written } = await open(level, new FakeClock(T0));
      for (const one of events) terminal.onEvent(one);
      terminal.onEvent(ready("agent-0"));
      terminal.close();
      counts.push(written.length);
    }
    expect(counts).toEqual([4, 3, 2]);
  });
});

describe("a storm that finds too few to strike", () => {
  const plan = (cycles: number, ...faults: Pick<PlannedFault, "cycle" | "victims">[]) =>
    ({ config: { scenario: { agentCount: 4, killCount: 2, cycles } }, schedule: { faults } }) as unknown as RunPlan;

  it("is said before it begins", () => {
    const whole = { cycle: 0, victims: ["agent-0", "agent-1"] };
    expect(describeShortfall(plan(1, whole))).toEqual([]);
    const said = describeShortfall(plan(3, whole, { cycle: 1, victims: ["agent-2"] }));
    expect(said).toEqual([
      expect.stringMatching(/^cycle 1 strikes 1 of 2 agents: .*--cycle-interval/),
      expect.stringMatching(/^1 of 3 cycles strike nobody: /),
    ]);
  });
});
