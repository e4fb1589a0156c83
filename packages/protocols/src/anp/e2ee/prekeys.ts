import { randomUUID } from "node:crypto";
import type { Identity } from "../identity.ts";
import type { JsonObject } from "../json.ts";
import { RpcError } from "../rpc.ts";
import { type PrekeyBundle, signedBundle } from "./bundle.ts";
import { type AgreementPair, newAgreementPair, SUITE } from "./keySchedule.ts";

interface Signed {
  readonly keyId: string;
  readonly pair: AgreementPair;
  readonly ownerDid: string;
  readonly bundle: PrekeyBundle;
  /** Ms since the Unix epoch. */
  readonly until: number;
  /** Initial messages that were accepted under it (ANP-P5 §11.5). */
  readonly accepted: Set<string>;
}

const LIFETIME_MS = 7 * 86_400_000;
/** A bundle is given out while it is good for this much longer. */
const MARGIN_MS = 86_400_000;
/** After so many initial messages there is a new bundle, since those of the present one must all be remembered. */
const MAX_ACCEPTED = 50_000;
const MAX_ONE_TIME = 4096;
const MAX_ANSWERS = 4096;

const trim = (map: Map<string, unknown>, most: number): void => {
  for (const oldest of map.keys()) {
    if (map.size <= most) break;
    map.delete(oldest);
  }
};

/**
 * A device's signed and one-time prekeys (ANP-P5 §6). They live and die with the process, so that no initial message that was sent to
 * the process before this one can be accepted again. `wall` gives ms since the Unix epoch.
 */
export class Prekeys {
  private readonly identity: Identity;
  private readonly wall: () => number;
  private readonly bundles = new Map<string, Signed>();
  private current: Signed | null = null;
  private readonly oneTime = new Map<string, AgreementPair>();
  private readonly answers = new Map<string, JsonObject>();

  constructor(identity: Identity, wall: () => number) {
    this.identity = identity;
    this.wall = wall;
  }

  /** The result of `direct.e2ee.get_prekey_bundle` (§7.2), the same one for the same key of idempotence. */
  answer(idempotencyKey: string): JsonObject {
    const { bundle, ownerDid } = this.present();
    const known = this.answers.get(idempotencyKey);
    if (known !== undefined) return known;
    const [keyId, pair] = [`opk-${randomUUID()}`, newAgreementPair()];
    this.oneTime.set(keyId, pair);
    trim(this.oneTime, MAX_ONE_TIME);
    const answer = {
      target_did: ownerDid,
      target_device_id: bundle.owner_device_id,
      prekey_bundle: bundle,
      one_time_prekey: { key_id: keyId, public_key_b64u: pair.publicText },
    };
    this.answers.set(idempotencyKey, answer);
    trim(this.answers, MAX_ANSWERS);
    return answer;
  }

  /** The private keys that an initial message names; throws RpcError when they are not, or no longer, here. */
  named(bundleId: string, signedPrekeyId: string, oneTimePrekeyId: string | undefined) {
    const signed = this.bundles.get(bundleId);
    if (signed === undefined || signed.keyId !== signedPrekeyId || signed.until <= this.wall())
      throw new RpcError("anp.direct.e2ee.bad_init_message", "bundle or signed prekey are not, or no longer, this device's");
    return {
      accepted: signed.accepted,
      signedPrekey: signed.pair.privateKey,
      oneTimePrekey: oneTimePrekeyId === undefined ? null : (this.oneTime.get(oneTimePrekeyId)?.privateKey ?? undefined),
    };
  }

  /** After a session was established with it. */
  consume(oneTimePrekeyId: string): void {
    this.oneTime.delete(oneTimePrekeyId);
  }

  private present(): Signed {
    const now = this.wall();
    const { did } = this.identity;
    for (const [id, { until }] of this.bundles) if (until <= now) this.bundles.delete(id);
    const { current } = this;
    if (current !== null && current.ownerDid === did && current.until - now > MARGIN_MS && current.accepted.size < MAX_ACCEPTED)
      return current;
    if (current !== null && current.accepted.size >= MAX_ACCEPTED) this.bundles.clear();
    this.answers.clear();
    const made = this.make(did, now);
    this.bundles.set(made.bundle.bundle_id, made);
    this.current = made;
    return made;
  }

  private make(did: string, now: number): Signed {
    const { device, signingKey } = this.identity;
    const [id, keyId, pair, until] = [`bundle-${randomUUID()}`, `spk-${randomUUID()}`, newAgreementPair(), now + LIFETIME_MS];
    const bundle = {
      bundle_id: id,
      owner_did: did,
      owner_device_id: device.device_id,
      suite: SUITE,
      static_key_agreement_id: device.e2ee_key_id,
      signed_prekey: { key_id: keyId, public_key_b64u: pair.publicText, expires_at: new Date(until).toISOString() },
    };
    const created = new Date(now).toISOString();
    const signed = signedBundle(bundle, signingKey.privateKey, device.signing_key_id, created);
    return { keyId, pair, ownerDid: did, bundle: signed, until, accepted: new Set() };
  }
}
