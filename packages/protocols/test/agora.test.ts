import { rmSync } from "node:fs";
import path from "node:path";
import { FakeClock, type Payload } from "@failstorm/core";
import fastify from "fastify";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { hashOf, parseDocument } from "../src/agora/document.ts";
import { messagesDocument, negotiationDocument } from "../src/agora/library.ts";
import { loadProtocol } from "../src/index.ts";
import { agoraPeer, closeAll, echo, failure, type Peer, post, rawServer, serve, stranger, workspace } from "./agoraPeers.ts";

afterEach(closeAll);

let a: Peer;
let b: Peer;
const frequent = { section: { frequent_after: 0 } };
beforeEach(() => {
  a = agoraPeer("agent-0");
  b = agoraPeer("agent-1");
});
const send = (payload: Payload, options = {}) => a.backend.send("agent-0", "agent-1", payload, options);

describe("messages", () => {
  test("[agora-natural-language] carry text and parts there and back, in natural language and by hash, however big", async () => {
    const seen: unknown[] = [];
    a.backend.registerEndpoint(
      "agent-1",
      await serve(b, async (context, queue) => {
        seen.push([context.from, "text" in context.payload ? context.payload.text : context.payload.parts.length]);
        await echo(context, queue);
      }),
    );
    const parts = [
      { kind: "data", data: { n: [1, null, "x\n"], deep: { "Part 2 is text": true } } },
      { kind: "text", text: `é\n${"\u{1F300}".repeat(1_000_000)}` },
      { kind: "text", text: "" },
    ] as const;
    for (let i = 0; i < 7; i++) {
      const answer = await send({ parts });
      expect(answer.parts).toEqual(parts);
      expect((await send({ text: `words ${i}\n` }, { kind: "lookup" })).text).toBe(`words ${i}\n`);
    }
    expect(new Set(seen.map((one) => JSON.stringify(one)))).toEqual(
      new Set(['["agent-0",3]', ...Array.from({ length: 7 }, (_, i) => `["agent-0","words ${i}\\n"]`)]),
    );
    expect(a.backend.counters()).toMatchObject({ naturalLanguage: 10, byHash: 4, negotiated: 2 });
  });

  test("[agora-frequent] go in natural language until they are frequent, then by hash; the first of these negotiates", async () => {
    a.backend.registerEndpoint("agent-1", await serve(b));
    const trips: number[] = [];
    for (let i = 0; i < 8; i++) trips.push((await send({ text: "x" })).traffic.roundTrips);
    expect(trips).toEqual([1, 1, 1, 1, 1, 2, 1, 1]);
    expect((await send({ text: "x" }, { kind: "ledger" })).traffic.roundTrips).toBe(1);
    expect(a.backend.counters()).toMatchObject({ naturalLanguage: 6, byHash: 3, negotiated: 1 });
  });

  test("[agora-frequent] do not wait for a negotiation under way", async () => {
    a = agoraPeer("agent-0", { section: { frequent_after: 2 } });
    a.backend.registerEndpoint("agent-1", await serve(b));
    const all = await Promise.all(Array.from({ length: 20 }, (_, i) => send({ text: `${i}` })));
    expect(all.map(({ text }) => text)).toEqual(Array.from({ length: 20 }, (_, i) => `${i}`));
    expect(all.filter(({ traffic }) => traffic.roundTrips === 2)).toHaveLength(1);
    expect(a.backend.counters()).toMatchObject({ negotiated: 1, byHash: 1, naturalLanguage: 19 });
  });

  test("[agora-no-idempotency] are executed again when they are sent again: there is no idempotency", async () => {
    const ids: string[] = [];
    a.backend.registerEndpoint("agent-1", await serve(b, async ({ messageId }) => void ids.push(messageId)));
    for (let i = 0; i < 3; i++) await send({ text: "x" }, { idempotencyKey: "t-1/1.search" });
    expect(new Set(ids).size).toBe(3);
  });

  test("a thousand at once are all answered", async () => {
    a.backend.registerEndpoint("agent-1", await serve(b));
    const all = await Promise.all(Array.from({ length: 1000 }, (_, i) => send({ text: `${i}` })));
    expect(all.map(({ text }) => text)).toEqual(Array.from({ length: 1000 }, (_, i) => `${i}`));
  });

  test("[agora-prefix] under a prefix, beside another protocol that posts to its base", async () => {
    const server = fastify();
    await server.register(b.backend.hostPlugin("agent-1", { execute: echo, cancel: async () => {} }), { prefix: "/agora" });
    await server.register(async (other) => void other.post("/", async () => ({ other: true })), { prefix: "/a2a" });
    const url = await server.listen({ host: "127.0.0.1", port: 0 });
    b.port = Number(new URL(url).port);
    a.backend.registerEndpoint("agent-1", { host: "127.0.0.1", port: b.port, basePath: "/agora" });
    for (let i = 0; i < 7; i++) expect((await send({ text: "x" }, { contextId: "c" })).text).toBe("x");
    expect((await a.backend.connect("agent-0", "agent-1")).peer.agentId).toBe("agent-1");
    for (const base of ["/agora", "/agora/"]) expect((await post(url + base, { body: "hi" })).json["body"]).toBe("hi");
    expect((await post(`${url}/a2a`, {})).json).toEqual({ other: true });
    await server.close();
  });
});

describe("handshake and probe", () => {
  test("[agora-describe] [agora-alive] tell who answers, in one round trip each, as it changes", async () => {
    a.backend.registerEndpoint("agent-1", await serve(b));
    const { peer, traffic } = await a.backend.connect("agent-0", "agent-1");
    expect(peer).toEqual({ agentId: "agent-1", incarnation: 1, capabilities: ["tool:search"] });
    expect(traffic.roundTrips).toBe(1);
    b.capabilities = ["tool:search", "shard:3"];
    expect((await a.backend.connect("agent-0", "agent-1")).peer.capabilities).toEqual(["tool:search", "shard:3"]);
    const health = await a.backend.healthCheck("agent-1");
    expect(health).toMatchObject({ incarnation: 1, traffic: { roundTrips: 1 } });
    expect(health.traffic.bytesSent + health.traffic.bytesReceived).toBeLessThan(400);
  });

  test("refuse an agent that is somebody else", async () => {
    a.backend.registerEndpoint("agent-2", await serve(b));
    expect((await failure(a.backend.connect("agent-0", "agent-2"))).code).toBe("protocol");
  });

  test("[agora-wellknown-optional] a stranger without a wellknown is met, but says nothing of itself", async () => {
    a.backend.registerEndpoint("agent-1", await stranger(() => ({ status: 404, json: { detail: "Not Found" } })));
    expect((await a.backend.connect("agent-0", "agent-1")).peer).toEqual({
      agentId: "agent-1",
      incarnation: 0,
      capabilities: [],
    });
    expect((await a.backend.healthCheck("agent-1")).incarnation).toBeNull();
  });

  test("[agora-adopt] a backend meets documents that its peer lists without negotiating them", async () => {
    const address = await serve(b);
    const other = agoraPeer("agent-2", frequent);
    other.backend.registerEndpoint("agent-1", address);
    await other.backend.send("agent-2", "agent-1", { text: "x" }, { kind: "gossip" });
    a.backend.registerEndpoint("agent-1", address);
    await a.backend.connect("agent-0", "agent-1");
    expect((await send({ text: "x" }, { kind: "gossip" })).traffic.roundTrips).toBe(1);
    expect(a.backend.counters()).toMatchObject({ adopted: 1, byHash: 1, naturalLanguage: 0, negotiated: 0 });
  });
});

/** Agent 1, once a document for tool messages has been agreed, comes back on its port; `section` says what it remembers. */
async function restarted(options: { section?: unknown; workspaceDir: string; contextId?: string }) {
  const first = agoraPeer("agent-1", options);
  const address = await serve(first);
  a = agoraPeer("agent-0", frequent);
  a.backend.registerEndpoint("agent-1", address);
  await send({ text: "before" }, options.contextId === undefined ? {} : { contextId: options.contextId });
  await address.close();
  // The client finds out that its idle connection is gone.
  await failure(a.backend.healthCheck("agent-1"));
  const second = agoraPeer("agent-1", { ...options, incarnation: 2 });
  await serve(second, echo, "", address.port);
  return second;
}

describe("after a crash", () => {
  test("[agora-known-hash] a known hash costs the handshake's one round trip and nothing more", async () => {
    await restarted({ workspaceDir: workspace() });
    const { peer, traffic } = await a.backend.connect("agent-0", "agent-1");
    expect([peer.incarnation, traffic.roundTrips]).toEqual([2, 1]);
    expect((await send({ text: "x" })).traffic.roundTrips).toBe(1);
    expect(a.backend.counters()).toMatchObject({ knownHash: 1, resentSources: 0, renegotiated: 0, negotiated: 1, byHash: 2 });
  });

  test("[agora-resend] a receiver that lost its documents gets the source with the message, without a further round trip when it was met", async () => {
    await restarted({ workspaceDir: workspace(), section: { document_store: "memory" } });
    await a.backend.connect("agent-0", "agent-1");
    expect((await send({ text: "x" })).traffic.roundTrips).toBe(1);
    expect((await send({ text: "x" })).traffic.roundTrips).toBe(1);
    expect(a.backend.counters()).toMatchObject({ knownHash: 0, resentSources: 1, negotiated: 1 });
  });

  test("[agora-resend] … and after its refusal when it was not", async () => {
    await restarted({ workspaceDir: workspace(), section: { document_store: "memory" } });
    expect((await send({ text: "x" })).traffic.roundTrips).toBe(2);
    expect(a.backend.counters()).toMatchObject({ resentSources: 1, renegotiated: 0 });
  });

  test("[agora-reopen] a lost conversation is opened again", async () => {
    await restarted({ workspaceDir: workspace(), contextId: "c-1" });
    const answer = await send({ text: "x" }, { contextId: "c-1" });
    expect([answer.text, answer.traffic.roundTrips]).toEqual(["x", 2]);
    expect((await send({ text: "x" }, { contextId: "c-1" })).traffic.roundTrips).toBe(1);
    expect(a.backend.counters()).toMatchObject({ reopened: 1 });
  });

  test("[agora-renegotiate] a document that nobody has any more is negotiated again", async () => {
    const mine = workspace();
    a = agoraPeer("agent-0", { ...frequent, workspaceDir: mine });
    const first = await serve(b);
    a.backend.registerEndpoint("agent-1", first);
    await send({ text: "x" });
    await first.close();
    await failure(a.backend.healthCheck("agent-1"));
    const forgetful = agoraPeer("agent-1", { incarnation: 2 });
    const address = await serve(forgetful);
    rmSync(path.join(mine, "agora", "documents"), { recursive: true });
    a = agoraPeer("agent-0", { ...frequent, workspaceDir: mine, incarnation: 2 });
    a.backend.registerEndpoint("agent-1", address);
    const answer = await send({ text: "x" });
    expect([answer.text, answer.traffic.roundTrips]).toEqual(["x", 3]);
    expect(a.backend.counters()).toMatchObject({ renegotiated: 1, negotiated: 1, resentSources: 0 });
  });

  test("[agora-renegotiate] … at once when the peer was met and does not list it", async () => {
    const mine = workspace();
    a = agoraPeer("agent-0", { ...frequent, workspaceDir: mine });
    const first = await serve(b);
    a.backend.registerEndpoint("agent-1", first);
    await send({ text: "x" });
    rmSync(path.join(mine, "agora", "documents"), { recursive: true });
    a = agoraPeer("agent-0", { ...frequent, workspaceDir: mine, incarnation: 2 });
    a.backend.registerEndpoint("agent-1", await serve(agoraPeer("agent-1", { incarnation: 2 })));
    await a.backend.connect("agent-0", "agent-1");
    expect((await send({ text: "x" })).traffic.roundTrips).toBe(2);
    expect(a.backend.counters()).toMatchObject({ renegotiated: 1, negotiated: 1 });
  });

  test("[agora-agreements] a sender that comes back still knows what it has agreed", async () => {
    const mine = workspace();
    a = agoraPeer("agent-0", { ...frequent, workspaceDir: mine });
    const address = await serve(b);
    a.backend.registerEndpoint("agent-1", address);
    await send({ text: "x" });
    a = agoraPeer("agent-0", { workspaceDir: mine, incarnation: 2 });
    a.backend.registerEndpoint("agent-1", address);
    expect((await send({ text: "x" })).traffic.roundTrips).toBe(1);
    expect(a.backend.counters()).toMatchObject({ byHash: 1, negotiated: 0 });
  });
});

describe("conversations", () => {
  test("[agora-reopen] a client reopens one that has expired before it asks", async () => {
    const clock = new FakeClock(1_700_000_000_000);
    const server = agoraPeer("agent-1", { clock, section: { conversation_ttl: 10 } });
    const contexts: unknown[] = [];
    a = agoraPeer("agent-0", { clock });
    a.backend.registerEndpoint("agent-1", await serve(server, async ({ contextId }) => void contexts.push(contextId)));
    await send({ text: "x" }, { contextId: "c" });
    await clock.advance(9_000);
    await send({ text: "x" }, { contextId: "c" });
    await clock.advance(11_000);
    expect((await send({ text: "x" }, { contextId: "c" })).traffic.roundTrips).toBe(1);
    expect(contexts[0]).toEqual(expect.any(String));
    expect(contexts[1]).toBe(contexts[0]);
    expect(contexts[2]).not.toBe(contexts[0]);
    expect(a.backend.counters()).toMatchObject({ reopened: 1 });
  });
});

describe("negotiation", () => {
  const proposals: unknown[] = [];
  beforeEach(() => {
    proposals.length = 0;
    a = agoraPeer("agent-0", frequent);
  });

  test("[agora-counter] a counter-proposal that there is a routine for is accepted in the conversation", async () => {
    const any = messagesDocument("any");
    a.backend.registerEndpoint(
      "agent-1",
      await stranger(({ url, body }) => {
        proposals.push([url, body["protocolHash"] ?? null]);
        if (url === "/conversations/n%2F1") return { json: { status: "success", body: { accept: any.hash } } };
        if (body["protocolHash"] === negotiationDocument.hash)
          return { json: { status: "success", conversationId: "n/1", conversationExpires: 2e9, body: { propose: any.text } } };
        return { json: { status: "success", body: { parts: [{ kind: "text", text: "thanks" }] } } };
      }),
    );
    expect((await send({ text: "x" })).text).toBe("thanks");
    expect(proposals).toEqual([
      ["/", negotiationDocument.hash],
      ["/conversations/n%2F1", null],
      ["/", any.hash],
    ]);
  });

  test.each([
    ["rejects", { status: "success", conversationId: "n", body: { reject: "no" } }],
    ["fails", { status: "failure", error: "no model today" }],
    ["accepts another document", { status: "success", conversationId: "n", body: { accept: "0".repeat(40) } }],
    ["talks nonsense", { status: "success", conversationId: "n", body: "Sure!" }],
    ["never comes to an end", { status: "success", conversationId: "n", body: { propose: messagesDocument("any").text } }],
    ["proposes what there is no routine for", { status: "success", conversationId: "n", body: { propose: "name: x\n---\n" } }],
  ])("[agora-refused] with a peer that %s, messages stay in natural language", async (_what, json) => {
    a.backend.registerEndpoint(
      "agent-1",
      await stranger(({ body }) => {
        const spoken = typeof body["body"] === "string";
        proposals.push(spoken);
        return { json: spoken ? { status: "success", body: "hello" } : json };
      }),
    );
    expect((await send({ text: "x" })).text).toBe("hello");
    expect((await send({ text: "x" })).traffic.roundTrips).toBe(1);
    expect(a.backend.counters()).toMatchObject({ refused: 1, naturalLanguage: 2, byHash: 0 });
    expect(proposals.length).toBeLessThanOrEqual(6);
  });

  test("[agora-offer] a peer that does not know our negotiation may still take the document from its source", async () => {
    const known = new Set<unknown>();
    a.backend.registerEndpoint(
      "agent-1",
      await stranger(({ body: { protocolHash: hash, protocolSources: sources } }) => {
        const [source] = (sources ?? []) as string[];
        if (
          hash !== negotiationDocument.hash &&
          source !== undefined &&
          hashOf(decodeURIComponent(source.split(",", 2)[1] ?? "")) === hash
        )
          known.add(hash);
        if (!known.has(hash)) return { json: { status: "failure", error: "Unsupported protocol" } };
        return { json: { status: "success", body: { parts: [] } } };
      }),
    );
    expect((await send({ text: "x" })).traffic.roundTrips).toBe(2);
    expect((await send({ text: "x" })).traffic.roundTrips).toBe(1);
    expect(a.backend.counters()).toMatchObject({ offered: 1, negotiated: 0, byHash: 2 });
  });

  test("[agora-refused] a peer that supports nothing is spoken to", async () => {
    a.backend.registerEndpoint(
      "agent-1",
      await stranger(({ body }) => ({
        json:
          body["protocolHash"] === null
            ? { status: "success", body: "ok" }
            : { status: "failure", error: "Unsupported protocol" },
      })),
    );
    expect((await send({ text: "x" })).text).toBe("ok");
    expect((await send({ text: "x" })).traffic.roundTrips).toBe(1);
  });

  test("a peer that agrees to everything and then supports nothing is spoken to in the end", async () => {
    a.backend.registerEndpoint(
      "agent-1",
      await stranger(({ body }) => {
        if (body["protocolHash"] === null) return { json: { status: "success", body: "ok" } };
        const proposed = (body["body"] as { propose?: string }).propose;
        if (proposed === undefined) return { json: { status: "failure", error: "Unsupported protocol" } };
        return { json: { status: "success", body: { accept: parseDocument(proposed)?.hash } } };
      }),
    );
    expect((await send({ text: "x" })).text).toBe("ok");
    expect(a.backend.counters()).toMatchObject({ renegotiated: 1, refused: 1 });
  });
});

describe("accounting", () => {
  test("attributes exactly what the sockets moved", async () => {
    a.backend.registerEndpoint("agent-1", await serve(b));
    const all = await Promise.all([
      a.backend.connect("agent-0", "agent-1"),
      ...Array.from({ length: 20 }, (_, i) => send({ text: "x".repeat(i * 100) }, i % 2 ? { contextId: `${i % 4}` } : {})),
      a.backend.healthCheck("agent-1"),
    ]);
    const sum = (key: "bytesSent" | "bytesReceived") => all.reduce((total, { traffic }) => total + traffic[key], 0);
    expect({ bytesSent: sum("bytesSent"), bytesReceived: sum("bytesReceived") }).toEqual(a.client.socketTotals());
  });
});

describe("failures are typed", () => {
  test("nobody listens; nobody is known", async () => {
    // A port that nobody is ever given by chance, unlike one that was free a moment ago.
    a.backend.registerEndpoint("agent-1", { host: "127.0.0.1", port: 2 });
    expect(await failure(send({ text: "x" }))).toMatchObject({ code: "refused", peer: "agent-1" });
    expect((await failure(a.backend.send("agent-0", "agent-9", { text: "x" }))).code).toBe("unknown_agent");
  });

  test("a negotiation that breaks off is tried again with the next message", async () => {
    a = agoraPeer("agent-0", frequent);
    a.backend.registerEndpoint("agent-1", await rawServer((socket) => socket.once("data", () => socket.destroy())));
    expect((await failure(send({ text: "x" }))).code).toBe("reset");
    a.backend.registerEndpoint("agent-1", await serve(b));
    expect((await send({ text: "x" })).traffic.roundTrips).toBe(2);
    expect(a.backend.counters()).toMatchObject({ negotiated: 1, refused: 0 });
  });

  test("the answer is cut off, is garbage, has no status, is not what the document asks for, comes too late", async () => {
    const answering = (text: string) =>
      rawServer((socket) => socket.once("data", () => socket.end(`HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n${text}`)));
    a.backend.registerEndpoint("agent-1", await answering('{"st'));
    const cut = await failure(send({ text: "x" }));
    expect(cut.code).toBe("reset");
    expect(cut.traffic?.bytesReceived).toBeGreaterThan(0);
    a.backend.registerEndpoint("agent-1", await answering("x".repeat(100)));
    const garbled = [send({ text: "x" }), a.backend.healthCheck("agent-1"), a.backend.connect("agent-0", "agent-1")];
    expect((await Promise.all(garbled.map(failure))).map(({ code }) => code)).toEqual(["protocol", "protocol", "protocol"]);
    a.backend.registerEndpoint("agent-1", await stranger(() => ({ json: { body: "x" } })));
    expect((await failure(send({ text: "x" }))).code).toBe("protocol");
    a.backend.registerEndpoint("agent-1", await rawServer(() => {}));
    expect((await failure(send({ text: "x" }, { signal: AbortSignal.timeout(20) }))).code).toBe("timeout");
    expect((await failure(send({ text: "x" }, { signal: AbortSignal.abort(new Error("dead")) }))).code).toBe("aborted");
  });

  test("[agora-protocol-errors] the agent's own errors, in words and by document; an answer that is no parts", async () => {
    for (const section of [{}, { frequent_after: 0 }]) {
      const peer = agoraPeer("agent-1", { section });
      a = agoraPeer("agent-0", { section });
      a.backend.registerEndpoint(
        "agent-1",
        await serve(peer, async () => {
          throw new Error("not today");
        }),
      );
      expect(await failure(send({ text: "x" }))).toMatchObject({ code: "remote", message: "agent-1: not today" });
    }
    const hash = messagesDocument("tool").hash;
    a.backend.registerEndpoint(
      "agent-1",
      await stranger(({ body }) => ({
        json: { status: "success", body: body["protocolHash"] === hash ? { parts: [1] } : { accept: hash } },
      })),
    );
    expect((await failure(send({ text: "x" }))).code).toBe("protocol");
  });
});

test("[agora-protocol-errors] an execution that says it has failed is the agent's error too", async () => {
  a.backend.registerEndpoint(
    "agent-1",
    await serve(b, async (_context, queue) => queue.enqueue({ type: "status", state: "failed", message: "no tool" })),
  );
  expect(await failure(send({ text: "x" }))).toMatchObject({ code: "remote", message: "agent-1: no tool" });
});

test("[agora-config] the protocol is found by its name, declares what it has not, and names a wrong key of its section", async () => {
  const protocol = await loadProtocol("agora");
  expect(protocol.getProtocolInfo()).toMatchObject({ name: "agora", version: "0.2", heartbeat: "added" });
  expect(Object.values(protocol.getProtocolInfo().capabilities)).not.toContain(true);
  expect(protocol.getReconnectionInfo().expectedRoundTrips).toBe(1);
  expect(() => protocol.parseConfig({ frequent: 1 })).toThrow(/agora.frequent: unknown key; known are frequent_after/);
  expect(() => protocol.parseConfig({ frequent_after: -1 })).toThrow(/agora.frequent_after: -1 is not a whole number/);
  expect(() => protocol.parseConfig({ negotiator: "llm" })).toThrow(/agora.negotiator: an LLM negotiator is not there yet/);
  expect(() => protocol.parseConfig({ source_hosts: "x" })).toThrow(/agora.source_hosts/);
});
