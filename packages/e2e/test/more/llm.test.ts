import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ModelServer, startModelServer } from "../../src/modelServer.ts";
import { type EndedRun, openSandbox, words } from "../../src/runCli.ts";

const KEY = "sk-e2e-1f9c83b7d2a64e50";

const sandbox = openSandbox();
const servers: ModelServer[] = [];
afterAll(async () => {
  await sandbox.close();
  await Promise.all(servers.map((server) => server.close()));
});

/** A configuration with a local model, its key in the variable MY_MODEL_KEY. */
async function configure(name: string, faultEvery: number): Promise<{ file: string; server: ModelServer }> {
  const server = await startModelServer({ faultEvery });
  servers.push(server);
  const file = path.join(sandbox.dir, `${name}.yaml`);
  writeFileSync(
    file,
    `scenario: {agent_count: 4, kill_count: 1, runtime: 10, fault_time: 4, warmup: 1, seed: 5}
network: {heartbeat_interval: 0.3, heartbeat_timeout: 1}
tasks: {rate: 0.5, deadline: 5}
qa: {question_count: 40, passages: 300}
llm:
  type: local
  model: stand-in
  base_url: ${server.baseUrl}
  api_key: \${MY_MODEL_KEY}
  requests_per_minute: 60000
  prices: [{model: stand-in, prompt: 1, completion: 4}]
`,
  );
  return { file, server };
}

const filesBelow = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));

describe("a storm in which a model thinks, behind a server that goes wrong in every way, and repeats the key", () => {
  let run: EndedRun;
  let server: ModelServer;
  beforeAll(async () => {
    const made = await configure("storm", 12);
    server = made.server;
    run = await sandbox.run(["--config", made.file], { env: { MY_MODEL_KEY: KEY } });
  });

  it("ends in order: no invariant is broken, no task lost, no agent dies of it", () => {
    expect(run.code, run.stderr).toBe(0);
    expect(run.metrics.tasks_lost).toBe(0);
    expect(run.metrics.unexpected_exits).toEqual([]);
    expect(run.metrics.work.right).toBeGreaterThan(0);
  });

  it("sent the key with every request, and has it in none of its files", () => {
    expect([...server.authorizations]).toEqual([`Bearer ${KEY}`]);
    const files = filesBelow(run.dir);
    expect(files.some((file) => file.endsWith("spec.json"))).toBe(true);
    expect(files.filter((file) => readFileSync(file).includes(KEY))).toEqual([]);
    expect(run.stdout + run.stderr).not.toContain(KEY);
    expect(run.of("log").map(({ message }) => message)).toContainEqual(expect.stringContaining("HTTP 400: what is Bearer ***?"));
  });

  it("recorded every request with its tokens, and what went wrong as outcomes", () => {
    const calls = run.of("llm.call");
    // The last ones of a killed agent were never recorded.
    expect(calls.length).toBeLessThanOrEqual(server.requests());
    expect(calls.length).toBeGreaterThan(server.requests() * 0.9);
    const statuses = new Set(calls.map(({ status }) => status));
    for (const status of ["ok", "rate_limited", "server_error", "cut", "garbage", "rejected"] as const)
      expect(statuses, status).toContain(status);
    const { llm } = run.metrics;
    expect(llm).toMatchObject({ models: ["stand-in"], calls: calls.length, steps: run.of("llm.step").length });
    const whole = calls.filter(({ promptTokens }) => promptTokens !== null).length;
    expect(llm?.prompt_tokens).toBe(whole * 200);
    expect(llm?.cost).toBeCloseTo((whole * (200 + 30 * 4)) / 1e6, 6);
    expect(llm?.unknown_function_calls).toBeGreaterThan(0);
  });

  it("a step without a result is a step that failed, and only that", () => {
    const failed = run.of("llm.step").filter(({ outcome }) => outcome !== "ok");
    expect(failed.length).toBeGreaterThan(0);
    const ends = run.of("step.finished");
    for (const { src, inc, task, step, seq } of failed)
      expect(
        ends.find((end) => end.src === src && end.inc === inc && end.task === task && end.step === step && end.seq > seq),
      ).toMatchObject({
        ok: false,
      });
  });

  it("models asked other agents by send_message, over the protocol, and none of those asked on", () => {
    const messages = run.of("step.started").filter(({ step }) => step.includes(">"));
    expect(messages.length).toBeGreaterThan(0);
    expect(new Set(messages.map(({ tool }) => tool))).toEqual(new Set(["search"]));
    expect(messages.filter(({ step }) => step.split(">").length > 2)).toEqual([]);
    expect(messages.some(({ src, caller }) => src !== caller)).toBe(true);
  });
});

describe("a queue whose workers ask a model, one of them killed", () => {
  it("records every question once, and the key nowhere", async () => {
    const { file, server } = await configure("queue", 10);
    const results = path.join(sandbox.dir, "queue-results");
    const line = `queue --workers 2 --questions 120 --kill-fraction 0.5 --fault-time 1 --base-port 0 --results ${results} --config`;
    const { code, stdout, stderr } = await sandbox.cli([...words(line), file], { env: { MY_MODEL_KEY: KEY } });
    expect(code, stderr).toBe(0);
    expect(stdout + stderr).not.toContain(KEY);
    // The killed worker's next incarnation had it too.
    expect([...server.authorizations]).toEqual([`Bearer ${KEY}`]);
    const files = filesBelow(results);
    expect(files.filter((one) => readFileSync(one).includes(KEY))).toEqual([]);
    const found = files.find((one) => one.endsWith("queue_metrics.json"));
    const metrics = JSON.parse(readFileSync(found ?? "", "utf8")) as Record<string, number> & { llm: Record<string, number> };
    expect(metrics).toMatchObject({ recorded: 120, missing: 0, failed: 0 });
    expect(metrics["answered"]).toBeGreaterThan(60);
    expect(metrics.llm).toMatchObject({ models: ["stand-in"] });
    expect(metrics.llm["steps"]).toBeGreaterThanOrEqual(120);
  });
});

it("validate names the model, not the key; a variable that is not set is bad input", async () => {
  const { file } = await configure("validate", 0);
  const valid = await sandbox.cli(["validate", file, "--base-port", "0"], { env: { MY_MODEL_KEY: KEY } });
  expect(valid.code, valid.stderr).toBe(0);
  expect(valid.stdout).toMatch(/model +stand-in \(local\) at http:\/\/127\.0\.0\.1:\d+\/v1, with a key/);
  expect(valid.stdout + valid.stderr).not.toContain(KEY);
  const unset = await sandbox.cli([...words("--config"), file]);
  expect(unset.code).toBe(2);
  expect(unset.stderr).toMatch(/validate\.yaml:9:3: \$\{MY_MODEL_KEY\}: this environment variable is not set/);
});
