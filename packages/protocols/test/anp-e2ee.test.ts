import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { systemClock } from "@failstorm/core";
import { assert, asyncProperty, constantFrom, jsonValue, option } from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkedDocument, type DidDocument, didOf, parseDid } from "../src/anp/did.ts";
import { eligibleDevices, type VerifiedBundle, verifiedBundle } from "../src/anp/e2ee/bundle.ts";
import {
  contentIn,
  type Envelope,
  type InitFields,
  initAssociated,
  messageAssociated,
  plaintextOf,
} from "../src/anp/e2ee/envelope.ts";
import {
  agreementKey,
  decoded,
  newAgreementPair,
  nextMessageKey,
  rootOf,
  seal,
  secretsOfRecipient,
  secretsOfSender,
  unseal,
} from "../src/anp/e2ee/keySchedule.ts";
import { Ratchet, type RatchetHeader, readHeader } from "../src/anp/e2ee/ratchet.ts";
import { readEnvelope, type SealedMessage, SecureDevice } from "../src/anp/e2ee/secureDevice.ts";
import { canonical, isObject, type JsonObject } from "../src/anp/json.ts";
import { RpcError } from "../src/anp/rpc.ts";
import { failure, type Peer, type RawAnswer, type Stranger, World } from "./anp/world.ts";

interface Vectors {
  readonly [name: string]: JsonObject & { readonly params: SealedMessage };
}
const text = readFileSync(path.join(import.meta.dirname, "anp", "p5-vectors.json"), "utf8");
const vectors = JSON.parse(text) as Vectors & Record<"x3dh" | "kdf_ck" | "kdf_rk", Array<Record<string, string>>>;
const bytes = (value: unknown): Buffer => Buffer.from(value as string, "base64url");

/** RFC 8410 §7 before the 32 bytes of a private key. */
const X25519_PKCS8 = Buffer.from("302e020100300506032b656e04220420", "hex");
const privateKey = (value: string | undefined) =>
  createPrivateKey({ key: Buffer.concat([X25519_PKCS8, bytes(value)]), format: "der", type: "pkcs8" });

function codeOf(fn: () => unknown): number | null {
  try {
    fn();
  } catch (error) {
    if (error instanceof RpcError) return error.code;
    throw error;
  }
  return null;
}

describe("the public vectors", () => {
  test.each(vectors.x3dh)("[anp-e2ee-key-schedule] of the initial agreement: $name", (vector) => {
    const [own, ephemeral] = [
      privateKey(vector["sender_static_private_b64u"]),
      privateKey(vector["sender_ephemeral_private_b64u"]),
    ];
    const recipient = privateKey(vector["recipient_static_private_b64u"]);
    const signed = privateKey(vector["recipient_signed_prekey_private_b64u"]);
    const once = vector["recipient_one_time_prekey_private_b64u"];
    const oneTime = once === undefined ? null : privateKey(once);
    expect(createPublicKey(signed).export({ format: "jwk" }).x).toBe(vector["recipient_signed_prekey_public_b64u"]);
    const sender = secretsOfSender({
      own,
      ephemeral,
      peer: createPublicKey(recipient),
      signedPrekey: createPublicKey(signed),
      oneTimePrekey: oneTime && createPublicKey(oneTime),
    });
    expect(sender).toEqual({
      initial: bytes(vector["initial_secret_b64u"]),
      root: bytes(vector["root_key_b64u"]),
      chain: bytes(vector["chain_key_b64u"]),
      sessionId: vector["session_id"],
    });
    const [peer, sent] = [createPublicKey(own), createPublicKey(ephemeral)];
    expect(secretsOfRecipient({ own: recipient, ephemeral: sent, peer, signedPrekey: signed, oneTimePrekey: oneTime })).toEqual(
      sender,
    );
  });

  test("[anp-e2ee-key-schedule] of the chains", () => {
    for (const vector of vectors.kdf_ck)
      expect(nextMessageKey(bytes(vector["chain_key_b64u"]))).toEqual({
        chain: bytes(vector["next_chain_key_b64u"]),
        message: { key: bytes(vector["message_key_b64u"]), nonce: bytes(vector["nonce_b64u"]) },
      });
    for (const vector of vectors.kdf_rk)
      expect(rootOf(bytes(vector["root_key_b64u"]), bytes(vector["dh_out_b64u"]))).toEqual({
        root: bytes(vector["next_root_key_b64u"]),
        chain: bytes(vector["chain_key_b64u"]),
      });
  });

  test("[anp-e2ee-wire] of associated data and plaintext", () => {
    const init = (vectors["direct_init_request"] as Vectors[string]).params;
    expect(initAssociated(readEnvelope(init), init.body as unknown as InitFields)).toBe(vectors["expected_ad_init"]);
    const message = (vectors["direct_cipher_request"] as Vectors[string]).params;
    const { session_id, ratchet_header } = message.body as { session_id: string; ratchet_header: RatchetHeader };
    expect(readHeader(ratchet_header)).toMatchObject(ratchet_header);
    expect(messageAssociated(readEnvelope(message), session_id, ratchet_header)).toBe(vectors["expected_ad_msg"]);
    for (const name of ["application_plaintext", "application_plaintext_numeric"]) {
      const { application_content_type, logical_message_id: _, ...body } = vectors[name] as JsonObject;
      const expected = vectors[`expected_${name}_jcs`] as unknown as string;
      expect(canonical(vectors[name])).toBe(expected);
      const content = contentIn(expected);
      expect(content).toEqual({ contentType: application_content_type, body: JSON.parse(JSON.stringify(body)) });
      expect(contentIn(plaintextOf(content))).toEqual(content);
    }
    const negative = vectors["encoding_negative_values"] as unknown as Record<string, string>;
    for (const name of ["session_id", "x25519_public_key", "ciphertext_b64u"]) expect(decoded(negative[name])).toBeNull();
    expect(agreementKey(negative["x25519_public_key"])).toBeNull();
  });

  test("[anp-e2ee-bundle] of a signed bundle: it is accepted as it is, of its device, in its time, and not otherwise", () => {
    const golden = vectors["signed_bundle_golden"] as unknown as {
      did_document: JsonObject;
      prekey_bundle: JsonObject;
      now: string;
    };
    const id = golden.did_document["id"] as string;
    const document = checkedDocument(id, golden.did_document) as DidDocument;
    expect(document).not.toBeNull();
    const { devices } = document["deviceManifest"] as { devices: readonly [VerifiedBundle["device"]] };
    const [device] = devices;
    const now = Date.parse(golden.now);
    const verify = (bundle: JsonObject, of = device, at = now) => codeOf(() => verifiedBundle(bundle, document, of, at));
    const bundle = golden.prekey_bundle;
    expect(verify(bundle)).toBeNull();
    expect(verify({ ...bundle, bundle_id: "another" })).toBe(4001);
    expect(verify({ ...bundle, one_time_prekey: {} })).toBe(4001);
    expect(verify(bundle, { ...device, device_id: "sibling" })).toBe(4001);
    expect(verify(bundle, { ...device, signing_key_id: `${id}#key-1` })).toBe(4001);
    expect(verify({ ...bundle, owner_did: "did:wba:b.example" })).toBe(4001);
    expect(verify(bundle, device, Date.parse("2035-01-01T00:00:00Z"))).toBe(4002);
    const { proof: _, ...bare } = bundle;
    expect(verify(bare)).toBe(4001);
    // Its manifest is of a draft; a profile set that is not the released one makes no device.
    expect(eligibleDevices(document)).toEqual([]);
    const profiles = ["anp.core.binding.v1", "anp.identity.discovery.v1", "anp.direct.base.v1", "anp.direct.e2ee.v2"];
    const withDevices = (...entries: JsonObject[]): DidDocument => ({
      ...document,
      deviceManifest: { type: "ANPDeviceManifest", devices: entries },
    });
    const released = { ...device, profiles };
    expect(eligibleDevices(withDevices(released))).toEqual([released]);
    for (const wrong of [
      [released, released],
      [{ ...released, role: "admin" }],
      [{ ...released, e2ee_key_id: released.signing_key_id }],
      [{ ...released, profiles: profiles.slice(1) }],
    ])
      expect(eligibleDevices(withDevices(...wrong))).toEqual([]);
  });
});

test("[anp-e2ee-key-schedule] a key of small order agrees to nothing", () => {
  const zero = agreementKey(Buffer.alloc(32).toString("base64url"));
  const { privateKey: own } = newAgreementPair();
  const keys = { own, ephemeral: own, signedPrekey: createPublicKey(own), oneTimePrekey: null };
  expect(zero).not.toBeNull();
  expect(secretsOfSender({ ...keys, peer: zero as NonNullable<typeof zero> })).toBeNull();
});

describe("a session", () => {
  const associated = ({ n }: RatchetHeader): string => `message ${n}`;
  type Message = ReturnType<Ratchet["seal"]>;
  const open = (ratchet: Ratchet, { header, ciphertext }: Message, about = associated(header)): string =>
    ratchet.open(readHeader(header) as NonNullable<ReturnType<typeof readHeader>>, ciphertext, about);

  function pair(): readonly [Ratchet, Ratchet] {
    const { params: _, ...vector } = vectors.x3dh[0] as Record<string, string> & { params?: never };
    const [root, chain, initial] = [vector["root_key_b64u"], vector["chain_key_b64u"], ""].map(bytes) as [Buffer, Buffer, Buffer];
    const secrets = { root, chain, initial, sessionId: "s" };
    const ephemeral = newAgreementPair();
    const key = createPublicKey(ephemeral.privateKey);
    return [Ratchet.ofInitiator(secrets, ephemeral), Ratchet.ofRecipient(secrets, key, ephemeral.publicText)];
  }

  test("[anp-e2ee-ratchet] carries messages both ways in any order, each once", () => {
    const [a, b] = pair();
    expect(() => a.seal("too early", associated)).toThrow(RangeError);
    const first = b.seal("b0", associated);
    const second = b.seal("b1", associated);
    expect(
      codeOf(() => open(a, second)),
      "the first answer is number 0",
    ).toBe(4007);
    expect(open(a, first)).toBe("b0");
    const held: Array<readonly [Ratchet, Message, string]> = [[a, second, "b1"]];
    // Deterministic and without mercy: of every three messages one is late by many, over several turns of the ratchet.
    for (let i = 0; i < 60; i++) {
      const [from, to] = i % 7 < 3 ? [a, b] : [b, a];
      const message = from.seal(`${i}`, associated);
      if (i % 3 === 0) held.push([to, message, `${i}`]);
      else expect(open(to, message)).toBe(`${i}`);
      expect(
        codeOf(() => (i % 3 === 0 ? null : open(to, message))),
        "the same again",
      ).toBe(i % 3 === 0 ? null : 4009);
    }
    for (const [to, message, expected] of held.toReversed()) expect(open(to, message)).toBe(expected);
    for (const [to, message] of held) expect(codeOf(() => open(to, message))).toBe(4009);
  });

  test("[anp-e2ee-ratchet] is what it was after a message that is not one of its own", () => {
    const [a, b] = pair();
    open(a, b.seal("b0", associated));
    const good = a.seal("good", associated);
    const forged = { ...good, header: { ...good.header, dh_pub_b64u: newAgreementPair().publicText } };
    const far = { ...good, header: { ...good.header, n: "1001" } };
    expect(codeOf(() => open(b, forged, associated(good.header)))).toBe(4009);
    expect(codeOf(() => open(b, far))).toBe(4010);
    expect(codeOf(() => open(b, good, "something else"))).toBe(4009);
    for (let length = 0; length < good.ciphertext.length; length++)
      expect(codeOf(() => open(b, { ...good, ciphertext: good.ciphertext.slice(0, length) }))).toBe(4009);
    expect(open(b, good)).toBe("good");
  });

  test("[anp-e2ee-ratchet] seals with the key, the nonce and what goes with it", () => {
    const key = { key: Buffer.alloc(32, 1), nonce: Buffer.alloc(12, 2) };
    const sealed = seal(key, "text ✓", "about it");
    expect(unseal(key, sealed, "about it")).toBe("text ✓");
    expect(unseal(key, sealed, "about else")).toBeNull();
    expect(unseal({ ...key, nonce: Buffer.alloc(12, 3) }, sealed, "about it")).toBeNull();
    expect(unseal(key, `${sealed.slice(0, -2)}${sealed.endsWith("A") ? "B" : "A"}`, "about it")).toBeNull();
  });
});

describe("on the wire", () => {
  const section = { e2ee: true };
  let world: World;
  beforeEach(() => {
    world = new World();
  });
  afterEach(() => world.close());

  async function pair(executions: string[] = []): Promise<readonly [Peer, Peer]> {
    const execute: NonNullable<Parameters<World["peer"]>[1]>["execute"] = async ({ payload, from }, queue) => {
      executions.push("text" in payload ? payload.text : JSON.stringify(payload));
      queue.enqueue({ type: "agent_text_message", text: `${from}: ${executions.length}` });
    };
    const [a, b] = [await world.peer("agent-0", { section }), await world.peer("agent-1", { section, execute })];
    a.backend.registerEndpoint("agent-1", b.address);
    return [a, b];
  }

  test("[anp-e2ee-handshake] a handshake takes the bundle as well; messages are one exchange, and nobody reads them", async () => {
    const [a] = await pair();
    expect((await a.backend.connect("agent-0", "agent-1")).traffic.roundTrips).toBe(3);
    for (let i = 1; i <= 3; i++) {
      const { text: answer, raw, traffic } = await a.backend.send("agent-0", "agent-1", { text: "the plain words" });
      expect([answer, traffic.roundTrips]).toEqual([`agent-0: ${i}`, 1]);
      const { reply, ...accepted } = raw as { reply: SealedMessage };
      expect(Object.keys(accepted).toSorted()).toEqual(
        ["accepted", "accepted_at", "message_id", "operation_id", "recipient_device_id", "target_did"].toSorted(),
      );
      expect(reply.meta).toMatchObject({ profile: "anp.direct.e2ee.v2", security_profile: "direct-e2ee" });
      expect(Object.keys(reply.body).toSorted()).toEqual(["ciphertext_b64u", "ratchet_header", "session_id"]);
    }
    const many = await Promise.all(Array.from({ length: 60 }, (_, i) => a.backend.send("agent-0", "agent-1", { text: `${i}` })));
    expect(new Set(many.map(({ text: answer }) => answer)).size).toBe(60);
  });

  test("[anp-e2ee-no-downgrade] where it is required nothing is said or taken without", async () => {
    const [secure, plain] = [await world.peer("agent-0", { section }), await world.peer("agent-1")];
    secure.backend.registerEndpoint("agent-1", plain.address);
    plain.backend.registerEndpoint("agent-0", secure.address);
    const there = await failure(secure.backend.send("agent-0", "agent-1", { text: "x" }));
    expect([there.code, there.message]).toEqual(["protocol", expect.stringContaining("no device")]);
    const back = await failure(plain.backend.send("agent-1", "agent-0", { text: "x" }));
    expect([back.code, back.detail]).toEqual(["remote", expect.objectContaining({ code: 2004 })]);
    const stranger = await world.stranger({ e2ee: true });
    expect((await sealedBy(stranger, plain)).answer.json.error?.code).toBe(1001);
  });

  test("[anp-e2ee-sessions] a restarted peer has no sessions: the caller is told so, and begins another", async () => {
    const executions: string[] = [];
    const [a, b] = await pair(executions);
    const key = { idempotencyKey: "t-1/1.search" };
    await a.backend.send("agent-0", "agent-1", { text: "one" }, key);
    await b.stop();
    await world.peer("agent-1", { section, workspaceDir: b.workspaceDir, port: b.address.port, incarnation: 2 });
    // 401, session not found, bundle, message.
    const { text: answer, traffic } = await a.backend.send("agent-0", "agent-1", { text: "two" });
    expect([answer, traffic.roundTrips]).toEqual(["two", 4]);
    // What was answered before the crash is answered from the record, sealed anew; under its name nothing else is.
    expect((await a.backend.send("agent-0", "agent-1", { text: "one" }, key)).text).toBe("agent-0: 1");
    const conflict = await failure(a.backend.send("agent-0", "agent-1", { text: "three" }, key));
    expect(conflict.detail).toMatchObject({ code: 1008 });
    expect((await a.backend.send("agent-0", "agent-1", { text: "four" })).traffic.roundTrips).toBe(1);
    expect(executions).toEqual(["one"]);
  });

  test("[anp-e2ee-sessions] a peer that lost its keys is another device, which is looked up", async () => {
    const [a, b] = await pair();
    await a.backend.send("agent-0", "agent-1", { text: "one" });
    await b.stop();
    await world.peer("agent-1", { section, port: b.address.port, incarnation: 2 });
    expect((await a.backend.send("agent-0", "agent-1", { text: "two" })).text).toBe("two");
  });

  const documentOf = async (peer: Peer): Promise<DidDocument> => {
    const did = didOf(peer.address);
    return checkedDocument(did, await (await fetch(`${peer.base}/.well-known/did.json`)).json()) as DidDocument;
  };
  const deviceOf = (stranger: Stranger, peer: Peer): SecureDevice =>
    new SecureDevice({
      identity: stranger.identity,
      dids: { resolve: () => documentOf(peer), refresh: () => documentOf(peer) },
      wall: () => systemClock.wall(),
    });
  const call = (stranger: Stranger, peer: Peer, method: string, params: JsonObject): Promise<RawAnswer> =>
    stranger.post(peer, stranger.request(peer, {}, JSON.stringify({ jsonrpc: "2.0", id: "1", method, params })));
  const bundleMeta = ({ identity }: Stranger, peer: Peer): JsonObject => ({
    profile: "anp.direct.e2ee.v2",
    security_profile: "transport-protected",
    sender_did: identity.did,
    sender_device_id: identity.device.device_id,
    target: { kind: "service", did: didOf(peer.address) },
    operation_id: "op-1",
  });

  /** A stranger's initial message, changed before it is sent. */
  async function sealedBy(stranger: Stranger, peer: Peer, change: (message: SealedMessage) => JsonObject = (message) => message) {
    const device = deviceOf(stranger, peer);
    const document = await documentOf(peer);
    const [of = stranger.identity.device] = eligibleDevices(document);
    const body = { target_did: document.id, target_device_id: of.device_id };
    const { json } = await call(stranger, peer, "direct.e2ee.get_prekey_bundle", { meta: bundleMeta(stranger, peer), body });
    const fallback = generateKeyPairSync("x25519").publicKey;
    const bundle =
      json.result === undefined
        ? { bundleId: "b", device: of, signedPrekeyId: "s", staticKey: fallback, signedPrekey: fallback }
        : verifiedBundle(json.result["prekey_bundle"], document, of, systemClock.wall());
    const content = { contentType: "text/plain", body: { text: "hello" } };
    const { session, message } = device.initiate(bundle, null, document.id, crypto.randomUUID(), content);
    const params = change(message);
    return { device, session, params, answer: await call(stranger, peer, "direct.send", params) };
  }

  test("[anp-e2ee-capability] the DID document names the device, capabilities and description name the profile", async () => {
    const [, b] = await pair();
    const document = await documentOf(b);
    const [device, ...others] = eligibleDevices(document);
    expect([device?.device_id, others]).toEqual([expect.stringMatching(/^dev-/), []]);
    expect(parseDid(document.id)).not.toBeNull();
    const stranger = await world.stranger();
    const meta = { profile: "anp.core.binding.v1", security_profile: "transport-protected" };
    const { json } = await call(stranger, b, "anp.get_capabilities", { meta, body: {} });
    expect(json.result).toMatchObject({
      supported_profiles: expect.arrayContaining(["anp.direct.e2ee.v2"]) as unknown,
      supported_security_profiles: ["transport-protected", "direct-e2ee"],
    });
    const plain = await world.peer("agent-2");
    expect((await documentOf(plain))["deviceManifest"]).toBeUndefined();
  });

  test("[anp-e2ee-prekeys] the key service gives its bundle to a device that asks for itself, and one one-time prekey an operation", async () => {
    const [, b] = await pair();
    const stranger = await world.stranger({ e2ee: true });
    const [device] = eligibleDevices(await documentOf(b));
    const body = { target_did: didOf(b.address), target_device_id: device?.device_id };
    const ask = (meta: JsonObject = {}, more: JsonObject = {}) =>
      call(stranger, b, "direct.e2ee.get_prekey_bundle", {
        meta: { ...bundleMeta(stranger, b), ...meta },
        body: { ...body, ...more },
      });
    const { json: first } = await ask();
    expect(first.result).toMatchObject(body);
    expect((await ask()).json.result, "the same operation").toEqual(first.result);
    const { json: other } = await ask({ operation_id: "op-2" });
    expect(other.result?.["prekey_bundle"]).toEqual(first.result?.["prekey_bundle"]);
    expect(other.result?.["one_time_prekey"]).not.toEqual(first.result?.["one_time_prekey"]);
    for (const [meta, more, code] of [
      [{ sender_did: didOf(b.address) }, {}, 1006],
      [{ sender_device_id: undefined }, {}, 1015],
      [{ sender_device_id: "dev-x" }, {}, 1017],
      [{ target: { kind: "agent", did: didOf(b.address) } }, {}, 1014],
      [{ security_profile: "direct-e2ee" }, {}, 1002],
      [{ operation_id: undefined }, {}, 1003],
      [{}, { target_did: "did:wba:example.com" }, 4000],
      [{}, { target_device_id: "dev-x" }, 1017],
    ] as const)
      expect((await ask(meta, more)).json.error?.code, JSON.stringify([meta, more])).toBe(code);
  });

  test("[anp-e2ee-refusals] wrong key, changed members, cut ciphertext, replay: its error code, and nothing executed", async () => {
    const executions: string[] = [];
    const [, b] = await pair(executions);
    const stranger = await world.stranger({ e2ee: true });
    const inBody = (members: JsonObject) => (message: SealedMessage) => ({ ...message, body: { ...message.body, ...members } });
    const inMeta = (members: JsonObject) => (message: SealedMessage) => ({ ...message, meta: { ...message.meta, ...members } });
    for (const [what, change, code] of [
      ["another ephemeral key", inBody({ sender_ephemeral_pub_b64u: newAgreementPair().publicText }), 4007],
      ["another session", inBody({ session_id: "or8NgG6Q0INmcN79HzN2Nw" }), 4007],
      ["another bundle", inBody({ recipient_bundle_id: "bundle-x" }), 4007],
      ["another suite", inBody({ suite: "ANP-DIRECT-E2EE-X3DH-25519-AES256GCM-SHA256-V1" }), 4007],
      ["a one-time prekey nobody has", inBody({ recipient_one_time_prekey_id: "opk-x" }), 4007],
      ["a key that is no key", inBody({ sender_ephemeral_pub_b64u: "AA" }), 4007],
      ["a static key of another device", inBody({ sender_static_key_agreement_id: "did:wba:x.example#key" }), 4012],
      ["other ids", inMeta({ message_id: "m", operation_id: "m" }), 4009],
      ["ids that differ", inMeta({ operation_id: "m" }), 1003],
      ["no ciphertext to speak of", inBody({ ciphertext_b64u: "AAAA" }), 4009],
      ["a member too many", inBody({ x: 1 }), 4007],
      ["an unknown device", inMeta({ sender_device_id: "dev-x" }), 1017],
      ["a sibling of the recipient", inMeta({ recipient_device_id: "dev-x" }), 1017],
      ["no device", inMeta({ recipient_device_id: undefined }), 1015],
      ["another content type", inMeta({ content_type: "text/plain" }), 1009],
      ["another security profile", inMeta({ security_profile: "transport-protected" }), 4012],
      ["another target", inMeta({ target: { kind: "agent", did: "did:wba:x.example" } }), 1007],
      ["an origin proof", (message: SealedMessage) => ({ ...message, auth: {} }), 1003],
    ] as const)
      expect((await sealedBy(stranger, b, change)).answer.json.error?.code, what).toBe(code);
    expect(executions).toEqual([]);

    const { params, answer, device, session } = await sealedBy(stranger, b);
    expect(executions).toEqual(["hello"]);
    const again = await call(stranger, b, "direct.send", params);
    expect(again.json.result, "the same to the last bit").toEqual(answer.json.result);
    const renamed = inMeta({ message_id: "m", operation_id: "m" })(params as SealedMessage);
    expect((await call(stranger, b, "direct.send", renamed)).json.error?.code, "replay").toBe(4008);

    const reply = answer.json.result?.["reply"] as SealedMessage;
    const envelope: Envelope = readEnvelope(reply);
    device.open(envelope, reply.meta["content_type"], reply.body, await device.sender(envelope));
    const next = device.seal(session, "next", { contentType: "text/plain", body: { text: "again" } });
    for (const [what, change, code] of [
      ["an unknown session", inBody({ session_id: "AAAAAAAAAAAAAAAAAAAAAA" }), 4005],
      ["a header of another kind", inBody({ ratchet_header: { n: 0 } }), 1003],
      ["a number that is far away", inBody({ ratchet_header: { ...(next.body["ratchet_header"] as object), n: "5000" } }), 4010],
      ["a changed number", inBody({ ratchet_header: { ...(next.body["ratchet_header"] as object), n: "1" } }), 4009],
      ["other ids", inMeta({ message_id: "m", operation_id: "m" }), 4009],
      ["a cut ciphertext", inBody({ ciphertext_b64u: (next.body["ciphertext_b64u"] as string).slice(0, -4) }), 4009],
    ] as const)
      expect((await call(stranger, b, "direct.send", change(next))).json.error?.code, what).toBe(code);
    expect((await call(stranger, b, "direct.send", next)).json.result).toMatchObject({ accepted: true });
    expect(executions).toEqual(["hello", "again"]);
    const incoming = device.seal(session, "notice", { contentType: "text/plain", body: { text: "noticed" } });
    const notice = JSON.stringify({ jsonrpc: "2.0", method: "direct.incoming", params: incoming });
    for (let i = 0; i < 2; i++) expect((await stranger.post(b, stranger.request(b, {}, notice))).status).toBe(204);
    expect(executions, "a notification, once").toEqual(["hello", "again", "noticed"]);
    expect(isObject(again.json.result)).toBe(true);
  });

  test("[anp-e2ee-fuzz] a sealed message with any member replaced or removed is refused, and the session lives on", async () => {
    const executions: string[] = [];
    const [, b] = await pair(executions);
    const stranger = await world.stranger({ e2ee: true });
    const { device, session, answer } = await sealedBy(stranger, b);
    const reply = answer.json.result?.["reply"] as SealedMessage;
    const envelope = readEnvelope(reply);
    device.open(envelope, reply.meta["content_type"], reply.body, await device.sender(envelope));
    const next = device.seal(session, "next", { contentType: "text/plain", body: { text: "again" } });
    const header = next.body["ratchet_header"] as RatchetHeader;
    const paths = [
      ...Object.keys(next.meta).map((key) => ["meta", key]),
      ...Object.keys(next.body).map((key) => ["body", key]),
      ...Object.keys(header).map((key) => ["body", "ratchet_header", key]),
    ].filter(([, key]) => key !== "created_at");
    await assert(
      asyncProperty(constantFrom(...paths), option(jsonValue()), async (place, value) => {
        const params = JSON.parse(JSON.stringify(next)) as JsonObject;
        const parent = place.slice(0, -1).reduce((object, key) => object[key] as JsonObject, params);
        const last = place.at(-1) as string;
        if (value === null) delete parent[last];
        else parent[last] = value;
        if (JSON.stringify(params) === JSON.stringify(next)) return;
        const { json } = await call(stranger, b, "direct.send", params);
        expect(json.error?.code).not.toBe(-32603);
        expect(json.result).toBeUndefined();
      }),
      { numRuns: 100 },
    );
    expect(executions).toEqual(["hello"]);
    expect((await call(stranger, b, "direct.send", next)).json.result).toMatchObject({ accepted: true });
  }, 120_000);
});
