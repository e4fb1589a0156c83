import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { RunEvent } from "@failstorm/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { allGone, isRunning } from "./fixtures/processes.ts";

const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));

/** Three agents that ignore SIGTERM and the end of the control link, so that only SIGKILL ends them; one is stopped. */
describe("an orchestrator that ends half-way", { timeout: 120_000 }, () => {
  let runDir: string;
  let orchestrator: ChildProcess;
  let agents: number[];
  let last: string;

  beforeEach(async () => {
    runDir = mkdtempSync(path.join(tmpdir(), "orphans-"));
    agents = [];
    orchestrator = spawn(process.execPath, [fixture("orchestratorMain.ts"), runDir, fixture("standInAgent.ts")], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await new Promise<void>((resolve, reject) => {
      orchestrator.once("exit", (code) =>
        reject(new Error(`the orchestrator ended with ${code} before the fault; it said ${last}`)),
      );
      createInterface({ input: orchestrator.stdout as NodeJS.ReadableStream }).on("line", (line) => {
        last = line;
        const event = JSON.parse(line) as RunEvent;
        if (event.ev === "agent.spawned") agents.push(event.pid);
        if (event.ev === "fault.injected") resolve();
      });
    });
    expect(agents.filter(isRunning)).toHaveLength(3);
  });
  afterEach(() => {
    for (const pid of [orchestrator.pid ?? 0, ...agents]) if (pid > 1 && isRunning(pid)) process.kill(pid, "SIGKILL");
    rmSync(runDir, { recursive: true });
  });

  it("leaves no agent behind when it is SIGKILLed, not even a stopped or a stubborn one", async () => {
    orchestrator.kill("SIGKILL");
    await allGone(agents, 30_000);
  });

  it("ends its agents on Ctrl-C before it ends itself", async () => {
    const ended = once(orchestrator, "close");
    orchestrator.kill("SIGINT");
    expect((await ended)[0]).toBe(0);
    expect(agents.filter(isRunning)).toEqual([]);
    expect(JSON.parse(last)).toMatchObject({ status: "interrupted" });
  });
});
