import { generateKeyPairSync } from "node:crypto";
import { systemClock } from "@failstorm/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import fastify from "fastify";
import { didOf } from "../src/anp/did.ts";
import { contentDigest, signComponents } from "../src/anp/httpSignature.ts";
import { canonical, type JsonObject } from "../src/anp/json.ts";
import { proveOrigin } from "../src/anp/originProof.ts";
import { HOST, nowS, type Peer, type RawMessage, Stranger, World } from "./anp/world.ts";

const world = new World();
let host: Peer;
let stranger: Stranger;
const executed: unknown[] = [];
beforeAll(async () => {
  host = await world.peer("agent-1", {
    execute: async ({ payload, from }, queue) => {
      executed.push(payload);
      if ("text" in payload && payload.text === "refuse") throw new Error("no such shard here");
      queue.enqueue({ type: "agent_text_message", text: `${from}: ${JSON.stringify(payload)}` });
    },
  });
  stranger = await world.stranger();
});
afterAll(() => world.close());

const get = async (path: string): Promise<{ status: number; json: JsonObject }> => {
  const response = await fetch(host.base + path);
  return { status: response.status, json: (await response.json()) as JsonObject };
};

test("[anp-discovery] [anp-description] discovery leads from the address to the description, its DID and the message service", async () => {
  const page = (await get("/.well-known/agent-descriptions")).json as { "@type": string; items: Array<Record<string, string>> };
  expect(page["@type"]).toBe("CollectionPage");
  expect(page.items).toEqual([
    { "@type": "ad:AgentDescription", name: "agent-1", "@id": `${host.base}/ad.json`, did: didOf(host.address) },
  ]);
  const { json: description } = await get("/ad.json");
  expect(description).toMatchObject({ protocolType: "ANP", type: "AgentDescription", name: "agent-1", did: didOf(host.address) });
  const interfaces = description["interfaces"] as Array<Record<string, string>>;
  expect(interfaces.map(({ type }) => type)).toEqual([
    "StructuredInterface",
    "NaturalLanguageInterface",
    "MetaProtocolInterface",
  ]);
  expect((await get("/interface.json")).json).toMatchObject({ openrpc: "1.3.2", servers: [{ url: `${host.base}/anp` }] });
  const { json: document } = await get("/.well-known/did.json");
  expect(document).toMatchObject({ id: didOf(host.address), authentication: [`${didOf(host.address)}#key-1`] });
  expect((await get("/agent-1/e1_x/did.json")).status).toBe(404);
  expect((await get("/health")).json).toEqual({ incarnation: 1 });
});

test("[anp-capabilities] [anp-everything-signed] capabilities are told to anybody, and nothing else is", async () => {
  const meta = { profile: "anp.core.binding.v1", security_profile: "transport-protected" };
  const ask = (method: string, more: JsonObject = {}) =>
    stranger.post(host, {
      headers: { "content-type": "application/json" },
      text: JSON.stringify({ jsonrpc: "2.0", id: "c", method, params: { meta: { ...meta, ...more }, body: {} } }),
    });
  const { status, json } = await ask("anp.get_capabilities");
  expect([status, json["id"]]).toEqual([200, "c"]);
  expect(json.result).toMatchObject({
    service_did: didOf(host.address),
    supported_security_profiles: ["transport-protected"],
    limits: { max_request_bytes: "67108864" },
    agent: { agent_id: "agent-1", incarnation: 1, capabilities: ["tool:search"] },
  });
  expect(json.result?.["supported_profiles"]).toContain("anp.direct.base.v1");
  const did = didOf(host.address);
  for (const [target, code] of [
    [{ kind: "service", did }, undefined],
    [{ kind: "agent", did }, undefined],
    [{ kind: "group", did }, 1014],
    [{ kind: "service", did: "did:wba:localhost%3A1" }, 1007],
  ] as const)
    expect((await ask("anp.get_capabilities", { target })).json.error?.code, JSON.stringify(target)).toBe(code);
  for (const method of ["direct.send", "anp.negotiate"]) {
    const refused = await ask(method);
    expect(refused.status).toBe(401);
    expect(refused.json).toMatchObject({ id: "c", error: { code: 1005, data: { anp_code: "anp.unauthorized" } } });
  }
});

test("[anp-signed] [anp-direct-send] a signed message is accepted and answered, with a token that stands for the sender from then on", async () => {
  const { status, json, headers } = await stranger.send(host, { meta: { operation_id: "op-1", message_id: "m-1" } });
  expect(status).toBe(200);
  expect(json.result).toMatchObject({
    accepted: true,
    operation_id: "op-1",
    message_id: "m-1",
    target_did: didOf(host.address),
    reply: { content_type: "text/plain", body: { reply_to_message_id: "m-1", text: 'null: {"text":"hello"}' } },
  });
  expect(Date.parse(json.result?.["accepted_at"] as string)).toBeGreaterThan(0);
  const token = /access_token="([^"]+)", token_type="Bearer", expires_in=3600/.exec(
    headers.get("authentication-info") ?? "",
  )?.[1];
  const authorization = `Bearer ${token}`;
  const signedAnew = { "signature-input": null, signature: null, "content-digest": null, authorization };
  expect((await stranger.send(host, { headers: signedAnew })).json.result).toMatchObject({ accepted: true });
  const inLowerCase = await stranger.send(host, { headers: { ...signedAnew, authorization: `bearer ${token}` } });
  expect(inLowerCase.json.result).toMatchObject({ accepted: true });
  const bad = await stranger.send(host, { headers: { ...signedAnew, authorization: `${authorization}x` } });
  expect(bad.status).toBe(401);
  expect(bad.headers.get("www-authenticate")).toMatch(/^DIDWba .*error="invalid_access_token".*nonce="/);
});

test("[anp-challenge] a challenge can be met with its nonce, once", async () => {
  const { headers } = await stranger.send(host, { headers: { signature: null, "signature-input": null } });
  expect(headers.get("cache-control")).toBe("no-store");
  expect(headers.get("accept-signature")).toContain('"@target-uri"');
  const nonce = /nonce="([^"]+)"/.exec(headers.get("www-authenticate") ?? "")?.[1] ?? "";
  expect((await stranger.send(host, { nonce })).status).toBe(200);
  expect((await stranger.send(host, { nonce })).status).toBe(401);
});

describe("a request whose sender is not proven is refused with the reason", () => {
  const other = generateKeyPairSync("ed25519").privateKey;
  const keyid = (id: string) => ({ keyid: id, privateKey: stranger.keys.signing.privateKey });
  const cases: ReadonlyArray<readonly [string, string, () => RawMessage]> = [
    ["no signature", "invalid_request", () => ({ headers: { signature: null, "signature-input": null } })],
    ["half a signature", "invalid_request", () => ({ headers: { signature: null } })],
    ["malformed", "invalid_request", () => ({ headers: { "signature-input": "sig1=(((" } })],
    [
      "another scheme",
      "invalid_request",
      () => ({ headers: { signature: null, "signature-input": null, authorization: "Basic eA==" } }),
    ],
    ["another key", "invalid_signature", () => ({ signer: { ...stranger.identity.signingKey, privateKey: other } })],
    ["a key that is not there", "invalid_verification_method", () => ({ signer: keyid(`${stranger.identity.did}#key-9`) })],
    [
      "a key for something else",
      "invalid_verification_method",
      () => ({ signer: keyid(`${stranger.identity.did}#key-x25519-1`) }),
    ],
    ["a keyid that is no DID", "invalid_did", () => ({ signer: keyid("key-1") })],
    ["a DID without a key", "invalid_did", () => ({ signer: keyid(stranger.identity.did) })],
    ["a DID whose host is gone", "invalid_did", () => ({ signer: keyid("did:wba:localhost%3A1#key-1") })],
    ["a DID of somebody else's host", "invalid_did", () => ({ signer: keyid(`${stranger.identity.did}:user#key-1`) })],
    ["too old", "invalid_timestamp", () => ({ nowS: nowS() - 301 })],
    ["expired", "invalid_timestamp", () => ({ nowS: nowS() - 62 })],
    ["from the future", "invalid_timestamp", () => ({ nowS: nowS() + 120 })],
    ["another body", "invalid_content_digest", () => ({ headers: { "content-digest": "sha-256=:AAAA:" } })],
    ["a digest that is not there", "invalid_request", () => ({ headers: { "content-digest": null } })],
  ];
  test.each(cases)("[anp-unproven] %s: %s", async (_what, error, options) => {
    const { status, headers, json } = await stranger.send(host, options());
    expect(status).toBe(401);
    expect(headers.get("www-authenticate")).toContain(`error="${error}"`);
    expect(json).toMatchObject({ id: "1", error: { code: 1005, data: { details: { error } } } });
  });

  test("[anp-covered] a signature may cover whatever a request has, and name its algorithm", async () => {
    const { text } = stranger.request(host);
    const values: Readonly<Record<string, string>> = {
      "@method": "POST",
      "@target-uri": `${host.base}/anp?x=1`,
      "@scheme": "http",
      "@request-target": "/anp?x=1",
      "@path": "/anp",
      "@query": "?x=1",
      "content-digest": contentDigest(text),
      "content-type": "application/json",
    };
    const send = async (alg: string): Promise<number> => {
      const keyid = `${stranger.identity.signingKey.keyid}";alg="${alg}`;
      const key = { keyid, privateKey: stranger.keys.signing.privateKey };
      const { input, signature } = signComponents(key, Object.keys(values), (name) => values[name], { nowS: nowS() });
      const headers = { "content-type": "application/json", "content-digest": contentDigest(text) };
      const signed = { ...headers, "signature-input": input, signature };
      return (await fetch(`${host.base}/anp?x=1`, { method: "POST", headers: signed, body: text })).status;
    };
    expect(await send("ed25519")).toBe(200);
    expect(await send("rsa-pss-sha512")).toBe(401);
  });

  test("[anp-replay] a replayed request, and one that was signed for another host", async () => {
    const request = stranger.request(host);
    expect((await stranger.post(host, request)).status).toBe(200);
    expect((await stranger.post(host, request)).headers.get("www-authenticate")).toContain('error="invalid_nonce"');
    const elsewhere = await world.peer("agent-5");
    const forOther = stranger.request(elsewhere);
    const { status, headers } = await stranger.post(host, forOther);
    expect([status, headers.get("www-authenticate")?.includes('error="invalid_signature"')]).toEqual([401, true]);
  });

  test("[anp-covered] a signature that does not cover the body", async () => {
    const { signRequest } = await import("../src/anp/httpSignature.ts");
    const { text } = stranger.request(host);
    const signed = signRequest(stranger.identity.signingKey, { method: "POST", url: `${host.base}/anp` }, { nowS: nowS() });
    const { status } = await stranger.post(host, { headers: { "content-type": "application/json", ...signed }, text });
    expect(status).toBe(401);
  });

  test("[anp-unproven] wrong signatures make the host ask for a DID document again, but not each of them", async () => {
    // All within the time in which no document is fetched again, however long that takes here.
    const quick = await world.peer("agent-6", { clock: { ...systemClock, now: () => 1_000_000 } });
    const doubted = await world.stranger();
    expect((await doubted.send(quick)).status).toBe(200);
    expect(doubted.documentsServed).toBe(1);
    const signer = { ...doubted.identity.signingKey, privateKey: other };
    for (let i = 0; i < 4; i++) expect((await doubted.send(quick, { signer })).status).toBe(401);
    expect(doubted.documentsServed).toBe(2);
  });
});

describe("a message that is not right is refused with its code", () => {
  const params = (change: (params: JsonObject) => unknown) => (message: JsonObject) => ({
    ...message,
    params: change(message["params"] as JsonObject),
  });
  const target = (target: unknown) => ({ meta: { target } });
  const cases: ReadonlyArray<readonly [string, number, RawMessage]> = [
    ["a batch", 1004, { change: (message) => [message] }],
    ["no object", -32600, { change: () => "hello" }],
    ["another JSON-RPC", -32600, { change: (message) => ({ ...message, jsonrpc: "1.0" }) }],
    ["a number as id", 1000, { change: (message) => ({ ...message, id: 7 }) }],
    ["null as id", 1000, { change: (message) => ({ ...message, id: null }) }],
    ["an empty id", 1000, { change: (message) => ({ ...message, id: "" }) }],
    ["an unknown method", -32601, { change: (message) => ({ ...message, method: "direct.destroy", params: {} }) }],
    ["params as a list", 1003, { change: params(() => []) }],
    ["no params", 1003, { change: params(() => undefined) }],
    ["another member of params", 1003, { change: params((all) => ({ ...all, extra: 1 })) }],
    ["an unknown member of meta", 1003, { meta: { priority: "high" } }],
    ["a device", 1003, { meta: { sender_device_id: "d" } }],
    ["no operation_id", 1003, { meta: { operation_id: undefined } }],
    ["no profile", 1003, { meta: { profile: undefined } }],
    ["a time that is no text", 1003, { meta: { created_at: 17 } }],
    ["another profile", 1001, { meta: { profile: "anp.direct.base.v9" } }],
    ["another security profile", 1002, { meta: { security_profile: "direct-e2ee" } }],
    ["a group as target", 1014, target({ kind: "group", did: "did:wba:localhost%3A1" })],
    ["another agent as target", 1007, target({ kind: "agent", did: "did:wba:localhost%3A1" })],
    ["another content type", 1009, { meta: { content_type: "image/png" } }],
    ["no content", 2002, { body: {} }],
    ["two contents", 2002, { body: { text: "a", payload: {} } }],
    ["words as JSON", 2002, { meta: { content_type: "application/json" }, body: { text: "{}" } }],
    ["a member that the body does not have", 2002, { body: { text: "a", role: "admin" } }],
    ["annotations that are none", 2002, { body: { text: "a", annotations: "b" } }],
    ["no origin proof", 2005, { change: params((all) => ({ ...all, auth: undefined })) }],
    ["an origin proof for something else", 2005, { change: params((all) => ({ ...all, body: { text: "other" } })) }],
    ["an old origin proof", 2005, { nowS: nowS() - 400, headers: {} }],
    ["an origin proof by somebody else", 2006, { meta: { sender_did: "did:wba:localhost%3A1" } }],
    ["a refusal of the agent's", 1010, { body: { text: "refuse" } }],
  ];
  test.each(cases)("[anp-errors] [anp-origin-proof] %s: %i", async (_what, code, { nowS: at, ...options }) => {
    const text = JSON.stringify(stranger.message(host, { ...options, ...(at === undefined ? {} : { nowS: at }) }));
    const { status, json } = await stranger.post(host, stranger.request(host, {}, text));
    expect(json.error?.code).toBe(code);
    expect(status).toBe([-32600, 1000, 1003, 1004].includes(code) ? 400 : 200);
    if (code > 0) expect(json.error?.data).toHaveProperty("anp_code");
    expect(json["jsonrpc"]).toBe("2.0");
  });

  test("[anp-transport-errors] no JSON, another content type, too big, and what the agent said when it refused", async () => {
    const broken = await stranger.post(host, stranger.request(host, {}, '{"jsonrpc":'));
    expect([broken.status, broken.json.error?.code, broken.json["id"]]).toEqual([400, -32700, null]);
    const plain = await stranger.send(host, { headers: { "content-type": "text/plain" } });
    expect([plain.status, plain.json.error?.code]).toEqual([415, -32600]);
    const big = await fetch(`${host.base}/anp`, {
      method: "POST",
      headers: { "content-type": "application/json", "content-length": String(65 * 1024 * 1024) },
      body: new Uint8Array(65 * 1024 * 1024),
    });
    expect(big.status).toBe(413);
    expect((await stranger.send(host, { body: { text: "refuse" } })).json.error).toMatchObject({
      message: "no such shard here",
      data: { anp_code: "anp.delivery_rejected", retryable: true },
    });
  });
});

describe("an operation", () => {
  const again = (text: string, meta: JsonObject = {}) =>
    stranger.send(host, { meta: { operation_id: "op-7", message_id: "m-7", ...meta }, body: { text } });

  test("[anp-idempotency] sent again with a fresh proof gets the same result; another one under its ids is a conflict", async () => {
    const first = await again("one");
    const second = await again("one", { created_at: "2026-01-01T00:00:00Z" });
    expect(second.json.result).toEqual(first.json.result);
    expect(host.repeats).toEqual(["op-7"]);
    for (const conflict of [
      await again("two"),
      await again("one", { message_id: "m-8" }),
      await again("two", { operation_id: "op-8" }),
    ])
      expect(conflict.json.error).toMatchObject({ code: 1008, data: { anp_code: "anp.idempotency_conflict" } });
  });

  test("[anp-proof-replay] with one and the same proof twice is a replay, whoever carries it", async () => {
    const text = JSON.stringify(stranger.message(host));
    expect((await stranger.post(host, stranger.request(host, {}, text))).json.result).toMatchObject({ accepted: true });
    const replayed = await stranger.post(host, stranger.request(host, {}, text));
    expect(replayed.json.error).toMatchObject({ code: 2007, data: { anp_code: "direct.origin_proof_replayed" } });
  });

  test("[anp-origin-proof] may have the nonce of the request that carries it", async () => {
    const text = JSON.stringify(stranger.message(host));
    const nonce = /nonce=\\"([^"\\]+)/.exec(text)?.[1] ?? "";
    expect(nonce).not.toBe("");
    expect((await stranger.post(host, stranger.request(host, { nonce }, text))).json.result).toMatchObject({ accepted: true });
  });
});

test("[anp-did-web] a sender whose DID is a did:web is served as any other", async () => {
  const server = fastify();
  world.onClose(() => server.close());
  const them = new Stranger(server, false);
  const asWeb = (text: string): string => text.replaceAll("did:wba:", "did:web:");
  server.get("/.well-known/did.json", async () => JSON.parse(asWeb(JSON.stringify(them.identity.document))) as unknown);
  await server.listen({ host: HOST, port: 0 });
  const { keyid, privateKey } = them.identity.signingKey;
  const signer = { keyid: asWeb(keyid), privateKey };
  const [meta, body] = [them.directMeta(host, { sender_did: asWeb(them.identity.did) }), { text: "hello" }];
  const target = meta["target"] as { kind: string; did: string };
  const auth = proveOrigin(signer, { method: "direct.send", target, meta: canonical(meta), body: canonical(body) }, nowS());
  const text = JSON.stringify({ jsonrpc: "2.0", id: "1", method: "direct.send", params: { meta, auth, body } });
  expect((await them.post(host, them.request(host, { signer }, text))).json.result).toMatchObject({ accepted: true });
});

test("[anp-notification] a notification has no answer: direct.incoming is executed, anything else and anything wrong is dropped", async () => {
  const notify = (options: RawMessage) => {
    const withoutId = (message: JsonObject) => {
      return { ...message, id: undefined, method: "direct.incoming" };
    };
    return stranger.send(host, { ...options, change: withoutId });
  };
  expect((await notify({})).status).toBe(204);
  expect((await notify({ body: {} })).status).toBe(204);
  expect((await stranger.send(host, { method: "direct.incoming" })).json.error?.code).toBe(-32600);
});

test("[anp-notification] direct.incoming may come without a proof, from the sender itself; pushed again it is not executed again", async () => {
  const meta = { operation_id: "pushed", message_id: "pushed" };
  const push = async (sender_did: string, text: string): Promise<number> => {
    const change = (message: JsonObject) => {
      const { auth: _, ...params } = message["params"] as JsonObject;
      return { ...message, id: undefined, method: "direct.incoming", params };
    };
    return (await stranger.send(host, { meta: { ...meta, sender_did }, body: { text }, change })).status;
  };
  for (const sender of [stranger.identity.did, stranger.identity.did, "did:wba:localhost%3A1"])
    expect(await push(sender, "pushed")).toBe(204);
  expect(executed.filter((payload) => (payload as { text?: string }).text === "pushed")).toHaveLength(1);
  const sent = await stranger.send(host, { meta, body: { text: "pushed" } });
  expect(sent.json.result).toMatchObject({ accepted: true, operation_id: "pushed" });
  expect(executed.filter((payload) => (payload as { text?: string }).text === "pushed")).toHaveLength(1);
});

test("[anp-negotiation] negotiation chooses what the caller prefers and can, or says why not", async () => {
  const negotiate = (body: JsonObject) =>
    stranger.send(host, { method: "anp.negotiate", meta: { profile: "anp.meta.negotiation.v1" }, body });
  const intent = { name: "step" };
  const chosen = (await negotiate({ intent, negotiation_id: "n-1", requiredCapabilities: ["tool:search"] })).json.result;
  expect(chosen).toMatchObject({
    negotiationId: "n-1",
    status: "accepted",
    selected: { interface: "interface.direct.structured.v1", profile: "anp.direct.base.v1", contentType: "application/json" },
  });
  const words = await negotiate({ intent, constraints: { preferredInterfaceTypes: ["NaturalLanguageInterface"] } });
  expect(words.json.result).toMatchObject({ selected: { contentType: "text/plain" } });
  for (const [body, code] of [
    [{}, 1606],
    [{ intent, mode: "natural_language_protocol_drafting" }, 1602],
    [{ intent, requiredCapabilities: ["cap.hotel"] }, 1601],
    [{ intent, candidateInterfaceRefs: ["interface.other"] }, 1601],
    [{ intent, callerCapabilities: { supportedProfiles: ["x"] } }, 1603],
    [{ intent, constraints: { requiredSecurityProfile: "direct-e2ee" } }, 1604],
    [{ intent, callerCapabilities: { supportedContentTypes: ["image/png"] } }, 1605],
  ] as const)
    expect((await negotiate(body)).json.error?.code).toBe(code);
  const nobody = { profile: "anp.meta.negotiation.v1", target: undefined };
  const text = JSON.stringify({
    jsonrpc: "2.0",
    id: "1",
    method: "anp.negotiate",
    params: { body: { intent }, meta: stranger.directMeta(host, nobody) },
  });
  expect((await stranger.post(host, stranger.request(host, {}, text))).json.error?.code).toBe(1014);
});
