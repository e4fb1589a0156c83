import { type KeyObject, sign, verify } from "node:crypto";
import type Sodium from "sodium-native";

/** Ed25519 as of RFC 8032, with one library. */
export interface Ed25519 {
  readonly sign: (key: KeyObject, message: Uint8Array) => Buffer;
  /** Throws, or says false, when the signature does not hold. */
  readonly verify: (key: KeyObject, message: Uint8Array, signature: Uint8Array) => boolean;
}

const PUBLIC_KEY_BYTES = 32;
const SECRET_KEY_BYTES = 64;
const SIGNATURE_BYTES = 64;

export const nodeEd25519: Ed25519 = {
  sign: (key, message) => sign(null, message, key),
  verify: (key, message, signature) => verify(null, message, key, signature),
};

/** A KeyObject's bytes, kept for as long as it is: to export them for each signature would cost a part of it. */
function bytesOf(kept: WeakMap<KeyObject, Uint8Array>, key: KeyObject, read: () => Uint8Array): Uint8Array {
  let bytes = kept.get(key);
  if (bytes === undefined) kept.set(key, (bytes = read()));
  return bytes;
}

/** A key as bytes: `x` is the public one, `d` the private one (RFC 8037 §2). */
export const rawKey = (key: KeyObject, member: "x" | "d"): Buffer =>
  Buffer.from(key.export({ format: "jwk" })[member] ?? "", "base64url");

function sodiumEd25519(sodium: typeof Sodium): Ed25519 {
  const secretKeys = new WeakMap<KeyObject, Uint8Array>();
  const publicKeys = new WeakMap<KeyObject, Uint8Array>();
  const secretKeyOf = (key: KeyObject): Uint8Array => {
    const secretKey = new Uint8Array(SECRET_KEY_BYTES);
    sodium.crypto_sign_seed_keypair(new Uint8Array(PUBLIC_KEY_BYTES), secretKey, rawKey(key, "d"));
    return secretKey;
  };
  return {
    sign(key, message) {
      const signature = Buffer.allocUnsafe(SIGNATURE_BYTES);
      sodium.crypto_sign_detached(
        signature,
        message,
        bytesOf(secretKeys, key, () => secretKeyOf(key)),
      );
      return signature;
    },
    verify: (key, message, signature) =>
      // The bindings take longer ones, too.
      signature.length === SIGNATURE_BYTES &&
      sodium.crypto_sign_verify_detached(
        signature,
        message,
        bytesOf(publicKeys, key, () => rawKey(key, "x")),
      ),
  };
}

// There is no binary of it for every system (none for musl).
const libsodium = await import("sodium-native").catch(() => null);

export const libsodiumEd25519: Ed25519 | null = libsodium === null ? null : sodiumEd25519(libsodium.default);

/**
 * The faster one where there is one: each direct message is signed and verified, which with node:crypto takes as long as the whole of a raw
 * exchange (`pnpm bench protocols`). Both make the same signatures (RFC 8032 §5.1.6 leaves no choice).
 */
export const ed25519: Ed25519 = libsodiumEd25519 ?? nodeEd25519;
