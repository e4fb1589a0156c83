import { type Content, readContent } from "../directMessage.ts";
import { canonical, isObject, type JsonObject, parseJson } from "../json.ts";
import { RpcError } from "../rpc.ts";
import type { RatchetHeader } from "./ratchet.ts";

export const E2EE_PROFILE = "anp.direct.e2ee.v2";
export const E2EE_SECURITY = "direct-e2ee";
export const INIT_TYPE = "application/anp-direct-init+json";
export const CIPHER_TYPE = "application/anp-direct-cipher+json";

/** One device of an agent. */
export interface Endpoint {
  readonly did: string;
  readonly deviceId: string;
}

/** What the associated data takes from a message's meta (ANP-P5 §9.4.2, §10.5). */
export interface Envelope {
  readonly sender: Endpoint;
  readonly recipient: Endpoint;
  /** Message and operation id, which are one (§3.7). */
  readonly messageId: string;
}

/** `params.meta` of a sealed direct.send. `created_at` is an RFC 3339 instant. */
export const metaOf = ({ sender, recipient, messageId }: Envelope, contentType: string, created_at: string): JsonObject => ({
  content_type: contentType,
  created_at,
  message_id: messageId,
  operation_id: messageId,
  profile: E2EE_PROFILE,
  recipient_device_id: recipient.deviceId,
  security_profile: E2EE_SECURITY,
  sender_device_id: sender.deviceId,
  sender_did: sender.did,
  target: { did: recipient.did, kind: "agent" },
});

/** The members of an initial message that its associated data binds. */
export interface InitFields {
  readonly session_id: string;
  readonly suite: string;
  readonly sender_static_key_agreement_id: string;
  readonly recipient_bundle_id: string;
  readonly recipient_signed_prekey_id: string;
  readonly recipient_one_time_prekey_id?: string;
}

/** `AD_init` (§9.4.2). */
export function initAssociated({ sender, recipient, messageId }: Envelope, fields: InitFields): string {
  const { recipient_one_time_prekey_id } = fields;
  return canonical({
    content_type: INIT_TYPE,
    message_id: messageId,
    operation_id: messageId,
    profile: E2EE_PROFILE,
    recipient_bundle_id: fields.recipient_bundle_id,
    recipient_device_id: recipient.deviceId,
    recipient_did: recipient.did,
    ...(recipient_one_time_prekey_id === undefined ? {} : { recipient_one_time_prekey_id }),
    recipient_signed_prekey_id: fields.recipient_signed_prekey_id,
    security_profile: E2EE_SECURITY,
    sender_device_id: sender.deviceId,
    sender_did: sender.did,
    sender_static_key_agreement_id: fields.sender_static_key_agreement_id,
    session_id: fields.session_id,
    suite: fields.suite,
  });
}

/** `AD_msg` (§10.5). */
export const messageAssociated = (
  { sender, recipient, messageId }: Envelope,
  session_id: string,
  { dh_pub_b64u, n, pn }: RatchetHeader,
): string =>
  canonical({
    content_type: CIPHER_TYPE,
    message_id: messageId,
    operation_id: messageId,
    profile: E2EE_PROFILE,
    ratchet_header: { dh_pub_b64u, n, pn },
    recipient_device_id: recipient.deviceId,
    recipient_did: recipient.did,
    security_profile: E2EE_SECURITY,
    sender_device_id: sender.deviceId,
    sender_did: sender.did,
    session_id,
  });

/** The Application Plaintext of a direct message's content (§10.4). */
export const plaintextOf = ({ contentType, body }: Content): string =>
  canonical({ application_content_type: contentType, ...body });

/** The content of an Application Plaintext; throws RpcError. */
export function contentIn(plaintext: string): Content {
  const parsed = parseJson(plaintext);
  if (!isObject(parsed)) throw new RpcError("direct.invalid_payload_shape", "the plaintext is no object");
  const { application_content_type, logical_message_id, ...body } = parsed;
  if (logical_message_id !== undefined && (typeof logical_message_id !== "string" || logical_message_id === ""))
    throw new RpcError("direct.invalid_payload_shape", "logical_message_id is a string that is not empty");
  return readContent(application_content_type, body);
}
