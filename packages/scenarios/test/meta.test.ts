import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  type AgentExecutor,
  type AgentId,
  CommError,
  type CommErrorCode,
  type DirectRequest,
  FakeClock,
  InputError,
  type LookupRequest,
  type RunConfig,
  type RunEvent,
  systemClock,
  type ToolRequest,
  type Traffic,
} from "@failstorm/core";
import type { MetaBackend } from "@failstorm/protocols/meta/backend.ts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createFailstormMetaNetwork, type FailstormMetaNetwork, type MetaNetworkOptions } from "../src/index.ts";
import type { BaseAgent } from "../src/meta/baseAgent.ts";
import { Coordinator } from "../src/meta/coordinator.ts";
import { healthByProtocol } from "../src/meta/metaMetrics.ts";
import { LinkLog } from "../src/meta/processHost.ts";
import { RecoveryLog } from "../src/meta/recovery.ts";
import { Tally } from "../src/meta/tally.ts";

const HOSTS = [["a2a"], ["acp"], ["agora"], ["anp"], ["a2a", "acp"]];
const IDS = HOSTS.map((_, index) => `agent-${index}`);

const configOf = (scenario: Partial<RunConfig["scenario"]> = {}): RunConfig =>
  ({
    scenario: { name: "fail-storm", protocol: "meta", agentCount: HOSTS.length, hosts: HOSTS, seed: 5, ...scenario },
    // Nothing here waits for that long, but on a machine that stands still.
    network: { connectionTimeoutMs: 30_000 },
    tasks: { attemptTimeoutMs: 30_000, deadlineMs: 30_000 },
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

  it("gives a task up at its deadline, also where an attempt may take longer", async () => {
    const silent: AgentExecutor = { execute: () => new Promise(() => undefined), cancel: async () => undefined };
    const config = { ...configOf(), tasks: { attemptTimeoutMs: 120_000.5, deadlineMs: 700 } } as RunConfig;
    const deaf = await open({ executorOf: () => silent }, config);
    try {
      await deaf.installOutboundAdapters();
      const startedAt = systemClock.now();
      expect(await deaf.submit({ tool: "search", input: 1 })).toMatchObject({ error: "timeout" });
      expect(systemClock.now() - startedAt).toBeLessThan(30_000);
    } finally {
      await deaf.close();
    }
  });
});

describe("the life of a network in this process", () => {
  it("starts an agent once, however often that is asked at a time, and ends it after its start", async () => {
    const network = await open();
    const agent = network.agents.get("agent-3");
    await Promise.all([agent?.stop(), agent?.start(), agent?.start()]);
    await network.installOutboundAdapters();
    expect(await agent?.health()).toMatchObject({ up: true });
    const starting = agent?.stop().then(() => agent.start());
    await Promise.allSettled([starting, network.close()]);
    expect(await agent?.health()).toMatchObject({ up: false });
  });

  it("once closed says so, closes once, and gives up what is under way", async () => {
    const silent: AgentExecutor = { execute: () => new Promise(() => undefined), cancel: async () => undefined };
    const config = { ...configOf(), tasks: { attemptTimeoutMs: 60_000, deadlineMs: 60_000 } } as RunConfig;
    const network = await open({ executorOf: () => silent }, config);
    await network.installOutboundAdapters();
    const startedAt = systemClock.now();
    const underWay = [
      network.submit({ tool: "search", input: 1 }),
      network.submit({ tool: "triple", input: 1 }),
      network.sendShardTask("agent-2", { tool: "search", input: 1 }),
    ];
    await systemClock.sleep(50);
    const closing = network.close();
    expect(network.close()).toBe(closing);
    expect((await Promise.all(underWay)).map(({ error }) => error)).toEqual(["aborted", "unknown_agent", "aborted"]);
    await closing;
    expect(systemClock.now() - startedAt).toBeLessThan(30_000);
    const closed = /the network is closed; createFailstormMetaNetwork makes another/;
    await expect(network.submit({ tool: "search", input: 1 })).rejects.toThrow(closed);
    await expect(network.sendShardTask("agent-0", { query: "q" })).rejects.toThrow(closed);
    await expect(network.installOutboundAdapters()).rejects.toThrow(closed);
    await expect(network.ask("?")).rejects.toThrow(closed);
    await expect(network.health()).rejects.toThrow(closed);
    await expect(network.agents.get("agent-0")?.start()).rejects.toThrow(closed);
    expect(() => network.strike({})).toThrow(closed);
    expect(network.getFailstormMetrics().agents).toHaveLength(5);
  });
});

/** Five agents behind a backend that does as told; `tell` says what each of them can do now, or how it fails. */
function scripted() {
  const clock = new FakeClock();
  const tell = new Map<AgentId, readonly string[] | CommErrorCode>(
    IDS.map((id) => [id, ["tool:search", `shard:${IDS.indexOf(id)}`]]),
  );
  const asked: string[] = [];
  const gate = new Map<AgentId, Promise<void>>();
  const traffic: Traffic = { bytesSent: 1, bytesReceived: 1, roundTrips: 1, firstByteAt: 0, ms: 1, protocol: "a2a" };
  const mustLive = (id: AgentId): readonly string[] => {
    const said = tell.get(id) ?? [];
    if (typeof said === "string") throw new CommError(said, id, said);
    return said;
  };
  const backend = {
    connect: async (_: AgentId, id: AgentId) => ({ peer: { agentId: id, incarnation: 1, capabilities: mustLive(id) }, traffic }),
    send: async (_: AgentId, id: AgentId, payload: { parts: { data: { body: ToolRequest | LookupRequest } }[] }) => {
      asked.push(id);
      const body = payload.parts[0]?.data.body;
      await gate.get(id);
      const can = mustLive(id);
      if (body?.op === "tool" && (can.includes("refuses") || !can.includes(`tool:${body.tool}`)))
        throw new CommError("remote", id, "not_holder");
      const missing = body?.op === "lookup" ? body.shards.filter((shard) => !can.includes(`shard:${shard}`)) : [];
      return { raw: null, text: "", traffic, parts: [{ kind: "data", data: { ok: true, data: { id, missing } } }] };
    },
    protocolsOf: () => ["a2a", "acp"],
    healthOf: async (id: AgentId, protocol: string) => {
      if (mustLive(id).includes(`without:${protocol}`)) throw new CommError("protocol", id, protocol);
      return { traffic };
    },
  } as unknown as MetaBackend;
  const recovery = new RecoveryLog(() => ["a2a"]);
  const coordinator = new Coordinator({
    backend,
    ids: IDS,
    clock,
    recovery,
    topK: 1,
    attemptTimeoutMs: 1000,
    deadlineMs: 3000,
    tally: new Tally(),
    label: () => "a2a",
  });
  return { clock, tell, asked, gate, coordinator, recovery };
}

describe("the coordinator", () => {
  const search = { tool: "search", input: 1 } as const;

  it("probes an agent in each protocol it hosts", async () => {
    const { coordinator, tell } = scripted();
    tell.set("agent-1", ["without:acp"]);
    tell.set("agent-2", "refused");
    const probes = await Promise.all(["agent-0", "agent-1", "agent-2"].map((id) => coordinator.probe(id)));
    expect(probes.map(({ up, protocols }) => [up, ...protocols.map((of) => of.up)])).toEqual([
      [true, true, true],
      [true, true, false],
      [false, false, false],
    ]);
    expect(["agent-0", "agent-1", "agent-2"].map((id) => coordinator.isUp(id))).toEqual([true, true, false]);
    const agents = ["agent-0", "agent-1", "agent-2"].map((id) => ({ id, protocols: ["a2a", "acp"] }) as unknown as BaseAgent);
    expect(healthByProtocol(agents, probes)).toEqual([
      { protocol: "a2a", agents: 3, up: 2, slowest_ms: 0 },
      { protocol: "acp", agents: 3, up: 1, slowest_ms: 0 },
    ]);
  });

  it("spreads tasks that come one after the other", async () => {
    const { coordinator, asked } = scripted();
    await coordinator.refresh();
    for (let i = 0; i < 10; i++) await coordinator.submit(search);
    expect(asked.toSorted()).toEqual(IDS.flatMap((id) => [id, id]));
  });

  it("has a look-up without a shard done by whoever holds its own, and one in a shard by whoever holds that now", async () => {
    const { coordinator, tell, asked, clock } = scripted();
    await coordinator.refresh();
    for (let i = 0; i < IDS.length; i++) expect(await coordinator.submit({ query: "q" })).toMatchObject({ error: null });
    expect(asked.toSorted()).toEqual(IDS);
    tell.set("agent-0", ["shard:0", "shard:3"]);
    tell.set("agent-3", ["tool:search"]);
    const moved = coordinator.submit({ query: "q", shard: 3 });
    await clock.advance(300);
    expect(await moved).toMatchObject({ error: null, worker: "agent-0", data: { missing: [] } });
    expect(asked.slice(IDS.length)).toEqual(["agent-3", "agent-0"]);
    const nowhere = coordinator.submit({ query: "q", shard: 99 });
    await clock.advance(3000);
    expect(await nowhere).toMatchObject({ error: "unknown_agent", message: "no agent that is up has shard:99" });
  });

  it("does not hold it against a task that a worker has given back what it had", async () => {
    const { coordinator, tell, asked } = scripted();
    await coordinator.refresh();
    for (const id of IDS.slice(0, 4)) tell.set(id, []);
    expect(await coordinator.submit(search)).toMatchObject({ error: null, worker: "agent-4" });
    expect(asked).toEqual(IDS);
    expect(await coordinator.submit(search), "and it is remembered").toMatchObject({ error: null, worker: "agent-4" });
    expect(asked).toHaveLength(6);
  });

  it("finds out by itself that one who was down is back, and what it can do", async () => {
    const { coordinator, tell, clock } = scripted();
    await coordinator.refresh();
    tell.set("agent-1", "refused");
    await coordinator.connect("agent-1");
    expect(coordinator.isUp("agent-1")).toBe(false);
    tell.set("agent-1", ["tool:reason"]);
    await coordinator.submit(search);
    expect(coordinator.isUp("agent-1"), "not asked for every task").toBe(false);
    await clock.advance(1000);
    await coordinator.submit(search);
    await clock.advance(0);
    expect([coordinator.isUp("agent-1"), coordinator.capabilitiesOf("agent-1")]).toEqual([true, ["tool:reason"]]);
    tell.set("agent-1", []);
    await coordinator.welcome("agent-1");
    tell.set("agent-1", ["tool:reason"]);
    await clock.advance(1000);
    await coordinator.submit(search);
    await clock.advance(0);
    expect(coordinator.capabilitiesOf("agent-1"), "started, and settled by now").toEqual(["tool:reason"]);
  });

  it("gives one that has just been started time to serve", async () => {
    const { coordinator, tell, asked, clock } = scripted();
    await coordinator.refresh();
    for (const id of IDS) tell.set(id, []);
    await coordinator.refresh();
    tell.set("agent-2", ["tool:reason", "refuses"]);
    await coordinator.welcome("agent-2");
    const answer = coordinator.submit({ tool: "reason", input: 1 });
    await clock.advance(1500);
    expect(new Set(asked)).toEqual(new Set(["agent-2"]));
    expect(asked.length).toBeGreaterThan(4);
    tell.set("agent-2", ["tool:reason"]);
    await clock.advance(300);
    expect(await answer).toMatchObject({ error: null, worker: "agent-2" });
  });

  it("does not take an answer that was under way when its sender was lost for its return", async () => {
    const { coordinator, tell, clock, gate, recovery } = scripted();
    await coordinator.refresh();
    recovery.fault("sigterm", ["agent-0"], clock.now());
    const slow = Promise.withResolvers<void>();
    gate.set("agent-0", slow.promise);
    const early = coordinator.sendTo("agent-0", search);
    await clock.advance(10);
    tell.set("agent-0", "refused");
    await coordinator.connect("agent-0");
    tell.set("agent-0", ["tool:search"]);
    slow.resolve();
    expect(await early).toMatchObject({ error: null });
    expect(coordinator.isUp("agent-0")).toBe(false);
    expect(recovery.rows()).toMatchObject([{ noticed_ms: 10, back_ms: null }]);
    await clock.advance(10);
    await coordinator.connect("agent-0");
    expect(recovery.rows()).toMatchObject([{ noticed_ms: 10, back_ms: 20 }]);
  });
});

describe("which ways agents in processes have dialled", () => {
  const at = (t: number, event: object): RunEvent =>
    ({ t, inc: 1, seq: 0, src: "agent-0", peer: "agent-1", ...event }) as RunEvent;
  const up = { ev: "link.up", ms: 2, roundTrips: 1 };
  const route = (protocol: string): object => ({ ev: "route.chosen", protocol });

  it("is said with the protocol of the handshake, and only while both live", () => {
    const log = new LinkLog();
    for (const event of [at(1, route("a2a")), at(2, up), at(3, route("anp"))]) log.add(event);
    const link = { from: "agent-0", to: "agent-1", ms: 2, roundTrips: 1 };
    expect(log.all()).toEqual([{ ...link, protocol: "a2a" }]);
    log.add(at(10, { ev: "agent.exited", src: "orchestrator", agent: "agent-1" }));
    log.add(at(9, up));
    expect(log.all()).toEqual([]);
    log.add(at(11, up));
    expect(log.all()).toEqual([{ ...link, protocol: "anp" }]);
    log.add(at(12, { ev: "link.down" }));
    expect(log.all()).toEqual([]);
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
