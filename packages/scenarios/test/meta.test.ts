import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { type AgentExecutor, type AgentId, type DirectRequest, InputError, type RunConfig, systemClock } from "@failstorm/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createFailstormMetaNetwork, type FailstormMetaNetwork, type MetaNetworkOptions } from "../src/index.ts";
import { RecoveryLog } from "../src/meta/recovery.ts";
import { Tally } from "../src/meta/tally.ts";

const HOSTS = [["a2a"], ["acp"], ["agora"], ["anp"], ["a2a", "acp"]];
const IDS = HOSTS.map((_, index) => `agent-${index}`);

const configOf = (scenario: Partial<RunConfig["scenario"]> = {}): RunConfig =>
  ({
    scenario: { name: "fail-storm", protocol: "meta", agentCount: HOSTS.length, hosts: HOSTS, seed: 5, ...scenario },
    network: { connectionTimeoutMs: 5000 },
    tasks: { attemptTimeoutMs: 5000, deadlineMs: 3000 },
    qa: { topK: 5 },
    protocolConfig: {},
  }) as unknown as RunConfig;

/** Answers a tool step with who did it and what it was given; agent-1 cannot reason. */
const executorOf = (agent: AgentId): AgentExecutor => ({
  async execute({ payload, from }, queue) {
    const data = "parts" in payload ? (payload.parts[0] as { data: { body: { tool?: string; input?: unknown } } }).data : null;
    if (data?.body.tool === "reason" && agent === "agent-1") throw new Error("no reason here");
    const answer = { ok: true, data: { agent, from, input: data?.body.input } };
    queue.enqueue({ type: "agent_parts_message", parts: [{ kind: "data", data: answer }] });
  },
  cancel: async () => undefined,
});

const capabilitiesOf = (agent: AgentId): readonly string[] =>
  ["agent-0", "agent-1"].includes(agent) ? ["tool:search", "tool:reason"] : ["tool:search"];

let dir: string;
const open = (agents: Partial<MetaNetworkOptions["agents"]> = {}, config = configOf()): Promise<FailstormMetaNetwork> =>
  createFailstormMetaNetwork(config, {
    runDir: mkdtempSync(path.join(dir, "run-")),
    agents: { kind: "in-process", executorOf, capabilitiesOf, ...agents } as MetaNetworkOptions["agents"],
  });
beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), "failstorm-meta-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("a meta network in this process, over real sockets", () => {
  let network: FailstormMetaNetwork;
  beforeAll(async () => {
    network = await open();
    expect((await network.installOutboundAdapters()).filter(({ error }) => error !== null)).toEqual([]);
  });
  afterAll(() => network.close());

  it("dials every agent from everywhere, each in a protocol it hosts", async () => {
    const adapters = await network.installOutboundAdapters();
    expect(adapters).toHaveLength(5 + 5 * 4);
    for (const { to, protocol } of adapters) expect(HOSTS[IDS.indexOf(to)]).toContain(protocol);
    expect(network.placement).toBe("in-process");
  });

  it("hands a task to a worker, in its protocol, without loss", async () => {
    const input = { query: "größter Nachbar? 🙂", nested: [1, null, { deep: true }] };
    for (const worker of IDS) {
      const result = await network.sendShardTask(worker, { tool: "search", input });
      expect(result).toMatchObject({ worker, error: null, data: { agent: worker, input } });
      expect(HOSTS[IDS.indexOf(worker)]).toContain(result.protocol);
    }
    await expect(network.sendShardTask("agent-9", { tool: "search", input })).rejects.toThrow(/agent-9: no such worker/);
  });

  it("lets any agent ask any other, and counts it by pair", async () => {
    const request: DirectRequest = { op: "lookup", task: "t", step: "1", query: "q", topK: 1, shards: [0] };
    for (const [from, agent] of network.agents)
      for (const to of IDS) {
        if (to === from) continue;
        const result = await agent.send(to, request);
        expect([from, to, result.error, (result.data as { agent: string }).agent]).toEqual([from, to, null, to]);
      }
    const { pairs, agents } = network.getFailstormMetrics();
    const callers = new Set(pairs.map(({ caller }) => caller));
    expect([...callers].toSorted()).toEqual(["a2a", "a2a+acp", "acp", "agora", "anp", "coordinator"]);
    expect(pairs.every(({ failed, messages, bytes_sent }) => failed === 0 && messages > 0 && bytes_sent > 0)).toBe(true);
    expect(agents.every(({ messages }) => messages >= 4)).toBe(true);
  });

  it("asks a protocol for what a task requires, and says where no protocol of the worker has it", async () => {
    const task = { tool: "search", input: 1 } as const;
    expect(await network.sendShardTask("agent-3", task, { authentication: true })).toMatchObject({
      protocol: "anp",
      error: null,
    });
    const refused = await network.sendShardTask("agent-0", task, { authentication: true });
    expect(refused).toMatchObject({ worker: "agent-0", error: "protocol", text: "", data: null });
    expect(refused.message).toMatch(/authentication/);
  });

  it("gives tasks to the least loaded agent that can, and to another when one refuses or is down", async () => {
    const spread = await Promise.all(IDS.map(() => network.submit({ tool: "search", input: 1 })));
    expect(new Set(spread.map(({ worker }) => worker)).size).toBe(IDS.length);
    const agent = network.agents.get("agent-0");
    await agent?.stop();
    expect(await agent?.health()).toMatchObject({ up: false, ms: null });
    expect((await network.health()).protocols.find(({ protocol }) => protocol === "a2a")).toMatchObject({ agents: 2, up: 1 });
    const refused = await network.submit({ tool: "reason", input: 1 });
    expect(refused).toMatchObject({ worker: "agent-1", error: "remote", text: "" });
    await agent?.start();
    expect(await agent?.health()).toMatchObject({ up: true });
    expect(await network.submit({ tool: "reason", input: 2 })).toMatchObject({ worker: "agent-0", error: null });
    expect(agent?.capabilities()).toEqual(["tool:search", "tool:reason"]);
  });

  it("says that agents in this process cannot be struck", () => {
    expect(() => network.strike({ protocol: "anp" })).toThrow(/no process of their own to strike/);
    expect(() => network.strike({ protocol: "smtp" })).toThrow(/no agent hosts smtp; they host a2a, acp, agora, anp/);
    expect(() => network.strike({ fraction: 0 })).toThrow("strike: fraction 0 must be above 0, at most 1");
    expect(() => network.strike({ count: 0.5 })).toThrow("strike: count 0.5 must be a whole number, at least 1");
  });

  it("gives a task up at its deadline, also where an attempt may take longer", { timeout: 15_000 }, async () => {
    const silent: AgentExecutor = { execute: () => new Promise(() => undefined), cancel: async () => undefined };
    const config = { ...configOf(), tasks: { attemptTimeoutMs: 8000.5, deadlineMs: 700 } } as RunConfig;
    const deaf = await open({ executorOf: () => silent }, config);
    try {
      await deaf.installOutboundAdapters();
      const startedAt = systemClock.now();
      expect(await deaf.submit({ tool: "search", input: 1 })).toMatchObject({ error: "timeout" });
      expect(systemClock.now() - startedAt).toBeLessThan(4000);
    } finally {
      await deaf.close();
    }
  });
});

describe("bad input", () => {
  it("rejects two agents on one port, and a port that is taken, and leaves nothing running", async () => {
    await expect(open({ ports: [0, 9101, 0, 9101, 0] })).rejects.toThrow(
      "ports: agent-1 and agent-3 are both given 9101; each needs a port of its own, or 0 for any",
    );
    const taken: Server = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as { port: number };
    await expect(open({ ports: [0, 0, port] })).rejects.toThrow(`ports: agent-2 cannot listen on ${port}, it is taken`);
    taken.close();
  });

  it("rejects what is no network of several protocols", async () => {
    const { hosts: _, ...scenario } = configOf().scenario;
    const alone = { ...configOf(), scenario: { ...scenario, protocol: "a2a" } };
    await expect(open({}, alone)).rejects.toThrow(InputError);
    await expect(open({}, configOf({ agentCount: 3 }))).rejects.toThrow(
      "scenario.hosts: 5 entries for 3 agents; give one for each",
    );
  });
});

describe("what is kept of messages and faults", () => {
  it("interpolates percentiles over what succeeded", () => {
    const tally = new Tally();
    const message = { caller: "a2a", callee: "acp", to: "agent-1", bytesSent: 10, bytesReceived: 20 };
    for (const ms of [4, 1, 3, 2]) tally.add({ ...message, ms, error: null });
    tally.add({ ...message, ms: 900, error: "timeout" });
    expect(tally.pairs()).toEqual([
      { caller: "a2a", callee: "acp", messages: 5, failed: 1, ms: { p50: 2.5, p95: 3.85 }, bytes_sent: 50, bytes_received: 100 },
    ]);
  });

  it("times a fault's consequences by the protocols of its victims, the first of each", () => {
    const log = new RecoveryLog((agent) => HOSTS[IDS.indexOf(agent)] ?? []);
    log.answered("agent-3", 5);
    log.fault("sigkill", ["agent-3", "agent-4"], 100);
    log.answered("agent-3", 101);
    log.failed("agent-3", 130);
    log.failed("agent-3", 140);
    log.servedInsteadOf("agent-3", 190);
    log.failed("agent-0", 150);
    log.answered("agent-3", 400);
    const nothing = { noticed_ms: null, served_ms: null, back_ms: null };
    expect(log.rows()).toEqual([
      { fault: "sigkill", protocol: "a2a", victims: ["agent-4"], ...nothing },
      { fault: "sigkill", protocol: "acp", victims: ["agent-4"], ...nothing },
      { fault: "sigkill", protocol: "anp", victims: ["agent-3"], noticed_ms: 30, served_ms: 90, back_ms: 300 },
    ]);
  });
});
