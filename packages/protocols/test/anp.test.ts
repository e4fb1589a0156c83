import type { Part } from "@failstorm/core";
import fastify, { type FastifyReply, type FastifyRequest } from "fastify";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createAccessTokens } from "../src/anp/accessTokens.ts";
import { parseAnpConfig } from "../src/anp/config.ts";
import { authorisedKey, checkedDocument } from "../src/anp/did.ts";
import { contentDigest, parseSignature, signatureBase } from "../src/anp/httpSignature.ts";
import { type PublicKey, verifyBytes } from "../src/anp/keys.ts";
import { failure, HOST, type Peer, Stranger, World } from "./anp/world.ts";

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.close());

const introduce = (a: Peer, b: Peer): void => a.backend.registerEndpoint(b.agentId, b.address);

async function pair(section: Record<string, unknown> = {}): Promise<readonly [Peer, Peer]> {
  const [a, b] = [await world.peer("agent-0", { section }), await world.peer("agent-1", { section })];
  introduce(a, b);
  return [a, b];
}

describe("a handshake", () => {
  test.each([
    ["by default: DID document, signed capabilities", {}, [2, 2]],
    ["with e1 identities: discovery once", { did: "e1" }, [3, 2]],
    ["with a challenge: the nonce has to be fetched", { challenge: true }, [3, 3]],
    ["with negotiation: one more, by token", { negotiate: true }, [3, 3]],
  ])("[anp-handshake] [anp-challenge-round-trip] takes its round trips, %s", async (_what, section, roundTrips) => {
    const [a] = await pair(section);
    const taken: number[] = [];
    for (let i = 0; i < 2; i++) {
      const { peer, traffic } = await a.backend.connect("agent-0", "agent-1");
      expect(peer).toEqual({ agentId: "agent-1", incarnation: 1, capabilities: ["tool:search"] });
      taken.push(traffic.roundTrips);
    }
    expect(taken).toEqual(roundTrips);
  });

  test("[anp-bearer] gives a token that later messages use; without tokens every message is signed and bigger", async () => {
    const [a] = await pair();
    const [c, d] = [await world.peer("agent-2", { section: { access_token: false } }), await world.peer("agent-3")];
    introduce(c, d);
    await a.backend.connect("agent-0", "agent-1");
    await c.backend.connect("agent-2", "agent-3");
    const bearer = await a.backend.send("agent-0", "agent-1", { text: "x" });
    const signed = await c.backend.send("agent-2", "agent-3", { text: "x" });
    expect([bearer.traffic.roundTrips, signed.traffic.roundTrips]).toEqual([1, 1]);
    expect(signed.traffic.bytesSent).toBeGreaterThan(bearer.traffic.bytesSent + 100);
    // The signed answer carries a token each time, which is not taken.
    expect(signed.traffic.bytesReceived).toBeGreaterThan(bearer.traffic.bytesReceived + 100);
  });
});

describe("a restarted agent", () => {
  test("[anp-restart-tokens] keeps its DID, refuses the tokens of its former life, and gives a new one to whoever signs again", async () => {
    const [a, b] = await pair();
    await a.backend.connect("agent-0", "agent-1");
    await b.stop();
    const again = await world.peer("agent-1", { workspaceDir: b.workspaceDir, port: b.address.port, incarnation: 2 });
    expect((await a.backend.send("agent-0", "agent-1", { text: "x" })).traffic.roundTrips).toBe(2);
    expect((await a.backend.send("agent-0", "agent-1", { text: "x" })).traffic.roundTrips).toBe(1);
    const { peer, traffic } = await a.backend.connect("agent-0", "agent-1", { cause: "handshake" });
    expect([peer.incarnation, traffic.roundTrips]).toEqual([2, 2]);
    expect(again.address.port).toBe(b.address.port);
  });

  test("[anp-idempotency-survives] answers a repeated operation from the record, but not with another payload", async () => {
    let executions = 0;
    const a = await world.peer("agent-0");
    const execute = async (_context: unknown, queue: { enqueue(event: { type: "agent_text_message"; text: string }): void }) =>
      queue.enqueue({ type: "agent_text_message", text: `run ${++executions}` });
    const b = await world.peer("agent-1", { execute });
    introduce(a, b);
    const step = (attempt: number, query = "q"): { parts: Part[] } => ({
      parts: [
        { kind: "data", data: { from: { incarnation: attempt }, body: { step: "1.search", attempt, budgetMs: attempt, query } } },
      ],
    });
    const send = (attempt: number, query?: string) =>
      a.backend.send("agent-0", "agent-1", step(attempt, query), { idempotencyKey: "t-1/1.search" });
    expect((await send(1)).text).toBe("run 1");
    await b.stop();
    const again = await world.peer("agent-1", { execute, workspaceDir: b.workspaceDir, port: b.address.port, incarnation: 2 });
    const repeated = await send(2);
    expect([repeated.text, executions, again.repeats]).toEqual(["run 1", 1, ["t-1/1.search"]]);
    expect(await failure(send(3, "something else"))).toMatchObject({ code: "remote", detail: { code: 1008 } });
    expect(executions).toBe(1);
  });

  test("[anp-replay-survives] does not accept a request of before a second time", async () => {
    const stranger = await world.stranger();
    const b = await world.peer("agent-1");
    const request = stranger.request(b);
    expect((await stranger.post(b, request)).json.result).toMatchObject({ accepted: true });
    await b.stop();
    const again = await world.peer("agent-1", { workspaceDir: b.workspaceDir, port: b.address.port, incarnation: 2 });
    const replayed = await stranger.post(again, request);
    expect(replayed.status).toBe(401);
    expect(replayed.headers.get("www-authenticate")).toMatch(/error="invalid_nonce"/);
    // The same origin proof in a request signed anew is no better.
    const carriedAnew = stranger.request(again, {}, request.text);
    expect((await stranger.post(again, carriedAnew)).json.error?.code).toBe(2007);
  });

  test("[anp-new-keys] whose keys are lost is known by its new document: the callers it had, and those it calls", async () => {
    const [a, b] = await pair();
    introduce(b, a);
    await a.backend.connect("agent-0", "agent-1");
    await b.backend.connect("agent-1", "agent-0");
    await b.stop();
    const again = await world.peer("agent-1", { port: b.address.port, incarnation: 2 });
    introduce(again, a);
    expect((await a.backend.connect("agent-0", "agent-1")).peer.incarnation).toBe(2);
    expect((await again.backend.send("agent-1", "agent-0", { text: "me again" })).text).toBe("me again");
  });
});

test("[anp-hostless] an agent without a host can send: it publishes its DID document by itself, and takes it back", async () => {
  const b = await world.peer("agent-1");
  const a = await world.peer("agent-0");
  introduce(a, b);
  expect((await a.backend.send("agent-8", "agent-1", { text: "from nowhere" })).text).toBe("from nowhere");
});

test("[anp-answer-as-message] an answer that comes as a direct message of its own is the answer", async () => {
  const a = await world.peer("agent-0");
  const server = fastify();
  const them = new Stranger(server, false);
  server.get("/.well-known/did.json", async () => them.identity.document);
  const answer = async (request: { body: unknown }) => {
    const { id, method, params } = request.body as { id: string; method: string; params: { meta: Record<string, unknown> } };
    if (method === "anp.get_capabilities") return { jsonrpc: "2.0", id, result: { service_did: them.identity.did } };
    const { operation_id, message_id } = params.meta;
    const reply = await them.send(a, { body: { text: "later", reply_to_message_id: message_id } });
    expect(reply.json.result).toMatchObject({ accepted: true });
    return { jsonrpc: "2.0", id, result: { accepted: true, operation_id, message_id } };
  };
  server.post("/anp", (request) => answer(request));
  world.onClose(() => server.close());
  await server.listen({ host: HOST, port: 0 });
  a.backend.registerEndpoint("agent-7", { host: HOST, port: Number(new URL(server.listeningOrigin).port) });
  expect((await a.backend.connect("agent-0", "agent-7")).peer).toEqual({ agentId: "agent-7", incarnation: 0, capabilities: [] });
  const { text, raw } = await a.backend.send("agent-0", "agent-7", { text: "now?" });
  expect(text).toBe("later");
  expect(raw).not.toHaveProperty("reply");
});

/** Somebody else's server, whose message service answers with what `answer` makes of a request. */
async function server(answer: (request: FastifyRequest, reply: FastifyReply, them: Stranger) => unknown) {
  const server = fastify();
  world.onClose(() => server.close());
  const them = new Stranger(server, false);
  server.removeAllContentTypeParsers();
  server.addContentTypeParser("application/json", { parseAs: "string" }, (_request, body, done) => done(null, body));
  server.post("/anp", async (request, reply) => answer(request, reply, them));
  const listen = async (): Promise<{ readonly host: string; readonly port: number }> => {
    await server.listen({ host: HOST, port: 0 });
    return { host: HOST, port: Number(new URL(server.listeningOrigin).port) };
  };
  return { server, them, listen };
}

const capabilitiesFor = (request: FastifyRequest, more: Record<string, unknown> = {}) => {
  const { id } = JSON.parse(request.body as string) as { id: string };
  return { jsonrpc: "2.0", id, result: { service_did: "did:wba:x", supported_profiles: [], ...more } };
};

test("[anp-accept-signature] [anp-did-document] a peer gets its nonce, its endpoint signed as its document names it, and covered what it asks for, as far as a request has it", async () => {
  const a = await world.peer("agent-0");
  let key: PublicKey | null = null;
  const seen: boolean[] = [];
  // It knows itself by name, as its document says, and as it expects the target to be signed.
  const named = (): string => `http://localhost:${new URL(them.identity.baseUrl).port}/anp`;
  const {
    server: http,
    them,
    listen,
  } = await server((request, reply) => {
    const signed = parseSignature(String(request.headers["signature-input"]), String(request.headers["signature"]));
    const values: Readonly<Record<string, string>> = {
      "@method": "POST",
      "@target-uri": named(),
      "@authority": String(request.headers.host),
      "@path": "/anp",
      "@query": "?",
      "content-digest": contentDigest(request.body as string),
      "content-type": "application/json",
      "content-length": String(request.headers["content-length"]),
    };
    const base = signed && signatureBase(signed.components, signed.params, (name) => values[name]);
    seen.push(key !== null && base !== null && signed !== null && verifyBytes(key, base, signed.signature));
    const wanted = ["@path", "@query", "content-type", "content-length"];
    if (signed?.nonce === "n-1" && wanted.every((name) => signed.components.includes(name))) return capabilitiesFor(request);
    return reply
      .code(401)
      .header("www-authenticate", 'DIDWba realm="x", error="invalid_nonce", nonce="n-1"')
      .header("accept-signature", `sig1=("@method" ${wanted.map((name) => `"${name}"`).join(" ")} "x-none");created;nonce;keyid`)
      .send({ code: 401, error: "invalid_nonce" });
  });
  const text = (): string => JSON.stringify(them.identity.document);
  http.get(
    "/.well-known/did.json",
    async () => JSON.parse(text().replaceAll(`${them.identity.baseUrl}/anp`, named())) as unknown,
  );
  const document = (await (await fetch(`${a.base}/.well-known/did.json`)).json()) as { id: string };
  const checked = checkedDocument(document.id, document);
  key = checked && authorisedKey(checked, "authentication", `${document.id}#key-1`);
  a.backend.registerEndpoint("agent-7", await listen());
  expect((await a.backend.connect("agent-0", "agent-7")).traffic.roundTrips).toBe(3);
  expect(seen).toEqual([true, true]);
});

test("[anp-accept-signature] a refused token is answered with a signature, and that with one for the nonce; then it is over", async () => {
  const a = await world.peer("agent-0");
  const credentials: string[] = [];
  const {
    server: http,
    them,
    listen,
  } = await server((request, reply) => {
    const { authorization = "signed" } = request.headers;
    credentials.push(`${authorization} ${/nonce="(n-\d)"/.exec(String(request.headers["signature-input"]))?.[1] ?? ""}`.trim());
    if (credentials.length === 1) {
      void reply.header("authentication-info", 'access_token="t", token_type="Bearer", expires_in=3600');
      return capabilitiesFor(request);
    }
    if (authorization === "signed")
      void reply.header("www-authenticate", `DIDWba error="invalid_nonce", nonce="n-${credentials.length}"`);
    return reply.code(401).send({ detail: "Invalid token" });
  });
  http.get("/.well-known/did.json", async () => them.identity.document);
  a.backend.registerEndpoint("agent-7", await listen());
  await a.backend.connect("agent-0", "agent-7");
  expect((await failure(a.backend.send("agent-0", "agent-7", { text: "x" }))).code).toBe("protocol");
  expect(credentials).toEqual(["signed", "Bearer t", "signed", "signed n-3"]);
});

test("[anp-discovery-pages] a stranger is found on any page of the discovery document, also with a did:web, and not taken for its domain", async () => {
  const a = await world.peer("agent-0");
  const { server: http, them, listen } = await server((request) => capabilitiesFor(request, { agent: { vendor: "x" } }));
  const other = { "@type": "ad:AgentDescription", name: "agent-8", "@id": "http://127.0.0.1:1/ad.json" };
  const itself = { "@type": "ad:AgentDescription", name: "agent-7", "@id": "/seven/ad.json" };
  http.get<{ Querystring: { page?: string } }>("/.well-known/agent-descriptions", async ({ query: { page } }) =>
    page === undefined
      ? { "@type": "CollectionPage", items: [other], next: "/.well-known/agent-descriptions?page=2" }
      : { "@type": "CollectionPage", items: [other, itself] },
  );
  http.get("/.well-known/did.json", async () => ({ id: them.identity.did, authentication: [] }));
  const did = (): string => `${them.identity.did.replace("did:wba:", "did:web:")}:seven`;
  http.get("/seven/ad.json", async () => ({ protocolType: "ANP", did: did() }));
  http.get(
    "/seven/did.json",
    async () => JSON.parse(JSON.stringify(them.identity.document).replaceAll(them.identity.did, did())) as unknown,
  );
  a.backend.registerEndpoint("agent-7", await listen());
  expect((await a.backend.connect("agent-0", "agent-7")).peer).toEqual({ agentId: "agent-7", incarnation: 0, capabilities: [] });
});

test("[anp-token] a token is good until it expires, for its process alone, and not when anything in it was changed", () => {
  let time = 1_000_000;
  const tokens = createAccessTokens(60_000, () => time);
  const info = tokens.issue("did:wba:a");
  expect(info).toMatch(/token_type="Bearer", expires_in=60$/);
  const token = /access_token="([^"]+)"/.exec(info)?.[1] ?? "";
  expect(tokens.verify(token)).toBe("did:wba:a");
  const forged = Buffer.from('{"sub":"did:wba:b","exp":99999999999}').toString("base64url");
  for (const other of [`${token}x`, token.slice(0, -1), token.replace(/\.[^.]+\./, `.${forged}.`), "", ".", "a.b.c"])
    expect(tokens.verify(other), other).toBeNull();
  expect(createAccessTokens(60_000, () => time).verify(token)).toBeNull();
  time += 29_000;
  expect(tokens.issue("did:wba:a")).toContain(`"${token}", token_type="Bearer", expires_in=31`);
  time += 2_000;
  expect(tokens.issue("did:wba:a")).not.toContain(token);
  time += 30_000;
  expect(tokens.verify(token)).toBeNull();
});

test("[anp-config] wrong configuration is named", () => {
  expect(parseAnpConfig(undefined)).toMatchObject({
    transport: "http",
    accessToken: true,
    tokenLifetimeMs: 3_600_000,
    did: "domain",
  });
  for (const [section, message] of [
    [{ retries: 1 }, /anp.retries: unknown key/],
    [{ transport: "tcp" }, /anp.transport: "tcp" is not http or websocket/],
    [{ access_token: "yes" }, /anp.access_token/],
    [{ token_lifetime: 0 }, /anp.token_lifetime: 0/],
    [{ delivery_members: "from" }, /anp.delivery_members/],
    [{ e2ee: "yes" }, /anp.e2ee/],
    [{ e2ee: true, negotiate: true }, /anp.negotiate/],
  ] as const)
    expect(() => parseAnpConfig(section)).toThrow(message);
});
