import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { InputError, type RunEvent, type RunEventName, type RunEventOf, type RunPlan, systemClock } from "@failstorm/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkPorts, type ExecuteOptions, execute, killAllNow, mergeEvents } from "../src/index.ts";
import { type Overrides, QUICK, testConfig, testPlan } from "./fixtures/plan.ts";
import { isRunning } from "./fixtures/processes.ts";

const agentEntry = fileURLToPath(new URL("fixtures/standInAgent.ts", import.meta.url));
let outputDir: string;
beforeAll(() => {
  outputDir = mkdtempSync(path.join(tmpdir(), "execute-"));
});
afterAll(() => rmSync(outputDir, { recursive: true }));

let runs = 0;
const newRunDir = (): string => path.join(outputDir, "fail-storm", "simple_json", `run-${runs++}`);
const quickPlan = (overrides: Overrides = {}): RunPlan =>
  testPlan(
    testConfig(outputDir, {
      ...QUICK,
      ...overrides,
      scenario: { ...QUICK.scenario, ...overrides.scenario },
      network: { ...QUICK.network, ...overrides.network },
    }),
  );
/** Out of the range from which everything else that is tested meanwhile gets its ports. */
const freePort = async (): Promise<number> => {
  const { ports } = await checkPorts(testConfig(outputDir, { scenario: { agentCount: 1 } }));
  return ports[0] ?? 0;
};
const of = <Name extends RunEventName>(events: readonly RunEvent[], name: Name): RunEventOf<Name>[] =>
  events.filter((event): event is RunEventOf<Name> => event.ev === name);

async function run(plan: RunPlan, options: Partial<ExecuteOptions> = {}) {
  const events: RunEvent[] = [];
  const runDir = newRunDir();
  const outcome = await execute(plan, {
    runDir,
    agentEntry,
    agentWarmUp: null,
    clock: systemClock,
    signal: new AbortController().signal,
    // Long enough for whoever ends when told to, on a busy machine too; only who never ends is waited for.
    timeouts: { abortMs: 4000, termMs: 200, stopMs: 20_000 },
    ...options,
    onEvent: (event) => {
      events.push(event);
      options.onEvent?.(event);
    },
  });
  const left = of(events, "agent.spawned").filter(({ pid }) => isRunning(pid));
  expect(left, "every child is gone when execute resolves").toEqual([]);
  expect(of(events, "agent.exited")).toHaveLength(of(events, "agent.spawned").length);
  const heard = (agent: string) =>
    readFileSync(path.join(runDir, "workspaces", agent, "heard.ndjson"), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown> & { type: string });
  return { outcome, events, runDir, heard };
}

describe("execute", { timeout: 120_000 }, () => {
  it("carries out a storm: kill at its time, restart with a new incarnation on the same port, orderly end", async () => {
    // Time for the victim to come up again, on a busy machine too.
    const plan = quickPlan({ scenario: { runtimeMs: 9000 } });
    const { outcome, events, heard, runDir } = await run(plan);
    expect(outcome).toEqual({ status: "done", reason: null });
    const phases = of(events, "run.phase").map(({ phase }) => phase);
    expect(phases).toEqual(["spawn", "broadcast", "normal", "fault", "recovery", "drain", "end"]);

    const [load] = of(events, "run.load");
    const [planned] = plan.schedule.faults;
    const [injected] = of(events, "fault.injected");
    if (load === undefined || planned === undefined || injected === undefined) throw new Error("no load or no fault");
    expect(load.loadFromMs % 100).toBe(0);
    const lateMs = injected.before - load.t0 - planned.atMs;
    expect(lateMs).toBeGreaterThanOrEqual(0);
    // Only a busy machine makes it late; by how much is no question of right or wrong as long as the run goes on.
    expect(injected.before - load.t0).toBeLessThan(plan.config.scenario.runtimeMs);
    expect(injected.after).toBeGreaterThanOrEqual(injected.before);
    expect(planned.victims).toEqual([injected.agent]);
    const victim = injected.agent;
    const lives = of(events, "agent.ready").filter(({ agent }) => agent === victim);
    expect(lives.map(({ agentInc }) => agentInc)).toEqual([1, 2]);
    expect(lives[1]?.port).toBe(lives[0]?.port);
    expect(of(events, "agent.exited").filter(({ cause }) => cause === "fault")).toMatchObject([
      { agent: victim, agentInc: 1, pid: injected.pid, signal: "SIGKILL" },
    ]);
    expect(of(events, "agent.exited").filter(({ cause }) => cause === "stop")).toHaveLength(3);
    expect(of(events, "machine").length).toBeGreaterThan(0);

    const [first, second] = [heard(victim).slice(0, 3), heard(victim).slice(3)];
    expect(first.map(({ type }) => type)).toEqual(["roster", "broadcast", "start"]);
    expect(second.map(({ type }) => type)).toEqual(["roster", "start", "drain", "stop"]);
    expect([first[2]?.["rejoin"], second[1]?.["rejoin"]]).toEqual([false, true]);
    const said = JSON.stringify(first);
    expect(said).not.toMatch(/the gold answer|the expected answer/);
    const tasks = first[2]?.["tasks"] as { atMs: number }[];
    expect(Math.min(...tasks.map(({ atMs }) => atMs))).toBe(load.loadFromMs);

    const merged = await mergeEvents(runDir);
    expect(merged.truncatedLines).toBe(0);
    const all = readFileSync(merged.path, "utf8").trimEnd().split("\n");
    const recorded = all.map((line) => JSON.parse(line) as RunEvent);
    expect(recorded.at(-1)).toMatchObject({ ev: "run.finished", status: "done" });
    expect(new Set(recorded.map(({ src }) => src)).size).toBe(4);
  });

  it("stops and continues the victims of sigstop, which stay the same process", async () => {
    const { outcome, events } = await run(quickPlan({ scenario: { fault: "sigstop", killCount: 2 } }));
    expect(outcome.status).toBe("done");
    const [struck, cleared] = [of(events, "fault.injected"), of(events, "fault.cleared")];
    expect(struck).toHaveLength(2);
    expect(cleared.map(({ agent }) => agent)).toEqual(struck.map(({ agent }) => agent));
    expect(of(events, "agent.exited").map(({ cause, code }) => `${cause} ${code}`)).toEqual(["stop 0", "stop 0", "stop 0"]);
  });

  it("lets a victim of sigterm die of it, and does not restart it when told not to", async () => {
    const { outcome, events } = await run(quickPlan({ scenario: { fault: "sigterm", restartAfterMs: null, runtimeMs: 3300 } }));
    expect(outcome.status).toBe("done");
    const [victim] = of(events, "fault.injected").map(({ agent }) => agent);
    expect(of(events, "agent.exited").filter(({ cause }) => cause === "fault")).toMatchObject([
      { agent: victim, signal: "SIGTERM" },
    ]);
    expect(of(events, "agent.spawned")).toHaveLength(3);
  });

  it("gives way to taken ports, and ends every agent at once by killAllNow", async () => {
    const port = await freePort();
    const taken = createServer().listen(port, "127.0.0.1");
    await once(taken, "listening");
    const plan = quickPlan({ scenario: { killCount: 0, agentCount: 2 }, network: { basePort: port } });
    const { events } = await run(plan, {
      onEvent: (event) => {
        if (event.ev === "run.load") killAllNow();
      },
    });
    taken.close();
    expect(of(events, "port.skipped")[0]).toMatchObject({ port, reason: "EADDRINUSE" });
    expect(of(events, "agent.ready").every((ready) => ready.port > port)).toBe(true);
    expect(of(events, "agent.exited").map(({ signal, cause }) => `${signal} ${cause}`)).toEqual(
      Array(2).fill("SIGKILL unexpected"),
    );
  });

  it("records a fake fault and sends nothing", async () => {
    const { events } = await run(quickPlan({ scenario: { fakeFault: true } }));
    expect(of(events, "fault.injected")).toMatchObject([{ fake: true }]);
    expect(of(events, "agent.spawned")).toHaveLength(3);
    expect(of(events, "agent.exited").map(({ cause }) => cause)).toEqual(["stop", "stop", "stop"]);
  });

  it("goes on when an agent dies that nobody killed, and does not take it for a victim", async () => {
    const plan = quickPlan({ scenario: { killCount: 0 }, protocolConfig: { misbehave: { "agent-1": "dies-in-run" } } });
    const { outcome, events } = await run(plan);
    expect(outcome.status).toBe("done");
    expect(of(events, "agent.exited").filter(({ cause }) => cause === "unexpected")).toMatchObject([
      { agent: "agent-1", code: 3 },
    ]);
  });

  it("is not harmed by an agent that talks rubbish", async () => {
    const plan = quickPlan({ scenario: { killCount: 0 }, protocolConfig: { misbehave: { "agent-1": "talks-rubbish" } } });
    const { outcome, events } = await run(plan);
    expect(outcome.status).toBe("done");
    expect(of(events, "log").length).toBeGreaterThanOrEqual(3);
  });

  it.each([
    ["dies-early", 30_000, /agent-1 ended with code 7 .*log.*gives up on purpose/s],
    // By then the other one is ready, and this one has said who it is.
    ["never-ready", 6000, /agent-1 was not ready 6000 ms after its start.*incarnation 1/s],
    ["wrong-hash", 30_000, /invalid run: agent-1 has indexed a document with SHA-256 0{64}/],
    ["fails", 30_000, /agent-1 cannot go on: no space left on device \(ENOSPC\); the disk is full/],
  ])("fails the run when an agent %s", async (misbehaviour, startMs, reason) => {
    const plan = quickPlan({
      scenario: { agentCount: 2, killCount: 0 },
      protocolConfig: { misbehave: { "agent-1": misbehaviour } },
    });
    const { outcome, events } = await run(plan, { timeouts: { startMs, abortMs: 4000, termMs: 200 } });
    expect(outcome.status).toBe("failed");
    expect(outcome.reason).toMatch(reason);
    expect(events.at(-1)).toMatchObject({ ev: "run.finished", status: "failed" });
  });

  it("ends in order when it is interrupted, and kills what does not end", async () => {
    const interrupt = new AbortController();
    const plan = quickPlan({
      scenario: { runtimeMs: 60_000, fault: "sigstop" },
      protocolConfig: { misbehave: { "agent-2": "never-stops" } },
    });
    const { outcome, events } = await run(plan, {
      signal: interrupt.signal,
      onEvent: (event) => {
        if (event.ev === "fault.injected") interrupt.abort();
      },
    });
    expect(outcome.status).toBe("interrupted");
    const exits = of(events, "agent.exited").toSorted((a, b) => (a.agent < b.agent ? -1 : 1));
    expect(exits).toMatchObject([{ code: 0 }, { code: 0 }, { signal: "SIGKILL", cause: "stop" }]);
  });

  it("fails clearly when its events cannot be written any more", async () => {
    const runDir = newRunDir();
    mkdirSync(runDir, { recursive: true });
    symlinkSync("/dev/full", path.join(runDir, "orchestrator.ndjson"));
    const { outcome } = await run(quickPlan(), { runDir });
    expect(outcome.status).toBe("failed");
    expect(outcome.reason).toMatch(/orchestrator\.ndjson.*ENOSPC.*the disk is full: free space/);
  });

  it("starts nothing when the input is bad", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo;
    const refused = run(quickPlan({ output: { metricsPort: port, dir: outputDir } }));
    await expect(refused).rejects.toBeInstanceOf(InputError);
    await expect(refused).rejects.toThrow(/metrics_port.*EADDRINUSE/);
    taken.close();
    const nowhere = run(quickPlan(), { runDir: "/proc/nowhere/run" });
    await expect(nowhere).rejects.toThrow(InputError);
  });

  it("serves metrics of the run", async () => {
    const port = await freePort();
    const scraped: Promise<string>[] = [];
    await run(quickPlan({ scenario: { agentCount: 2 }, output: { metricsPort: port, dir: outputDir } }), {
      onEvent: (event) => {
        if (event.ev === "fault.injected")
          scraped.push(fetch(`http://127.0.0.1:${port}/metrics`).then(async (answer) => answer.text()));
      },
    });
    const [text] = await Promise.all(scraped);
    expect(text).toMatch(/^failstorm_agents_up [12]$/m);
    expect(text).toMatch(/^failstorm_faults_total\{kind="sigkill",fake="false"\} 1$/m);
  });
});
