import type { KeyObject } from "node:crypto";
import { verifyProof, withProof } from "../dataIntegrity.ts";
import { authorisedKey, type DidDocument } from "../did.ts";
import { isObject, type JsonObject } from "../json.ts";
import { RpcError } from "../rpc.ts";
import { E2EE_PROFILE } from "./envelope.ts";
import { agreementKey, SUITE } from "./keySchedule.ts";

/** An entry of a DID document's device manifest that may use P5 (ANP-P2 §5.5, ANP-P5 §4.1.1). */
export interface Device {
  readonly device_id: string;
  readonly signing_key_id: string;
  readonly e2ee_key_id: string;
  readonly profiles: readonly string[];
}

/** What a device must name for P5. */
export const DEVICE_PROFILES = ["anp.core.binding.v1", "anp.identity.discovery.v1", "anp.direct.base.v1", E2EE_PROFILE];

/** The devices of a document that may use P5: key references of the right kind, all profiles, an id that no other has. */
export function eligibleDevices(document: DidDocument): readonly Device[] {
  const manifest = document["deviceManifest"];
  if (!isObject(manifest) || manifest["type"] !== "ANPDeviceManifest" || !Array.isArray(manifest["devices"])) return [];
  const entries = (manifest["devices"] as unknown[]).filter(isObject);
  return entries.filter((entry): entry is JsonObject & Device => {
    const { device_id, signing_key_id, e2ee_key_id, profiles } = entry;
    if (Object.keys(entry).length !== 4 || !Array.isArray(profiles)) return false;
    if (typeof device_id !== "string" || device_id === "") return false;
    if (typeof signing_key_id !== "string" || typeof e2ee_key_id !== "string") return false;
    return (
      DEVICE_PROFILES.every((profile) => profiles.includes(profile)) &&
      entries.filter((other) => other["device_id"] === device_id).length === 1 &&
      authorisedKey(document, "assertionMethod", signing_key_id)?.type === "ed25519" &&
      authorisedKey(document, "keyAgreement", e2ee_key_id)?.type === "x25519"
    );
  });
}

export interface PrekeyBundle extends JsonObject {
  readonly bundle_id: string;
  readonly owner_did: string;
  readonly owner_device_id: string;
  readonly suite: string;
  readonly static_key_agreement_id: string;
  readonly signed_prekey: { readonly key_id: string; readonly public_key_b64u: string; readonly expires_at: string };
}

/** A bundle with its proof (§6.2). `now` is an RFC 3339 instant. */
export const signedBundle = (bundle: PrekeyBundle, key: KeyObject, signingKeyId: string, now: string): PrekeyBundle =>
  withProof(bundle, key, signingKeyId, now);

/** What a sender takes from a bundle that it has verified. */
export interface VerifiedBundle {
  readonly bundleId: string;
  readonly device: Device;
  readonly signedPrekeyId: string;
  readonly staticKey: KeyObject;
  readonly signedPrekey: KeyObject;
}

const invalid = (why: string): RpcError => new RpcError("anp.direct.e2ee.bundle_invalid", why);

/** Verifies a bundle of `device` in `document` (§6.2.3, §6.5); throws RpcError. `wallMs`: ms since the Unix epoch. */
export function verifiedBundle(given: unknown, document: DidDocument, device: Device, wallMs: number): VerifiedBundle {
  if (!isObject(given) || !isObject(given["signed_prekey"]) || !isObject(given["proof"])) throw invalid("no bundle");
  if ("one_time_prekey" in given) throw invalid("a bundle has no one-time prekey in it");
  const { bundle_id, owner_did, owner_device_id, suite, static_key_agreement_id, signed_prekey, proof } = given;
  if (owner_did !== document.id || owner_device_id !== device.device_id) throw invalid("a bundle of somebody else");
  if (suite !== SUITE) throw invalid("a suite that is not supported");
  if (static_key_agreement_id !== device.e2ee_key_id || proof["verificationMethod"] !== device.signing_key_id)
    throw invalid("keys that are not the device's");
  const { key_id, public_key_b64u, expires_at } = signed_prekey;
  const signedPrekey = agreementKey(public_key_b64u);
  const until = typeof expires_at === "string" ? Date.parse(expires_at) : Number.NaN;
  if (typeof bundle_id !== "string" || typeof key_id !== "string" || signedPrekey === null || Number.isNaN(until))
    throw invalid("members are missing or malformed");
  const signing = authorisedKey(document, "assertionMethod", device.signing_key_id);
  const staticKey = authorisedKey(document, "keyAgreement", device.e2ee_key_id);
  if (signing === null || staticKey === null || !verifyProof(given, signing)) throw invalid("the proof is not verified");
  if (until <= wallMs) throw new RpcError("anp.direct.e2ee.bundle_expired", "the signed prekey has expired");
  return { bundleId: bundle_id, device, signedPrekeyId: key_id, staticKey: staticKey.key, signedPrekey };
}
