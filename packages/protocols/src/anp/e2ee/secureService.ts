import { hash, randomUUID } from "node:crypto";
import type { Content } from "../directMessage.ts";
import type { Identity } from "../identity.ts";
import { canonical, isObject, type JsonObject } from "../json.ts";
import { RpcError, type RpcRequest } from "../rpc.ts";
import { E2EE_PROFILE, type Envelope } from "./envelope.ts";
import { readEnvelope, type SecureDevice, type SecureSession } from "./secureDevice.ts";

/** What is repeated to the last bit is answered with what it was answered with, as long as the answers are no more than this. */
const MAX_ANSWERS = 2_000;
const MAX_ANSWER_CHARS = 32 * 1024 * 1024;

interface Answer {
  readonly result: Promise<JsonObject>;
  chars: number;
}

export interface SecureServiceOptions {
  readonly identity: Identity;
  readonly device: SecureDevice;
}

/** A sealed message that was opened. */
export interface Arrival {
  readonly envelope: Envelope;
  readonly content: Content;
}

/** The receiving side of end-to-end encryption (ANP-P5): the key service, and what is sealed. */
export class SecureService {
  private readonly options: SecureServiceOptions;
  private readonly answers = new Map<string, Answer>();
  private chars = 0;

  constructor(options: SecureServiceOptions) {
    this.options = options;
  }

  /** `direct.e2ee.get_prekey_bundle` (§7.2) of an authenticated caller; throws RpcError. */
  async prekeyBundle({ meta, auth, body, method }: RpcRequest, caller: string | null): Promise<JsonObject> {
    const { identity, device } = this.options;
    const { sender_did, sender_device_id, target, operation_id } = meta;
    if (meta["profile"] !== E2EE_PROFILE) throw new RpcError("anp.unsupported_profile", `meta.profile must be ${E2EE_PROFILE}`);
    if (meta["security_profile"] !== "transport-protected")
      throw new RpcError("anp.unsupported_security_profile", "meta.security_profile must be transport-protected");
    if (auth !== undefined || typeof operation_id !== "string" || operation_id === "" || typeof sender_did !== "string")
      throw new RpcError(
        "anp.invalid_params_shape",
        "meta.sender_did and meta.operation_id are required, params.auth has no place",
      );
    if (typeof sender_device_id !== "string")
      throw new RpcError("anp.device_binding_required", "meta.sender_device_id is required");
    if (!isObject(target) || target["kind"] !== "service" || target["did"] !== identity.did)
      throw new RpcError("anp.invalid_target_binding", 'meta.target is {kind: "service", did} of this service');
    if (caller !== sender_did) throw new RpcError("anp.forbidden", "prekeys are given to who asks for himself");
    if (body["target_did"] !== identity.did)
      throw new RpcError("anp.direct.e2ee.bundle_not_found", "no bundle of that DID is here");
    const recipient = { did: identity.did, deviceId: String(body["target_device_id"]) };
    await device.sender({ sender: { did: sender_did, deviceId: sender_device_id }, recipient, messageId: operation_id });
    return device.prekeys.answer(JSON.stringify([sender_did, sender_device_id, recipient, target["did"], method, operation_id]));
  }

  /**
   * Opens a sealed message; throws RpcError. `deliver` is called with it, and its result is sealed. A message that is the same to the last
   * bit is not opened again: it has the very result that it had.
   */
  async receive(
    request: RpcRequest,
    deliver: (arrival: Arrival) => Promise<JsonObject>,
  ): Promise<{ readonly isRepeated: boolean; readonly result: Promise<JsonObject> }> {
    const { meta, body } = request;
    const envelope = readEnvelope(request);
    const sender = await this.options.device.sender(envelope);
    const digest = hash("sha256", canonical([envelope.messageId, body]), "base64url");
    const name = JSON.stringify([envelope.sender.did, envelope.sender.deviceId, digest]);
    const known = this.answers.get(name);
    if (known !== undefined) return { isRepeated: true, result: known.result };
    // From here to remember() nothing is awaited.
    const { session, content } = this.options.device.open(envelope, meta["content_type"], body, sender);
    const result = deliver({ envelope, content }).then((plain) => this.seal(session, plain));
    this.remember(name, result);
    return { isRepeated: false, result };
  }

  /** What fails is forgotten; its message cannot be opened again all the same. */
  private remember(name: string, result: Promise<JsonObject>): void {
    const answer: Answer = { result, chars: 0 };
    this.answers.set(name, answer);
    const keep = ({ reply }: JsonObject): void => {
      if (this.answers.get(name) !== answer) return;
      const { body } = isObject(reply) ? reply : {};
      const ciphertext = isObject(body) ? body["ciphertext_b64u"] : "";
      answer.chars = typeof ciphertext === "string" ? ciphertext.length : 0;
      this.chars += answer.chars;
      for (const [key, oldest] of this.answers) {
        if (this.answers.size <= MAX_ANSWERS && this.chars <= MAX_ANSWER_CHARS) break;
        this.forget(key, oldest);
      }
    };
    void result.then(keep, () => this.forget(name, answer));
  }

  private forget(name: string, answer: Answer): void {
    if (this.answers.get(name) !== answer) return;
    this.answers.delete(name);
    this.chars -= answer.chars;
  }

  /** The result of a sealed message: nothing of the content is outside the sealed reply. */
  private seal(session: SecureSession, plain: JsonObject): JsonObject {
    const { reply, conversation_id: _, ...accepted } = plain;
    const result = { ...accepted, recipient_device_id: session.own.deviceId };
    if (!isObject(reply)) return result;
    const content: Content = { contentType: reply["content_type"] as string, body: reply["body"] as JsonObject };
    return { ...result, reply: this.options.device.seal(session, randomUUID(), content) };
  }
}
