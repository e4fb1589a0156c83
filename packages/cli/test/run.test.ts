import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { FakeClock, type RunConfig } from "@failstorm/core";
import { describeMachine } from "@failstorm/orchestrator";
import type { FailstormMetrics } from "@failstorm/report";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { summariseRuns } from "../src/commands/table.ts";
import { checkWritable, createRunFolder, updateLatest, writeAtomically } from "../src/run/folder.ts";
import { watchInterrupts } from "../src/run/interrupts.ts";
import { describeRun } from "../src/run/manifest.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "failstorm-run-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const NOON = Date.UTC(2026, 10, 21, 11, 5, 33);

describe("run folder", () => {
  const create = (protocol = "simple_json"): string =>
    createRunFolder({
      results: path.join(dir, "results"),
      scenario: "fail-storm",
      protocol,
      seed: 42,
      clock: new FakeClock(NOON),
    });

  it("is named by time and seed, and never shared", () => {
    expect(path.relative(dir, create())).toBe("results/fail-storm/simple_json/20261121-110533-42");
    expect(path.basename(create())).toBe("20261121-110533-42-2");
    expect(path.basename(create())).toBe("20261121-110533-42-3");
  });

  it("stays inside the results whatever the protocol is called", () => {
    expect(path.relative(dir, create("@me/../../x"))).toBe("results/fail-storm/@me_.._.._x/20261121-110533-42");
  });

  it("says what is wrong when it cannot be made", () => {
    writeFileSync(path.join(dir, "file"), "");
    const made = (): unknown =>
      createRunFolder({ results: path.join(dir, "file"), scenario: "s", protocol: "p", seed: 1, clock: new FakeClock(NOON) });
    expect(made).toThrow(/^--results .*file: cannot be written to \((ENOTDIR|EEXIST)\); .*choose another folder/);
    expect(() => checkWritable(path.join(dir, "file", "below"))).toThrow(/--results .*below: cannot be written to \(ENOTDIR\)/);
    checkWritable(path.join(dir, "not", "yet", "there"));
    expect(existsSync(path.join(dir, "not"))).toBe(false);
  });
});

describe("files", () => {
  it("are written whole, leaving no temporary one", () => {
    writeAtomically(path.join(dir, "a.json"), "{}");
    writeAtomically(path.join(dir, "a.json"), "[]");
    expect(readdirSync(dir)).toEqual(["a.json"]);
    expect(readFileSync(path.join(dir, "a.json"), "utf8")).toBe("[]");
    mkdirSync(path.join(dir, "taken.json"));
    expect(() => writeAtomically(path.join(dir, "taken.json"), "{}")).toThrow(/cannot be written to/);
    expect(readdirSync(dir)).toEqual(["a.json", "taken.json"]);
  });

  it("latest leads to the newest run, relative to the results", () => {
    expect(updateLatest(dir, path.join(dir, "s", "p", "one"))).toBe(true);
    expect(updateLatest(dir, path.join(dir, "s", "p", "two"))).toBe(true);
    expect(readlinkSync(path.join(dir, "latest"))).toBe(path.join("s", "p", "two"));
    expect(readdirSync(dir)).toEqual(["latest"]);
    rmSync(path.join(dir, "latest"));
    mkdirSync(path.join(dir, "latest", "mine"), { recursive: true });
    expect(updateLatest(dir, path.join(dir, "s", "p", "three"))).toBe(false);
    expect(readdirSync(dir)).toEqual(["latest"]);
  });
});

it("the manifest records the whole configuration but no secret", async () => {
  const config = { scenario: { seed: 42 }, llm: { api_key: "s3cret", max_tokens: 5 } } as unknown as RunConfig;
  const manifest = await describeRun({
    runId: "r",
    config,
    machine: describeMachine(),
    argv: ["--agents", "3", "--set", "llm.api_key=s3cret", "--set=simple_json.password=s3cret"],
    clock: new FakeClock(NOON),
  });
  expect(JSON.stringify(manifest)).not.toContain("s3cret");
  expect(manifest).toMatchObject({
    seed: 42,
    startedAt: "2026-11-21T11:05:33.000Z",
    versions: { node: process.versions.node },
    config: { llm: { api_key: "***", max_tokens: 5 } },
  });
});

describe("interrupts", () => {
  it("end in order at the first, at once at the second, and take pnpm's echo of a key press for one", async () => {
    const clock = new FakeClock();
    const said: string[] = [];
    const interrupts = watchInterrupts(clock, {
      onFirst: () => said.push("first"),
      onSecond: (code) => said.push(`second ${code}`),
    });
    expect([interrupts.exitCode(), interrupts.signal.aborted]).toEqual([null, false]);
    process.emit("SIGINT", "SIGINT");
    expect([interrupts.exitCode(), interrupts.signal.aborted]).toEqual([130, true]);
    await clock.advance(20);
    process.emit("SIGINT", "SIGINT");
    expect(said).toEqual(["first"]);
    await clock.advance(1000);
    process.emit("SIGINT", "SIGINT");
    expect(said).toEqual(["first", "second 130"]);
    interrupts.close();
    expect(process.listeners("SIGHUP").some((listener) => listener.name === "onSignal")).toBe(false);
  });

  it("know SIGTERM by its own exit code", () => {
    const interrupts = watchInterrupts(new FakeClock(), { onFirst: () => {}, onSecond: () => {} });
    process.emit("SIGTERM", "SIGTERM");
    expect(interrupts.exitCode()).toBe(143);
    interrupts.close();
  });
});

describe("table of repeats", () => {
  const metrics = (recovery_ms: number | null, bytes: number): FailstormMetrics =>
    ({
      recovery_ms,
      bytes_reconnect: { total: bytes },
      goodput: { measured: { rate: 1 } },
      work: { latency_ms: {} },
      load: {},
    }) as unknown as FailstormMetrics;
  const row = (runs: FailstormMetrics[], measure: string) => summariseRuns(runs).find((one) => one.measure === measure);

  it("gives median and range over the runs that reached a measure, and says how many did", () => {
    const runs = [metrics(30, 1000), metrics(null, 5000), metrics(10, 2000), metrics(100, 3000)];
    expect(row(runs, "recovery")).toMatchObject({ median: 30, min: 10, max: 100, reached: 3 });
    expect(row(runs, "bytes caused by the fault")).toMatchObject({ median: 2.5, min: 1, max: 5, reached: 4 });
    expect(row(runs, "service gap")).toMatchObject({ median: null, min: null, reached: 0 });
  });
});
