import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { allGone, descendantsOf, isRunning, processesNaming } from "../src/processes.ts";
import { openSandbox, readEndedRun, readEvents, type Run, words } from "../src/runCli.ts";

const sandbox = openSandbox();
afterAll(() => sandbox.close());

/** From the start of a run to its load, on a machine that has other things to do. */
const START_MS = 120_000;
/** What an agent may take to notice that it is alone, on such a machine; the warden kills what does not. */
const ORPHAN_MS = 20_000;

const small = (seed: number): string[] =>
  words(`--agents 4 --kill-count 1 --seed ${seed} --rate 2 --deadline 4 --heartbeat-interval 0.5 --heartbeat-timeout 1.5`);
/** Long enough that only what the test does ends it. */
const long = words("--runtime 600 --fault-time 5 --restart-after 500");

const loadStarted = (run: Run) => run.event("run.load", () => true, START_MS);
const struck = (run: Run) => run.event("fault.injected", () => true, START_MS);
const agentPids = (run: Run): number[] =>
  readEvents(path.join(run.dir(), "orchestrator.ndjson")).flatMap((event) => (event.ev === "agent.spawned" ? [event.pid] : []));

describe("an orchestrator that is SIGKILLed half-way", () => {
  it("leaves no process behind, and a folder that `report` makes partial metrics of", async () => {
    const run = sandbox.start([...small(5), ...long]);
    const fault = await struck(run);
    const family = descendantsOf(run.pid);
    const alive = agentPids(run).filter((pid) => pid !== fault.pid);
    expect(family).toEqual(expect.arrayContaining(alive));
    run.kill("SIGKILL");
    expect(await run.ended).toMatchObject({ signal: "SIGKILL" });
    await allGone(family, ORPHAN_MS);
    expect(processesNaming(run.results)).toEqual([]);

    const dir = run.dir();
    const result = await sandbox.cli(["report", dir]);
    expect(result.code, result.stderr).toBe(0);
    expect(result.stdout).toMatch(/partial/);
    const { metrics } = readEndedRun(dir, result, run.results);
    expect(metrics).toMatchObject({ partial: true, valid: false });
    expect(metrics.partial_reason).toBeTruthy();
    expect(metrics.storms[0]?.victims.map((victim) => victim.agent)).toEqual([fault.agent]);
  });

  it("leaves no agent behind that was stopped by SIGSTOP", async () => {
    const run = sandbox.start([...small(6), ...words("--runtime 600 --fault-time 5 --fault sigstop")]);
    const fault = await struck(run);
    const family = descendantsOf(run.pid);
    expect(isRunning(fault.pid)).toBe(true);
    run.kill("SIGKILL");
    await run.ended;
    await allGone([fault.pid, ...family], ORPHAN_MS);
  });
});

describe("an interrupted run", () => {
  it("ends in order on Ctrl-C: exit 130, no process left, partial metrics", async () => {
    const run = sandbox.start([...small(7), ...long]);
    await struck(run);
    const family = descendantsOf(run.pid);
    run.kill("SIGINT");
    const result = await run.ended;
    expect(result.code, result.stderr).toBe(130);
    expect(family.filter(isRunning)).toEqual([]);
    const { metrics, of } = readEndedRun(run.dir(), result, run.results);
    expect(metrics).toMatchObject({ partial: true, valid: false });
    expect(of("run.finished")).toMatchObject([{ status: "interrupted" }]);
    expect(of("agent.exited").filter((event) => event.cause === "unexpected")).toEqual([]);
    expect(result.stdout).toMatch(/partial/);
  });

  it("ends at once on a second Ctrl-C, even if an agent hangs", async () => {
    const run = sandbox.start([...small(8), ...words("--runtime 600 --fault-time 500")]);
    await loadStarted(run);
    const family = descendantsOf(run.pid);
    // A stopped agent cannot answer the order to end, so that the orderly way takes its time.
    const [hanging] = agentPids(run);
    process.kill(hanging ?? Number.NaN, "SIGSTOP");
    run.kill("SIGINT");
    await run.said(/once more ends at once/, ORPHAN_MS);
    // The same key press may come twice within 300 ms; a second one comes later.
    const agentGone = agentPids(run).slice(1);
    await allGone(agentGone, ORPHAN_MS);
    while (isRunning(run.pid)) {
      run.kill("SIGINT");
      await Promise.race([run.ended, allGone([run.pid], 200).catch(() => null)]);
    }
    expect(await run.ended).toMatchObject({ code: 130 });
    await allGone(family, ORPHAN_MS);
  });

  it("ends in order on SIGTERM: exit 143", async () => {
    const run = sandbox.start([...small(9), ...long]);
    await loadStarted(run);
    const family = descendantsOf(run.pid);
    run.kill("SIGTERM");
    expect(await run.ended).toMatchObject({ code: 143 });
    expect(family.filter(isRunning)).toEqual([]);
  });

  it("leaves nothing running when it is interrupted while agents are started", async () => {
    const run = sandbox.start([...small(10), ...long]);
    await run.event("agent.spawned", () => true, START_MS);
    const family = descendantsOf(run.pid);
    run.kill("SIGINT");
    const { code, stderr } = await run.ended;
    expect(code, stderr).toBe(130);
    expect([...family, ...processesNaming(run.results)].filter(isRunning)).toEqual([]);
  });
});
