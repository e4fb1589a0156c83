import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { describe, expect, test } from "vitest";
import { ed25519, type Ed25519, libsodiumEd25519, nodeEd25519 } from "../../src/anp/ed25519.ts";

const keyOf = (d: string, x: string) => {
  const privateKey = createPrivateKey({ key: { kty: "OKP", crv: "Ed25519", d, x }, format: "jwk" });
  return { privateKey, publicKey: createPublicKey(privateKey) };
};
const b64u = (hex: string): string => Buffer.from(hex, "hex").toString("base64url");

/** RFC 8032 §7.1, TEST 3. */
const { privateKey, publicKey } = keyOf(
  b64u("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"),
  b64u("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"),
);
const MESSAGE = Buffer.from("af82", "hex");
const SIGNATURE =
  "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";
/** The order L of the group: S + L is the same scalar, and no signature (RFC 8032 §5.1.7). */
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

const reversed = (bytes: Uint8Array): string => Buffer.from(bytes.toReversed()).toString("hex");

function malleated(signature: Uint8Array): Buffer {
  const s = BigInt(`0x${reversed(signature.subarray(32))}`) + ORDER;
  const bytes = Buffer.from(s.toString(16).padStart(64, "0"), "hex").toReversed();
  return Buffer.concat([signature.subarray(0, 32), bytes]);
}

const holds = (library: Ed25519, message: Uint8Array, signature: Uint8Array, key = publicKey): boolean => {
  try {
    return library.verify(key, message, signature);
  } catch {
    return false;
  }
};

/** What sodium-native brings binaries for; on Linux for glibc alone. */
const SYSTEMS = new Set(["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64", "win32-x64", "win32-arm64"]);

function hasBinary(): boolean {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  const isMusl = process.platform === "linux" && header.glibcVersionRuntime === undefined;
  return SYSTEMS.has(`${process.platform}-${process.arch}`) && !isMusl;
}

test("libsodium signs where there is a binary of it, node:crypto elsewhere", () => {
  expect(libsodiumEd25519 !== null).toBe(hasBinary());
  expect(ed25519 === nodeEd25519).toBe(!hasBinary());
});

describe.for([
  ["node:crypto", nodeEd25519],
  ...(libsodiumEd25519 === null ? [] : [["libsodium", libsodiumEd25519] as const]),
] as const)("Ed25519 with %s", ([, library]) => {
  test("makes the signature of RFC 8032, and takes it", () => {
    expect(library.sign(privateKey, MESSAGE).toString("hex")).toBe(SIGNATURE);
    expect(holds(library, MESSAGE, Buffer.from(SIGNATURE, "hex"))).toBe(true);
  });

  test("takes no other message, key, or signature", () => {
    const signature = Buffer.from(SIGNATURE, "hex");
    expect(holds(library, Buffer.from("af83", "hex"), signature)).toBe(false);
    expect(holds(library, MESSAGE, signature, generateKeyPairSync("ed25519").publicKey)).toBe(false);
    for (let bit = 0; bit < 512; bit += 7) {
      const wrong = Buffer.from(signature);
      wrong[bit >> 3] = (wrong[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(holds(library, MESSAGE, wrong)).toBe(false);
    }
    for (const wrong of [signature.subarray(0, 63), Buffer.concat([signature, Buffer.alloc(1)]), malleated(signature)])
      expect(holds(library, MESSAGE, wrong)).toBe(false);
  });

  test("agrees with node:crypto on messages of any length", () => {
    const pair = generateKeyPairSync("ed25519");
    for (const length of [0, 1, 63, 64, 1_000, 100_000]) {
      const message = Buffer.alloc(length, 7);
      const signature = library.sign(pair.privateKey, message);
      expect(signature).toEqual(nodeEd25519.sign(pair.privateKey, message));
      expect(holds(library, message, signature, pair.publicKey)).toBe(true);
    }
  });
});
