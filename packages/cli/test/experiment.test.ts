import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { systemClock } from "@failstorm/core";
import { adopt } from "../src/commands/compare.ts";
import { checkPublishTarget } from "../src/commands/reportExperiment.ts";
import { loadConfig } from "../src/config/load.ts";
import { openExperiment } from "../src/experiment/folder.ts";
import { planExperiment } from "../src/experiment/plan.ts";
import { isRunning, lockExperiment } from "../src/experiment/processes.ts";
import { createProgress, formatDuration } from "../src/experiment/progress.ts";
import { type CompareRequest, requestLayers } from "../src/experiment/request.ts";
import { readSpec } from "../src/experiment/spec.ts";
import { projectRoot } from "../src/project.ts";

vi.setConfig({ testTimeout: 180_000 });
const NOW = "2026-01-01T00:00:00.000Z";
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), "failstorm-experiment-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const request = (own: CompareRequest["own"], rest: Partial<CompareRequest> = {}): CompareRequest => ({
  flags: [],
  assignments: [],
  file: null,
  preset: null,
  vary: [],
  own,
  ...rest,
});
const spec = (own: CompareRequest["own"], rest: Partial<CompareRequest> = {}) =>
  readSpec(requestLayers(request(own, rest), dir, projectRoot, {}));
const plan = (own: CompareRequest["own"], rest: Partial<CompareRequest> = {}) => planExperiment(spec(own, rest), NOW);
const flag = (path: string, value: unknown) => ({ path, value, origin: { kind: "flag", name: "--x" } as const });

describe("the plan of an experiment", () => {
  const { runs, variants, baseline, compare } = plan({ protocols: "a2a,acp,simple_json", repeats: "12" });

  it("has every variant once in every block, with one seed a block, and the controls", () => {
    expect([compare, baseline]).toEqual(["protocol", "simple_json"]);
    expect(variants.map(({ id }) => id)).toEqual(["a2a", "acp", "simple_json"]);
    for (let block = 1; block <= 12; block++) {
      const own = runs.filter((run) => run.block === block);
      expect(new Set(own.map(({ seed }) => seed))).toEqual(new Set([block]));
      expect(own.map(({ variant, role }) => `${variant} ${role}`).sort((a, b) => a.localeCompare(b))).toEqual([
        "a2a variant",
        "acp variant",
        "simple_json aa",
        "simple_json no_fault",
        "simple_json variant",
      ]);
    }
    expect(new Set(runs.map(({ id }) => id)).size).toBe(60);
  });

  it("draws the order anew in each block, and the same for the same seed", () => {
    const orders = new Set(
      Array.from({ length: 12 }, (_, b) =>
        runs
          .filter(({ block }) => block === b + 1)
          .map(({ variant, role }) => `${variant}${role}`)
          .join(),
      ),
    );
    expect(orders.size).toBeGreaterThan(8);
    const firsts = Map.groupBy(
      runs.filter(({ role }, i) => role === "variant" && i % 5 === 0),
      ({ variant }) => variant,
    );
    expect(firsts.size).toBeGreaterThan(1);
    expect(plan({ protocols: "a2a,acp,simple_json", repeats: "12" }).runs).toEqual(runs);
  });

  it("crosses factors, and compares within strata", () => {
    const crossed = plan(
      { protocols: "a2a,acp", killFractions: "0.2,0.5", repeats: "1" },
      { flags: [flag("scenario.agent_count", "8,16")], vary: ["network.transport_signals=true,false"] },
    );
    expect(crossed.variants).toHaveLength(16);
    expect(crossed.variants[0]).toEqual({
      id: "a2a-8_agents-kill_fraction_0.2-transport_signals_true",
      label: "a2a, 8 agents, kill fraction 0.2, transport signals true",
      levels: { agents: 8, protocol: "a2a", kill_fraction: 0.2, "network.transport_signals": true },
      stratum: "agents 8, kill_fraction 0.2, network.transport_signals true",
    });
    expect(new Set(crossed.variants.map(({ stratum }) => stratum)).size).toBe(8);
    expect(crossed.runs).toHaveLength(16 + 8 + 8);
  });

  it("is named after what it is, whatever it is put into: the same request goes on with it", () => {
    const { name } = plan({ protocols: "a2a,acp" });
    expect(name).toMatch(/^protocol-[0-9a-f]{8}$/);
    expect(plan({ protocols: "a2a,acp" }, { flags: [flag("output.dir", "/elsewhere")] }).name).toBe(name);
    expect(plan({ protocols: "a2a,acp", repeats: "5" }).name).not.toBe(name);
    expect(plan({ protocols: "a2a,acp" }, { flags: [flag("scenario.runtime", 70)] }).name).not.toBe(name);
  });

  it("comes from a file under the command line, and from every preset", () => {
    writeFileSync(
      path.join(dir, "x.yaml"),
      "name: x\nrepeats: 3\nfactors:\n  detector: [heartbeat, swim]\nsettings:\n  scenario:\n    runtime: 40\n    agent_count: 4\ncontrols:\n  aa: false\n  no_fault: none\n",
    );
    const own = spec({ repeats: "4" }, { file: "x.yaml", flags: [flag("scenario.runtime", 50)], assignments: ["tasks.rate=1"] });
    expect(own).toMatchObject({ name: "x", repeats: 4, controls: { aa: false, no_fault: "none" } });
    expect(Object.fromEntries(own.settings.map(({ path, value }) => [path, value]))).toEqual({
      "scenario.runtime": 50,
      "scenario.agent_count": 4,
      "tasks.rate": 1,
    });
    const presets = readdirSync(path.join(projectRoot, "configs", "experiments")).map((name) => name.replace(".yaml", ""));
    for (const preset of presets) expect(plan({}, { preset }).name).toBe(preset);
    expect(plan({}, { preset: "paper" })).toMatchObject({
      published: "protocolbench",
      settings: { "scenario.kill_count": 3, "network.topology": "ring", "scenario.restart_after": 2 },
    });
  });

  it("takes all for every protocol there is, in a file and on the command line", () => {
    const { factors } = plan({ protocols: "all", repeats: "1" });
    expect(factors["protocol"]).toEqual(expect.arrayContaining(["a2a", "acp", "agora", "anp", "simple_json"]));
    expect(factors).toEqual(plan({ repeats: "1" }).factors);
  });

  it("says what is wrong with a request, and where", () => {
    writeFileSync(path.join(dir, "odd.yaml"), "repeats: 2\nfactor:\n  protocol: [a2a]\n");
    const cases: [() => unknown, RegExp][] = [
      [() => plan({ protocols: "a2a" }), /nothing to compare/],
      [() => plan({ protocols: "a2a,acp", baseline: "anp" }), /baseline anp: is no level of protocol; choose one of a2a, acp/],
      [() => plan({ protocols: "a2a,acp", compare: "agents" }), /compare agents: is no factor/],
      [() => spec({ protocols: "a2a,a2a" }), /has a level twice/],
      [() => spec({ repeats: "none" }), /--repeats none: must be a whole number from 1 to 1000/],
      [() => spec({ primary: "recovery" }), /--primary recovery: must be a measure: service_gap_ms/],
      [() => spec({ primary: "orphaned_tasks" }), /must be a measure/],
      [() => spec({}, { file: "odd.yaml" }), /odd.yaml:3:3: unknown key factor.protocol of an experiment; did you mean factors/],
      [() => spec({}, { vary: ["protocol"] }), /--vary protocol: must be key=level,level/],
      [() => spec({}, { vary: ["protocl=a,b"] }), /there is no factor protocl; did you mean protocol/],
      [() => spec({}, { preset: "papr" }), /--preset papr: there is none; choose one of .*paper/],
      [() => spec({}, { preset: "paper", file: "x.yaml" }), /give only one/],
      [() => spec({ detectors: "swim,heartbeat" }, { vary: ["detector=swim"] }), /was already given by/],
      [() => spec({ faultFree: "some" }), /must be one of none, baseline, all/],
      [
        () => plan({}, { vary: ["qa.corpus=a/b,a_b"] }),
        /a\/b and a_b: would both be called a_b in file names; name one of the levels otherwise/,
      ],
    ];
    for (const [run, expected] of cases) expect(run).toThrow(expected);
  });
});

describe("an experiment's folder", () => {
  const planned = plan({ protocols: "a2a,acp", repeats: "2", name: "mine" });
  const made = { id: "b1-a2a", dir: "runs/x", exitCode: 0, startedAt: NOW, wallMs: 5, busyBefore: 0.1, attempt: 1 };

  it("keeps what was made over interruptions, even one that cut a line short", () => {
    const store = openExperiment(dir, planned, new Map());
    store.record(made);
    writeFileSync(
      path.join(store.dir, "runs.ndjson"),
      `${readFileSync(path.join(store.dir, "runs.ndjson"), "utf8")}{"id":"b1-ac`,
    );
    const again = openExperiment(dir, { ...planned, createdAt: "2027-01-01T00:00:00Z", question: "another wording" }, new Map());
    expect([...again.made().keys()]).toEqual(["b1-a2a"]);
    again.record({ ...made, id: "b1-acp", attempt: 2 });
    expect([...again.made().values()].map(({ id, attempt }) => [id, attempt])).toEqual([
      ["b1-a2a", 1],
      ["b1-acp", 2],
    ]);
  });

  it("does not mix with another experiment of the same name", () => {
    expect(() => openExperiment(dir, plan({ protocols: "a2a,anp", repeats: "2", name: "mine" }), new Map())).toThrow(
      /--name mine: another experiment is in/,
    );
  });

  it("does not go on with another configuration than the one it was begun with", async () => {
    const name = "configured";
    const load = (rate: number, more: ReturnType<typeof flag>[] = []) =>
      loadConfig({
        flags: [flag("scenario.protocol", "a2a"), flag("tasks.rate", rate), ...more],
        assignments: [],
        file: null,
        env: {},
        cwd: dir,
        root: projectRoot,
        drawSeed: () => 1,
      });
    const open = async (rate: number, more?: ReturnType<typeof flag>[]) =>
      openExperiment(dir, plan({ protocols: "a2a,acp", repeats: "2", name }), new Map([["a2a", await load(rate, more)]]));
    const store = await open(1);
    await expect(open(1, [flag("output.dir", "/elsewhere")])).resolves.toMatchObject({ dir: store.dir });
    await expect(open(2)).rejects.toThrow(/begun with tasks.rate 1 for a2a, now it is 2; give another --name/);
  });

  it("is published neither onto itself nor onto another experiment", () => {
    const [own, other] = ["own", "other"].map((name) => {
      const { dir: folder } = openExperiment(dir, plan({ protocols: "a2a,acp", repeats: "2", name }), new Map());
      return folder;
    }) as [string, string];
    const copy = path.join(dir, "copy");
    mkdirSync(copy);
    expect(() => checkPublishTarget(copy, own)).not.toThrow();
    writeFileSync(path.join(copy, "experiment.json"), readFileSync(path.join(own, "experiment.json")));
    expect(() => checkPublishTarget(copy, own)).not.toThrow();
    expect(() => checkPublishTarget(copy, other)).toThrow(/the experiment own is published there; give another folder/);
    expect(() => checkPublishTarget(own, own)).toThrow(/is the experiment's own folder/);
  });

  it("is made by one call at a time; what a killed call left is no obstacle", async () => {
    const folder = path.join(dir, "locked");
    mkdirSync(folder);
    const child = spawn(process.execPath, ["-e", "process.stdin.resume()", "/x/cli/src/main.ts"], {
      stdio: ["pipe", "ignore", "ignore"],
    });
    await once(child, "spawn");
    await expect.poll(() => isRunning(child.pid ?? 0)).toBe(true);
    expect(isRunning(child.pid ?? 0, "/another/results")).toBe(false);
    writeFileSync(path.join(folder, "compare.pid"), String(child.pid));
    expect(() => lockExperiment(folder, "mine")).toThrow(/mine: another call is making .* \(process \d+\); wait for its end/);
    child.stdin?.end();
    await once(child, "exit");
    const unlock = lockExperiment(folder, "mine");
    expect(readFileSync(path.join(folder, "compare.pid"), "utf8")).toBe(String(process.pid));
    unlock();
    expect(existsSync(path.join(folder, "compare.pid"))).toBe(false);
  });

  it("does not count a run that came to no end after its call was ended", async () => {
    const store = openExperiment(dir, planned, new Map());
    const run = path.join(store.runsDir, "fail-storm", "acp", "r-1");
    mkdirSync(run, { recursive: true });
    writeFileSync(path.join(run, "manifest.json"), "{}");
    const before = [...store.made().keys()];
    store.setRunning({ id: "b2-acp", pid: 2 ** 30, startedAt: NOW, attempt: 1, before: [] });
    await adopt(store, systemClock, new AbortController().signal);
    expect([store.running(), [...store.made().keys()]]).toEqual([null, before]);
  });

  it("remembers the run that goes on", () => {
    const store = openExperiment(dir, planned, new Map());
    expect(store.running()).toBeNull();
    store.setRunning({ id: "b1-acp", pid: 1, startedAt: NOW, attempt: 1, before: [] });
    expect(store.running()).toMatchObject({ id: "b1-acp", pid: 1 });
    store.setRunning(null);
    expect(store.running()).toBeNull();
  });
});

describe("progress", () => {
  it("learns from the runs that were made, each by the length of its variant", () => {
    const { runs } = plan({ protocols: "a2a,acp", repeats: "1" }, { flags: [] });
    const progress = createProgress(
      new Map([
        ["a2a", 10_000],
        ["acp", 20_000],
      ]),
    );
    expect(progress.remaining(runs)).toBe(3 * 10_000 + 20_000 + 4 * 15_000);
    progress.note("a2a", 14_000);
    progress.note("acp", 26_000);
    expect(progress.remaining(runs)).toBe(3 * 10_000 + 20_000 + 4 * 5000);
  });

  it("is said in words", () => {
    expect([12_400, 240_000, 250_000, 3_900_000].map(formatDuration)).toEqual(["12 s", "4 min", "4 min 10 s", "1 h 05 min"]);
  });
});

function failstorm(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [path.join(projectRoot, "packages", "cli", "src", "main.ts"), ...args], {
    cwd: dir,
    env: { PATH: process.env["PATH"] ?? "" },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => (stdout += chunk));
  child.stderr.on("data", (chunk) => (stderr += chunk));
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, stdout, stderr })));
}

describe("the commands, as processes", () => {
  it("compare --dry-run says what would be run and what it can show, and leaves nothing", async () => {
    const { code, stdout, stderr } = await failstorm(
      "compare",
      "--protocols",
      "a2a,simple_json",
      "--repeats",
      "4",
      "--agents",
      "4",
      "--results",
      "dry",
      "--cycles",
      "2",
      "--dry-run",
    );
    expect(code).toBe(0);
    expect(stderr).toMatch(/of each run its first storm is compared/);
    expect(stdout.trim().split("\n")).toHaveLength(16);
    expect(stderr).toMatch(/4 blocks can show no significant difference.*6 blocks are needed/);
    expect(stderr).toMatch(/16 runs in 4 blocks/);
    expect(existsSync(path.join(dir, "dry"))).toBe(false);
  });

  it("compare rejects a configuration that one of the variants cannot have, before anything is run", async () => {
    const { code, stderr } = await failstorm(
      "compare",
      "--protocols",
      "a2a,simple_json",
      "--vary",
      "scenario.kill_count=1,9",
      "--agents",
      "4",
      "--results",
      "bad",
    );
    expect([code, existsSync(path.join(dir, "bad"))]).toEqual([2, false]);
    expect(stderr).toMatch(/of 4 agents at most 3 can be killed/);
  });

  it("diff ends with 4 on a regression, list and show find runs", async () => {
    const folder = path.join(dir, "there", "fail-storm", "simple_json", "run-7");
    mkdirSync(folder, { recursive: true });
    const { stdout: schema } = await failstorm("schema");
    expect(JSON.parse(schema)).toHaveProperty("properties.censored");
    writeFileSync(path.join(folder, "manifest.json"), JSON.stringify({ startedAt: NOW, argv: ["--agents", "4"] }));
    const published = path.join(dir, "there", "experiments", "told");
    mkdirSync(path.join(published, "tables"), { recursive: true });
    writeFileSync(path.join(published, "experiment.json"), JSON.stringify(plan({ protocols: "a2a,acp", name: "told" })));
    writeFileSync(path.join(published, "tables", "summary-agents_8.md"), "| a table |\n");
    mkdirSync(path.join(dir, "there", "experiments", "broken"));
    writeFileSync(path.join(dir, "there", "experiments", "broken", "experiment.json"), '{"format"');
    const [listed, shown, missing, rule, told, again, twice] = await Promise.all([
      failstorm("list", "there"),
      failstorm("show", folder),
      failstorm("diff", "there", "there"),
      failstorm("diff", "a", "b", "--fail-on", "speed:+1%"),
      failstorm("show", published),
      failstorm("report", published),
      failstorm("diff", "a", "b", "--fail-on", "recovery_ms:+1%", "--fail-on", "recovery_ms:+50"),
    ]);
    expect([listed.code, listed.stderr]).toEqual([0, expect.stringMatching(/broken.experiment.json: is not readable/)]);
    expect(listed.stdout).toMatch(/told .*0 of 80/);
    expect(told.stdout).toContain("| a table |");
    expect([again.code, again.stderr]).toEqual([2, expect.stringMatching(/none of this experiment's runs is here/)]);
    expect([twice.code, twice.stderr]).toEqual([2, expect.stringMatching(/recovery_ms has a rule already, recovery_ms:\+1%/)]);
    expect(listed.stdout).toMatch(/2026-01-01 00:00.*simple_json.*no metrics/);
    expect(shown.stdout).toMatch(/command +failstorm --agents 4.*no metrics/s);
    expect([missing.code, missing.stderr]).toEqual([2, expect.stringMatching(/there: holds no failstorm_metrics.json/)]);
    expect([rule.code, rule.stderr]).toEqual([2, expect.stringMatching(/--fail-on speed:\+1%: must be MEASURE/)]);
  });
});
