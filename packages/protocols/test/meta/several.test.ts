import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { type Address, createPrng, type RouteChoice, systemClock } from "@failstorm/core";
import fastify from "fastify";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HOST, type Peer, World } from "../../src/compliance/world.ts";
import { createMeteredClient, type OwnMeteredClient } from "../../src/index.ts";
import type { MetaBackend } from "../../src/meta/backend.ts";
import { createMetaClient } from "../../src/meta/client.ts";
import { protocol } from "../../src/meta/protocol.ts";

let world: World;
let routes: RouteChoice[];
beforeEach(() => {
  routes = [];
});
afterEach(() => world.close());

const network = (section: object): World => (world = new World({ protocol, module: "meta", section }));

/** A program that talks to the network's agents. */
function program(
  agents: readonly Peer[],
  hosts: readonly (readonly string[])[],
  section: unknown = {},
): { backend: MetaBackend; client: OwnMeteredClient } {
  const client = createMeteredClient({ clock: systemClock, connectTimeoutMs: 30_000, onResidual: () => {} });
  const backend = createMetaClient({
    agentId: "program",
    hosts,
    section,
    workspaceDir: world.tempDir(),
    client,
    clock: systemClock,
    prng: createPrng(1),
    onRoute: (choice) => routes.push(choice),
  });
  for (const { agentId, address } of agents) backend.registerEndpoint(agentId, address);
  world.onClose(async () => {
    await backend.close();
    await client.close();
  });
  return { backend, client };
}

const statusAt = async ({ host, port }: Address, url: string, init: RequestInit = {}): Promise<number> => {
  const answer = await fetch(`http://${host}:${port}${url}`, init);
  await answer.text();
  return answer.status;
};

describe("the host", () => {
  test("[meta-mount] of several protocols has each under a path of its own, and says so", async () => {
    const { address } = await network({ hosts: [["a2a", "agora"]] }).peer("agent-0");
    const card = await fetch(`http://${HOST}:${address.port}/a2a/.well-known/agent-card.json`);
    expect(card.status).toBe(200);
    expect(await card.text()).toContain(`http://${HOST}:${address.port}/a2a`);
    expect(await statusAt(address, "/agora/wellknown")).toBe(200);
    expect(await statusAt(address, "/wellknown")).toBe(404);
  });

  test("[meta-mount] of a single protocol has it at its root, and under /anp who it is in ANP, where it takes no messages", async () => {
    const agents = [await network({ hosts: ["agora", "anp"] }).peer("agent-0")];
    const [{ address }] = agents as [Peer];
    expect(await statusAt(address, "/wellknown")).toBe(200);
    expect(await statusAt(address, "/anp/.well-known/agent-descriptions")).toBe(200);
    // The network says that agent-0 hosts Agora; whoever believes it to host ANP is told otherwise.
    const { backend } = program([{ ...agents[0], address: { ...address, basePath: "/anp" } } as Peer], [["anp"]]);
    await expect(backend.send("program", "agent-0", { text: "x" })).rejects.toThrow(/agent-0 speaks ANP and does not host it/);
    expect(agents[0]?.executions).toEqual([]);
  });

  test("[meta-mount] nobody hosts what no network has", async () => {
    const { backend } = program([await network({ hosts: ["agora"] }).peer("agent-0")], [["agora"]]);
    expect(() => backend.hostPlugin("program", { execute: async () => {}, cancel: async () => {} })).toThrow(
      /program: nobody said which protocols it hosts/,
    );
  });
});

describe("a program", () => {
  test("[meta-client] talks to agents of every protocol, as one that hosts none", async () => {
    const names = ["a2a", "acp", "agora", "anp", "simple_json"];
    network({ hosts: names });
    const agents = await Promise.all(names.map((_, index) => world.peer(`agent-${index}`)));
    const { backend, client } = program(
      agents,
      names.map((name) => [name]),
    );
    for (const [index, name] of names.entries()) {
      const peer = `agent-${index}`;
      expect((await backend.connect("program", peer)).peer.agentId).toBe(peer);
      const { text, traffic } = await backend.send("program", peer, { text: name });
      expect([text, traffic.protocol]).toEqual([name, name]);
    }
    expect(routes.map(({ peer, protocol: chosen, before, reason }) => [peer, chosen, before, reason])).toEqual(
      names.map((name, index) => [`agent-${index}`, name, null, `agent-${index} hosts nothing else`]),
    );
    expect(backend.hooks?.extraMetrics?.()).toMatchObject({ "agora.knownHash": expect.any(Number) as number, "meta.routes": 5 });
    await expect(backend.send("program", "agent-9", { text: "x" })).rejects.toMatchObject({ code: "unknown_agent" });
    backend.registerEndpoint("somebody", { host: HOST, port: 9 });
    await expect(backend.send("program", "somebody", { text: "x" })).rejects.toThrow(
      /somebody: nobody said which protocols it hosts/,
    );
    const { bytesSent } = client.socketTotals();
    expect(bytesSent).toBeGreaterThan(0);
  });

  test("[meta-client] [meta-config] of a bad section is told so", () => {
    network({});
    expect(() => program([], [["a2a"]], { router: { margin: 2 } })).toThrow(/^meta\.router\.margin: 2/);
  });
});

describe("a peer that hosts several", () => {
  test("[meta-choice] is linked in one and sent what has a key, or is listened to, in another; each choice is explained", async () => {
    const hosts = [["acp", "simple_json"]];
    const agent = await network({ hosts }).peer("agent-0");
    const { backend } = program([agent], hosts);
    const { traffic: linked } = await backend.connect("program", "agent-0");
    const key = { idempotencyKey: "t-1/1.search" };
    const sent = [
      await backend.send("program", "agent-0", { text: "plain" }),
      await backend.send("program", "agent-0", { text: "keyed" }, key),
      await backend.send("program", "agent-0", { text: "heard" }, { onEvent: () => {} }),
      await backend.send("program", "agent-0", { text: "again" }, key),
    ];
    expect([linked, ...sent.map(({ traffic }) => traffic)].map(({ protocol: by }) => by)).toEqual([
      "simple_json",
      "simple_json",
      "simple_json",
      "acp",
      "simple_json",
    ]);
    expect(sent[3]?.text, "answered from the record").toBe("keyed");
    expect(routes).toEqual([
      {
        peer: "agent-0",
        protocol: "simple_json",
        before: null,
        reason: "nothing is measured yet; round trips of a handshake: simple_json 1, acp 2",
      },
      { peer: "agent-0", protocol: "acp", before: "simple_json", reason: "it gains by streaming, which simple_json has not" },
    ]);
  });

  test("[meta-unmet] what must be protected is not sent otherwise", async () => {
    const hosts = [["acp", "simple_json"]];
    const agent = await network({ hosts }).peer("agent-0");
    const { backend, client } = program([agent], hosts);
    const refused = backend.send("program", "agent-0", { text: "secret" }, { requirements: { encryption: true } });
    await expect(refused).rejects.toMatchObject({ name: "CommError", code: "protocol", peer: "agent-0" });
    await expect(refused).rejects.toThrow(/agent-0 hosts acp, simple_json, and none has encryption/);
    expect([agent.executions.length, client.socketTotals().bytesSent]).toEqual([0, 0]);
  });

  test("[meta-route-require] is met and spoken to in what the configuration requires of every message", async () => {
    const section = { hosts: [["a2a", "anp"]], router: { require: ["authentication"] } };
    const agent = await network(section).peer("agent-0");
    const { backend } = program([agent], section.hosts, section);
    const met = await backend.connect("program", "agent-0");
    const sent = await backend.send("program", "agent-0", { text: "x" }, { onEvent: () => {} });
    const { traffic } = await backend.healthCheck("agent-0");
    expect([met, sent, { traffic }].map(({ traffic: { protocol: by } }) => by)).toEqual(["anp", "anp", "anp"]);
  });

  test("[meta-choice] what must be encrypted goes by the one that encrypts, where that is configured", async () => {
    const hosts = [["a2a", "anp"]];
    const section = { protocols: { anp: { config: { e2ee: true } } } };
    const agent = await network({ hosts, ...section }).peer("agent-0");
    const { backend } = program([agent], hosts, section);
    const { text, traffic } = await backend.send(
      "program",
      "agent-0",
      { text: "secret" },
      { requirements: { encryption: true } },
    );
    expect([text, traffic.protocol]).toEqual(["secret", "anp"]);
    expect(routes.at(-1)).toMatchObject({ protocol: "anp", before: "a2a", reason: "it requires encryption, which a2a has not" });
  });

  test("[meta-fallback] is met in another when one of its hosts does not answer in its protocol, and then spoken to in that", async () => {
    const hosts = [["a2a", "acp"]];
    const agent = await network({ hosts }).peer("agent-0", { listens: false });
    const broken = await network({ hosts: ["acp"] }).peer("agent-0", { listens: false });
    const server = fastify();
    server.get("/a2a/*", async () => "<html>It works!</html>");
    await server.register(broken.backend.hostPlugin("agent-0", broken.executor), { prefix: "/acp" });
    const port = Number(new URL(await server.listen({ host: HOST, port: 0 })).port);
    world.onClose(() => server.close());
    agent.address = { host: HOST, port };
    const { backend, client } = program([agent], hosts);
    const { traffic } = await backend.connect("program", "agent-0");
    expect([traffic.protocol, traffic.roundTrips]).toEqual(["acp", 3]);
    expect(routes.at(-1)).toEqual({
      peer: "agent-0",
      protocol: "acp",
      before: "a2a",
      reason: "it answered the handshake where a2a (protocol) failed",
    });
    expect((await backend.send("program", "agent-0", { text: "x" })).traffic.protocol).toBe("acp");
    const totals = client.socketTotals();
    expect(totals.bytesSent, "of both handshakes").toBeGreaterThan(traffic.bytesSent);
  });

  test("[meta-fallback] is not tried in another when nobody listens: they share a port", async () => {
    const agent = await network({ hosts: [["a2a", "acp"]] }).peer("agent-0");
    const caller = await world.peer("agent-1");
    await agent.local?.close();
    caller.backend.registerEndpoint("agent-0", agent.address);
    await expect(caller.backend.connect("agent-1", "agent-0")).rejects.toMatchObject({ code: "refused" });
    await expect(caller.backend.healthCheck("agent-0")).rejects.toMatchObject({ code: "refused" });
    expect(caller.tags.length).toBe(2);
  });

  test("[meta-again] that comes back is met again in each protocol before that carries a message", async () => {
    const hosts = [["a2a", "anp"]];
    network({ hosts });
    const before = await world.peer("agent-0");
    const { backend } = program([before], hosts);
    const key = (step: number) => ({ idempotencyKey: `t-1/${step}.search` });
    await backend.connect("program", "agent-0");
    expect((await backend.send("program", "agent-0", { text: "one" }, key(1))).traffic.protocol).toBe("anp");
    await before.local?.close();
    // Until the caller has noticed that its connections are gone.
    await systemClock.sleep(50);
    // A new workspace: its identity in ANP is another.
    await world.peer("agent-0", { incarnation: 2, port: before.address.port });
    backend.hooks?.peerDown?.("agent-0", 1);
    const { peer, traffic } = await backend.connect("program", "agent-0", { cause: "handshake" });
    expect([peer.incarnation, traffic.protocol]).toEqual([2, "a2a"]);
    const first = await backend.send("program", "agent-0", { text: "two" }, key(2));
    expect([first.text, first.traffic.protocol]).toEqual(["two", "anp"]);
    const second = await backend.send("program", "agent-0", { text: "three" }, key(3));
    expect([first.traffic.roundTrips > 1, second.traffic.roundTrips]).toEqual([true, 1]);
  });
});

test("[meta-once] Agora meets a peer before its first message, need not negotiate what that lists, and does not meet its next life again", async () => {
  const hosts = [["a2a", "agora"]];
  const section = { hosts, protocols: { agora: { config: { frequent_after: 0 } } }, router: { prefer: ["agora"] } };
  network(section);
  const before = await world.peer("agent-0");
  const spoken = ({ backend }: { backend: MetaBackend }) => backend.hooks?.extraMetrics?.() ?? {};
  const negotiating = program([before], hosts, section);
  await negotiating.backend.send("program", "agent-0", { text: "zero" });
  expect(spoken(negotiating)).toMatchObject({ "agora.negotiated": 1 });
  const later = program([before], hosts, section);
  const send = (text: string) => later.backend.send("program", "agent-0", { text });
  const sent = [await send("one"), await send("two")];
  expect(sent.map(({ traffic: { protocol: by, roundTrips } }) => [by, roundTrips])).toEqual([
    ["agora", 2],
    ["agora", 1],
  ]);
  expect(spoken(later)).toMatchObject({ "agora.negotiated": 0, "agora.byHash": 2 });
  await before.local?.close();
  // Until the caller has noticed that its connections are gone.
  await systemClock.sleep(50);
  await world.peer("agent-0", { incarnation: 2, port: before.address.port });
  later.backend.hooks?.peerDown?.("agent-0", 1);
  const { traffic, text } = await send("three");
  // A new workspace: the document is not there any more, and its source is sent.
  expect([text, traffic.protocol, traffic.roundTrips]).toEqual(["three", "agora", 2]);
  expect(spoken(later)).toMatchObject({ "agora.resentSources": 1, "agora.negotiated": 0 });
});

test("[meta-lazy] a protocol's code is loaded by whoever hosts or dials it, and by nobody else", async () => {
  world = new World({ protocol, module: "meta" });
  const dir = mkdtempSync(path.join(tmpdir(), "failstorm-meta-"));
  world.onClose(() => rmSync(dir, { recursive: true, force: true }));
  const src = path.join(import.meta.dirname, "../../src");
  const script = `
    import { registerHooks } from "node:module";
    const loaded = [];
    registerHooks({ load: (url, context, next) => { loaded.push(url); return next(url, context); } });
    const { loadProtocol, createMeteredClient } = await import("${src}/index.ts");
    const { createPrng, hostedById, systemClock } = await import("@failstorm/core");
    const meta = await loadProtocol("meta");
    const client = createMeteredClient({ clock: systemClock, connectTimeoutMs: 1000, onResidual: () => {} });
    const backend = meta.createBackend({
      describeSelf: () => ({ agentId: "agent-0", incarnation: 1, capabilities: [] }), selfAddress: () => ({ host: "127.0.0.1", port: 0 }),
      client, onDeduplicated() {}, clock: systemClock, prng: createPrng(1), workspaceDir: ${JSON.stringify(dir)},
      config: meta.parseConfig({}), hosts: hostedById({ hosts: [["acp"], ["agora"]] }),
    });
    const backends = () => ["a2a", "acp", "agora", "anp"].filter((name) => loaded.some((url) => url.endsWith("/" + name + "/backend.ts"))).join(" ");
    const said = [backends()];
    const local = await backend.spawnLocalAgent("agent-0", "127.0.0.1", 0, { execute: async () => {}, cancel: async () => {} });
    said.push(backends());
    backend.registerEndpoint("agent-1", { host: "127.0.0.1", port: 9 });
    await backend.send("agent-0", "agent-1", { text: "x" }, { signal: AbortSignal.timeout(30_000) }).catch(() => {});
    said.push(backends());
    await local.close(); await backend.close(); await client.close();
    console.log(JSON.stringify(said));
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { cwd: src });
  expect(JSON.parse(stdout)).toEqual(["", "acp", "acp agora"]);
});
