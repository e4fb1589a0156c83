import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from "node:crypto";

/** The one suite there is here; its name ends in V1 under P5 v2 as well (ANP-P5 §5.1). */
export const SUITE = "ANP-DIRECT-E2EE-X3DH-25519-CHACHA20POLY1305-SHA256-V1";

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const SESSION_ID_BYTES = 16;
const NO_SALT = Buffer.alloc(KEY_BYTES);

/** An X25519 pair, its public half also as it travels: unpadded base64url. */
export interface AgreementPair {
  readonly privateKey: KeyObject;
  readonly publicText: string;
}

export function newAgreementPair(): AgreementPair {
  const { privateKey, publicKey } = generateKeyPairSync("x25519");
  return { privateKey, publicText: publicKey.export({ format: "jwk" }).x as string };
}

/** Unpadded base64url of exactly (or at least) so many bytes; null when it is something else. */
export function decoded(text: unknown, bytes: { readonly exactly?: number; readonly atLeast?: number } = {}): Buffer | null {
  if (typeof text !== "string" || !/^[A-Za-z0-9_-]+$/.test(text) || text.length % 4 === 1) return null;
  const value = Buffer.from(text, "base64url");
  if (bytes.exactly !== undefined && value.length !== bytes.exactly) return null;
  return value.length < (bytes.atLeast ?? 0) ? null : value;
}

/** A public key that came as text; null when it is none. */
export function agreementKey(text: unknown): KeyObject | null {
  if (decoded(text, { exactly: KEY_BYTES }) === null) return null;
  return createPublicKey({ key: { kty: "OKP", crv: "X25519", x: text as string }, format: "jwk" });
}

/** X25519; null for a public key of small order, which would make the secret known to all. */
function agreed(privateKey: KeyObject, publicKey: KeyObject): Buffer | null {
  try {
    return diffieHellman({ privateKey, publicKey });
  } catch {
    return null;
  }
}

// All secrets are handed over as KeyObjects: to find out that bytes are none costs node:crypto more than to encrypt with them.
const derive = (secret: Uint8Array, salt: Uint8Array, info: string, bytes: number): Buffer =>
  Buffer.from(hkdfSync("sha256", createSecretKey(secret), salt, info, bytes));

/** HKDF-Expand alone, of at most one block (RFC 5869 §2.3). */
const expand = (secret: Uint8Array, info: string, bytes: number): Buffer =>
  createHmac("sha256", createSecretKey(secret)).update(info).update(Uint8Array.of(1)).digest().subarray(0, bytes);

export interface InitialSecrets {
  readonly initial: Buffer;
  readonly root: Buffer;
  readonly chain: Buffer;
  readonly sessionId: string;
}

/** From DH1 ‖ DH2 ‖ DH3 [‖ DH4] (§8.5). */
function initialSecrets(agreements: readonly (Buffer | null)[]): InitialSecrets | null {
  if (agreements.includes(null)) return null;
  const initial = derive(Buffer.concat(agreements as Buffer[]), NO_SALT, "ANP Direct E2EE v1 Initial Secret", KEY_BYTES);
  return {
    initial,
    root: expand(initial, "ANP Direct E2EE v1 Root Key", KEY_BYTES),
    chain: expand(initial, "ANP Direct E2EE v1 Chain Key", KEY_BYTES),
    sessionId: expand(initial, "ANP Direct E2EE v1 Session ID", SESSION_ID_BYTES).toString("base64url"),
  };
}

export interface SenderKeys {
  /** Static private key, and the ephemeral one of this session. */
  readonly own: KeyObject;
  readonly ephemeral: KeyObject;
  /** The recipient's static key, signed prekey, and one-time prekey where there is one. */
  readonly peer: KeyObject;
  readonly signedPrekey: KeyObject;
  readonly oneTimePrekey: KeyObject | null;
}

/** The initiator's side of the X3DH-like agreement (§8.4); null for a key that agrees to nothing. */
export const secretsOfSender = ({ own, ephemeral, peer, signedPrekey, oneTimePrekey }: SenderKeys): InitialSecrets | null =>
  initialSecrets([
    agreed(own, signedPrekey),
    agreed(ephemeral, peer),
    agreed(ephemeral, signedPrekey),
    ...(oneTimePrekey === null ? [] : [agreed(ephemeral, oneTimePrekey)]),
  ]);

/** The same secrets at the recipient, where private and public keys have changed places. */
export const secretsOfRecipient = ({ own, ephemeral, peer, signedPrekey, oneTimePrekey }: SenderKeys): InitialSecrets | null =>
  initialSecrets([
    agreed(signedPrekey, peer),
    agreed(own, ephemeral),
    agreed(signedPrekey, ephemeral),
    ...(oneTimePrekey === null ? [] : [agreed(oneTimePrekey, ephemeral)]),
  ]);

/** `kdf_rk` over a Diffie-Hellman agreement (§10.2.1); null for a key that agrees to nothing. */
export function nextRoot(root: Buffer, privateKey: KeyObject, publicKey: KeyObject): { root: Buffer; chain: Buffer } | null {
  const secret = agreed(privateKey, publicKey);
  return secret === null ? null : rootOf(root, secret);
}

export function rootOf(root: Buffer, secret: Buffer): { root: Buffer; chain: Buffer } {
  const out = derive(secret, root, "ANP Direct E2EE v1 KDF_RK", 2 * KEY_BYTES);
  return { root: out.subarray(0, KEY_BYTES), chain: out.subarray(KEY_BYTES) };
}

/** What one message is sealed with. */
export interface MessageKey {
  readonly key: Buffer;
  readonly nonce: Buffer;
}

/** `kdf_ck` (§10.2.1). */
export function nextMessageKey(chain: Buffer): { readonly chain: Buffer; readonly message: MessageKey } {
  const out = derive(chain, NO_SALT, "ANP Direct E2EE v1 KDF_CK", 2 * KEY_BYTES + NONCE_BYTES);
  const [next, key, nonce] = [out.subarray(0, KEY_BYTES), out.subarray(KEY_BYTES, 2 * KEY_BYTES), out.subarray(2 * KEY_BYTES)];
  return { chain: next, message: { key, nonce } };
}

/** ChaCha20-Poly1305: ciphertext and tag, as unpadded base64url. */
export function seal({ key, nonce }: MessageKey, plaintext: string, associated: string): string {
  const cipher = createCipheriv("chacha20-poly1305", createSecretKey(key), nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(associated), { plaintextLength: Buffer.byteLength(plaintext) });
  return Buffer.concat([cipher.update(plaintext, "utf8"), cipher.final(), cipher.getAuthTag()]).toString("base64url");
}

/** The plaintext; null when key, associated data or any bit of the ciphertext is not the right one. */
export function unseal({ key, nonce }: MessageKey, sealed: unknown, associated: string): string | null {
  const bytes = decoded(sealed, { atLeast: TAG_BYTES });
  if (bytes === null) return null;
  const body = bytes.subarray(0, bytes.length - TAG_BYTES);
  const decipher = createDecipheriv("chacha20-poly1305", createSecretKey(key), nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(associated), { plaintextLength: body.length });
  decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(body), decipher.final()]).toString("utf8");
  } catch {
    return null;
  }
}
