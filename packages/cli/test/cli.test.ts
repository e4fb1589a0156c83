import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { projectRoot } from "../src/project.ts";

/*
 * The command line as a process: exit codes, what goes to which stream, and that bad input leaves nothing behind. Everything here
 * ends before an agent is started; runs are in packages/e2e.
 */
const main = path.join(projectRoot, "packages", "cli", "src", "main.ts");
/** Starting Node takes its time on a busy machine; nothing here waits for anything else. */
vi.setConfig({ testTimeout: 180_000 });
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), "failstorm-cli-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function failstorm(args: readonly string[], env: Record<string, string> = {}, command = main): Promise<Ended> {
  const own = command === main ? [process.execPath, main] : ["bash", command];
  const child = spawn(own[0] as string, [...own.slice(1), ...args], {
    cwd: dir,
    env: { PATH: process.env["PATH"] ?? "", ...env },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => (stdout += chunk));
  child.stderr.on("data", (chunk) => (stderr += chunk));
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, stdout, stderr })));
}

describe("bad input: exit code 2, the message on stderr, nothing on stdout, nothing left behind", () => {
  const cases: [string, string[], RegExp][] = [
    ["no agents", ["--agents", "0"], /^ERROR +--agents 0: must be a whole number from 1 to 1000, for example 8\n$/],
    ["fraction", ["--kill-fraction", "1.5"], /--kill-fraction 1.5: must be a number from 0 to 1/],
    ["protocol", ["--protocol", "smtp"], /--protocol smtp: no such protocol; choose one of .*simple_json/],
    ["fault after the end", ["--fault-time", "200"], /--fault-time 200: .*earlier --fault-time or a longer --runtime/],
    ["option", ["--agnts", "3"], /unknown option '--agnts'\n\(Did you mean --agents\?\)/],
    ["value missing", ["--agents"], /option '-n, --agents <n>' argument missing/],
    ["command", ["reprot"], /reprot: there is no such command; did you mean report\?/],
    ["file", ["--config", "nowhere.yaml"], /--config nowhere.yaml: there is no such file/],
    [
      "key twice",
      ["--agents", "3", "--agent-count", "4"],
      /--agent-count 4: scenario.agent_count was already given by --agents 3/,
    ],
    ["meta over another", ["meta", "-p", "a2a"], /--protocol a2a: failstorm meta runs the protocol meta; leave the option or/],
    ["meta without a mix", ["meta", "--set", "meta.protocols.smtp.enabled=true"], /meta.protocols.smtp: no such protocol/],
    ["options before a command", ["--agents", "3", "validate"], /--agents: stands before validate, which would not see it/],
    ["metrics port", ["--metrics-port", "0"], /--metrics-port 0: must be a whole number from 1 to 65535/],
    ["scenario", ["--set", "scenario.name=rain"], /rain is no scenario; choose one of fail-storm/],
    ["report of nothing", ["report", "nowhere"], /report nowhere: there is no such folder/],
    ["table of nothing", ["table", "."], /no failstorm_metrics.json there/],
    ["generate", ["data", "generate", "--questions", "many", "--out", "x"], /--questions many: must be a whole number/],
    ["generate nothing", ["data", "generate", "--questions", "0", "--out", "x"], /--questions 0: nothing could be asked/],
    ["generate where nobody can", ["data", "generate", "--out", "/proc/x/y"], /--out \/proc\/x: cannot be written to/],
    [
      "validate",
      ["validate", "broken.yaml"],
      /broken.yaml:2:3: unknown key scenario.agent_cout; did you mean scenario.agent_count\?/,
    ],
  ];
  beforeAll(() => writeFileSync(path.join(dir, "broken.yaml"), "scenario:\n  agent_cout: 3\n"));
  it.concurrent.each(cases)("%s", async (_, args, expected) => {
    const { code, stdout, stderr } = await failstorm(args);
    expect(stderr).toMatch(expected);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).not.toContain("    at ");
    expect(readdirSync(dir)).not.toContain("results");
  });

  it("a folder that cannot be written to", async () => {
    writeFileSync(path.join(dir, "file"), "");
    const { code, stderr } = await failstorm(["--results", "file", "--agents", "2"]);
    expect(stderr).toMatch(/--results .*file: cannot be written to \(ENOTDIR\); .*choose another folder/);
    expect(code).toBe(2);
  });

  it.skipIf(process.getuid?.() === 0)("a folder without write permission", async () => {
    mkdirSync(path.join(dir, "locked"));
    chmodSync(path.join(dir, "locked"), 0o500);
    const { code, stderr } = await failstorm(["--results", "locked/below", "--agents", "2"]);
    expect(stderr).toMatch(/cannot be written to \(EACCES\); .*grant write permission/);
    expect(code).toBe(2);
  });

  it("a port range with no room up to the last port", async () => {
    const servers: Server[] = [];
    const listen = (port: number): Promise<void> =>
      new Promise((resolve) => {
        const server = createServer();
        servers.push(server);
        server.once("error", () => resolve());
        server.listen(port, "127.0.0.1", resolve);
      });
    await Promise.all([65_534, 65_535].map(listen));
    const { code, stderr } = await failstorm([
      "--agents",
      "2",
      "--base-port",
      "65534",
      "--results",
      "ports",
      "--set",
      "qa.question_count=10",
    ]);
    for (const server of servers) server.close();
    expect(stderr).toMatch(/65534 leaves 0 free ports .*for 2 agents/);
    expect(code).toBe(2);
    expect(readdirSync(dir)).not.toContain("ports");
  });
});

describe("what explains", () => {
  it("--help names every option with its default, groups, examples and exit codes, quickly", async () => {
    const { code, stdout, stderr } = await failstorm(["--help"]);
    expect([code, stderr]).toEqual([0, ""]);
    for (const word of [
      "The storm:",
      "The timeline (seconds):",
      "--kill-fraction",
      "(default: 0.3)",
      "Examples:",
      "Exit codes: 0 done",
    ])
      expect(stdout).toContain(word);
    expect(stdout).not.toContain("mutant");
  });

  it("validate says what would run, and starts nothing", async () => {
    const args = [
      "validate",
      "--agents",
      "4",
      "--kill-count",
      "2",
      "--seed",
      "5",
      "--base-port",
      "0",
      "--set",
      "qa.question_count=50",
    ];
    const { code, stdout, stderr } = await failstorm(args);
    expect(stderr).toMatch(/SUCCESS +the configuration is valid/);
    expect(code).toBe(0);
    for (const line of [
      /^agents +4$/m,
      /^ports +any free ones$/m,
      /^storm +sigkill at 6\d\.?\d* s to 2 of 4 agents \(fraction 0.5\): agent-\d, agent-\d; restarted at/m,
      /^tasks +\d+ questions/m,
      /^messages +about [\d,]+ for the work, 1,440 heartbeats over 12 monitored pairs/m,
    ])
      expect(stdout).toMatch(line);
    expect(readdirSync(dir)).not.toContain("results");
  });

  it("validate says of a queue over several protocols which process hosts what", async () => {
    const section = "queue: { workers: 5, engine: echo, count: 20, topology: layered, sub_coordinators: 1 }";
    writeFileSync(path.join(dir, "mixed.yaml"), `scenario: { protocol: meta }\nnetwork: { base_port: 0 }\n${section}\n`);
    const { code, stdout, stderr } = await failstorm(["validate", "mixed.yaml"]);
    expect(code, stderr).toBe(0);
    const rows = stdout.slice(stdout.indexOf("\nhosts"), stdout.indexOf("\nseed")).trim().split("\n");
    expect(rows.map((row) => row.replace(/^hosts/, "").trim())).toEqual([
      "coordinator-1 a2a",
      "sub-coordinator-1 a2a",
      ...["a2a", "acp", "agora", "anp", "a2a"].map((name, index) => `worker-${index + 1} ${name}`),
    ]);
  });

  it("schema is JSON, protocols are listed", async () => {
    const [schema, protocols] = await Promise.all([failstorm(["schema"]), failstorm(["protocols"])]);
    expect(JSON.parse(schema.stdout)).toMatchObject({ type: "object", properties: { detection_ms: expect.anything() } });
    expect(protocols.stdout).toMatch(/^simple_json /m);
  });

  it("data generate writes the same bytes for the same seed", async () => {
    const generate = (out: string): Promise<Ended> =>
      failstorm(["data", "generate", "--questions", "20", "--passages", "400", "--shards", "4", "--seed", "3", "--out", out]);
    const [one, two] = await Promise.all([generate("one"), generate("two")]);
    expect([one.code, two.code, one.stdout]).toEqual([0, 0, ""]);
    const read = (out: string): string[] =>
      readdirSync(path.join(dir, out)).map((name) => readFileSync(path.join(dir, out, name), "utf8"));
    expect(read("one")).toEqual(read("two"));
    expect(read("one").join("")).toContain('"question"');
  });
});

describe("scripts/repeat.sh", () => {
  const script = path.join(projectRoot, "scripts", "repeat.sh");
  it("explains itself, and names what is wrong with its number", async () => {
    const [help, none, zero] = await Promise.all([
      failstorm(["--help"], {}, script),
      failstorm([], {}, script),
      failstorm(["0x"], {}, script),
    ]);
    expect(help.code).toBe(0);
    expect(help.stdout).toContain("scripts/repeat.sh 20 --agents 8");
    expect([none.code, zero.code]).toEqual([2, 2]);
    expect(zero.stderr).toContain("N 0x: must be a whole number");
  });

  it("does not take runs with other options for repeats", async () => {
    mkdirSync(path.join(dir, "other"));
    writeFileSync(path.join(dir, "other", "options"), "1\n");
    writeFileSync(path.join(dir, "other", "seed-1.json"), "{}\n");
    writeFileSync(path.join(dir, "other", "seed-1.code"), "0\n");
    const { code, stderr } = await failstorm(["--batch", "other", "1", "--agents", "4", "--seed", "1"], {}, script);
    expect(stderr).toMatch(/--batch other: holds runs with other options; choose another folder, or --fresh/);
    expect(code).toBe(2);
  });

  it("stops at bad input with its exit code", async () => {
    const { code, stderr } = await failstorm(["--batch", "batch", "3", "--agents", "0"], {}, script);
    expect(code).toBe(2);
    expect(stderr.match(/--agents 0/g)).toHaveLength(1);
    expect(readdirSync(path.join(dir, "batch"))).toEqual([]);
  });
});
