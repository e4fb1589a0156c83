import { afterAll, describe, expect, it } from "vitest";
import { openSandbox, words } from "../src/runCli.ts";

const sandbox = openSandbox();
afterAll(() => sandbox.close());

const quick = "--heartbeat-interval 0.5 --heartbeat-timeout 1.5";

describe("a fake fault", () => {
  it("is a marker and nothing else: no exit, no detection, no recovery", async () => {
    const run = await sandbox.run(
      words(`--agents 4 --kill-count 2 --seed 7 --fake-fault --runtime 8 --fault-time 5 --rate 1 --deadline 4 ${quick}`),
    );
    expect(run.code, run.stderr).toBe(0);
    expect(run.of("fault.injected")).toMatchObject([{ fake: true }, { fake: true }]);
    expect(run.of("agent.exited").filter((event) => event.cause !== "stop")).toEqual([]);
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
    const run = await sandbox.run(words(`--agents 3 --kill-fraction 0 --seed 8 --runtime 10 --rate 1 ${quick}`));
    expect(run.code, run.stderr).toBe(0);
    expect(run.of("fault.injected")).toEqual([]);
    expect(run.metrics).toMatchObject({ storms: [], recovery_ms: null, tasks_lost: 0, false_positives: 0, valid: true });
    expect(run.metrics.goodput.whole.n).toBeGreaterThan(10);
    expect(run.metrics.goodput.whole.rate).toBe(1);
    expect(run.metrics.reasons["storms"]).toMatch(/no fault/);
  });
});
