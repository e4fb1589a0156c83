import type { KeyObject } from "node:crypto";
import type { DidLookup } from "../authenticator.ts";
import { authorisedKey, type DidDocument } from "../did.ts";
import type { Content } from "../directMessage.ts";
import type { Identity } from "../identity.ts";
import { isObject, type JsonObject } from "../json.ts";
import { RpcError } from "../rpc.ts";
import { type Device, eligibleDevices, type VerifiedBundle } from "./bundle.ts";
import {
  CIPHER_TYPE,
  contentIn,
  E2EE_PROFILE,
  E2EE_SECURITY,
  type Endpoint,
  type Envelope,
  INIT_TYPE,
  initAssociated,
  type InitFields,
  messageAssociated,
  metaOf,
  plaintextOf,
} from "./envelope.ts";
import {
  agreementKey,
  newAgreementPair,
  nextMessageKey,
  seal,
  secretsOfRecipient,
  secretsOfSender,
  SUITE,
  unseal,
} from "./keySchedule.ts";
import { Prekeys } from "./prekeys.ts";
import { Ratchet, readHeader } from "./ratchet.ts";

/** A session with one device of a peer; the ratchet is its and nobody else's. */
export interface SecureSession {
  readonly id: string;
  /** Whether it was begun here. */
  readonly begun: boolean;
  readonly own: Endpoint;
  readonly peer: Endpoint;
  /** The peer's static key that it was established with. */
  readonly peerKey: KeyObject;
  readonly ratchet: Ratchet;
}

/** `params` of a sealed direct.send: it has no `auth` (ANP-P5 §3.8). */
export interface SealedMessage extends JsonObject {
  readonly meta: JsonObject;
  readonly body: JsonObject;
}

export interface OpenedMessage {
  readonly session: SecureSession;
  readonly content: Content;
}

interface Sender {
  readonly device: Device;
  readonly key: KeyObject;
}

export interface SecureDeviceOptions {
  readonly identity: Identity;
  readonly dids: DidLookup;
  /** Ms since the Unix epoch. */
  readonly wall: () => number;
}

/** The oldest go first; whoever has lost one establishes another. */
const MAX_SESSIONS = 4096;

/** An agent that talks to itself has both ends of a session. */
const indexOf = ({ begun, own, peer, id }: Omit<SecureSession, "peerKey" | "ratchet">): string =>
  JSON.stringify([begun, own.did, own.deviceId, peer.did, peer.deviceId, id]);

const badInit = (why: string): RpcError => new RpcError("anp.direct.e2ee.bad_init_message", why);

/** The fields of an initial message's body (§9.1, §9.2); throws RpcError. */
function readInit(body: JsonObject): InitFields {
  const { recipient_one_time_prekey_id, ...others } = body;
  for (const name of [
    "session_id",
    "suite",
    "sender_static_key_agreement_id",
    "recipient_bundle_id",
    "recipient_signed_prekey_id",
    "sender_ephemeral_pub_b64u",
    "ciphertext_b64u",
  ])
    if (typeof others[name] !== "string" || others[name] === "") throw badInit(`body.${name} is required`);
  if (Object.keys(others).length !== 7) throw badInit("body has members that are not defined");
  if ("recipient_one_time_prekey_id" in body && typeof recipient_one_time_prekey_id !== "string")
    throw badInit("body.recipient_one_time_prekey_id is a string");
  if (others["suite"] !== SUITE) throw badInit("a suite that is not supported");
  return body as unknown as InitFields;
}

/** What a message's meta says of its way (§10.7); throws RpcError. */
export function readEnvelope({ meta, auth }: { readonly meta: JsonObject; readonly auth?: unknown }): Envelope {
  const { sender_did, sender_device_id, recipient_device_id, target, operation_id, message_id } = meta;
  if (auth !== undefined) throw new RpcError("anp.invalid_params_shape", "params.auth has no place in a sealed message");
  if (meta["profile"] !== E2EE_PROFILE) throw new RpcError("anp.unsupported_profile", `meta.profile must be ${E2EE_PROFILE}`);
  if (meta["security_profile"] !== E2EE_SECURITY)
    throw new RpcError("anp.direct.e2ee.invalid_security_binding", `meta.security_profile must be ${E2EE_SECURITY}`);
  for (const device of [sender_device_id, recipient_device_id])
    if (typeof device !== "string" || device === "")
      throw new RpcError("anp.device_binding_required", "both device selectors are required");
  if (typeof sender_did !== "string" || typeof message_id !== "string" || message_id === "")
    throw new RpcError("anp.invalid_params_shape", "meta.sender_did and meta.message_id are required");
  if (operation_id !== message_id)
    throw new RpcError("anp.invalid_params_shape", "meta.operation_id must be equal to meta.message_id");
  if (!isObject(target) || target["kind"] !== "agent" || typeof target["did"] !== "string")
    throw new RpcError("anp.invalid_target_binding", 'meta.target is {kind: "agent", did}');
  return {
    sender: { did: sender_did, deviceId: sender_device_id as string },
    recipient: { did: target["did"], deviceId: recipient_device_id as string },
    messageId: message_id,
  };
}

/** An agent's device: its prekeys and its sessions, those it began and those it was asked for. */
export class SecureDevice {
  readonly prekeys: Prekeys;
  private readonly options: SecureDeviceOptions;
  private readonly sessions = new Map<string, SecureSession>();

  constructor(options: SecureDeviceOptions) {
    this.options = options;
    this.prekeys = new Prekeys(options.identity, options.wall);
  }

  get endpoint(): Endpoint {
    const { did, device } = this.options.identity;
    return { did, deviceId: device.device_id };
  }

  /** The first message of a new session (§9.4.4). */
  initiate(
    bundle: VerifiedBundle,
    oneTimePrekey: { readonly keyId: string; readonly key: KeyObject } | null,
    recipientDid: string,
    messageId: string,
    content: Content,
  ): { readonly session: SecureSession; readonly message: SealedMessage } {
    const { identity } = this.options;
    const ephemeral = newAgreementPair();
    const { staticKey: peer, signedPrekey } = bundle;
    const keys = { own: identity.agreementKey, ephemeral: ephemeral.privateKey, peer, signedPrekey };
    const secrets = secretsOfSender({ ...keys, oneTimePrekey: oneTimePrekey?.key ?? null });
    if (secrets === null) throw new RpcError("anp.direct.e2ee.bundle_invalid", "the bundle's keys agree to nothing");
    const own = this.endpoint;
    const recipient = { did: recipientDid, deviceId: bundle.device.device_id };
    const envelope: Envelope = { sender: own, recipient, messageId };
    const fields: InitFields = {
      session_id: secrets.sessionId,
      suite: SUITE,
      sender_static_key_agreement_id: identity.device.e2ee_key_id,
      recipient_bundle_id: bundle.bundleId,
      recipient_signed_prekey_id: bundle.signedPrekeyId,
      ...(oneTimePrekey === null ? {} : { recipient_one_time_prekey_id: oneTimePrekey.keyId }),
    };
    const { message } = nextMessageKey(secrets.chain);
    const ciphertext_b64u = seal(message, plaintextOf(content), initAssociated(envelope, fields));
    const ratchet = Ratchet.ofInitiator(secrets, ephemeral);
    const session = this.keep({ id: secrets.sessionId, begun: true, own, peer: recipient, peerKey: peer, ratchet });
    const body = { ...fields, sender_ephemeral_pub_b64u: ephemeral.publicText, ciphertext_b64u };
    return { session, message: { meta: metaOf(envelope, INIT_TYPE, this.now()), body } };
  }

  /** A further message of a session. */
  seal(session: SecureSession, messageId: string, content: Content): SealedMessage {
    const envelope: Envelope = { sender: session.own, recipient: session.peer, messageId };
    const { header, ciphertext } = session.ratchet.seal(plaintextOf(content), (sent) =>
      messageAssociated(envelope, session.id, sent),
    );
    const body = { ciphertext_b64u: ciphertext, ratchet_header: header, session_id: session.id };
    return { meta: metaOf(envelope, CIPHER_TYPE, this.now()), body };
  }

  /** Whether both devices may use P5 now, and the sender's keys (§4.1.1); throws RpcError. */
  async sender({ sender, recipient }: Envelope): Promise<Sender> {
    if (recipient.deviceId !== this.endpoint.deviceId)
      throw new RpcError("anp.device_not_eligible", "the recipient has no such device");
    const { dids } = this.options;
    const find = (document: DidDocument | null): Sender | null => {
      if (document === null) return null;
      const device = eligibleDevices(document).find(({ device_id }) => device_id === sender.deviceId);
      const key = device && authorisedKey(document, "keyAgreement", device.e2ee_key_id);
      return device && key ? { device, key: key.key } : null;
    };
    const found = find(await dids.resolve(sender.did)) ?? find(await dids.refresh(sender.did));
    if (found === null) throw new RpcError("anp.device_not_eligible", "the sender has no such device");
    return found;
  }

  /** Opens a message of this sender, which advances its session (or `session`); throws RpcError. Nothing is awaited. */
  open(envelope: Envelope, contentType: unknown, body: JsonObject, sender: Sender, session?: SecureSession): OpenedMessage {
    if (contentType === INIT_TYPE) return this.openInit(envelope, body, sender);
    if (contentType === CIPHER_TYPE) return this.openMessage(envelope, body, sender, session);
    throw new RpcError("anp.unsupported_content_type", `a sealed message is ${INIT_TYPE} or ${CIPHER_TYPE}`);
  }

  forget(session: SecureSession): void {
    this.sessions.delete(indexOf(session));
  }

  private find({ recipient: own, sender: peer }: Envelope, id: string): SecureSession | undefined {
    const named = { own, peer, id };
    return this.sessions.get(indexOf({ ...named, begun: false })) ?? this.sessions.get(indexOf({ ...named, begun: true }));
  }

  private openInit(envelope: Envelope, body: JsonObject, { device, key: peer }: Sender): OpenedMessage {
    const fields = readInit(body);
    if (fields.sender_static_key_agreement_id !== device.e2ee_key_id)
      throw new RpcError("anp.direct.e2ee.invalid_security_binding", "the static key is not the sending device's");
    const opkId = fields.recipient_one_time_prekey_id;
    const { signedPrekey, oneTimePrekey, accepted } = this.prekeys.named(
      fields.recipient_bundle_id,
      fields.recipient_signed_prekey_id,
      opkId,
    );
    const text = body["sender_ephemeral_pub_b64u"] as string;
    const replay = JSON.stringify([envelope.sender.did, envelope.sender.deviceId, text, fields.session_id]);
    if (accepted.has(replay)) throw new RpcError("anp.direct.e2ee.replay_detected", "this initial message was accepted before");
    const ephemeral = agreementKey(text);
    if (ephemeral === null || oneTimePrekey === undefined) throw badInit("the ephemeral key or the one-time prekey is none");
    const own = this.options.identity.agreementKey;
    const secrets = secretsOfRecipient({ own, ephemeral, peer, signedPrekey, oneTimePrekey });
    if (secrets?.sessionId !== fields.session_id) throw badInit("the session id does not follow from the keys");
    const { message } = nextMessageKey(secrets.chain);
    const plaintext = unseal(message, body["ciphertext_b64u"], initAssociated(envelope, fields));
    if (plaintext === null) throw new RpcError("anp.direct.e2ee.decrypt_failed", "the message cannot be decrypted");
    accepted.add(replay);
    if (opkId !== undefined) this.prekeys.consume(opkId);
    const ratchet = Ratchet.ofRecipient(secrets, ephemeral, text);
    const { recipient, sender } = envelope;
    const session = { id: secrets.sessionId, begun: false, own: recipient, peer: sender, peerKey: peer, ratchet };
    return { session: this.keep(session), content: contentIn(plaintext) };
  }

  private openMessage(envelope: Envelope, body: JsonObject, { key }: Sender, expected?: SecureSession): OpenedMessage {
    const { session_id, ratchet_header, ciphertext_b64u, suite = SUITE } = body;
    const unknown = Object.keys(body).find(
      (name) => !["session_id", "ratchet_header", "ciphertext_b64u", "suite"].includes(name),
    );
    const header = readHeader(ratchet_header);
    if (typeof session_id !== "string" || header === null || unknown !== undefined)
      throw new RpcError("anp.invalid_params_shape", "body is {session_id, ratchet_header, ciphertext_b64u}");
    const session = expected?.id === session_id ? expected : this.find(envelope, session_id);
    if (session === undefined) throw new RpcError("anp.direct.e2ee.session_not_found", "no such session of these devices");
    if (suite !== SUITE || (session.peerKey !== key && !session.peerKey.equals(key))) {
      this.forget(session);
      throw new RpcError("anp.direct.e2ee.invalid_security_binding", "the session was established with another suite or key");
    }
    const plaintext = session.ratchet.open(header, ciphertext_b64u, messageAssociated(envelope, session_id, header));
    return { session: this.keep(session), content: contentIn(plaintext) };
  }

  private keep(session: SecureSession): SecureSession {
    const index = indexOf(session);
    this.sessions.delete(index);
    this.sessions.set(index, session);
    for (const oldest of this.sessions.keys()) {
      if (this.sessions.size <= MAX_SESSIONS) break;
      this.sessions.delete(oldest);
    }
    return session;
  }

  private now(): string {
    return new Date(this.options.wall()).toISOString();
  }
}
