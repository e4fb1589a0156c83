import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { freshBasePort, openSandbox, readEndedRun, readEvents, runFolders, words } from "../src/runCli.ts";

const sandbox = openSandbox();
afterAll(() => sandbox.close());

/** From the start of a run to its load, on a machine that has other things to do. */
const START_MS = 120_000;

describe("an agent that somebody else kills", () => {
  it("is an unexpected exit: shown, counted, no victim; the run goes on", async () => {
    const run = sandbox.start(
      words(
        "--agents 4 --kill-count 1 --seed 12 --rate 2 --deadline 4 --heartbeat-interval 0.5 --heartbeat-timeout 1.5 --runtime 9 --fault-time 5 --no-restart",
      ),
    );
    const { t0 } = await run.event("run.load", () => true, START_MS);
    const [fault] = (
      JSON.parse(readFileSync(path.join(run.dir(), "schedule.json"), "utf8")) as { faults: { victims: string[] }[] }
    ).faults;
    const ready = readEvents(path.join(run.dir(), "orchestrator.ndjson")).flatMap((event) =>
      event.ev === "agent.ready" ? [event] : [],
    );
    const bystander = ready.find((event) => !fault?.victims.includes(event.agent));
    process.kill(bystander?.pid ?? Number.NaN, "SIGKILL");
    const result = await run.ended;
    expect(result.stderr).toMatch(new RegExp(`${bystander?.agent}.*(unexpected|nobody|by itself)`, "i"));
    const { metrics, of } = readEndedRun(run.dir(), result, run.results);
    expect(of("agent.exited").find((event) => event.pid === bystander?.pid)).toMatchObject({
      cause: "unexpected",
      signal: "SIGKILL",
    });
    expect(metrics.unexpected_exits).toMatchObject([{ agent: bystander?.agent, signal: "SIGKILL" }]);
    expect(metrics.victims?.map((victim) => victim.agent)).toEqual(fault?.victims);
    expect(of("fault.injected").every((event) => event.before > t0 && event.agent !== bystander?.agent)).toBe(true);
    expect(metrics).toMatchObject({ tasks_lost: 0, partial: false });
  });
});

describe("ports", () => {
  const servers: Server[] = [];
  /** Takes a port, unless somebody else has it already: taken is taken. */
  const occupy = (port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const server = createServer();
      servers.push(server);
      server.once("error", (error: NodeJS.ErrnoException) => (error.code === "EADDRINUSE" ? resolve() : reject(error)));
      server.listen({ host: "127.0.0.1", port }, () => resolve());
    });
  afterAll(() => {
    for (const server of servers) server.close();
  });

  it("that are taken are skipped and said", async () => {
    // No port for outgoing connections: those of other runs would take the next ones just when our agents need them.
    const taken = freshBasePort();
    await occupy(taken);
    const run = sandbox.start(words(`--agents 2 --kill-fraction 0 --runtime 5 --deadline 2 --seed 1 --base-port ${taken}`));
    const result = await run.ended;
    expect(result.stderr).toMatch(new RegExp(`${taken}.*(skipped|taken)`));
    const { of } = readEndedRun(run.dir(), result, run.results);
    expect(of("port.skipped")[0]).toMatchObject({ port: taken, reason: "EADDRINUSE" });
    const ports = of("agent.ready").map((event) => event.port);
    expect(ports).toHaveLength(2);
    expect(Math.min(...ports)).toBeGreaterThan(taken);
  });

  it("that are all taken are bad input: exit 2, no run", async () => {
    const base = 65_533;
    await Promise.all([occupy(base + 1), occupy(base + 2)]);
    const run = sandbox.start(words(`--agents 3 --seed 1 --base-port ${base}`));
    const result = await run.ended;
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toMatch(/base.port.*65533.*another base port/i);
    expect(runFolders(run.results)).toEqual([]);
  });
});
