import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import type { Entry } from "../src/config/entry.ts";
import { loadConfig, type LoadedConfig, resolvedDocument } from "../src/config/load.ts";
import { parseWord } from "../src/config/yamlFile.ts";
import { projectRoot } from "../src/project.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "failstorm-config-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const flag = (name: string, key: string, word: string): Entry => ({
  path: key,
  value: parseWord(word),
  origin: { kind: "flag", name },
});

interface Given {
  yaml?: string;
  env?: Record<string, string>;
  flags?: Entry[];
  set?: string[];
  root?: string;
}

/** Loads with an empty project: no configs/failstorm.yaml, so only what the test says. */
function load({ yaml, env = {}, flags = [], set = [], root = dir }: Given): Promise<LoadedConfig> {
  if (yaml !== undefined) writeFileSync(path.join(dir, "storm.yaml"), yaml);
  const file = yaml === undefined ? null : "storm.yaml";
  return loadConfig({ flags, assignments: set, file, env, cwd: dir, root, drawSeed: () => 4711 });
}

const message = async (given: Given): Promise<string> => {
  try {
    await load(given);
  } catch (error) {
    expect((error as { code?: string }).code).toBe("BAD_INPUT");
    return (error as Error).message;
  }
  throw new Error("was accepted");
};

describe("defaults", () => {
  it("are those of the design, in ms", async () => {
    const { config, warnings } = await load({});
    expect(warnings).toEqual([]);
    expect(config.scenario).toEqual({
      name: "fail-storm",
      protocol: "simple_json",
      agentCount: 8,
      killFraction: 0.3,
      killCount: 2,
      fault: "sigkill",
      fakeFault: false,
      faultTimeMs: 60_000,
      runtimeMs: 120_000,
      warmupMs: 30_000,
      recoveryDurationMs: null,
      restartAfterMs: 20_000,
      cycles: 1,
      cycleIntervalMs: 60_000,
      seed: 4711,
      timeScale: 1,
    });
    expect(config.network).toMatchObject({ heartbeatIntervalMs: 1000, heartbeatTimeoutMs: 3000, connectionTimeoutMs: 10_000 });
    expect(config.network).toMatchObject({ basePort: 9000, redundancyLevel: 1, transportSignals: false, topology: "mesh" });
    expect(config.tasks).toEqual({ rate: 2, deadlineMs: 10_000, thinkTimeMs: 300, ttl: 15, attemptTimeoutMs: 4000 });
    expect(config.llm).toBeNull();
    expect(config.output.dir).toBe(path.join(dir, "results"));
  });

  it("are what configs/failstorm.yaml says, key by key", async () => {
    const own = await load({ root: projectRoot });
    const builtIn = await load({});
    const { output: ownOutput, ...ownRest } = own.settings;
    const { output: builtInOutput, ...builtInRest } = builtIn.settings;
    expect(ownRest).toEqual(builtInRest);
    expect(ownOutput.dir).toBe(path.join(projectRoot, "results"));
    expect(own.warnings).toEqual([]);
    expect(builtInOutput.metrics_port).toBe(ownOutput.metrics_port);
  });

  it("count victims by rounding, at least one, never all", async () => {
    const victims = async (agents: string, fraction: string): Promise<number> => {
      const flags = [
        flag("--agents", "scenario.agent_count", agents),
        flag("--kill-fraction", "scenario.kill_fraction", fraction),
      ];
      return (await load({ flags })).config.scenario.killCount;
    };
    expect(await victims("8", "0.3")).toBe(2);
    expect(await victims("10", "0.25")).toBe(3);
    expect(await victims("8", "0.01")).toBe(1);
    expect(await victims("8", "0")).toBe(0);
    expect(await victims("8", "1")).toBe(7);
    expect(await victims("1", "0.3")).toBe(0);
  });

  it("say that a single agent is not killed and that one of all survives", async () => {
    expect((await load({ yaml: "scenario: {agent_count: 1}" })).warnings).toEqual([expect.stringContaining("nobody is killed")]);
    expect((await load({ yaml: "scenario: {kill_fraction: 1}" })).warnings).toEqual([expect.stringContaining("7 are killed")]);
  });

  it("follow what is given: fault at half of the runtime, restart within what is left", async () => {
    const { config } = await load({ flags: [flag("--runtime", "scenario.runtime", "30")] });
    expect(config.scenario).toMatchObject({ faultTimeMs: 15_000, warmupMs: 7500, restartAfterMs: 5000 });
    const thinking = await load({ set: ["tasks.think_time=0.5"] });
    expect(thinking.config.tasks.attemptTimeoutMs).toBe(6500);
  });

  it("follow what is given: the timeout of swim is three periods, that of the others is not", async () => {
    const half = ["network.heartbeat_interval=0.5"];
    const timeoutOf = async (...set: string[]): Promise<number> => (await load({ set })).config.network.heartbeatTimeoutMs;
    expect(await timeoutOf("network.detector=swim")).toBe(3000);
    expect(await timeoutOf("network.detector=swim", ...half)).toBe(1500);
    expect(await timeoutOf("network.detector=swim", "network.heartbeat_timeout=4", ...half)).toBe(4000);
    expect(await timeoutOf(...half)).toBe(3000);
    expect(await timeoutOf("network.detector=phi-accrual", ...half)).toBe(3000);
  });
});

describe("layers", () => {
  const yaml = "scenario:\n  seed: 1\nnetwork:\n  heartbeat_timeout: 5\n";
  it("put the command line over the environment over the file over the default", async () => {
    const env = { FAILSTORM_SCENARIO_SEED: "2" };
    const flags = [flag("--seed", "scenario.seed", "3")];
    expect((await load({ yaml })).config.scenario.seed).toBe(1);
    expect((await load({ yaml, env })).config.scenario.seed).toBe(2);
    const all = await load({ yaml, env, flags });
    expect(all.config.scenario.seed).toBe(3);
    expect(all.config.network.heartbeatTimeoutMs).toBe(5000);
  });

  it("let a higher count replace a lower fraction, and the reverse", async () => {
    const byCount = await load({
      yaml: "scenario: {kill_fraction: 0.5}",
      flags: [flag("--kill-count", "scenario.kill_count", "3")],
    });
    expect(byCount.config.scenario).toMatchObject({ killCount: 3, killFraction: 3 / 8 });
    const byFraction = await load({
      yaml: "scenario: {kill_count: 3}",
      flags: [flag("--kill-fraction", "scenario.kill_fraction", "0.5")],
    });
    expect(byFraction.config.scenario).toMatchObject({ killCount: 4, killFraction: 0.5 });
    expect(await message({ yaml: "scenario:\n  kill_fraction: 0.5\n  kill_count: 3\n" })).toMatch(
      /storm.yaml:2:3: scenario.kill_fraction 0.5 and storm.yaml:3:3: scenario.kill_count 3: give only one/,
    );
  });

  it("take a protocol's section from configs/<protocol>.yaml, below everything else", async () => {
    mkdirSync(path.join(dir, "configs"));
    writeFileSync(
      path.join(dir, "configs", "simple_json.yaml"),
      "scenario: {seed: 99}\nsimple_json: {extra_header_bytes: 500}\n",
    );
    const alone = await load({});
    expect(alone.config.protocolConfig).toEqual({ extra_header_bytes: 500 });
    expect(alone.config.scenario.seed).toBe(4711);
    const env = { FAILSTORM_SIMPLE_JSON_EXTRA_HEADER_BYTES: "7" };
    expect((await load({ env })).config.protocolConfig).toEqual({ extra_header_bytes: 7 });
    expect(await message({ set: ["simple_json.bytes=1"] })).toMatch(/simple_json\.bytes: unknown key/);
  });

  it("reject a variable of a known section with an unknown key, warn of others", async () => {
    expect(await message({ env: { FAILSTORM_SCENARIO_AGENT_COUNTS: "3" } })).toMatch(
      /FAILSTORM_SCENARIO_AGENT_COUNTS: there is no such key; did you mean FAILSTORM_SCENARIO_AGENT_COUNT\?/,
    );
    expect((await load({ env: { FAILSTORM_HOME: "x" } })).warnings).toEqual([expect.stringContaining("FAILSTORM_HOME")]);
  });

  it("resolve paths against where the user is", async () => {
    mkdirSync(path.join(dir, "shards"));
    const { config } = await load({ set: ["qa.corpus=shards", "output.dir=out"] });
    expect(config.qa).toMatchObject({ source: "corpus", corpus: path.join(dir, "shards") });
    expect(config.output.dir).toBe(path.join(dir, "out"));
  });
});

describe("older configurations", () => {
  const cases: [string, string, (loaded: LoadedConfig) => unknown, unknown][] = [
    ["agents: 5", "scenario.agent_count", ({ config }) => config.scenario.agentCount, 5],
    ["fault_percentage: 0.5", "scenario.kill_fraction", ({ config }) => config.scenario.killCount, 4],
    ["scenario: {fault_percentage: 50}", "scenario.kill_fraction", ({ config }) => config.scenario.killCount, 4],
    ["scenario: {fault_injection_time: 40}", "scenario.fault_time", ({ config }) => config.scenario.faultTimeMs, 40_000],
    ["duration: 60", "scenario.runtime", ({ config }) => config.scenario.runtimeMs, 60_000],
    ["scenario: {total_runtime: 60}", "scenario.runtime", ({ config }) => config.scenario.runtimeMs, 60_000],
    ["fault_injection: {random_seed: 5}", "scenario.seed", ({ config }) => config.scenario.seed, 5],
    ["topology: {type: ring}", "network.topology", ({ config }) => config.network.topology, "ring"],
    ["agents: {base_port: 9500}", "network.base_port", ({ config }) => config.network.basePort, 9500],
  ];
  it.each(cases)("%s is taken as %s, with a warning", async (yaml, key, read, expected) => {
    const loaded = await load({ yaml });
    expect(read(loaded)).toBe(expected);
    expect(loaded.warnings[0]).toMatch(/^storm\.yaml:1:\d+: .* is deprecated; write /);
    expect(loaded.warnings[0]).toContain(`write ${key}`);
  });

  it("custom_edges, as numbers or ids", async () => {
    const yaml = "agents: 3\ntopology:\n  type: custom\n  custom_edges: [[0, 1], [agent-1, agent-2]]\n";
    expect((await load({ yaml })).config.network.customEdges).toEqual([
      ["agent-0", "agent-1"],
      ["agent-1", "agent-2"],
    ]);
  });

  it("say a key twice under two names: both places are named", async () => {
    expect(await message({ yaml: "scenario:\n  runtime: 60\n  duration: 50\n" })).toMatch(
      /storm\.yaml:3:3: scenario\.runtime 50: scenario\.runtime was already given by storm\.yaml:2:3/,
    );
  });
});

describe("bad input", () => {
  const bad: [string, Given, RegExp][] = [
    [
      "no agents",
      { flags: [flag("--agents", "scenario.agent_count", "0")] },
      /^--agents 0: must be a whole number from 1 to 1000, for example 8$/,
    ],
    [
      "too many agents",
      { flags: [flag("--agents", "scenario.agent_count", "10000")] },
      /^--agents 10000: must be a whole number from 1 to 1000/,
    ],
    ["half an agent", { flags: [flag("--agents", "scenario.agent_count", "2.5")] }, /^--agents 2.5: must be a whole number/],
    [
      "fraction 1.5",
      { flags: [flag("--kill-fraction", "scenario.kill_fraction", "1.5")] },
      /^--kill-fraction 1.5: must be a number from 0 to 1, for example 0.3$/,
    ],
    [
      "fraction NaN",
      { flags: [flag("--kill-fraction", "scenario.kill_fraction", "NaN")] },
      /^--kill-fraction NaN: must be a number from 0 to 1/,
    ],
    [
      "fraction .nan",
      { yaml: "scenario:\n  kill_fraction: .nan\n" },
      /^storm.yaml:2:3: scenario.kill_fraction NaN: must be a number from 0 to 1/,
    ],
    ["an empty value", { set: ["scenario.runtime="] }, /^--set scenario.runtime="": must be a number of seconds/],
    [
      "all killed",
      { flags: [flag("--kill-count", "scenario.kill_count", "8")] },
      /^--kill-count 8: of 8 agents at most 7 can be killed/,
    ],
    [
      "fault after the end",
      { flags: [flag("--fault-time", "scenario.fault_time", "150")] },
      /^--fault-time 150: .*not before the end of the run \(scenario.runtime 120 \(default\)\); give an earlier --fault-time or a longer --runtime$/,
    ],
    [
      "fault at the end",
      { yaml: "scenario:\n  fault_time: 60\n", flags: [flag("--runtime", "scenario.runtime", "60")] },
      /^storm.yaml:2:3: scenario.fault_time 60: .*\(--runtime 60\)/,
    ],
    [
      "last cycle after the end",
      { set: ["scenario.cycles=5", "scenario.cycle_interval=20"] },
      /scenario.cycles=5: the last fault would come at 140 s/,
    ],
    [
      "cycles that stop more than there are",
      { set: ["scenario.cycles=3", "scenario.fault=sigstop", "scenario.kill_count=3"] },
      /^--set scenario.cycles=3: 3 × 3 victims that are continued only at the end are more than 7 of 8 agents; give fewer cycles/,
    ],
    [
      "restart after the end",
      { flags: [flag("--restart-after", "scenario.restart_after", "70")] },
      /^--restart-after 70: .*give less than 60, or --no-restart/,
    ],
    [
      "a restart of those that only stop",
      { set: ["scenario.fault=sigstop", "scenario.restart_after=10"] },
      /^--set scenario.restart_after=10: victims of sigstop are .* continued at the end of the run; leave it out, or strike with --fault sigkill$/,
    ],
    [
      "timeout within the interval",
      { set: ["network.heartbeat_interval=3"] },
      /^network.heartbeat_timeout 3 \(default\): must be longer than the heartbeat interval \(3 s\)/,
    ],
    [
      "attempts shorter than thinking",
      { set: ["tasks.think_time=20"] },
      /attempt_timeout .*must be longer than the mean think time/,
    ],
    [
      "an unknown detector",
      { flags: [flag("--detector", "network.detector", "guess")] },
      /^--detector guess: must be one of heartbeat, phi-accrual, swim$/,
    ],
    [
      "an unknown protocol",
      { flags: [flag("--protocol", "scenario.protocol", "smtp")] },
      /^--protocol smtp: no such protocol; choose one of .*simple_json/,
    ],
    [
      "an unknown protocol in a file",
      { yaml: "scenario:\n  protocol: smtp\n" },
      /^storm.yaml:2:3: scenario.protocol smtp: no such protocol/,
    ],
    [
      "an unknown key",
      { yaml: "scenario:\n  seed: 1\n  kil_fraction: 0.2\n" },
      /^storm.yaml:3:3: unknown key scenario.kil_fraction; did you mean scenario.kill_fraction\?$/,
    ],
    [
      "an unknown section",
      { yaml: "seed: 1\nnetwrk:\n  base_port: 1\n" },
      /storm.yaml:3:3: unknown key netwrk.base_port; did you mean network.base_port\?/,
    ],
    [
      "a key without its section",
      { yaml: "heartbeat_timeout: 3" },
      /storm.yaml:1:1: unknown key heartbeat_timeout; did you mean network.heartbeat_timeout\?/,
    ],
    [
      "an unknown --set key",
      { set: ["scenario.sed=1"] },
      /^--set scenario.sed: unknown key scenario.sed; did you mean scenario.seed\?/,
    ],
    ["--set without =", { set: ["scenario.seed"] }, /^--set scenario.seed: must be key=value/],
    ["a section that is a value", { yaml: "network: 5" }, /^storm.yaml:1:1: network 5: must be a section with keys below it/],
    ["unreadable YAML", { yaml: "scenario:\n  seed: [1\nnetwork: {}\n" }, /^storm.yaml:\d+:\d+: not readable as YAML: /],
    ["a key said twice", { yaml: "scenario:\n  seed: 1\n  seed: 2\n" }, /^storm.yaml:3:3: not readable as YAML: .*unique/],
    ["a list as a file", { yaml: "- 1\n- 2\n" }, /^storm.yaml:1:1: must be sections/],
    [
      "a variable that is not set",
      { yaml: "scenario:\n  seed: ${NO_SUCH_SEED}\n" },
      /^storm.yaml:2:3: \$\{NO_SUCH_SEED\}: this environment variable is not set/,
    ],
    [
      "ports beyond the last",
      { set: ["network.base_port=65530"] },
      /base_port=65530: 8 agents need ports up to 65537; give at most 65528, or 0 for any/,
    ],
    [
      "more holders than agents",
      { set: ["network.redundancy_level=8"] },
      /redundancy_level=8: a shard of 8 agents can have at most 7 further holders/,
    ],
    ["custom without edges", { set: ["network.topology=custom"] }, /custom topology must connect all 8 agents/],
    [
      "an edge to nobody",
      { set: ["network.topology=custom", "network.custom_edges=[[0,9]]"] },
      /\[0, 9\] must join two different agents from 0 to 7/,
    ],
    ["a corpus that is not there", { set: ["qa.corpus=nowhere"] }, /qa.corpus=.*nowhere: there is no such folder/],
    [
      "a document without questions",
      { set: ["qa.document=d.txt"] },
      /a document needs questions about it; give --questions FILE/,
    ],
    [
      "several protocols",
      { yaml: "protocols:\n  a2a: {enabled: true}\n" },
      /^storm.yaml:2:9: meta.protocols.a2a.enabled true: only used when several protocols are mixed; for that give --protocol meta/,
    ],
    ["hops of five", { set: ["qa.hops=5"] }, /qa.hops=5: must be a list of whole numbers from 1 to 4/],
  ];
  it.each(bad)("%s", async (_, given, expected) => {
    expect(await message(given)).toMatch(expected);
  });

  it("names every problem at once", async () => {
    const said = await message({ yaml: "scenario:\n  agent_count: 0\n  fault: poison\ntasks:\n  rate: fast\n" });
    expect(said.split("\n").map((line) => line.slice(0, "storm.yaml:2:3".length))).toEqual([
      "storm.yaml:2:3",
      "storm.yaml:3:3",
      "storm.yaml:5:3",
    ]);
  });
});

it("says what a corpus of one's own makes useless", async () => {
  const { warnings } = await load({ set: ["qa.corpus=.", "qa.hops=[2]", "qa.question_count=50"] });
  expect(warnings).toEqual([
    "--set qa.question_count=50: not used, as no questions are generated",
    "--set qa.hops=[2]: not used, as no questions are generated",
  ]);
});

describe("files", () => {
  it("expand variables, as numbers when not quoted", async () => {
    const yaml = 'scenario:\n  seed: ${SEED}\n  agent_count: ${AGENTS:-4}\noutput:\n  dir: "${HOME_DIR}/$$x"\n';
    const { config } = await load({ yaml, env: { SEED: "12", HOME_DIR: "/h" } });
    expect(config.scenario).toMatchObject({ seed: 12, agentCount: 4 });
    expect(config.output.dir).toBe("/h/$x");
  });

  it("leave out an empty section", async () => {
    expect((await load({ yaml: "scenario:\nnetwork:\n  base_port: 0\n" })).config.network.basePort).toBe(0);
  });

  it("run the same again from the resolved document", async () => {
    const first = await load({ yaml: "scenario: {agent_count: 12, kill_count: 3, restart_after: never, time_scale: 0.5}\n" });
    const again = await load({ yaml: stringify(resolvedDocument(first)) });
    expect(again.config).toEqual(first.config);
  });

  it.each(["a2a", "acp", "agora", "anp", "meta", "simple_json"])("run the same again as configs/%s.yaml has it", async (name) => {
    const protocol = flag("--protocol", "scenario.protocol", name);
    const first = await load({ flags: [protocol], root: projectRoot });
    const again = await load({ yaml: stringify(resolvedDocument(first)) });
    expect(again.config).toEqual(first.config);
  });

  it("record no secret", async () => {
    const loaded = await load({});
    const document = resolvedDocument({ ...loaded, protocolSection: { bearer_token: "s3cret", max_tokens: 5 } });
    expect(parse(stringify(document))).toMatchObject({ simple_json: { bearer_token: "***", max_tokens: 5 } });
  });
});

describe("time scale", () => {
  it("shrinks every time together and keeps the rate", async () => {
    const { config } = await load({ flags: [flag("--time-scale", "scenario.time_scale", "0.1")] });
    expect(config.scenario).toMatchObject({ runtimeMs: 12_000, faultTimeMs: 6000, warmupMs: 3000, restartAfterMs: 2000 });
    expect(config.network).toMatchObject({
      heartbeatIntervalMs: 100,
      heartbeatTimeoutMs: 300,
      connectionTimeoutMs: 1000,
      ledgerSyncMs: 100,
    });
    expect(config.tasks).toMatchObject({ deadlineMs: 1000, thinkTimeMs: 30, attemptTimeoutMs: 400, rate: 2 });
  });

  it("leaves whole what becomes the deadline of a request", async () => {
    const { config } = await load({ flags: [flag("--time-scale", "scenario.time_scale", "0.12345")] });
    expect(config.network.connectionTimeoutMs).toBe(1235);
    expect(config.tasks.attemptTimeoutMs).toBe(494);
  });
});

describe("network settings", () => {
  it("says when a ring has agents farther away than messages may travel", async () => {
    const ring = "network: {topology: ring}\nscenario: {agent_count: 40}";
    expect((await load({ yaml: ring })).warnings).toEqual([expect.stringContaining("give --ttl 20")]);
    expect((await load({ yaml: `${ring}\ntasks: {ttl: 20}` })).warnings).toEqual([]);
  });

  it("leaves out of the run what is not asked for", async () => {
    expect((await load({})).config.network).not.toHaveProperty("predictive");
    expect((await load({ yaml: "network: {predictive: true}" })).config.network).toMatchObject({ predictive: true });
  });
});

describe("a network of several protocols", () => {
  const MODULE = `
    const unused = () => { throw new Error("not called"); };
    export const protocol = {
      getProtocolInfo: () => ({ name: "mixed", version: "1", description: "", features: [], heartbeat: "added", capabilities: {} }),
      getReconnectionInfo: unused,
      parseConfig: (section) => section.order ?? ["a2a", "anp"],
      hosts: (order, agents) => Array.from({ length: agents }, (_, index) => [order[index % order.length]]),
      createBackend: unused,
    };`;
  const mixed = (flags: Entry[] = [], yaml = ""): Promise<LoadedConfig> => {
    writeFileSync(path.join(dir, "mixed.mjs"), MODULE);
    return load({ flags: [flag("--protocol", "scenario.protocol", "./mixed.mjs"), ...flags], yaml });
  };
  const kill = flag("--kill-protocol", "scenario.kill_protocol", "anp");

  it("fills in what each agent hosts, from its own section", async () => {
    const { hosts } = (await mixed([], "scenario: {agent_count: 3}\nmixed: {order: [acp, agora]}")).config.scenario;
    expect(hosts).toEqual([["acp"], ["agora"], ["acp"]]);
    expect((await load({})).config.scenario).not.toHaveProperty("hosts");
  });

  it("takes share and number of the victims of those that host --kill-protocol", async () => {
    const storm = async (...flags: Entry[]): Promise<unknown> => {
      const { killProtocol, killCount, killFraction } = (await mixed([kill, ...flags])).config.scenario;
      return [killProtocol, killCount, killFraction];
    };
    expect(await storm()).toEqual(["anp", 1, 0.3]);
    expect(await storm(flag("--kill-fraction", "scenario.kill_fraction", "1"))).toEqual(["anp", 4, 1]);
    expect(await storm(flag("--kill-count", "scenario.kill_count", "3"))).toEqual(["anp", 3, 0.75]);
    expect(await storm(flag("--kill-fraction", "scenario.kill_fraction", "0"))).toEqual(["anp", 0, 0]);
    await expect(storm(flag("--kill-count", "scenario.kill_count", "5"))).rejects.toThrow(
      "--kill-count 5: only 4 agents host anp; give at most that",
    );
  });

  it("takes the section protocols of older configurations for that of meta", async () => {
    const yaml =
      "scenario: {protocol: meta, agent_count: 4}\nprotocols:\n  anp: {agent_count: 3}\n  acp: {enabled: false}\n  agora: {enabled: false}\n";
    const { config, warnings } = await load({ yaml });
    expect(config.scenario.hosts?.flat().toSorted()).toEqual(["a2a", "anp", "anp", "anp"]);
    expect(warnings).toHaveLength(3);
    expect(warnings[0]).toBe("storm.yaml:3:9: protocols.anp.agent_count is deprecated; write meta.protocols.anp.agent_count");
    const unused = await load({ yaml, flags: [flag("--protocol", "scenario.protocol", "simple_json")] });
    expect(unused.config.scenario).not.toHaveProperty("hosts");
    expect(unused.warnings.at(-1)).toMatch(
      /protocols.anp.agent_count 3: only used when several protocols are mixed; .*--protocol meta/,
    );
  });

  it("spares one agent of the network when all host it", async () => {
    const { config, warnings } = await mixed([kill], "mixed: {order: [anp]}\nscenario: {kill_fraction: 1}");
    expect(config.scenario.killCount).toBe(7);
    expect(warnings).toEqual([expect.stringContaining("one must survive")]);
  });

  it("rejects a protocol that nobody hosts, or where all speak one", async () => {
    await expect(mixed([flag("--kill-protocol", "scenario.kill_protocol", "acp")])).rejects.toThrow(
      "--kill-protocol acp: no agent hosts it; the network has a2a, anp",
    );
    await expect(load({ flags: [kill] })).rejects.toThrow(
      "--kill-protocol anp: all agents speak the same protocol, there are none to choose; give --protocol meta",
    );
  });

  it("runs the same again from the resolved document", async () => {
    const first = await mixed([kill]);
    const again = await mixed(
      [],
      stringify({
        ...resolvedDocument(first),
        scenario: { ...(resolvedDocument(first)["scenario"] as object), protocol: undefined },
      }).replace("  protocol: null\n", ""),
    );
    expect(again.config).toEqual(first.config);
  });
});
