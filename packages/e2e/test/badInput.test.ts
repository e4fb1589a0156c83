import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { allGone, descendantsOf, eventually, processesNaming } from "../src/processes.ts";
import { openSandbox, projectRoot, words } from "../src/runCli.ts";

const sandbox = openSandbox();
const mounts: string[] = [];
afterAll(async () => {
  for (const mount of mounts) execFileSync("umount", ["--lazy", mount]);
  await sandbox.close();
});

const START_MS = 120_000;
/** Until what is told to end is gone, on a machine that has other things to do. */
const GONE_MS = 20_000;

const file = (name: string, text: string): string => {
  const at = path.join(sandbox.dir, name);
  mkdirSync(path.dirname(at), { recursive: true });
  writeFileSync(at, text);
  return at;
};
let count = 0;
/** A folder that is not there: it must not be made. */
const untouched = (): string => path.join(sandbox.dir, `untouched-${count++}`);

/** Exit 2, nothing on stdout, every pattern on stderr without a stack trace, nothing written. */
async function expectRejected(args: readonly string[], ...patterns: (RegExp | string)[]): Promise<void> {
  const results = untouched();
  const { code, stdout, stderr } = await sandbox.cli([...args, "--results", results]);
  expect(code, stderr).toBe(2);
  expect(stdout).toBe("");
  for (const pattern of patterns) expect(stderr).toMatch(pattern);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(existsSync(results), `${results} was made`).toBe(false);
}

describe("bad input is said with option, value and remedy before anything starts: exit 2", () => {
  it.each([
    ["an unknown protocol", "--protocol a3a", [/--protocol a3a/, /simple_json/]],
    ["an unknown option", "--agentz 8", [/--agentz/]],
    ["an unknown key", "--set network.hartbeat_interval=1", [/network\.hartbeat_interval/, /heartbeat_interval/]],
    ["an unknown command", "reprot x", [/reprot/, /report/]],
    ["no agents", "--agents 0", [/--agents 0/, /1 to 1000/]],
    ["too many agents", "--agents 10000", [/--agents 10000/, /1 to 1000/]],
    ["a fraction of agents", "--agents 2.5", [/--agents 2\.5/, /whole number/]],
    ["a fraction above 1", "--kill-fraction 1.5", [/--kill-fraction 1\.5/, /0 to 1/]],
    ["a fraction that is no number", "--kill-fraction NaN", [/--kill-fraction NaN/i, /0 to 1/]],
    ["more victims than agents", "--agents 3 --kill-count 3", [/--kill-count 3/, /at most 2/]],
    ["a fault after the end", "--runtime 60 --fault-time 90", [/--fault-time 90/, /--runtime/, /earlier|longer/]],
    ["a restart after the end", "--runtime 60 --restart-after 40", [/--restart-after 40/, /--no-restart/]],
    ["a timeout below the interval", "--heartbeat-interval 2 --heartbeat-timeout 1", [/--heartbeat-timeout 1/, /longer/]],
    ["ports beyond 65535", "--base-port 65530 --agents 8", [/--base-port 65530/, /65528/]],
    ["an unknown topology", "--topology torus", [/--topology torus/, /mesh, ring, star, custom/]],
    [
      "a topology that does not connect",
      "--agents 4 --topology custom --set network.custom_edges=[[0,1],[2,3]]",
      [/custom_edges/, /connect all 4/],
    ],
    ["a configuration that is not there", "--config nowhere.yaml", [/--config nowhere\.yaml/, /no such file/]],
    ["a corpus that is not there", "--corpus nowhere", [/--corpus/, /nowhere/, /no such folder/]],
    ["a document without questions", `--document ${path.join(projectRoot, "package.json")}`, [/--document/, /--questions/]],
  ] as const)("%s", async (_what, line, patterns) => {
    await expectRejected(words(line), ...patterns);
  });

  it("YAML that cannot be read, by line and column", async () => {
    const broken = file("broken.yaml", "scenario:\n  agent_count: 8\n  protocol: [simple_json\nnetwork:\n");
    await expectRejected(["--config", broken], /broken\.yaml:[34]:\d+/, /YAML/);
  });

  it("a wrong value and an unknown key in a file, by line", async () => {
    const wrong = file("wrong.yaml", "scenario:\n  agent_count: many\n");
    await expectRejected(["--config", wrong], /wrong\.yaml:2/, /agent_count/, /many/, /whole number/);
    const unknown = file("unknown.yaml", "scenario:\n  seed: 1\n\n  agent_cuont: 8\n");
    await expectRejected(["--config", unknown], /unknown\.yaml:4/, /agent_cuont/, /agent_count/);
  });

  it("a wrong value from the environment, by the variable's name", async () => {
    const results = untouched();
    const { code, stderr } = await sandbox.cli(["--results", results], { env: { FAILSTORM_SCENARIO_AGENT_COUNT: "none" } });
    expect(code, stderr).toBe(2);
    expect(stderr).toMatch(/FAILSTORM_SCENARIO_AGENT_COUNT=none/);
  });

  it("a corpus with a broken line, by file and number", async () => {
    const line = (id: number): string =>
      JSON.stringify({ group_id: id, question: `Who? ${id}`, content: "A: b c.", answer: "b" });
    file("corpus/shard0.jsonl", `${line(1)}\n${line(2)}\n`);
    file("corpus/shard1.jsonl", `${line(1)}\n{"group_id": 2, "question": \n`);
    await expectRejected(["--agents", "2", "--corpus", path.join(sandbox.dir, "corpus")], /shard1\.jsonl/, /line 2|:2\b/);
  });

  it("a results folder that is a file", async () => {
    const taken = file("results-file", "");
    const { code, stderr } = await sandbox.cli(["--results", taken]);
    expect(code, stderr).toBe(2);
    expect(stderr).toMatch(/--results .*results-file.*another folder/s);
  });

  it("a results folder where nobody can make one, whatever the permissions", async () => {
    const { code, stderr } = await sandbox.cli(["--results", "/proc/failstorm"]);
    expect(code, stderr).toBe(2);
    expect(stderr).toMatch(/--results \/proc\/failstorm: cannot be written to .*another folder/s);
  });

  it.skipIf(process.getuid?.() === 0)("a results folder that may not be written to", async () => {
    const closed = path.join(sandbox.dir, "closed");
    mkdirSync(closed);
    chmodSync(closed, 0o500);
    const { code, stderr } = await sandbox.cli(["--results", path.join(closed, "results")]);
    expect(code, stderr).toBe(2);
    expect(stderr).toMatch(/--results .*EACCES.*(permission|another folder)/s);
    expect(readdirSync(closed)).toEqual([]);
  });

  it("a report of what is no run", async () => {
    const nowhere = await sandbox.cli(["report", "nowhere"]);
    expect(nowhere).toMatchObject({ code: 2, stdout: "" });
    expect(nowhere.stderr).toMatch(/report nowhere.*no such folder/);
    const empty = path.join(sandbox.dir, "empty");
    mkdirSync(empty);
    const noRun = await sandbox.cli(["report", empty]);
    expect(noRun.code, noRun.stderr).toBe(2);
    expect(readdirSync(empty)).toEqual([]);
  });
});

describe("validate", () => {
  it("says what would run, starts nothing and writes nothing", async () => {
    const results = untouched();
    const line = `validate --agents 4 --kill-count 1 --seed 3 --base-port 0 --results ${results}`;
    const { code, stdout } = await sandbox.cli(words(line));
    expect(code).toBe(0);
    expect(stdout).toMatch(/storm +sigkill at .* to 1 of 4 agents \(fraction 0\.25\): agent-\d/);
    expect(existsSync(results)).toBe(false);
    expect((await sandbox.cli(words(line))).stdout, "same seed, same storm").toBe(stdout);
  });

  it("rejects what a run would reject", async () => {
    const { code, stderr } = await sandbox.cli(words("validate --agents 0"));
    expect(code).toBe(2);
    expect(stderr).toMatch(/--agents 0/);
  });
});

const canMount = (): boolean => {
  const at = path.join(sandbox.dir, "mount-try");
  mkdirSync(at);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", at], { stdio: "ignore" });
    execFileSync("umount", ["--lazy", at]);
    return true;
  } catch {
    return false;
  }
};

describe("faults of our own during a run: exit 1, no orphan", () => {
  it.skipIf(!canMount())("a disk that is full", async () => {
    const disk = path.join(sandbox.dir, "disk");
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=48m", "tmpfs", disk]);
    mounts.push(disk);
    const run = sandbox.start(words("--agents 3 --kill-count 1 --seed 13 --rate 2 --runtime 600 --fault-time 500"), {
      results: disk,
    });
    await run.event("run.load", () => true, START_MS);
    const family = descendantsOf(run.pid);
    fill(path.join(disk, "filler"));
    const result = await run.ended;
    expect(result.code, result.stderr).toBe(1);
    expect(result.stderr).toMatch(/ENOSPC|no space/i);
    expect(result.stderr).toMatch(/free space, or choose another folder/);
    expect(result.stderr, "a full disk is no bug").not.toMatch(/internal error/);
    await allGone(family, GONE_MS);
    expect(readdirSync(run.dir()).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  it("an agent that cannot start", async () => {
    const module = file(
      "broken-protocol.ts",
      `export const protocol = {
  getProtocolInfo: () => ({ name: "broken", version: "1", description: "", features: [], heartbeat: "added", capabilities: {} }),
  getReconnectionInfo: () => ({ method: "", authentication: "none", expectedRoundTrips: 1 }),
  parseConfig: (section: unknown) => section,
  createBackend: () => { throw new Error("this backend is out of order"); },
};
`,
    );
    const run = sandbox.start([...words("--agents 3 --seed 14 --protocol"), module]);
    const result = await run.ended;
    expect(result.code, result.stderr).toBe(1);
    expect(result.stderr).toMatch(/agent-\d/);
    expect(result.stderr).toMatch(/this backend is out of order/);
    await eventually("no agent of this run", GONE_MS, () => processesNaming(run.results).length === 0);
  });

  it("a protocol module that cannot be loaded is bad input", async () => {
    const noProtocol = file("no-protocol.ts", "export const nothing = 1;\n");
    await expectRejected(["--protocol", noProtocol], /--protocol .*no-protocol\.ts/, /exports no protocol/);
    await expectRejected(["--protocol", "./nowhere.ts"], /--protocol .*nowhere\.ts/, /no such file/);
  });
});

/** Writes until the disk has no room left. */
function fill(at: string): void {
  for (let piece = 0, size = 1024 * 1024; size >= 1; piece++) {
    try {
      writeFileSync(`${at}-${piece}`, Buffer.alloc(size));
    } catch {
      size = Math.floor(size / 4);
    }
  }
}
