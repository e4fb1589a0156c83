import type { Requirement } from "../requirements.ts";

const ours = (what: string): string => `packages/protocols/README.md, ANP: ${what}`;

const rows: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "RFC 9421, B.2.6": { "signature-vector": "The published Ed25519 example verifies, and no other signature base does." },
  "RFC 9530": { "content-digest": "sha-256 of the body, alone or beside others; sha-512 where there is no sha-256." },
  "RFC 8785": { canonical: "The canonical form of JSON, members by UTF-16 code units; what JSON cannot say has none." },
  "ANP-02 §3.1": {
    "signature-form": "created and keyid are required; a malformed signature is none.",
    signed: "A request is signed over method, target, digest; it is answered, with an access token.",
    covered:
      "A signature that does not cover the body proves nothing; what else it covers is checked, and its algorithm if named.",
  },
  "ANP-02 §3.2.1": {
    unproven: "Wrong key, wrong DID, too old or of the future, another body: 401 with the reason.",
    replay: "A signature is accepted once, and by the host that it was made for.",
  },
  "ANP-02 §3.2.3": {
    bearer: "The token of Authentication-Info stands for the sender from then on.",
    token: "A token is good until it expires, at its issuer, unchanged.",
    "restart-tokens": "A restarted agent refuses the tokens of its former life and gives a new one to who signs again.",
  },
  "ANP-02 §3.2.4.1": {
    challenge: "401 with a nonce that is good once.",
    "accept-signature": "A peer's challenge is met once, with its nonce and what it asks to be covered.",
    "challenge-round-trip": "Where a challenge is required it is one round trip more.",
    "everything-signed": "Everything but capabilities has a proven sender.",
  },
  "ANP-02 §7.2": {
    nonces: "Nonces are kept for as long as their signature could be accepted.",
    "replay-survives": "A request of before a crash is not accepted after it.",
  },
  "ANP-03 §2.2": {
    "did-form": "did:wba (or did:web) of a name and port; IP addresses, other methods and paths that climb are refused.",
    "did-document": "The document is where the DID says, binds the key where the DID names it, and names one message service.",
    "key-types": "Keys of other types are read; what is no key is none.",
    "e1-proof": "An e1 document is accepted with its proof by its key, unchanged (document made by the Rust SDK).",
    k1: "A k1 document is accepted with the key that its DID ends in, which alone authenticates.",
    deactivated: "A DID whose document says that it is deactivated authenticates nobody.",
    keys: "An agent keeps its keys, and with them its DID, over a crash.",
    "new-keys": "An agent that lost its keys is known by its new document.",
  },
  "ANP-02 appendix B": { "did-web": "A native did:web is resolved and served like a did:wba, without the bindings of that." },
  "ANP-06 §7": { negotiation: "The interface that the caller prefers and can; else the reason." },
  "ANP-07": { description: "The agent description, with DID, interfaces and message service." },
  "ANP-08": {
    discovery: "A collection of descriptions at /.well-known/agent-descriptions.",
    "discovery-pages": "Others' collections are read page by page.",
  },
  "ANP-P1 §5, §10": {
    errors: "What is no right message is refused with its code, and not executed.",
    notification: "A notification has no answer; what is wrong with it is dropped; what is pushed again is not executed again.",
    "transport-errors": "No JSON, another content type, too big: their status and code.",
    fuzz: "Whatever is sent is answered, nothing wrong is executed, nothing is executed twice.",
  },
  "ANP-P1 §8.2": { capabilities: "anp.get_capabilities tells what is supported, to anybody." },
  "ANP-P1 appendix A": {
    "origin-proof": "A direct message without a proof of its origin, or with one of something or somebody else, is refused.",
    "proof-replay": "One and the same proof twice is a replay, whoever carries it.",
  },
  "ANP-P3 §3, §6, §7": {
    "direct-send": "direct.send is accepted with id and time.",
    "answer-as-message": "A stranger's answer, a direct message of its own, is the answer.",
  },
  "ANP-P3 §8": {
    idempotency: "An operation that comes again has the same result; another one under its ids is error 1008.",
    "idempotency-survives": "Also after a crash.",
    "operation-record": "The record survives being cut anywhere, forgets what failed, and is bounded.",
  },
  "ANP-P5 §4, §6, §7": {
    "e2ee-bundle":
      "A prekey bundle is taken from its device, proven, in its time (public vector); a device is what the manifest rules allow.",
    "e2ee-capability": "The DID document names the device; capabilities name the profile.",
    "e2ee-prekeys": "The key service answers a device that asks for itself, and gives each operation its one-time prekey.",
  },
  "ANP-P5 §8 to §10": {
    "e2ee-key-schedule":
      "X3DH-like agreement and chains derive what the public vectors derive; keys of small order agree to nothing.",
    "e2ee-wire": "Associated data and plaintext are the public vectors' to the byte.",
    "e2ee-ratchet": "Messages pass in any order, each once; what fails changes nothing.",
    "e2ee-handshake":
      "The bundle is one round trip of the handshake; a message is one exchange, and its content is nowhere in clear.",
  },
  "ANP-P5 §11 to §13": {
    "e2ee-refusals":
      "Wrong key, changed member, cut ciphertext, replay, other device: the code of §13 or P1, and nothing is executed.",
    "e2ee-fuzz": "A sealed message with any member replaced or removed is refused, and the session lives on.",
    "e2ee-sessions":
      "Sessions end with their process or their keys; the caller is told so and begins another. Idempotence goes on.",
  },
  "ANP-P3 §9.6": { "e2ee-no-downgrade": "Where encryption is required, nothing is sent or accepted without." },
  [ours("client")]: {
    handshake: "DID document and signed capabilities: two round trips; more where the configuration asks for more.",
    hostless: "An agent without a host publishes its DID document by itself.",
    config: "Unknown keys and values out of range are bad input.",
  },
  [ours("WebSocket transport")]: {
    websocket: "A handshake opens one connection; all messages share it, each an exchange of its own.",
    "websocket-bytes": "Each message's bytes are its own, and count while the connection is open.",
    "websocket-signed": "The upgrade is signed, once; frames are answered as requests are.",
    "websocket-abort": "A caller that gives up leaves the connection as it is.",
    "websocket-death": "A peer that dies fails what is under way at once; back again it is met anew.",
  },
};

export const requirements: readonly Requirement[] = Object.entries(rows).flatMap(([section, claims]) =>
  Object.entries(claims).map(([id, behaviour]) => ({ id: `anp-${id}`, section, behaviour })),
);
