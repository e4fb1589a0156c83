import { createPrivateKey, createPublicKey, generateKeyPairSync, hash, type KeyObject, verify } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { base58 } from "@scure/base";
import { ed25519, rawKey } from "./ed25519.ts";
import { isObject, type JsonObject, parseJson } from "./json.ts";

interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** An agent's keys: Ed25519 for authentication and assertions, X25519 for key agreement. */
export interface AgentKeys {
  readonly signing: KeyPair;
  readonly agreement: KeyPair;
}

const ED25519_MULTICODEC = Uint8Array.of(0xed, 0x01);
const X25519_MULTICODEC = Uint8Array.of(0xec, 0x01);
const KEY_BYTES = 32;

const pairOf = (privateKey: KeyObject): KeyPair => ({ privateKey, publicKey: createPublicKey(privateKey) });
const pem = (key: KeyObject): string => key.export({ format: "pem", type: "pkcs8" }) as string;

function readKeys(file: string): AgentKeys | null {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  const stored = parseJson(text);
  if (!isObject(stored) || typeof stored["signing"] !== "string" || typeof stored["agreement"] !== "string") return null;
  return { signing: pairOf(createPrivateKey(stored["signing"])), agreement: pairOf(createPrivateKey(stored["agreement"])) };
}

/**
 * The agent's keys: made once, kept in its workspace, so that its identity survives its processes. The file is put in its
 * place whole: a kill in between leaves no half of it.
 */
export function loadOrCreateKeys(workspaceDir: string, agentId: string): AgentKeys {
  const file = path.join(workspaceDir, `anp-keys-${encodeURIComponent(agentId)}.json`);
  const stored = readKeys(file);
  if (stored !== null) return stored;
  const keys: AgentKeys = { signing: generateKeyPairSync("ed25519"), agreement: generateKeyPairSync("x25519") };
  mkdirSync(workspaceDir, { recursive: true });
  const text = JSON.stringify({ signing: pem(keys.signing.privateKey), agreement: pem(keys.agreement.privateKey) });
  writeFileSync(`${file}.${process.pid}`, text, { mode: 0o600 });
  renameSync(`${file}.${process.pid}`, file);
  return keys;
}

const rawPublic = (key: KeyObject): Buffer => rawKey(key, "x");

/** Multibase base58-btc of a multicodec-prefixed public key, as in `Multikey`. */
export const multikey = (key: KeyObject): string =>
  `z${base58.encode(Buffer.concat([key.asymmetricKeyType === "x25519" ? X25519_MULTICODEC : ED25519_MULTICODEC, rawPublic(key)]))}`;

const okpKey = (crv: "Ed25519" | "X25519", raw: Uint8Array): KeyObject =>
  createPublicKey({ key: { kty: "OKP", crv, x: Buffer.from(raw).toString("base64url") }, format: "jwk" });

function fromMultibase(text: string, multicodec: Uint8Array): Uint8Array | null {
  if (!text.startsWith("z")) return null;
  const bytes = base58.decode(text.slice(1));
  const prefixed = bytes.length === KEY_BYTES + 2 && bytes[0] === multicodec[0] && bytes[1] === multicodec[1];
  const raw = prefixed ? bytes.slice(2) : bytes;
  return raw.length === KEY_BYTES ? raw : null;
}

function keyFromJwk(jwk: JsonObject): KeyObject | null {
  const curves: unknown[] = ["Ed25519", "X25519", "P-256", "secp256k1"];
  return curves.includes(jwk["crv"]) && jwk["d"] === undefined ? createPublicKey({ key: jwk, format: "jwk" }) : null;
}

/** A public key with its type beside it: asking a KeyObject costs a quarter of a verification. */
export interface PublicKey {
  readonly key: KeyObject;
  readonly type: string | undefined;
}

/** The public key of a DID document's verification method; null when it is of no known type, or malformed. */
export function publicKeyOf(method: JsonObject): PublicKey | null {
  const key = keyOf(method);
  return key === null ? null : { key, type: key.asymmetricKeyType };
}

function keyOf(method: JsonObject): KeyObject | null {
  const { type, publicKeyMultibase, publicKeyJwk } = method;
  try {
    if (isObject(publicKeyJwk)) return keyFromJwk(publicKeyJwk);
    if (typeof publicKeyMultibase !== "string") return null;
    const agreement = type === "X25519KeyAgreementKey2019" || type === "X25519KeyAgreementKey2020";
    if (!agreement && type !== "Multikey" && type !== "Ed25519VerificationKey2020") return null;
    const raw = fromMultibase(publicKeyMultibase, agreement ? X25519_MULTICODEC : ED25519_MULTICODEC);
    return raw === null ? null : okpKey(agreement ? "X25519" : "Ed25519", raw);
  } catch {
    return null;
  }
}

/** RFC 7638 thumbprint of an Ed25519 key: what follows `e1_` in a DID (ANP-03 §2.2.2). */
export const e1Fingerprint = (key: KeyObject): string =>
  hash("sha256", `{"crv":"Ed25519","kty":"OKP","x":"${rawPublic(key).toString("base64url")}"}`, "base64url");

/** RFC 7638 thumbprint of a secp256k1 key: what follows `k1_` in a DID (ANP-03, appendix A.3); null for any other key. */
export function k1Fingerprint({ key, type }: PublicKey): string | null {
  if (type !== "ec") return null;
  const { crv, x, y } = key.export({ format: "jwk" });
  return crv === "secp256k1" ? hash("sha256", JSON.stringify({ crv, kty: "EC", x, y }), "base64url") : null;
}

/** An opaque name of a device, by its key for agreements: another key, another device (ANP-P2 §5.5). */
export const deviceFingerprint = (key: KeyObject): string => hash("sha256", rawPublic(key), "base64url").slice(0, 16);

export const signBytes = (key: KeyObject, data: string | Uint8Array): Buffer =>
  ed25519.sign(key, typeof data === "string" ? Buffer.from(data) : data);

/** Whether `alg`, where a signature names one, is how such a key signs (RFC 9421 §3.2; for secp256k1 no name is registered). */
export const signsBy = ({ type }: PublicKey, alg: string | null): boolean =>
  alg === null || (type === "ed25519" ? alg === "ed25519" : type === "ec" && /^(?:ecdsa-|es256)/i.test(alg));

/** Verifies Ed25519; ECDSA over SHA-256 for EC keys, in both encodings in use. Never throws. */
export function verifyBytes({ key, type }: PublicKey, data: string | Uint8Array, signature: Uint8Array): boolean {
  const bytes = typeof data === "string" ? Buffer.from(data) : data;
  try {
    if (type === "ed25519") return ed25519.verify(key, bytes, signature);
    if (type !== "ec") return false;
    const dsaEncoding = signature.length === 2 * KEY_BYTES ? "ieee-p1363" : "der";
    return verify("sha256", bytes, { key, dsaEncoding }, signature);
  } catch {
    return false;
  }
}
