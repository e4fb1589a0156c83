import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { createProgram } from "../src/program.ts";
import { reportQueue } from "../src/queue/finish.ts";
import { findKeyAgain } from "../src/queue/load.ts";
import { findUnfinished, keepEarlierEvents, keyOf, type QueueRunFile, readRunFile, writeRunFile } from "../src/queue/folder.ts";

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), "failstorm-cli-queue-"));
});
afterAll(() => rmSync(dir, { recursive: true }));

/** What the command line comes to; every one of these is bad input, found before anything is started or written. */
async function complaint(...args: string[]): Promise<string> {
  const results = mkdtempSync(path.join(dir, "results-"));
  const program = createProgram(() => undefined);
  try {
    await program.parseAsync([...args, ...(args.includes("--resume") ? [] : ["--results", results])], { from: "user" });
  } catch (error) {
    expect((error as { code?: string }).code).toBe("BAD_INPUT");
    expect(readdirSync(results), "nothing was written").toEqual([]);
    return (error as Error).message;
  }
  throw new Error("there was nothing to complain about");
}

describe("failstorm queue: bad input", () => {
  it("names option, value and remedy", async () => {
    const empty = path.join(dir, "empty.jsonl");
    writeFileSync(empty, "\n\n");
    const broken = path.join(dir, "broken.jsonl");
    writeFileSync(broken, '{"id": 1, "q": "fine"}\n{"id": 2}\n');
    const base = ["--base-port", "0", "--engine", "echo"];
    expect(await complaint("queue", "--workers", "0", ...base)).toMatch(/--workers 0: a queue needs a worker/);
    expect(await complaint("queue", "--questions", empty, ...base)).toMatch(/empty\.jsonl: holds no question/);
    expect(await complaint("queue", "--questions", broken, ...base)).toMatch(/line 2: "q" must be a text.*--skip-bad-lines/);
    expect(await complaint("queue", "--questions", path.join(dir, "none"), ...base)).toMatch(/none: cannot be read/);
    expect(await complaint("queue", "--batch", "0", ...base)).toMatch(/^--batch 0: must be a whole number from 1/);
    expect(await complaint("queue", "--set", "queue.batchs=3")).toMatch(/queue\.batchs.*did you mean batch\?/);
    expect(await complaint("queue", "--topology", "ring")).toMatch(/--topology ring: must be one of star, mesh, layered/);
    expect(await complaint("queue", "--engine", "llm", "--base-port", "0")).toMatch(/--engine llm: no model is configured/);
    expect(await complaint("queue", "--topology", "layered", "--workers", "1", ...base)).toMatch(
      /--sub-coordinators 2: 1 workers/,
    );
  });

  it("names workers that cannot be", async () => {
    const twice = ["--worker", "http://127.0.0.1:9#a", "--worker", "http://127.0.0.1:9#b"];
    expect(await complaint("queue", ...twice, "--base-port", "0")).toMatch(/http:\/\/127\.0\.0\.1:9 is given twice/);
    expect(await complaint("queue", "--worker", "nowhere", "--base-port", "0")).toMatch(/--worker nowhere: is no URL/);
    expect(await complaint("queue", "--worker", "ftp://x", "--base-port", "0")).toMatch(/ftp: is not spoken here/);
    const external = ["--worker", "http://127.0.0.1:9", "--kill-fraction", "0.5"];
    expect(await complaint("queue", ...external, "--base-port", "0")).toMatch(
      /--kill-fraction: only workers that this run starts/,
    );
  });

  it("goes on only with a folder that holds a queue, as it was", async () => {
    expect(await complaint("queue", "--resume", dir)).toMatch(/is no folder of a queue/);
    expect(await complaint("queue", "--resume", dir, "--workers", "3")).toMatch(/leave out the other options/);
  });
});

describe("a queue with a model that goes on", () => {
  afterEach(() => vi.unstubAllEnvs());
  const config = (type: string) => ({ llm: { type, model: "m", baseUrl: "http://127.0.0.1:9/v1" }, queue: { engine: "llm" } });
  const folderOf = (name: string, hasKey: boolean, type: string): string => {
    const made = path.join(dir, name);
    mkdirSync(made);
    writeFileSync(path.join(made, "questions.jsonl"), "");
    const run = { format: "failstorm-queue", version: 1, key: "k", complete: false, hasKey, config: config(type) };
    writeRunFile(made, run as unknown as QueueRunFile);
    return made;
  };

  it("needs its key again, which is recorded nowhere", async () => {
    for (const name of ["FAILSTORM_LLM_API_KEY", "OPENAI_API_KEY"]) vi.stubEnv(name, undefined);
    expect(await complaint("queue", "--resume", folderOf("openai", true, "openai"))).toMatch(/needs a key; set .*OPENAI_API_KEY/);
    const local = folderOf("local", true, "local");
    expect(await complaint("queue", "--resume", local)).toMatch(/a key, which is not recorded; set .*FAILSTORM_LLM_API_KEY/);
    vi.stubEnv("FAILSTORM_LLM_API_KEY", "sk-again-0123");
    findKeyAgain(readRunFile(local) as QueueRunFile, local);
    expect(process.env["FAILSTORM_LLM_API_KEY"]).toBe("sk-again-0123");
    vi.stubEnv("FAILSTORM_LLM_API_KEY", undefined);
    vi.stubEnv("OPENAI_API_KEY", "sk-users-0123");
    const openai = readRunFile(path.join(dir, "openai")) as QueueRunFile;
    findKeyAgain(openai, "openai");
    expect(process.env["FAILSTORM_LLM_API_KEY"]).toBe("sk-users-0123");
    expect(() => findKeyAgain({ ...openai, config: { ...openai.config, llm: null } }, "none")).not.toThrow();
  });
});

describe("the folder of a queue", () => {
  const run = { format: "failstorm-queue", version: 1, key: "k", complete: false, questions: 5, sessions: 1 } as QueueRunFile;
  const folder = (results: string, name: string): string => {
    const made = path.join(results, "queue", "a2a", name);
    mkdirSync(made, { recursive: true });
    return made;
  };

  it("is found again by an equal call while it is unfinished, unless its run still goes on", () => {
    const results = path.join(dir, "found");
    expect(findUnfinished(results, "a2a", "k")).toBeNull();
    const made = folder(results, "1");
    writeRunFile(made, run);
    writeRunFile(folder(results, "2"), { ...run, key: "another" });
    writeRunFile(folder(results, "3"), { ...run, complete: true });
    writeFileSync(path.join(folder(results, "4"), "queue_run.json"), "{");
    expect(findUnfinished(results, "a2a", "k")).toBe(made);
    expect(findUnfinished(results, "acp", "k")).toBeNull();
    const manifest = path.join(made, "manifest.json");
    writeFileSync(manifest, JSON.stringify({ pid: process.ppid }));
    expect(findUnfinished(results, "a2a", "k"), "the number is another program's").toBe(made);
    const worker = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)", path.join("cli", "src", "main.ts")]);
    writeFileSync(manifest, JSON.stringify({ pid: worker.pid }));
    expect(findUnfinished(results, "a2a", "k"), "somebody is about to work in it").toBeNull();
    writeFileSync(path.join(made, "orchestrator.ndjson"), "");
    expect(findUnfinished(results, "a2a", "k"), "somebody works in it").toBeNull();
    rmSync(path.join(made, "orchestrator.ndjson"));
    writeFileSync(path.join(made, "events.ndjson"), "");
    expect(findUnfinished(results, "a2a", "k"), "its session is over").toBe(made);
    worker.kill("SIGKILL");
  });

  it("an equal call has the same faults, too", () => {
    const key = (scenario: object): string =>
      keyOf({ scenario: { protocol: "a2a", seed: 7, ...scenario }, queue: {}, qa: {}, llm: null } as never, "sha256:1");
    const quiet = { killCount: 0, killFraction: 0 };
    expect(key({ ...quiet, faultTimeMs: 1 })).toBe(key({ ...quiet, faultTimeMs: 2 }));
    const keys = [
      quiet,
      { killCount: 1, killFraction: 0.25, faultTimeMs: 1 },
      { killCount: 2, killFraction: 0.5, faultTimeMs: 1 },
    ];
    expect(new Set(keys.map(key)).size).toBe(3);
  });

  it("a report of a run that failed does not call it done", async () => {
    const made = folder(path.join(dir, "failed"), "1");
    writeRunFile(made, { ...run, config: { scenario: { protocol: "a2a", seed: 7 }, queue: {} } } as unknown as QueueRunFile);
    const at = { src: "orchestrator", inc: 1 };
    const config = { scenario: { name: "queue", protocol: "a2a", seed: 7 } };
    const events = [
      { t: 1, ...at, seq: 0, ev: "run.started", runId: "1", wallMs: 1, config },
      { t: 2, ...at, seq: 1, ev: "run.finished", status: "failed", reason: "the disk was full" },
    ];
    writeFileSync(path.join(made, "events.ndjson"), events.map((event) => `${JSON.stringify(event)}\n`).join(""));
    const result = { seq: 0, id: "q", status: "answered", answer: "x", gold: null, worker: "w", protocol: "a2a", attempts: 1 };
    const times = { code: null, intendedAt: 1, sentAt: 1, finishedAt: 2, inc: 1 };
    writeFileSync(path.join(made, "queue_results.jsonl"), `${JSON.stringify({ ...result, ...times })}\n`);
    const stdout = vi.spyOn(process.stdout, "write").mockReturnValue(true);
    try {
      expect(await reportQueue(made, true)).toBe(0);
    } finally {
      stdout.mockRestore();
    }
    const document = JSON.parse(readFileSync(path.join(made, "queue_results.json"), "utf8")) as Record<string, unknown>;
    expect(document).toMatchObject({
      metadata: { status: "failed", reason: "the disk was full", complete: false },
      results: [{ id: "q" }],
    });
    expect(readRunFile(made)?.complete).toBe(false);
  });

  it("keeps the events of each session apart", () => {
    const made = folder(path.join(dir, "sessions"), "1");
    keepEarlierEvents(made, 1);
    writeFileSync(path.join(made, "events.ndjson"), "x");
    keepEarlierEvents(made, 2);
    expect(readdirSync(path.join(made, "sessions"))).toEqual(["events-2.ndjson"]);
    expect(readRunFile(made)).toBeNull();
  });
});
