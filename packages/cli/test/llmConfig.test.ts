import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { FakeClock } from "@failstorm/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { modelWarning } from "../src/config/llm.ts";
import { loadConfig, type LoadedConfig, resolvedDocument } from "../src/config/load.ts";
import { planExperiment } from "../src/experiment/plan.ts";
import { readSpec } from "../src/experiment/spec.ts";
import { describeRun } from "../src/run/manifest.ts";

const KEY = "sk-s3cret-0123456789";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "failstorm-llm-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Given {
  yaml?: string;
  env?: Record<string, string>;
  set?: string[];
}

function load({ yaml = "", env = {}, set = [] }: Given): Promise<LoadedConfig> {
  writeFileSync(path.join(dir, "storm.yaml"), yaml);
  return loadConfig({ flags: [], assignments: set, file: "storm.yaml", env, cwd: dir, root: dir, drawSeed: () => 1 });
}

async function message(given: Given): Promise<string> {
  const error: unknown = await load(given).then(
    () => new Error("was accepted"),
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ code: "BAD_INPUT" });
  return (error as Error).message;
}

const LOCAL = "llm: {type: local, model: tiny, base_url: 'http://127.0.0.1:8080/v1/'}";

describe("which model thinks", () => {
  it("none, unless one is configured", async () => {
    for (const yaml of [
      "",
      "llm: {type: null, model: null, max_tokens: null}",
      "llm: {type: off, model: gpt}",
      "llm: {type: none}",
    ]) {
      const { config, llmKey } = await load({ yaml });
      expect([config.llm, llmKey], yaml).toEqual([null, null]);
    }
  });

  it("a local one needs no key", async () => {
    const { config, llmKey, warnings, settings } = await load({ yaml: LOCAL });
    expect(modelWarning(settings)).toMatch(/tasks\.deadline 10: .* less time than one request .*llm\.timeout 30/);
    expect(config.llm).toEqual({
      type: "local",
      model: "tiny",
      baseUrl: "http://127.0.0.1:8080/v1",
      maxTokens: 1024,
      temperature: null,
      timeoutMs: 30_000,
      retries: 2,
      requestsPerMinute: null,
      stream: true,
      maxRounds: 6,
      price: null,
    });
    expect(llmKey).toBeNull();
    expect(warnings).toEqual([]);
  });

  it.each([
    ["openai", "https://api.openai.com/v1", "OPENAI_API_KEY"],
    ["nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"],
  ])("%s: its public URL, and the key from the variable its users have", async (type, baseUrl, variable) => {
    const yaml = `llm: {type: ${type}, model: m}`;
    const { config, llmKey } = await load({ yaml, env: { [variable]: `${KEY}\n` } });
    expect(config.llm).toMatchObject({ type, baseUrl });
    expect(llmKey).toBe(KEY);
    expect(await message({ yaml })).toMatch(
      new RegExp(`storm.yaml:1:\\d+: llm.type ${type}: needs a key; .*${variable} or FAILSTORM_LLM_API_KEY`),
    );
  });

  it.each([
    "core: {type: openai, name: gpt, openai_api_key: s3cret, temperature: 0.1}",
    "llm: {model: {type: openai, name: gpt, openai_api_key: s3cret, temperature: 0.1}}",
    "llm: {type: openai, model: gpt, temperature: 0.1}\nopenai_api_key: s3cret",
  ])("older sections: %s", async (yaml) => {
    const { config, llmKey, warnings } = await load({ yaml });
    expect(config.llm).toMatchObject({ type: "openai", model: "gpt", temperature: 0.1 });
    expect(llmKey).toBe("s3cret");
    expect(warnings.length).toBeGreaterThan(0);
    expect(warnings.join("\n")).not.toContain("s3cret");
  });

  it("the price is that of the model; times are scaled with all others", async () => {
    const prices = "prices: [{model: big, prompt: 3, completion: 9}, {model: tiny, prompt: 0.5, completion: 2}]";
    const yaml = `${LOCAL.slice(0, -1)}, ${prices}, timeout: 20, requests_per_minute: 90}\nscenario: {time_scale: 0.5}`;
    const { config } = await load({ yaml });
    expect(config.llm).toMatchObject({ price: { prompt: 0.5, completion: 2 }, timeoutMs: 10_000, requestsPerMinute: 90 });
  });

  it("a step may take as long as a request, where nothing else is said", async () => {
    const yaml = `${LOCAL}\ntasks: {deadline: 120}`;
    expect((await load({ yaml })).config.tasks.attemptTimeoutMs).toBe(30_000);
    expect((await load({ yaml: LOCAL })).config.tasks.attemptTimeoutMs).toBe(10_000);
    expect((await load({ yaml: "tasks: {deadline: 120}" })).config.tasks.attemptTimeoutMs).toBe(4_000);
  });

  it("says what is not used, and what is not safe", async () => {
    const { warnings } = await load({
      yaml: `llm: {type: local, model: tiny, base_url: 'http://models.example/v1', api_key: ${KEY}, prices: [{model: x, prompt: 1, completion: 1}]}\ntasks: {think_time: 1}`,
    });
    expect(warnings).toEqual([
      expect.stringContaining("llm.base_url http://models.example/v1: the key travels unencrypted"),
      expect.stringContaining("llm.prices: has no price for tiny"),
      expect.stringContaining("tasks.think_time: not used, as a model thinks"),
    ]);
    const slow = await load({ yaml: `${LOCAL}\n`, set: ["llm.timeout=301", "llm.stream=false"] });
    expect(slow.warnings).toEqual([
      "--set llm.timeout 301: a reply that says nothing for 300 s is given up all the same; with llm.stream true it may take longer as a whole",
    ]);
  });
});

describe("the key", () => {
  const yaml = "llm:\n  type: openai\n  model: gpt\n  api_key: ${MY_KEY}\n";

  it("comes from a variable; one that is not set is named", async () => {
    expect((await load({ yaml, env: { MY_KEY: KEY } })).llmKey).toBe(KEY);
    expect(await message({ yaml })).toMatch(/storm\.yaml:4:3: \$\{MY_KEY\}: this environment variable is not set/);
  });

  it("is characters and nothing else: no number, no comment, no truth value", async () => {
    for (const odd of ["0123", "1e5", "true", "a#b", "[x]", "~"]) {
      expect((await load({ yaml, env: { MY_KEY: odd } })).llmKey, `\${} ${odd}`).toBe(odd);
      const bare = "llm: {type: openai, model: gpt}";
      expect((await load({ yaml: bare, env: { FAILSTORM_LLM_API_KEY: odd } })).llmKey, `env ${odd}`).toBe(odd);
      expect((await load({ yaml: bare, set: [`llm.api_key=${odd}`] })).llmKey, `--set ${odd}`).toBe(odd);
    }
  });

  it("in the environment without a model is no mistake, and goes nowhere", async () => {
    const { config, llmKey } = await load({ env: { FAILSTORM_LLM_API_KEY: KEY, OPENAI_API_KEY: KEY } });
    expect([config.llm, llmKey]).toEqual([null, null]);
    const alone = { FAILSTORM_LLM_API_KEY: KEY, FAILSTORM_LLM_MODEL: "gpt" };
    expect(await message({ env: alone })).toMatch(/^FAILSTORM_LLM_MODEL=gpt: a model needs llm\.type: openai, nvidia, local/);
    expect((await load({ env: alone, set: ["llm.type=off"] })).config.llm).toBeNull();
  });

  it("is in nothing that is recorded", async () => {
    const loaded = await load({ yaml, env: { MY_KEY: KEY } });
    const manifest = await describeRun({
      runId: "r",
      config: loaded.config,
      machine: {} as never,
      argv: ["--set", `llm.api_key=${KEY}`, "--set", `openai_api_key=${KEY}`, `--set=core.nvidia_api_key=${KEY}`],
      clock: new FakeClock(0),
    });
    const { llmKey: _, ...rest } = loaded;
    const document = resolvedDocument(loaded);
    expect(JSON.stringify([manifest, rest, document])).not.toContain("s3cret");
    expect(document["llm"]).toMatchObject({ type: "openai", model: "gpt", base_url: "https://api.openai.com/v1" });
  });

  it("is neither in a manifest nor in a message, however its option is written", async () => {
    const written = [
      `llm.api_key =${KEY}`,
      `--set=llm.api_key = ${KEY}`,
      `llm.api_key:${KEY}`,
      `llm={type: openai, api_key: ${KEY}}`,
      `llm.apiKey=${KEY}`,
    ];
    const manifest = await describeRun({
      runId: "r",
      config: (await load({})).config,
      machine: {} as never,
      argv: [...written, "--set", "scenario.seed=7", "--corpus", "/data/keys=1", "tasks.rate=2"],
      clock: new FakeClock(0),
    });
    expect(JSON.stringify(manifest)).not.toContain("s3cret");
    expect(manifest["argv"]).toEqual(expect.arrayContaining(["scenario.seed=7", "/data/keys=1", "tasks.rate=2"]));
    expect((await load({ yaml: "llm: {type: openai, model: gpt}", set: [written[0] ?? ""] })).llmKey).toBe(KEY);
    for (const set of written.slice(2)) expect(await message({ set: [set] }), set).not.toContain("s3cret");
    expect(await message({ yaml: `llm: [{api_key: ${KEY}}]` })).toMatch(/llm \[\{"api_key":"\*\*\*"\}\]/);
  });

  it("is looked for again when the recorded configuration is run again", async () => {
    const first = await load({ yaml, env: { MY_KEY: KEY } });
    const recorded = stringify(resolvedDocument(first));
    const again = await load({ yaml: recorded, env: { OPENAI_API_KEY: "sk-another" } });
    expect(again.config.llm).toEqual(first.config.llm);
    expect(again.llmKey).toBe("sk-another");
    expect(await message({ yaml: recorded })).toMatch(/needs a key/);
  });

  it("is in no experiment that is written down, whatever it is called there", () => {
    const origin = { kind: "flag", name: "--set" } as const;
    const said = Object.entries({
      "factors.protocol": ["a2a", "acp"],
      "settings.llm.type": "openai",
      "settings.llm.api_key": KEY,
      "settings.openai_api_key": KEY,
    }).map(([at, value]) => ({ path: at, value, origin }));
    const experiment = planExperiment(readSpec([said]), "2026-11-21");
    expect(experiment.settings).toEqual({ "llm.type": "openai" });
    expect(JSON.stringify(experiment)).not.toContain(KEY);
  });

  it.each([
    ["two words", "sk s3cret"],
    ["a line end within", "sk-s3\ncret"],
    ["what stands for one", "***"],
  ])("%s is none, and is not repeated", async (_what, key) => {
    const said = await message({ yaml, env: { MY_KEY: key } });
    expect(said).toMatch(/storm\.yaml:4:3: llm\.api_key: /);
    expect(said).not.toContain("s3");
  });

  it("${VARIABLE} on the command line is not replaced: said", async () => {
    expect(await message({ yaml: "llm: {type: openai, model: gpt}", set: ["llm.api_key=${MY_KEY}"] })).toMatch(
      /--set llm\.api_key.*is replaced in files only/,
    );
  });
});

describe("bad input", () => {
  it.each([
    ["llm: {type: gemini, model: x}", /llm\.type gemini: must be one of openai, nvidia, local, or off/],
    ["llm: {type: local, base_url: 'http://x/v1'}", /llm\.type local: which model\? name it as llm\.model/],
    ["llm: {type: local, model: x}", /llm\.type local: where is it\? give llm\.base_url/],
    [
      "llm: {type: local, model: x, base_url: 'localhost:8080'}",
      /llm\.base_url localhost:8080: must be a URL with http or https/,
    ],
    ["llm: {type: local, model: x, base_url: nowhere}", /llm\.base_url nowhere: must be a URL with http or https/],
    ["llm: {model: gpt}", /llm\.model gpt: a model needs llm\.type: openai, nvidia, local/],
    ["core: {temperature: 0.1}", /llm\.temperature 0\.1: a model needs llm\.type/],
    ["nvidia_api_key: s3cret", /llm\.api_key \*\*\*: a model needs llm\.type/],
    ["llm: {type: openai, model: x, max_tokens: 0}", /llm\.max_tokens 0: must be a whole number from 1/],
    ["llm: {type: openai, model: x, temperature: 3}", /llm\.temperature 3: must be a number from 0 to 2/],
    ["llm: {type: openai, model: x, retries: -1}", /llm\.retries -1: must be a whole number from 0/],
    ["llm: {type: openai, model: x, requests_per_minute: 0}", /llm\.requests_per_minute 0: must be a number from 0\.1/],
    ["llm: {type: openai, model: x, prices: [{model: x}]}", /llm\.prices .*must be a list of prices/],
    ["llm: {type: openai, model: x, timout: 3}", /unknown key llm\.timout; did you mean llm\.timeout/],
  ])("%s", async (yaml, expected) => {
    const said = await message({ yaml });
    expect(said).toMatch(expected);
    expect(said).toMatch(/storm\.yaml:1:\d+: /);
    expect(said).not.toContain("s3cret");
  });

  it("a URL with a password in it is not repeated", async () => {
    for (const url of ["https://me:s3cret@models.example/v1", "https://models.example/v1?key=s3cret"]) {
      const said = await message({ yaml: `llm: {type: local, model: x, base_url: '${url}'}` });
      expect(said).toMatch(/storm\.yaml:1:\d+: llm\.base_url: must have no user, password or query/);
      expect(said).not.toContain("s3cret");
    }
  });
});
