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
        "--agents 5 --kill-count 2 --seed 4 --transport-signals --runtime 10 --fault-time 5 --no-restart --rate 1 --deadline 4 --heartbeat-timeout 10",
      ),
    );
    expect(run.code, run.stderr).toBe(0);
    const { detection_ms, transport_notice_ms, false_positives } = run.metrics;
    expect(detection_ms?.pairs.map((pair) => pair.how)).toEqual(Array.from({ length: 6 }, () => "transport"));
    // The timeout is 10 s, longer than the rest of the run: a probe's silence cannot have been what told them.
    expect(detection_ms?.last).toBeLessThan(3000);
    expect(transport_notice_ms).toMatchObject({ reached: 6, total: 6 });
    expect(false_positives).toBe(0);
  });
});

describe("sigstop", () => {
  it("hangs the victims until SIGCONT at the end: detected by probes, nobody exits, the same incarnation answers again", async () => {
    const run = await sandbox.run(
      words(`--agents 4 --kill-count 1 --seed 5 --fault sigstop --runtime 10 --fault-time 5 --rate 1 --deadline 5 ${quick}`),
    );
    expect(run.code, run.stderr).toBe(0);
    expect(exitsBeforeStop(run)).toEqual([]);
    const [victim] = victimsOf(run);
    const [struck] = run.of("fault.injected");
    const [cleared] = run.of("fault.cleared");
    expect(struck).toMatchObject({ agent: victim, kind: "sigstop", fake: false });
    expect(cleared).toMatchObject({ agent: victim, kind: "sigstop" });
    const t0 = run.of("run.load")[0]?.t0 ?? Number.NaN;
    expect((cleared?.before ?? 0) - t0).toBeGreaterThanOrEqual(10_000 - 1);
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

describe("a victim that dies shortly before the end", () => {
  it("is noticed before the run ends, so that its tasks are not lost", async () => {
    const run = await sandbox.run(
      words(
        `--agents 3 --kill-count 1 --seed 4 --runtime 6 --fault-time 5 --no-restart --think-time 0 --rate 3 --deadline 4 --set scenario.warmup=1 ${quick}`,
      ),
    );
    expect(run.stderr).toContain("heartbeats may take 2 s to notice it");
    expect(run.code, run.stderr).toBe(0);
    expect(run.metrics.tasks_lost).toBe(0);
    expect(run.of("takeover.claimed").some(({ kind }) => kind === "task")).toBe(true);
  });
});
