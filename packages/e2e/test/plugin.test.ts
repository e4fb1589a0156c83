import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify, stripVTControlCharacters } from "node:util";
import { stripTypeScriptTypes } from "node:module";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type EndedRun, openSandbox, projectRoot, words } from "../src/runCli.ts";

const guide = path.join(projectRoot, "packages", "protocols", "README.md");
/** Outside the project: nothing of it is found from there. */
const outside = mkdtempSync(path.join(tmpdir(), "failstorm-plugin-"));
const module = path.join(outside, "postcard.ts");
const sandbox = openSandbox();

const code = /```ts postcard\.ts\n([\s\S]*?)```/.exec(readFileSync(guide, "utf8"))?.[1] ?? "";

beforeAll(() => writeFileSync(module, code));
afterAll(async () => {
  await sandbox.close();
  rmSync(outside, { recursive: true, force: true });
});

const storm = words("--agents 5 --kill-count 2 --seed 5 --runtime 14 --fault-time 5 --restart-after 4 --deadline 6");
const quick = words("--rate 1 --heartbeat-interval 0.5 --heartbeat-timeout 1.5");

describe("the guide's protocol, outside the project", () => {
  let run: EndedRun;
  beforeAll(async () => {
    run = await sandbox.run([...storm, ...quick, "--protocol", "./postcard.ts", "--set", "postcard.greeting=Ahoy"], {
      cwd: outside,
    });
  });

  it("survives a storm: no task lost, links repaired, no invariant broken", () => {
    expect(run.code, run.stderr).toBe(0);
    expect(path.basename(path.dirname(run.dir))).toBe("postcard");
    expect(run.metrics).toMatchObject({ tasks_lost: 0, false_positives: 0, partial: false });
    expect(run.metrics.recovery_ms, JSON.stringify(run.metrics.reasons)).toBeGreaterThan(0);
    expect(run.metrics.reconnected_ms, JSON.stringify(run.metrics.reasons)).toBeGreaterThan(0);
    const answers = run.of("task.outcome").filter((event) => event.status === "answered");
    const expected = new Map(run.schedule.tasks.map((task) => [task.task, task.expected]));
    expect(answers.length).toBeGreaterThan(30);
    expect(answers.filter((event) => event.answer !== expected.get(event.task))).toEqual([]);
  });

  it("really carried the messages, and its own retries were executed again", () => {
    const steps = run.of("msg").filter((event) => event.kind === "tool" && event.error === null);
    expect(steps.length).toBeGreaterThan(0);
    expect(steps.every((event) => event.bytesSent > 0 && event.bytesReceived > 0)).toBe(true);
    expect(run.of("step.deduplicated"), "it has no idempotency").toEqual([]);
  });

  it("keeps its section in the configuration that runs it again", async () => {
    const file = path.join(run.dir, "config.yaml");
    expect(readFileSync(file, "utf8")).toContain("greeting: Ahoy");
    expect(await sandbox.cli(["validate", file])).toMatchObject({ code: 0 });
  });
});

describe("the compliance suite by itself", () => {
  const main = path.join(projectRoot, "packages", "protocols", "src", "compliance", "main.ts");
  const comply = async (file: string): Promise<{ code: number; output: string }> => {
    const started = promisify(execFile)(process.execPath, [main, file], { cwd: outside });
    return started.then(
      ({ stdout, stderr }) => ({ code: 0, output: stdout + stderr }),
      ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({ code, output: stdout + stderr }),
    );
  };

  it("passes the guide's protocol", async () => {
    const { code, output } = await comply("./postcard.ts");
    expect(code, output).toBe(0);
    expect(output).toMatch(/(\d+) of \1 cases passed/);
  });

  it("fails, case by case, one that says more than it does; and takes bad input for what it is", async () => {
    const boastful = code.replace("idempotency: false", "idempotency: true");
    expect(boastful).not.toBe(code);
    writeFileSync(path.join(outside, "boastful.ts"), boastful);
    const { code: exitCode, output } = await comply("./boastful.ts");
    expect(exitCode).toBe(1);
    expect(stripVTControlCharacters(output)).toMatch(/FAILED {2}\[contract-idempotent\]/);
    expect(await comply("./nowhere.ts")).toMatchObject({ code: 2, output: expect.stringContaining("no such file") as string });
  });
});

it("a protocol in an installed package is found by the package's name", async () => {
  const dir = path.join(outside, "node_modules", "failstorm-postcard");
  mkdirSync(dir, { recursive: true });
  writeFileSync(path.join(outside, "package.json"), "{}");
  writeFileSync(
    path.join(dir, "package.json"),
    JSON.stringify({ name: "failstorm-postcard", version: "1.0.0", type: "module", exports: "./index.js" }),
  );
  writeFileSync(path.join(dir, "index.js"), stripTypeScriptTypes(code));
  const args = [...storm, "--protocol", "failstorm-postcard"];
  const { code: exitCode, stdout, stderr } = await sandbox.cli(["validate", ...args], { cwd: outside });
  expect(exitCode, stderr).toBe(0);
  expect(stdout).toMatch(/postcard/);
});
