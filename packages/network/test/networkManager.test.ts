import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { type Address, createPrng, FakeClock } from "@failstorm/core";
import { afterEach, describe, expect, it } from "vitest";
import {
  type AgentNetworkManager,
  createAgentNetworkManager,
  createTcpTransport,
  createWebSocketTransport,
  type NetworkOptions,
} from "../src/index.ts";
import { MemoryNetwork } from "./memoryNetwork.ts";
import { recordingLog } from "./messagingWorld.ts";
import { nodeOptions } from "./nodeOptions.ts";

const addressOf = (agentId: string): Address => ({ host: agentId, port: 1 });

/** Networks of managers over memory, on a fake clock. */
class World {
  readonly clock = new FakeClock();
  readonly network = new MemoryNetwork(this.clock, createPrng(1));
  readonly managers = new Map<string, AgentNetworkManager>();
  readonly log = recordingLog();

  async start(agentId: string, options: Partial<NetworkOptions> & { incarnation?: number } = {}): Promise<AgentNetworkManager> {
    const { incarnation = 1, role = "member", ...rest } = options;
    const self = { agentId, incarnation, capabilities: [`home:${agentId}`] };
    const manager = createAgentNetworkManager({
      self,
      transport: this.network.transport({ agentId, incarnation, role }, addressOf(agentId)),
      clock: this.clock,
      prng: createPrng(7).fork(agentId),
      log: this.log.log,
      role,
      ...rest,
    });
    manager.messages.onMessage("Query", ({ payload }) => ({ echo: payload }));
    this.managers.set(agentId, manager);
    await this.run(manager.start());
    return manager;
  }

  async join(
    agentId: string,
    bootstrap: readonly string[],
    options?: Parameters<World["start"]>[1],
  ): Promise<AgentNetworkManager> {
    const manager = await this.start(agentId, options);
    await this.run(manager.joinNetwork(bootstrap.map(addressOf)));
    return manager;
  }

  /** Lets time pass until the promise is settled. */
  async run<T>(promise: Promise<T>): Promise<T> {
    const settled = new AbortController();
    const mark = (): void => settled.abort();
    promise.then(mark, mark);
    for (let step = 0; !settled.signal.aborted && step < 2_000; step++) await this.clock.advance(10);
    return promise;
  }

  crash(agentId: string): void {
    this.network.crash(agentId);
    void this.managers.get(agentId)?.stop();
    this.managers.delete(agentId);
  }

  /** Whom each believes active. */
  views(): Record<string, string> {
    const active = (manager: AgentNetworkManager): string =>
      manager.registry
        .activeNodes()
        .map(({ nodeId }) => nodeId)
        .toSorted((a, b) => a.localeCompare(b))
        .join(" ");
    return Object.fromEntries([...this.managers].map(([id, manager]) => [id, active(manager)]));
  }
}

const everywhere = (ids: readonly string[], view: string): Record<string, string> =>
  Object.fromEntries(ids.map((id) => [id, view]));

describe("a network", () => {
  it("forms from one known address, and everybody knows everybody's capabilities", async () => {
    const world = new World();
    const ids = ["a", "b", "c", "d"];
    for (const id of ids) await world.join(id, ["a"]);
    expect(world.views()).toEqual(everywhere(ids, "a#1 b#1 c#1 d#1"));
    const [c, d] = [world.managers.get("c"), world.managers.get("d")];
    expect(c?.registry.findNodesByCapability("home:d").map(({ agentId }) => agentId)).toEqual(["d"]);
    await world.run(d?.updateSelf({ capabilities: ["home:d", "extra"], metadata: { zone: "x" } }) ?? Promise.resolve());
    for (const id of ids)
      expect(world.managers.get(id)?.registry.selectNode("extra", { kind: "round-robin" })?.metadata).toEqual({ zone: "x" });
    await world.run(d?.updateSelf({ isInMaintenance: true }) ?? Promise.resolve());
    await world.clock.advance(10_000);
    for (const id of ids) expect(world.managers.get(id)?.registry.node("d")?.status).toBe("Maintenance");
  });

  it("whose bootstrap nodes come up one after the other becomes one", async () => {
    const world = new World();
    const ids = ["a", "b", "c"];
    await world.join("a", ids);
    await world.join("c", ["c", "b"]);
    expect(world.views()).toEqual({ a: "a#1", c: "c#1" });
    await world.join("b", ["b"]);
    await world.clock.advance(60_000);
    expect(world.views()).toEqual(everywhere(ids, "a#1 b#1 c#1"));
  });

  it("learns of a crash, and of the return; messages wait for it", async () => {
    const world = new World();
    for (const id of ["a", "b", "c"]) await world.join(id, ["a"]);
    world.crash("c");
    await world.clock.advance(5_000);
    expect(world.views()).toEqual(everywhere(["a", "b"], "a#1 b#1"));
    expect(world.managers.get("a")?.registry.node("c")?.status).toBe("Disconnected");
    const a = world.managers.get("a");
    expect(await a?.sendMessage("c", "Command", "later")).toEqual({ status: "queued" });
    const c = await world.start("c", { incarnation: 2 });
    const got: unknown[] = [];
    c.messages.onMessage("Command", ({ payload }) => void got.push(payload));
    await world.run(c.joinNetwork([addressOf("b")]));
    await world.clock.advance(1_000);
    expect(got).toEqual(["later"]);
    expect(world.views()).toEqual(everywhere(["a", "b", "c"], "a#1 b#1 c#2"));
  });

  it("does not take a goodbye for a crash", async () => {
    const world = new World();
    for (const id of ["a", "b", "c"]) await world.join(id, ["a"]);
    const changes: string[] = [];
    world.managers.get("a")?.registry.onChange(({ kind, node }) => void changes.push(`${kind} ${node.agentId} ${node.status}`));
    await world.run(world.managers.get("c")?.leaveNetwork() ?? Promise.resolve());
    world.crash("c");
    await world.clock.advance(60_000);
    expect(changes).toEqual(["deregistered c Active"]);
    expect(world.managers.get("b")?.registry.node("c")).toBeNull();
  });

  it("a silent agent that comes back was dead, and is not any more", async () => {
    const world = new World();
    for (const id of ["a", "b", "c"]) await world.join(id, ["a"]);
    world.network.partition(new Map([["c", 1]]));
    await world.clock.advance(8_000);
    expect(world.views()).toEqual({ a: "a#1 b#1", b: "a#1 b#1", c: "c#1" });
    world.network.partition(new Map());
    await world.clock.advance(20_000);
    expect(world.views()).toEqual(everywhere(["a", "b", "c"], "a#1 b#1 c#1"));
  });

  it.each(["heartbeat", "phi-accrual", "swim"] as const)("finds the dead among many with %s", async (detector) => {
    const world = new World();
    const ids = Array.from({ length: 8 }, (_, index) => `agent-${index}`);
    for (const id of ids) await world.join(id, ["agent-0"], { detector });
    await world.clock.advance(5_000);
    for (const id of ["agent-3", "agent-6", "agent-7"]) world.crash(id);
    await world.clock.advance(20_000);
    for (const manager of world.managers.values())
      expect(manager.registry.statistics().byStatus).toMatchObject({ Active: 5, Disconnected: 3 });
  });

  it("forgets the dead in the end, and whoever still speaks of them does not bring them back", async () => {
    const world = new World();
    for (const id of ["a", "b", "c"]) await world.join(id, ["a"], { timing: { removeAfterMs: id === "b" ? 60_000 : 20_000 } });
    world.crash("c");
    await world.clock.advance(45_000);
    expect(world.managers.get("a")?.registry.node("c")).toBeNull();
    expect(world.managers.get("b")?.registry.node("c")?.status).toBe("Disconnected");
  });

  it("watches one that left and came back", async () => {
    const world = new World();
    for (const id of ["a", "b", "c"]) await world.join(id, ["a"]);
    await world.run(world.managers.get("c")?.leaveNetwork() ?? Promise.resolve());
    world.crash("c");
    await world.clock.advance(10_000);
    await world.join("c", ["b"], { incarnation: 2 });
    expect(world.views()).toEqual(everywhere(["a", "b", "c"], "a#1 b#1 c#2"));
    world.network.partition(new Map([["c", 1]]));
    await world.clock.advance(8_000);
    expect(world.managers.get("a")?.registry.node("c")).toMatchObject({ incarnation: 2, status: "Disconnected" });
    expect(world.managers.get("b")?.registry.node("c")).toMatchObject({ incarnation: 2, status: "Disconnected" });
  });

  it.each(["heartbeat", "swim"] as const)(
    "that was cut for so long that each half forgot the other becomes one again (%s)",
    async (detector) => {
      const world = new World();
      const ids = ["a", "b", "c", "d", "e"];
      const timing = { removeAfterMs: 20_000 };
      for (const id of ["a", "b", "c", "d"]) await world.join(id, ["a"], { timing, detector });
      const groups = new Map(["c", "d", "e"].map((id) => [id, 1]));
      world.network.partition(groups);
      await world.clock.advance(30_000);
      // Somebody new, of whom the others have never heard.
      await world.join("e", ["d"], { timing, detector });
      await world.clock.advance(60_000);
      for (const [id, total] of [
        ["a", 2],
        ["d", 3],
      ] as const)
        expect(world.managers.get(id)?.registry.statistics().total).toBe(total);
      world.network.partition(new Map());
      await world.clock.advance(60_000);
      expect(world.views()).toEqual(everywhere(ids, "a#1 b#1 c#1 d#1 e#1"));
    },
  );

  it("calls one of those it has forgotten at a time, and nobody who said goodbye", async () => {
    const world = new World();
    for (const id of ["a", "b", "c", "d"]) await world.join(id, ["a"], { timing: { removeAfterMs: 20_000 } });
    await world.run(world.managers.get("d")?.leaveNetwork() ?? Promise.resolve());
    for (const id of ["b", "c", "d"]) world.crash(id);
    await world.clock.advance(40_000);
    world.network.dialled.length = 0;
    await world.clock.advance(50_000);
    expect(world.network.dialled.length).toBe(10);
    expect(new Set(world.network.dialled)).toEqual(new Set(["b:1", "c:1"]));
  });

  it("states reach those who join later, before they are asked", async () => {
    const world = new World();
    const a = await world.join("a", []);
    for (let n = 0; n < 20; n++) await a.states.storeState(`s${n}`, n);
    const b = await world.join("b", ["a"]);
    expect(b.states.peekState("s19")?.data).toBe(19);
    expect(await world.run(b.states.storeState("s19", "b", { consistency: "strong" }))).toMatchObject({ status: "stored" });
    expect((await world.run(a.states.getState("s19")))?.data).toBe("b");
  });

  it("takes out nobody on the word of somebody who may not say so", async () => {
    const world = new World();
    for (const id of ["a", "b", "c"]) await world.join(id, ["a"], { role: id === "c" ? "operator" : "member" });
    const goodbye = { agentId: "b", incarnation: 1 };
    const a = world.managers.get("a");
    const b = world.managers.get("b");
    await world.run(b?.sendMessage("a", "Deregistration", { agentId: "c", incarnation: 1 }) ?? Promise.resolve(null));
    expect(a?.registry.node("c")).not.toBeNull();
    expect(world.log.lines.some(({ message }) => message === "a deregistration was refused")).toBe(true);
    await world.run(world.managers.get("c")?.sendMessage("a", "Deregistration", goodbye) ?? Promise.resolve(null));
    expect(a?.registry.node("b")).toBeNull();
  });

  it("takes nobody for dead on the word of an observer", async () => {
    const world = new World();
    for (const id of ["a", "b", "c"]) await world.join(id, ["a"], { role: id === "c" ? "observer" : "member" });
    const dead = (peer: string) => [{ peer, incarnation: 1, refutation: Number.MAX_SAFE_INTEGER, state: "dead" }];
    const [a, b, c] = ["a", "b", "c"].map((id) => world.managers.get(id));
    // Whoever lives is soon found to live.
    const died: string[] = [];
    a?.registry.onChange(({ node }) => void (node.status === "Disconnected" && died.push(node.agentId)));
    await world.run(c?.sendMessage("a", "Heartbeat", dead("b")) ?? Promise.resolve(null));
    expect(died).toEqual([]);
    expect(world.log.lines.some(({ message }) => message === "gossip was refused")).toBe(true);
    await world.run(b?.sendMessage("a", "Heartbeat", dead("c")) ?? Promise.resolve(null));
    expect(died).toContain("c");
  });

  it("does not take back a goodbye by answering what was asked before it was heard", async () => {
    const world = new World();
    for (const id of ["a", "b"]) await world.join(id, ["a"]);
    const [a, b] = [world.managers.get("a"), world.managers.get("b")];
    await world.run(a?.leaveNetwork() ?? Promise.resolve());
    expect(b?.registry.node("a")).toBeNull();
    const ask = (payload: { readonly hash?: string; readonly wantsAll?: boolean }) =>
      b?.messages.sendQuery("a", payload, { type: "Registration", timeoutMs: 1_000 }) ??
      Promise.reject(new Error("b is missing"));
    expect(await world.run(ask({ hash: "another" }))).toEqual({ same: true });
    await expect(world.run(ask({ wantsAll: true }))).rejects.toThrow("it has left the network");
  });

  it("is not made with times that a timer takes for none", async () => {
    const world = new World();
    for (const syncIntervalMs of [Number.POSITIVE_INFINITY, 0, Number.NaN])
      await expect(world.start("a", { timing: { syncIntervalMs } })).rejects.toThrow(`syncIntervalMs is ${syncIntervalMs};`);
    expect((await world.start("a", { timing: { removeAfterMs: Number.POSITIVE_INFINITY } })).statistics().state).toBe("started");
  });

  it("is not told what nobody would take in", async () => {
    const world = new World();
    const a = await world.start("a");
    await expect(a.updateSelf({ capabilities: ["x".repeat(513)] })).rejects.toThrow("at most 512 characters");
    expect(a.registry.node("a")?.capabilities).toEqual(["home:a"]);
  });

  it("that was stopped while it joined stays stopped", async () => {
    const world = new World();
    const a = await world.start("a");
    const joining = a.joinNetwork([addressOf("nobody")]);
    const stopped = a.stop();
    await expect(world.run(joining)).rejects.toThrow("stopped meanwhile");
    await stopped;
    expect(a.statistics().state).toBe("stopped");
  });

  it("of many remembers the dead whom others watched for as long as those it watched itself, and calls whom a message waits for", async () => {
    const world = new World();
    const timing = {
      heartbeatTimeoutMs: 60_000,
      removeAfterMs: 15_000,
      cleanupIntervalMs: 1_000,
      syncIntervalMs: 5_000,
    };
    const [a, b] = [await world.start("a", { timing }), await world.start("b", { timing: { ...timing, syncIntervalMs: 1e9 } })];
    await world.run(b.joinNetwork([addressOf("a")]));
    // Nobody is there but z99, in the end; a asks three of them itself.
    const strangers = Array.from({ length: 40 }, (_, number) => `m${10 + number}`);
    const record = (id: string, isInMaintenance: boolean) => [id, 1, 0, id, 1, [], "", {}, isInMaintenance];
    const records = [...strangers.map((id) => record(id, false)), record("y98", true), record("z99", false)];
    await world.run(b.messages.sendQuery("a", { records }, { type: "Registration", timeoutMs: 1_000 }));
    await world.clock.advance(20_000);
    const dead = [{ peer: "m49", incarnation: 1, refutation: 0, state: "dead" }];
    void b.messages.sendMessage("a", "Heartbeat", dead);
    await world.clock.advance(10_000);
    expect(["m49", "y98", "m40"].map((id) => a.registry.node(id)?.status)).toEqual(["Disconnected", "Maintenance", "Active"]);
    await world.clock.advance(10_000);
    expect(["m49", "y98"].map((id) => a.registry.node(id)?.status)).toEqual([undefined, "Maintenance"]);

    expect(await world.run(a.sendMessage("z99", "Query", "late"))).toEqual({ status: "queued" });
    const z99 = await world.start("z99", { timing: { ...timing, syncIntervalMs: 1e9 } });
    await world.clock.advance(6_000);
    expect(z99.messages.history().map(({ message }) => message.payload)).toContain("late");
  });

  it("broadcasts to all that are active", async () => {
    const world = new World();
    const told: string[] = [];
    for (const id of ["a", "b", "c"]) {
      const manager = await world.join(id, ["a"]);
      manager.messages.subscribeToBroadcasts(({ payload }) => void told.push(`${id} ${JSON.stringify(payload)}`));
    }
    const sent = await world.run(world.managers.get("b")?.broadcast("x") ?? Promise.reject(new Error("no b")));
    expect(told.toSorted((x, y) => x.localeCompare(y))).toEqual(['a "x"', 'c "x"']);
    expect([...sent.keys()]).toEqual(["a", "c"]);
    expect(world.managers.get("b")?.statistics()).toMatchObject({ state: "joined", registry: { total: 3 } });
  });
});

describe("real processes", () => {
  const children: ChildProcess[] = [];
  const managers: AgentNetworkManager[] = [];
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
    await Promise.all(managers.splice(0).map((manager) => manager.stop()));
  });

  const program = fileURLToPath(new URL("./programs/networkNode.ts", import.meta.url));

  async function startChild(agentId: string, incarnation: number, port: number): Promise<ChildProcess> {
    const child = spawn(process.execPath, [program, agentId, String(incarnation), String(port)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    children.push(child);
    if (child.stdout !== null) await once(child.stdout, "data");
    return child;
  }

  it("exchange messages; a SIGKILL is a death, an end of work is none", async () => {
    const options = nodeOptions({ agentId: "parent", incarnation: 1 });
    const transport = createTcpTransport({ ...options, listen: { host: "127.0.0.1", port: 0 } });
    const parent = createAgentNetworkManager({ ...options, prng: createPrng(1), transport });
    managers.push(parent);
    const { port } = await parent.start();
    await parent.joinNetwork([]);
    const child = await startChild("child", 1, port);
    const ask = (payload: string) => parent.messages.sendQuery("child", payload, { timeoutMs: 30_000 });
    expect(await ask("hello")).toEqual({ echo: "hello", from: "parent", pid: child.pid });

    child.kill("SIGKILL");
    await expect.poll(() => parent.registry.node("child")?.status).toBe("Disconnected");
    expect(await parent.sendMessage("child", "Command", "for later", { ttlMs: 60_000 })).toEqual({ status: "queued" });

    const second = await startChild("child", 2, port);
    expect(await ask("again")).toEqual({ echo: "again", from: "parent", pid: second.pid });
    const statuses: string[] = [];
    parent.registry.onChange(({ kind }) => void statuses.push(kind));
    second.stdin?.end();
    await once(second, "exit");
    await expect.poll(() => parent.registry.node("child")).toBeNull();
    expect(statuses).toEqual(["deregistered"]);
  });

  it("or join over a WebSocket on a server that does other things", async () => {
    const make = async (agentId: string, bootstrap: readonly Address[]) => {
      const server = createServer((_request, response) => response.end(agentId));
      server.listen({ host: "127.0.0.1", port: 0 });
      await once(server, "listening");
      server.unref();
      const bound = server.address();
      const address = { host: "127.0.0.1", port: typeof bound === "object" && bound !== null ? bound.port : 0 };
      const options = nodeOptions({ agentId, incarnation: 1 });
      const transport = createWebSocketTransport({ ...options, server, address: () => address });
      const manager = createAgentNetworkManager({ ...options, prng: createPrng(1).fork(agentId), transport });
      managers.push(manager);
      await manager.start();
      expect(await manager.joinNetwork(bootstrap)).toBe(bootstrap.length);
      manager.messages.onMessage("Query", ({ from }) => `${agentId} hears ${from}`);
      return { manager, address };
    };
    const one = await make("one", []);
    const two = await make("two", [one.address]);
    expect(await two.manager.messages.sendQuery("one", null, { timeoutMs: 30_000 })).toBe("one hears two");
    expect(await (await fetch(`http://127.0.0.1:${one.address.port}/`)).text()).toBe("one");
  });
});
