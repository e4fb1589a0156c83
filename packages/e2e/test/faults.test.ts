import { afterAll, describe, expect, it } from "vitest";
import { type EndedRun, openSandbox, words } from "../src/runCli.ts";

const sandbox = openSandbox();
afterAll(() => sandbox.close());

const victimsOf = (run: EndedRun): string[] => run.schedule.faults.flatMap((fault) => fault.victims);
const exitsBeforeStop = (run: EndedRun) => run.of("agent.exited").filter((event) => event.cause !== "stop");
const quick = "--heartbeat-interval 0.5 --heartbeat-timeout 1.5";

describe("transport signals", () => {
  it("make every survivor detect every victim by its closed stream, long before any heartbeat is missed", async () => {
    const run = await sandbox.run(
      words(
        "--agents 5 --kill-count 2 --seed 4 --transport-signals --runtime 8 --fault-time 3 --no-restart --rate 1 --deadline 4",
      ),
    );
    expect(run.code, run.stderr).toBe(0);
    const { detection_ms, transport_notice_ms, false_positives } = run.metrics;
    expect(detection_ms?.pairs.map((pair) => pair.how)).toEqual(Array.from({ length: 6 }, () => "transport"));
    // The default timeout is 3 s: a probe cannot have been what told them.
    expect(detection_ms?.last).toBeLessThan(1000);
    expect(transport_notice_ms).toMatchObject({ reached: 6, total: 6 });
    expect(false_positives).toBe(0);
  });
});

describe("sigstop", () => {
  it("hangs the victims until SIGCONT at the end: detected by probes, nobody exits, the same incarnation answers again", async () => {
    const run = await sandbox.run(
      words(`--agents 4 --kill-count 1 --seed 5 --fault sigstop --runtime 8 --fault-time 3 --rate 1 --deadline 5 ${quick}`),
    );
    expect(run.code, run.stderr).toBe(0);
    expect(exitsBeforeStop(run)).toEqual([]);
    const [victim] = victimsOf(run);
    const [struck] = run.of("fault.injected");
    const [cleared] = run.of("fault.cleared");
    expect(struck).toMatchObject({ agent: victim, kind: "sigstop", fake: false });
    expect(cleared).toMatchObject({ agent: victim, kind: "sigstop" });
    const t0 = run.of("run.load")[0]?.t0 ?? Number.NaN;
    expect((cleared?.before ?? 0) - t0).toBeGreaterThanOrEqual(8000 - 1);
    const stopped = run.events.filter(
      (event) => event.src === victim && event.t > (struck?.after ?? 0) + 100 && event.t < (cleared?.before ?? 0),
    );
    expect(stopped, "a stopped process does nothing").toEqual([]);
    expect(run.metrics.detection_ms).toMatchObject({ reached: 3, total: 3 });
    expect(new Set(run.metrics.detection_ms?.pairs.map((pair) => pair.how))).toEqual(new Set(["probe"]));
    const revived = run
      .of("detect.alive")
      .filter((event) => event.peer === victim && event.peerInc === 1 && event.t > (cleared?.before ?? 0));
    expect(new Set(revived.map((event) => event.src)).size).toBe(3);
    expect(run.metrics).toMatchObject({ tasks_lost: 0, false_positives: 0 });
  });
});

describe("sigterm", () => {
  it("ends the victims by the fault's doing; they are restarted", async () => {
    const run = await sandbox.run(
      words(
        `--agents 4 --kill-count 1 --seed 6 --fault sigterm --runtime 9 --fault-time 3 --restart-after 2 --rate 1 --deadline 5 ${quick}`,
      ),
    );
    expect(run.code, run.stderr).toBe(0);
    const [victim] = victimsOf(run);
    expect(exitsBeforeStop(run)).toMatchObject([{ agent: victim, cause: "fault" }]);
    expect(
      run
        .of("agent.up")
        .filter((event) => event.src === victim)
        .map((event) => event.inc),
    ).toEqual([1, 2]);
    expect(run.metrics).toMatchObject({ tasks_lost: 0, false_positives: 0, unexpected_exits: [] });
  });
});

describe("a fake fault", () => {
  it("is a marker and nothing else: no exit, no detection, no recovery", async () => {
    const run = await sandbox.run(
      words(`--agents 4 --kill-count 2 --seed 7 --fake-fault --runtime 6 --fault-time 3 --rate 1 --deadline 4 ${quick}`),
    );
    expect(run.code, run.stderr).toBe(0);
    expect(run.of("fault.injected")).toMatchObject([{ fake: true }, { fake: true }]);
    expect(exitsBeforeStop(run)).toEqual([]);
    expect(run.of("detect.dead")).toEqual([]);
    expect(run.of("takeover.claimed")).toEqual([]);
    const { recovery_ms, reconnected_ms, service_gap_ms, reasons, storms, tasks_lost } = run.metrics;
    expect({ recovery_ms, reconnected_ms, service_gap_ms, tasks_lost }).toEqual({
      recovery_ms: null,
      reconnected_ms: null,
      service_gap_ms: null,
      tasks_lost: 0,
    });
    expect(reasons["recovery_ms"]).toMatch(/fake/);
    expect(storms).toMatchObject([{ fake: true, orphaned_tasks: 0, bytes_reconnect: { total: 0 } }]);
  });
});

describe("no fault", () => {
  it("--kill-fraction 0: the same work, no storm, every task answered right in its deadline", async () => {
    const run = await sandbox.run(words(`--agents 3 --kill-fraction 0 --seed 8 --runtime 6 --rate 1 ${quick}`));
    expect(run.code, run.stderr).toBe(0);
    expect(run.of("fault.injected")).toEqual([]);
    expect(run.metrics).toMatchObject({ storms: [], recovery_ms: null, tasks_lost: 0, false_positives: 0, valid: true });
    expect(run.metrics.goodput.whole.n).toBeGreaterThan(10);
    expect(run.metrics.goodput.whole.rate).toBe(1);
    expect(run.metrics.reasons["storms"]).toMatch(/no fault/);
  });

  it("--agents 1: one agent adopts the tools it lacks and answers; nobody is killed", async () => {
    const run = await sandbox.run(words("--agents 1 --seed 9 --runtime 6 --rate 1"));
    expect(run.code, run.stderr).toBe(0);
    expect(run.stderr).toMatch(/one agent: nobody is killed/);
    expect(run.of("fault.injected")).toEqual([]);
    expect(new Set(run.of("step.started").map((event) => event.tool))).toEqual(
      new Set(["search", "extract", "triple", "reason"]),
    );
    expect(run.metrics.goodput.whole.n).toBeGreaterThan(3);
    expect(run.metrics.goodput.whole.rate).toBe(1);
  });
});

describe("--cycles 2", () => {
  it("strikes twice, each storm with its own victims and measures", async () => {
    const run = await sandbox.run(
      words(
        `--agents 4 --kill-count 1 --seed 10 --cycles 2 --runtime 16 --fault-time 2 --cycle-interval 7 --restart-after 3 --rate 1 --deadline 4 ${quick}`,
      ),
    );
    expect(run.code, run.stderr).toBe(0);
    expect(run.schedule.faults.map((fault) => fault.cycle)).toEqual([0, 1]);
    expect(run.of("fault.injected").map(({ cycle, agent }) => ({ cycle, agent }))).toEqual(
      run.schedule.faults.flatMap(({ cycle, victims }) => victims.map((agent) => ({ cycle, agent }))),
    );
    expect(run.metrics.storms).toHaveLength(2);
    for (const storm of run.metrics.storms) {
      expect(storm.detection_ms).toMatchObject({ reached: 3, total: 3 });
      expect(storm.recovery_ms, JSON.stringify(storm.reasons)).toBeGreaterThan(0);
      expect(storm.rejoin_ms).toMatchObject({ reached: 1, total: 1 });
    }
    expect(run.metrics).toMatchObject({ tasks_lost: 0, false_positives: 0 });
  });
});
