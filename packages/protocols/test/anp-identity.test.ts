import { createPublicKey, generateKeyPairSync, hash, sign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import canonicalize from "canonicalize";
import { afterEach, expect, test } from "vitest";
import { createAccessTokens } from "../src/anp/accessTokens.ts";
import { type Authentication, Authenticator } from "../src/anp/authenticator.ts";
import { authorisedKey, checkedDocument, didOf, documentUrl, messageEndpoint, parseDid } from "../src/anp/did.ts";
import { contentDigest, digestMatches, parseSignature, signatureBase, signComponents } from "../src/anp/httpSignature.ts";
import { Identity } from "../src/anp/identity.ts";
import { canonical, instantOf, type JsonObject } from "../src/anp/json.ts";
import { loadOrCreateKeys, publicKeyOf, signsBy, verifyBytes } from "../src/anp/keys.ts";
import { NonceRecord } from "../src/anp/nonceRecord.ts";

const dirs: string[] = [];
afterEach(() => {
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});
const workspace = (): string => {
  const dir = mkdtempSync(path.join(tmpdir(), "failstorm-anp-"));
  dirs.push(dir);
  return dir;
};

test("[anp-signature-vector] the Ed25519 example of RFC 9421 (B.2.6) verifies, and no other base does", () => {
  const params =
    '("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"';
  const parsed = parseSignature(
    `sig-b26=${params}`,
    "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
  );
  const values: Record<string, string> = {
    date: "Tue, 20 Apr 2021 02:07:55 GMT",
    "@method": "POST",
    "@path": "/foo",
    "@authority": "example.com",
    "content-type": "application/json",
    "content-length": "18",
  };
  const x = "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs";
  const key = { key: createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" }), type: "ed25519" };
  expect(parsed).toMatchObject({ keyid: "test-key-ed25519", created: 1618884473, expires: null, nonce: null, params });
  const base = signatureBase(parsed?.components ?? [], params, (name) => values[name]) ?? "";
  expect(verifyBytes(key, base, parsed?.signature ?? Buffer.alloc(0))).toBe(true);
  expect(verifyBytes(key, base.replace("POST", "GET"), parsed?.signature ?? Buffer.alloc(0))).toBe(false);
});

test("[anp-content-digest] Content-Digest is that of RFC 9530, alone or beside others", () => {
  // RFC 9530, appendix B.1.
  const body = '{"hello": "world"}\n';
  const digest = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
  expect(contentDigest(body)).toBe(digest);
  expect(digestMatches(`sha-512=:AAAA:, ${digest}`, body)).toBe(true);
  expect(digestMatches(digest, `${body} `)).toBe(false);
  expect(digestMatches("sha-512=:AAAA:", body)).toBe(false);
  const sha512 = `sha-512=:${hash("sha512", body, "base64")}:`;
  expect(digestMatches(sha512, body)).toBe(true);
  expect(digestMatches(`${sha512}, sha-256=:AAAA:`, body)).toBe(false);
});

test("[anp-signature-form] a signature is read the same, however its fields are written", () => {
  const key = { keyid: "did:wba:localhost%3A9001#key-1", privateKey: generateKeyPairSync("ed25519").privateKey };
  const { input, signature } = signComponents(key, ["@method", "@target-uri"], () => "x", { nowS: 17, nonce: "a_-9" });
  const usual = parseSignature(input, signature);
  expect(usual).toMatchObject({
    components: ["@method", "@target-uri"],
    created: 17,
    expires: 77,
    nonce: "a_-9",
    keyid: key.keyid,
  });
  expect(parseSignature(` ${input}`, `${signature} `)).toEqual(usual);
  expect(parseSignature(`${input}, sig2=()`, signature)).toEqual(usual);
  expect(parseSignature(input.replace("sig1", "sig2"), signature.replace("sig1", "sig2"))).toEqual(usual);
});

test.each([
  ["no signature of that label", 'sig1=();created=1;keyid="a"', "sig2=:AAAA:"],
  ["created is missing", 'sig1=("@method");keyid="a"', "sig1=:AAAA:"],
  ["created is no integer", 'sig1=("@method");created=1.5;keyid="a"', "sig1=:AAAA:"],
  ["keyid is missing", 'sig1=("@method");created=1', "sig1=:AAAA:"],
  ["a component with a parameter", 'sig1=("content-digest";req);created=1;keyid="a"', "sig1=:AAAA:"],
  ["the signature is a string", 'sig1=("@method");created=1;keyid="a"', 'sig1="AAAA"'],
  ["no structured field", "sig1=(((", "sig1=:AAAA:"],
  ["endless", `sig1=("@method");created=1;keyid="${"a".repeat(5000)}"`, "sig1=:AAAA:"],
])("[anp-signature-form] a malformed signature is none: %s", (_what, input, signature) => {
  expect(parseSignature(input, signature)).toBeNull();
});

test("[anp-e1-proof] a DID document of the Rust SDK is accepted with its proof, and not when anything in it was changed", () => {
  const text = readFileSync(path.join(import.meta.dirname, "anp/did-e1-rust-sdk.json"), "utf8");
  const { id } = JSON.parse(text) as { id: string };
  const document = checkedDocument(id, JSON.parse(text));
  expect(document?.id).toBe(id);
  if (document === null) return;
  expect(authorisedKey(document, "authentication", `${id}#key-1`)?.type).toBe("ed25519");
  expect(authorisedKey(document, "authentication", `${id}#key-2`)).toBeNull();
  for (const [from, to] of [
    ["https://example.com/agents/demo", "https://evil.example/agents/demo"],
    ["QNIcO_2_xhSgSnPXoC", "QNIcO_2_xhSgSnPXoD"],
    ['"assertionMethod": [', '"assertionMethod_": ['],
  ] as const)
    expect(checkedDocument(id, JSON.parse(text.replace(from, to))), to).toBeNull();
  const stripped = JSON.parse(text) as JsonObject;
  delete stripped["proof"];
  expect(checkedDocument(id, stripped), "without a proof").toBeNull();
  expect(checkedDocument(`${id}x`, JSON.parse(text)), "for another DID").toBeNull();
});

test("[anp-k1] a k1 document is accepted with the key that its DID ends in, proof or none, and authenticates with no other", () => {
  const [bound, other] = ["secp256k1", "secp256k1"].map((namedCurve) =>
    generateKeyPairSync("ec", { namedCurve }).publicKey.export({ format: "jwk" }),
  );
  const { crv, x, y } = bound ?? {};
  const id = `did:wba:example.com:user:alice:k1_${hash("sha256", JSON.stringify({ crv, kty: "EC", x, y }), "base64url")}`;
  const type = "EcdsaSecp256k1VerificationKey2019";
  const documentWith = (...keys: unknown[]): JsonObject => ({
    id,
    verificationMethod: keys.map((publicKeyJwk, i) => ({ id: `${id}#key-${i}`, type, controller: id, publicKeyJwk })),
    authentication: keys.map((_, i) => `#key-${i}`),
  });
  const document = checkedDocument(id, documentWith(bound, other));
  expect(document).not.toBeNull();
  if (document === null) return;
  expect(authorisedKey(document, "authentication", `${id}#key-0`)?.type).toBe("ec");
  expect(authorisedKey(document, "authentication", `${id}#key-1`)).toBeNull();
  expect(checkedDocument(id, documentWith(other)), "without its key").toBeNull();
});

test("[anp-nonces] an ECDSA signature without a nonce is good once, in whatever form its bytes come", async () => {
  const id = "did:wba:example.com";
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const publicKeyJwk = publicKey.export({ format: "jwk" });
  const method = { id: `${id}#key-1`, type: "JsonWebKey2020", controller: id, publicKeyJwk };
  const document = checkedDocument(id, { id, verificationMethod: [method], authentication: ["#key-1"] });
  if (document === null) throw new Error("no document");
  const wall = (): number => 1_000_000;
  const authenticator = new Authenticator({
    tokens: createAccessTokens(60_000, wall),
    nonces: new NonceRecord(() => {}),
    dids: { resolve: () => document, refresh: async () => document },
    isOwnAuthority: () => true,
    challenge: false,
    wall,
  });
  const params = (target: string) => {
    const covered = `("@method" "@target-uri");created=1000;keyid="${id}#key-1"`;
    return { covered, base: `"@method": GET\n"@target-uri": http://h${target}\n"@signature-params": ${covered}` };
  };
  const request = (target: string, bytes: Buffer): Promise<Authentication> =>
    authenticator.authenticate({
      method: "GET",
      target,
      headers: {
        host: "h",
        "signature-input": `sig1=${params(target).covered}`,
        signature: `sig1=:${bytes.toString("base64")}:`,
      },
      body: null,
    });
  const signed = (target: string, dsaEncoding: "ieee-p1363" | "der"): Buffer =>
    sign("sha256", Buffer.from(params(target).base), { key: privateKey, dsaEncoding });
  const bytes = signed("/anp", "ieee-p1363");
  // (r, −s) verifies wherever (r, s) does.
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const s = order - BigInt(`0x${bytes.subarray(32).toString("hex")}`);
  const negated = Buffer.concat([bytes.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, "0"), "hex")]);
  expect(await request("/anp", bytes)).toMatchObject({ kind: "signature", did: id });
  for (const other of [bytes, negated, signed("/anp", "der")])
    expect(await request("/anp", other)).toMatchObject({ kind: "refused", error: "invalid_nonce" });
  expect(await request("/other", signed("/other", "der"))).toMatchObject({ kind: "signature" });
});

test("[anp-deactivated] the document of a DID that is no longer used is none", () => {
  const [id, authentication] = ["did:wba:example.com", []];
  expect(checkedDocument(id, { id, authentication })).not.toBeNull();
  expect(checkedDocument(id, { id, authentication, deactivated: true })).toBeNull();
});

const identityAt = (dir: string, basePath: string, form: "domain" | "e1") =>
  new Identity({
    agentId: "agent-3",
    keys: loadOrCreateKeys(dir, "agent-3"),
    address: () => ({ host: "127.0.0.1", port: 9003, basePath }),
    form,
    e2ee: false,
    now: () => "2026-01-01T00:00:00Z",
  });

test("[anp-keys] an agent keeps its keys, and with them its DID, from one process to the next", () => {
  const dir = workspace();
  const [first, second, other] = [identityAt(dir, "", "e1"), identityAt(dir, "", "e1"), identityAt(workspace(), "", "e1")];
  expect(first.did).toMatch(/^did:wba:localhost%3A9003:agent-3:e1_[A-Za-z0-9_-]{43}$/);
  expect(second.did).toBe(first.did);
  expect(other.did).not.toBe(first.did);
  expect(statSync(path.join(dir, "anp-keys-agent-3.json")).mode & 0o077).toBe(0);
});

test("[anp-did-document] the document is where the DID says, binds its key where the DID names it, and names one message service", () => {
  const dir = workspace();
  const domain = identityAt(dir, "", "domain");
  expect(domain.did).toBe("did:wba:localhost%3A9003");
  expect(documentUrl(domain.did, () => false)).toBe("http://127.0.0.1:9003/.well-known/did.json");
  const mounted = identityAt(dir, "/p/anp", "domain");
  expect(mounted.did).toMatch(/^did:wba:localhost%3A9003:p:anp:agent-3:e1_/);
  expect(documentUrl(mounted.did, () => false)).toBe(`http://127.0.0.1:9003/p/anp${mounted.documentPath}`);
  for (const identity of [domain, mounted]) {
    const document = checkedDocument(identity.did, JSON.parse(JSON.stringify(identity.document)));
    expect(document).not.toBeNull();
    if (document === null) continue;
    expect(messageEndpoint(document)).toBe(`${identity.baseUrl}/anp`);
    const { keyid, privateKey } = identity.signingKey;
    const { input, signature } = signComponents({ keyid, privateKey }, ["@method"], () => "GET", { nowS: 1 });
    const parsed = parseSignature(input, signature);
    const key = authorisedKey(document, "authentication", keyid);
    const base = signatureBase(["@method"], parsed?.params ?? "", () => "GET") ?? "";
    expect(key !== null && parsed !== null && verifyBytes(key, base, parsed.signature)).toBe(true);
  }
});

test("[anp-did-document] of several message services the one for direct messages is taken", () => {
  const service = (name: string, profiles?: string[]) => ({
    type: "ANPMessageService",
    serviceEndpoint: `https://example.com/${name}`,
    ...(profiles && { profiles }),
  });
  const direct = service("direct", ["anp.core.binding.v1", "anp.direct.base.v1"]);
  for (const [services, endpoint] of [
    [[service("group", ["anp.group.base.v2"]), direct], "https://example.com/direct"],
    [[service("any")], "https://example.com/any"],
    [[{ ...direct, type: "AgentDescription" }], null],
  ] as const)
    expect(messageEndpoint({ id: "did:wba:example.com", service: services })).toBe(endpoint);
});

test("[anp-did-form] DIDs that are none, or that name an IP address, or climb, are refused; addresses without a name have no DID", () => {
  for (const did of [
    "",
    "did:key:z6Mk",
    "did:wba:",
    "did:web:10.0.0.1",
    "did:wba:127.0.0.1%3A80",
    "did:wba:a:..:b",
    "did:wba:a/b",
    `did:wba:${"a".repeat(600)}`,
  ])
    expect(parseDid(did), did).toBeNull();
  expect(documentUrl("did:wba:example.com:user:alice", () => false)).toBe("https://example.com/user/alice/did.json");
  expect(() => didOf({ host: "10.0.0.1", port: 1 })).toThrow(/needs a host name/);
});

test("[anp-did-web] a did:web is resolved natively: what looks like a fingerprint in it binds nothing", () => {
  const did = "did:web:example.com%3A8443:user:e1_x";
  expect(documentUrl(did, () => false)).toBe("https://example.com:8443/user/e1_x/did.json");
  expect(checkedDocument(did, { id: did, authentication: [] })?.id).toBe(did);
  expect(checkedDocument("did:wba:example.com:user:e1_x", { id: "did:wba:example.com:user:e1_x" })).toBeNull();
});

test("[anp-key-types] keys of other types are read; what is no key is null", () => {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
  expect(
    publicKeyOf({ type: "EcdsaSecp256k1VerificationKey2019", publicKeyJwk: publicKey.export({ format: "jwk" }) })?.type,
  ).toBe("ec");
  const [ed25519, ec] = [{ key: publicKey, type: "ed25519" } as const, { key: publicKey, type: "ec" } as const];
  expect(["ed25519", "ecdsa-p256-sha256", "hmac-sha256"].map((alg) => signsBy(ed25519, alg))).toEqual([true, false, false]);
  expect(["ed25519", "ecdsa-p256-sha256", null].map((alg) => signsBy(ec, alg))).toEqual([false, true, true]);
  for (const method of [
    {},
    { type: "Multikey", publicKeyMultibase: "z1" },
    { type: "Multikey", publicKeyMultibase: "z0OIl" },
    { publicKeyJwk: { kty: "RSA" } },
  ])
    expect(publicKeyOf(method), JSON.stringify(method)).toBeNull();
});

test("[anp-canonical] what JSON cannot say has no canonical form", () => {
  expect(() => canonical({ text: "\ud800" })).toThrow(TypeError);
  expect(() => canonical(undefined)).toThrow(TypeError);
  // RFC 8785 §3.2.3: order by UTF-16 code units; §3.2.2.3: numbers as ECMAScript writes them.
  expect(canonical({ "\u20ac": 1, "\r": 1e30, a: 4.5, "1": 0.002 })).toBe('{"\\r":1e+30,"1":0.002,"a":4.5,"€":1}');
});

test("an instant is written as Date writes it", () => {
  for (const ms of [0, 1, 999, 1000, 1_699_999_999_999, 1_700_000_000_000, 1_700_000_000_007.9, 86_399_999, 1_700_000_000_099])
    expect(instantOf(ms)).toBe(new Date(ms).toISOString());
});

test("[anp-canonical] what is in order already is written as what is not", () => {
  let deep: unknown = { b: 1, a: 2 };
  for (let i = 0; i < 2_000; i++) deep = [deep];
  for (const value of [
    { a: [1, { b: null, c: "x" }, true], b: { "": -0, "1": 1e21 } },
    { "10": 1, "9": 2, a: 3 },
    { "\ud83d\ude00": 1, "\ue000": 2 },
    JSON.parse('{"__proto__":1,"a":{"toJSON":2}}') as unknown,
    { a: "\\ud800 as text", b: "\u2028\u0007\u007f" },
    { a: undefined, b: new Date(0) },
    { b: [1, { d: null, c: [{ f: "x", e: { h: 1, g: -0 } }] }, "y"], a: { z: true, y: "\u2028" } },
    { b: 1, "9": { d: 1, c: 2 }, "10": 3 },
    { b: { "10": 1, "9": 2, "-1": 3, "1.5": 4 }, a: 0 },
    JSON.parse('{"b":1,"a":{"__proto__":{"d":1,"c":2}}}') as unknown,
    { b: 1, a: { toJSON: 2, A: 3 } },
    { b: [undefined], a: undefined },
    { b: new Date(0), a: 1 },
    { "\ue000": 1, "\ud83d\ude00": { b: 1, a: 2 } },
    deep,
  ])
    expect(canonical(value)).toBe(canonicalize(value));
  for (const value of [Number.NaN, [Infinity], { a: ["\udfff"] }, { "\ud800": 1 }, 1n])
    expect(() => canonical({ a: 1, value })).toThrow(TypeError);
});
