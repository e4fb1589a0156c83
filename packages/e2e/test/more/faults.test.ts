import { afterAll, describe, expect, it } from "vitest";
import { type EndedRun, openSandbox, words } from "../../src/runCli.ts";

const sandbox = openSandbox();
afterAll(() => sandbox.close());

const victimsOf = (run: EndedRun): string[] => run.schedule.faults.flatMap((fault) => fault.victims);
const exitsBeforeStop = (run: EndedRun) => run.of("agent.exited").filter((event) => event.cause !== "stop");
const quick = "--heartbeat-interval 0.5 --heartbeat-timeout 1.5";

describe("sigterm", () => {
  it("ends the victims by the fault's doing; they are restarted", async () => {
    const run = await sandbox.run(
      words(
        `--agents 4 --kill-count 1 --seed 6 --fault sigterm --runtime 13 --fault-time 5 --restart-after 2 --rate 1 --deadline 5 ${quick}`,
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

describe("--cycles 2", () => {
  it("strikes twice, each storm with its own victims and measures", async () => {
    const run = await sandbox.run(
      words(
        `--agents 4 --kill-count 1 --seed 10 --cycles 2 --runtime 21 --fault-time 5 --cycle-interval 8 --restart-after 3 --rate 1 --deadline 4 ${quick}`,
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

describe("no fault", () => {
  it("--agents 1: one agent adopts the tools it lacks and answers; nobody is killed", async () => {
    const run = await sandbox.run(words("--agents 1 --seed 9 --runtime 9 --rate 1"));
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
