import { createHash, createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { type AgentId, InputError } from "@failstorm/core";
import { nodeIdOf } from "../messaging/message.ts";
import { CODEC_NAMES, type CodecName } from "./codec.ts";
import type { PeerIdentity } from "./transport.ts";

/*
 * How two processes prove to each other who they are, in JSON frames:
 *
 *   dialler   hello      {version, agentId, incarnation, keyId, nonce, codecs}
 *   acceptor  challenge  {version, agentId, incarnation, keyId, nonce, codecs}
 *   dialler   proof      {proof: HMAC(dialler's key, "dialler" + hash of hello and challenge)}      with a shared secret
 *   acceptor  welcome    {proof: HMAC(acceptor's key, "acceptor" + the same hash)}                  with a shared secret
 *
 * Either side may answer {refused: reason} and close. Invariants:
 *  [1] A proof covers both nonces, so that one from another connection proves nothing, and both names, so that it proves no other name.
 *  [2] The two sides sign under different labels: what one said cannot be sent back to it.
 *  [3] The keys of the records that follow are derived from both secrets and the same hash: they are new with each connection.
 * The encoding is the first of ours that both can. With certificates TLS has proved the names already, and two frames suffice.
 */

/** A key, what role it gives, and for whom it speaks; nobody named: for any agent. */
export interface SharedKey {
  /** At least 16 bytes (of UTF-8, when text), from a good source of randomness. */
  readonly secret: string | Uint8Array;
  readonly role: string;
  readonly agents?: readonly AgentId[];
}

export interface PeerCertificate {
  readonly subject: Readonly<Record<string, string | string[] | undefined>>;
  readonly subjectaltname?: string | undefined;
  readonly fingerprint256: string;
}

/** How peers are told apart. */
export type Security =
  /** `keyId` names this process's own key among `keys`; the others are those of whom it believes. */
  | { readonly kind: "secret"; readonly keyId: string; readonly keys: Readonly<Record<string, SharedKey>> }
  /** TLS on both sides; null = nobody we know. Default: common name = agent id, organizational unit = role. */
  | {
      readonly kind: "certificates";
      readonly identify?: (certificate: PeerCertificate) => { readonly agentId: AgentId; readonly role: string } | null;
    }
  /** Everybody is believed, in this role. For trusted networks and measurements. */
  | { readonly kind: "open"; readonly role: string };

export interface HandshakeOptions {
  readonly self: { readonly agentId: AgentId; readonly incarnation: number };
  readonly security: Security;
  readonly codecs: readonly CodecName[];
  /** Must not repeat and not be foreseeable: from the system's source, not from a seeded one. */
  readonly nonce: string;
  /** What TLS has verified of the other side. */
  readonly certificate: PeerCertificate | null;
}

export interface Session {
  readonly peer: PeerIdentity;
  readonly codec: CodecName;
  /** Of the records: null where TLS (or nobody) protects them. */
  readonly keys: { readonly send: Buffer; readonly receive: Buffer } | null;
}

export type HandshakeStep =
  | { readonly kind: "send"; readonly frame: Buffer }
  | { readonly kind: "done"; readonly frame: Buffer | null; readonly session: Session }
  /** `frame` tells the peer, where there is something to tell. */
  | { readonly kind: "refused"; readonly reason: string; readonly frame: Buffer | null };

/** One side of a handshake: no I/O, no clock. */
export interface Handshake {
  receive(frame: Uint8Array): HandshakeStep;
}

export type Dialling = Handshake & { readonly hello: Buffer };

const VERSION = 1;
const MIN_SECRET_BYTES = 16;
const MAX_NAME = 256;
const TEXT = "agent network, version 1: ";

/** Throws InputError for keys that cannot work. */
export function checkSecurity(security: Security): void {
  if (security.kind !== "secret") return;
  if (!Object.hasOwn(security.keys, security.keyId))
    throw new InputError(`network security: keyId ${security.keyId} is not among the keys`);
  for (const [keyId, { secret }] of Object.entries(security.keys)) {
    const bytes = typeof secret === "string" ? Buffer.byteLength(secret) : secret.length;
    if (bytes < MIN_SECRET_BYTES)
      throw new InputError(
        `network security: the secret of key ${keyId} has ${bytes} bytes; it needs ${MIN_SECRET_BYTES} at least`,
      );
  }
}

interface Opening {
  readonly agentId: AgentId;
  readonly incarnation: number;
  readonly keyId: string | null;
  readonly nonce: string;
  readonly codecs: readonly CodecName[];
}

type Side = "dialler" | "acceptor";
const OTHER: Readonly<Record<Side, Side>> = { dialler: "acceptor", acceptor: "dialler" };

const encode = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

const refusal = (reason: string, tell: boolean): HandshakeStep => ({
  kind: "refused",
  reason,
  frame: tell ? encode({ refused: reason }) : null,
});

function parse(frame: Uint8Array): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(frame).toString("utf8"));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

const isName = (value: unknown): value is string => typeof value === "string" && value !== "" && value.length <= MAX_NAME;

/** Null when it is no hello or challenge of this version. */
function parseOpening(value: Record<string, unknown>): Opening | null {
  const { version, agentId, incarnation, keyId, nonce, codecs } = value;
  if (version !== VERSION || !isName(agentId) || !isName(nonce) || !(keyId === null || isName(keyId))) return null;
  if (!Number.isSafeInteger(incarnation) || (incarnation as number) < 0 || !Array.isArray(codecs)) return null;
  const known = CODEC_NAMES.filter((name) => codecs.includes(name));
  return { agentId, incarnation: incarnation as number, keyId, nonce, codecs: known };
}

const openingOf = ({ self, security, codecs, nonce }: HandshakeOptions): Buffer => {
  const keyId = security.kind === "secret" ? security.keyId : null;
  return encode({ version: VERSION, agentId: self.agentId, incarnation: self.incarnation, keyId, nonce, codecs });
};

/** What is known once both have introduced themselves. */
interface Introduced {
  readonly peer: Opening;
  readonly role: string;
  readonly codec: CodecName;
  readonly transcript: Buffer;
  /** Own and the peer's; null without secrets. */
  readonly keys: { readonly own: SharedKey; readonly peer: SharedKey } | null;
}

/** The role in which the peer may be believed, if its proof holds; a text: why not. */
function admit(options: HandshakeOptions, peer: Opening): { readonly role: string; readonly key: SharedKey | null } | string {
  const { security, certificate, self } = options;
  if (peer.agentId === self.agentId) return "an agent does not link with itself";
  if (security.kind === "open") return { role: security.role, key: null };
  if (security.kind === "certificates") {
    const identity = certificate === null ? null : (security.identify ?? identifyByName)(certificate);
    return identity?.agentId === peer.agentId ? { role: identity.role, key: null } : "the certificate is for somebody else";
  }
  const key = peer.keyId !== null && Object.hasOwn(security.keys, peer.keyId) ? security.keys[peer.keyId] : undefined;
  if (key === undefined || (key.agents !== undefined && !key.agents.includes(peer.agentId))) return "authentication failed";
  return { role: key.role, key };
}

function identifyByName({ subject }: PeerCertificate): { agentId: AgentId; role: string } | null {
  const { CN: agentId, OU: role } = subject;
  return typeof agentId === "string" && typeof role === "string" ? { agentId, role } : null;
}

function introduce(
  options: HandshakeOptions,
  value: Record<string, unknown>,
  said: { readonly hello: Uint8Array; readonly challenge: Uint8Array },
): Introduced | string {
  const { security, codecs } = options;
  const peer = parseOpening(value);
  if (peer === null) return "not a handshake of this version";
  const codec = CODEC_NAMES.find((name) => codecs.includes(name) && peer.codecs.includes(name));
  if (codec === undefined) return "no encoding in common";
  const admitted = admit(options, peer);
  if (typeof admitted === "string") return admitted;
  const transcript = createHash("sha256").update(encode(said.hello.length)).update(said.hello).update(said.challenge).digest();
  const own = security.kind === "secret" ? security.keys[security.keyId] : undefined;
  const keys = own === undefined || admitted.key === null ? null : { own, peer: admitted.key };
  return { peer, role: admitted.role, codec, transcript, keys };
}

const proofOf = (key: SharedKey, side: Side, transcript: Buffer): Buffer =>
  createHmac("sha256", key.secret).update(`${TEXT}${side}`).update(transcript).digest(); // [1] [2]

function isProof(value: Record<string, unknown> | null, key: SharedKey, side: Side, transcript: Buffer): boolean {
  const given = value?.["proof"];
  if (typeof given !== "string") return false;
  const [proof, expected] = [Buffer.from(given, "base64"), proofOf(key, side, transcript)];
  return proof.length === expected.length && timingSafeEqual(proof, expected);
}

function sessionOf({ peer, role, codec, transcript, keys }: Introduced, side: Side): Session {
  const { agentId, incarnation } = peer;
  const identity: PeerIdentity = { agentId, incarnation, nodeId: nodeIdOf(agentId, incarnation), role };
  if (keys === null) return { peer: identity, codec, keys: null };
  const [dialler, acceptor] = side === "dialler" ? [keys.own, keys.peer] : [keys.peer, keys.own];
  const secrets = Buffer.concat([dialler, acceptor].map(({ secret }) => createHash("sha256").update(secret).digest()));
  const keyOf = (sender: Side): Buffer => Buffer.from(hkdfSync("sha256", secrets, transcript, `${TEXT}records of ${sender}`, 32)); // [3]
  return { peer: identity, codec, keys: { send: keyOf(side), receive: keyOf(OTHER[side]) } };
}

export function createDialling(options: HandshakeOptions): Dialling {
  const hello = openingOf(options);
  let introduced: Introduced | null = null;
  return {
    hello,
    receive(frame) {
      const value = parse(frame);
      if (value !== null && typeof value["refused"] === "string")
        return refusal(`peer: ${value["refused"].slice(0, MAX_NAME)}`, false);
      if (introduced === null) {
        const result = value === null ? "not a handshake" : introduce(options, value, { hello, challenge: frame });
        if (typeof result === "string") return refusal(result, true);
        introduced = result;
        const { keys, transcript } = result;
        if (keys === null) return { kind: "done", frame: null, session: sessionOf(result, "dialler") };
        return { kind: "send", frame: encode({ proof: proofOf(keys.own, "dialler", transcript).toString("base64") }) };
      }
      const { keys, transcript } = introduced;
      const holds = keys !== null && isProof(value, keys.peer, "acceptor", transcript);
      if (!holds) return refusal("authentication failed", true);
      return { kind: "done", frame: null, session: sessionOf(introduced, "dialler") };
    },
  };
}

export function createAccepting(options: HandshakeOptions): Handshake {
  const challenge = openingOf(options);
  let introduced: Introduced | null = null;
  return {
    receive(frame) {
      const value = parse(frame);
      if (introduced === null) {
        const result = value === null ? "not a handshake" : introduce(options, value, { hello: frame, challenge });
        if (typeof result === "string") return refusal(result, true);
        introduced = result;
        if (result.keys !== null) return { kind: "send", frame: challenge };
        return { kind: "done", frame: challenge, session: sessionOf(result, "acceptor") };
      }
      const { keys, transcript } = introduced;
      const holds = keys !== null && isProof(value, keys.peer, "dialler", transcript);
      if (keys === null || !holds) return refusal("authentication failed", true);
      const welcome = encode({ proof: proofOf(keys.own, "acceptor", transcript).toString("base64") });
      return { kind: "done", frame: welcome, session: sessionOf(introduced, "acceptor") };
    },
  };
}
