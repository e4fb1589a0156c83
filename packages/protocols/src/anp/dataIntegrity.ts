import { hash, type KeyObject } from "node:crypto";
import { base58 } from "@scure/base";
import { canonical, isObject, type JsonObject } from "./json.ts";
import { type PublicKey, signBytes, verifyBytes } from "./keys.ts";

/** W3C Data Integrity, cryptosuite eddsa-jcs-2022: what is signed is hash(proof options) ‖ hash(document without proof). */
function signedBytes(document: JsonObject, options: JsonObject): Buffer {
  const { proof: _, ...unsecured } = document;
  return Buffer.concat([hash("sha256", canonical(options), "buffer"), hash("sha256", canonical(unsecured), "buffer")]);
}

/** The document with a proof by `key`. `created` is an RFC 3339 instant. */
export function withProof<T extends JsonObject>(
  document: T,
  key: KeyObject,
  verificationMethod: string,
  created: string,
): T & { readonly proof: JsonObject } {
  const options = {
    type: "DataIntegrityProof",
    cryptosuite: "eddsa-jcs-2022",
    created,
    verificationMethod,
    proofPurpose: "assertionMethod",
  };
  const proofValue = `z${base58.encode(signBytes(key, signedBytes(document, options)))}`;
  return { ...document, proof: { ...options, proofValue } };
}

/** Multibase base58-btc as the specification has it, or the bare base64url that the ANP SDKs (0.9) write. */
function proofBytes(proofValue: string): Uint8Array | null {
  const SIGNATURE_BYTES = 64;
  if (proofValue.startsWith("z")) {
    try {
      const bytes = base58.decode(proofValue.slice(1));
      if (bytes.length === SIGNATURE_BYTES) return bytes;
    } catch {
      // A base64url signature may begin with z as well.
    }
  }
  const bytes = Buffer.from(proofValue, "base64url");
  return bytes.length === SIGNATURE_BYTES ? bytes : null;
}

/** Whether the document's own proof is one by `key`, for assertions. */
export function verifyProof(document: JsonObject, key: PublicKey): boolean {
  const { proof } = document;
  if (!isObject(proof)) return false;
  const { proofValue, ...options } = proof;
  if (options["type"] !== "DataIntegrityProof" || options["cryptosuite"] !== "eddsa-jcs-2022") return false;
  if (options["proofPurpose"] !== "assertionMethod" || typeof proofValue !== "string") return false;
  if (typeof options["created"] !== "string") return false;
  const signature = proofBytes(proofValue);
  try {
    return signature !== null && verifyBytes(key, signedBytes(document, options), signature);
  } catch {
    return false;
  }
}
