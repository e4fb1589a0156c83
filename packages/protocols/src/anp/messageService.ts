import type { AgentDescription, AgentEvent, AgentExecutor, AgentId, ExecutionContext, Part } from "@failstorm/core";
import { type DidLookup, nonceOf, signerFailure, timeFailure } from "./authenticator.ts";
import type { AnpConfig } from "./config.ts";
import { E2EE_PROFILE } from "./e2ee/envelope.ts";
import type { Arrival, SecureService } from "./e2ee/secureService.ts";
import { type Content, contentOfParts, isSameOperation, payloadOf, readContent, saidIn } from "./directMessage.ts";
import { type Identity, MAX_BODY_BYTES, SECURITY_PROFILES } from "./identity.ts";
import { canonical, instantOf, isObject, type JsonObject } from "./json.ts";
import { negotiate } from "./negotiation.ts";
import type { NonceRecord } from "./nonceRecord.ts";
import type { OperationKey, OperationRecord } from "./operationRecord.ts";
import { originProofHolds, readOriginProof } from "./originProof.ts";
import { RpcError, type RpcRequest } from "./rpc.ts";

export interface MessageServiceOptions {
  readonly identity: Identity;
  readonly executor: AgentExecutor;
  readonly describeSelf: () => AgentDescription;
  readonly config: AnpConfig;
  readonly dids: DidLookup;
  /** Where direct messages are encrypted end to end, all of them have to be (ANP-P3 §9.6). */
  readonly secure: SecureService | null;
  readonly nonces: NonceRecord;
  readonly operations: OperationRecord;
  readonly onDeduplicated: (messageId: string) => void;
  /** Hands over a direct message that answers one of this process's own; false when nobody waits for it. */
  readonly onReply: (senderDid: string, replyToMessageId: string, content: Content) => boolean;
  /** Which agent a DID is known to be; the sender's own word (`x_agent_id`) counts only where nobody knows. */
  readonly agentIdOf: (did: string) => AgentId | null;
  /** Ms since the Unix epoch. */
  readonly wall: () => number;
}

interface DirectMessage {
  readonly key: OperationKey;
  /** What the sender calls itself. */
  readonly from: AgentId | null;
  readonly content: Content;
  /** The body in RFC 8785 form; null when it is nobody else's to read, and is not kept. */
  readonly text: string | null;
}

// Nothing in ANP cancels a message.
const NEVER = new AbortController().signal;

async function run(executor: AgentExecutor, context: ExecutionContext): Promise<Content> {
  const parts: Part[] = [];
  const enqueue = (event: AgentEvent): void => {
    if (event.type === "agent_text_message") parts.push({ kind: "text", text: event.text });
    if (event.type === "agent_parts_message") parts.push(...event.parts);
  };
  try {
    await executor.execute(context, { enqueue });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new RpcError("anp.delivery_rejected", message, { retryable: true });
  }
  return contentOfParts(parts);
}

function expectProfile({ meta }: RpcRequest, profile: string): void {
  if (meta["profile"] !== profile) throw new RpcError("anp.unsupported_profile", `meta.profile must be ${profile}`);
  const security = meta["security_profile"];
  if (typeof security !== "string" || !SECURITY_PROFILES.includes(security))
    throw new RpcError("anp.unsupported_security_profile", `meta.security_profile must be ${SECURITY_PROFILES.join(" or ")}`);
}

function requiredString(meta: JsonObject, key: string): string {
  const value = meta[key];
  if (typeof value !== "string" || value === "") throw new RpcError("anp.invalid_params_shape", `meta.${key} is required`);
  return value;
}

/** A sealed message as any other; who sends it has said so inside. */
function sealedMessage({ envelope, content }: Arrival): DirectMessage {
  const { sender, recipient, messageId } = envelope;
  const { annotations } = content.body;
  const from = isObject(annotations) ? annotations["x_agent_id"] : null;
  return {
    key: {
      senderDid: sender.did,
      targetDid: recipient.did,
      method: "direct.send",
      devices: `${sender.deviceId} ${recipient.deviceId}`,
      operationId: messageId,
      messageId,
    },
    from: typeof from === "string" ? from : null,
    content,
    text: null,
  };
}

/** What a DID's `ANPMessageService` does, whatever carries the request. */
export class MessageService {
  private readonly options: MessageServiceOptions;
  private readonly deliveryMembers: readonly (readonly string[])[];

  constructor(options: MessageServiceOptions) {
    this.options = options;
    this.deliveryMembers = options.config.deliveryMembers.map((path) => path.split("."));
  }

  /** The result of a request of this authenticated caller; throws RpcError. */
  handle(request: RpcRequest, caller: string | null): JsonObject | Promise<JsonObject> {
    const { secure } = this.options;
    if (request.method === "anp.get_capabilities") return this.capabilities(request);
    if (request.method === "anp.negotiate") return this.negotiate(request);
    if (request.method === "direct.send") return secure === null ? this.directSend(request) : this.sealedSend(request, secure);
    if (request.method === "direct.e2ee.get_prekey_bundle") {
      if (secure === null) throw new RpcError("anp.unsupported_profile", `${E2EE_PROFILE} is not supported`);
      return secure.prekeyBundle(request, caller);
    }
    throw new RpcError("invalid_request", `${request.method} is a notification`);
  }

  /** Handles a notification of this authenticated caller, which has no answer; throws RpcError all the same. */
  async notified(request: RpcRequest, caller: string | null): Promise<void> {
    if (request.method !== "direct.incoming") throw new RpcError("invalid_request", `${request.method} is no notification`);
    const { secure } = this.options;
    if (secure === null) {
      await this.deliver(await this.readMessage(request, caller));
      return;
    }
    this.expectSealed(request);
    // Its answer reaches nobody, and would count among the session's messages if it were sealed.
    const take = async (arrival: Arrival): Promise<JsonObject> => {
      await this.deliver(sealedMessage(arrival));
      return {};
    };
    await (await secure.receive(request, take)).result;
  }

  private capabilities(request: RpcRequest): JsonObject {
    expectProfile(request, "anp.core.binding.v1");
    // Endpoint-local, since its requests name no target (§8.2.1); one that is named has to be this endpoint's.
    if (request.meta["target"] !== undefined) this.expectTarget(request.meta, ["service", "agent"]);
    const { identity, describeSelf, config } = this.options;
    const { agentId, incarnation, capabilities } = describeSelf();
    const isSelf = agentId === identity.agentId;
    return {
      service_did: identity.did,
      supported_profiles: identity.profiles,
      supported_security_profiles: identity.securityProfiles,
      limits: { max_request_bytes: String(MAX_BODY_BYTES), max_message_bytes: String(MAX_BODY_BYTES) },
      supported_content_types: identity.contentTypes,
      supported_transports: config.transport === "websocket" ? ["http", "websocket"] : ["http"],
      agent: { agent_id: identity.agentId, incarnation, capabilities: isSelf ? capabilities : [] },
    };
  }

  private negotiate(request: RpcRequest): JsonObject {
    expectProfile(request, "anp.meta.negotiation.v1");
    this.expectTarget(request.meta);
    return negotiate(this.options.identity, this.options.describeSelf().capabilities, request.body, this.options.wall());
  }

  private async directSend(request: RpcRequest): Promise<JsonObject> {
    return this.deliver(await this.readMessage(request, null));
  }

  /** `direct.send` of ANP-P5. The same operation in another ciphertext is opened first, and then answered from the record. */
  private async sealedSend(request: RpcRequest, secure: SecureService): Promise<JsonObject> {
    this.expectSealed(request);
    const { isRepeated, result } = await secure.receive(request, (arrival) => this.deliver(sealedMessage(arrival)));
    if (isRepeated) this.options.onDeduplicated(request.meta["operation_id"] as string);
    return result;
  }

  private expectSealed({ meta }: RpcRequest): void {
    if (meta["profile"] === "anp.direct.base.v1")
      throw new RpcError("direct.security_mode_required", `direct messages have to be of ${E2EE_PROFILE}`);
    this.expectTarget(meta);
  }

  private async deliver(message: DirectMessage): Promise<JsonObject> {
    const { key, content, text } = message;
    const { operations, onDeduplicated } = this.options;
    const said = saidIn({ messageId: key.messageId, content, text }, this.deliveryMembers);
    // From here to add() nothing is awaited, so that of two equal requests at once one joins the other.
    const known = operations.find(key);
    if (known !== undefined && !isSameOperation(known.said, said, this.deliveryMembers))
      throw new RpcError("anp.idempotency_conflict", "operation_id or message_id was used for something else");
    if (known !== undefined) {
      onDeduplicated(key.operationId);
      return known.result;
    }
    const result = this.accept(message);
    operations.add(key, said, result);
    return result;
  }

  private async accept(message: DirectMessage): Promise<JsonObject> {
    const { key, content } = message;
    const { conversation_id } = content.body;
    const accepted = {
      accepted: true,
      message_id: key.messageId,
      operation_id: key.operationId,
      target_did: key.targetDid,
      accepted_at: instantOf(this.options.wall()),
      ...(typeof conversation_id === "string" ? { conversation_id } : {}),
    };
    if (this.isReply(message)) return accepted;
    const { contentType, body } = await this.execute(message);
    return { ...accepted, reply: { content_type: contentType, body: { reply_to_message_id: key.messageId, ...body } } };
  }

  private execute({ key, from, content }: DirectMessage): Promise<Content> {
    const { conversation_id } = content.body;
    return run(this.options.executor, {
      messageId: key.operationId,
      from: this.options.agentIdOf(key.senderDid) ?? from,
      payload: payloadOf(content),
      signal: NEVER,
      ...(typeof conversation_id === "string" ? { contextId: conversation_id } : {}),
    });
  }

  private isReply({ key, content }: DirectMessage): boolean {
    const { reply_to_message_id } = content.body;
    return typeof reply_to_message_id === "string" && this.options.onReply(key.senderDid, reply_to_message_id, content);
  }

  /**
   * Checks all of a direct message (ANP-P3 §7), its origin last. A notification may come without its proof (§7.2.3): it is taken from
   * the sender itself then, if that is its authenticated caller.
   */
  private async readMessage(request: RpcRequest, caller: string | null): Promise<DirectMessage> {
    const { meta } = request;
    expectProfile(request, "anp.direct.base.v1");
    for (const device of ["sender_device_id", "recipient_device_id"])
      if (device in meta) throw new RpcError("anp.invalid_params_shape", `meta.${device} belongs to end-to-end encryption`);
    const target = this.expectTarget(meta);
    const senderDid = requiredString(meta, "sender_did");
    const [operationId, messageId] = [requiredString(meta, "operation_id"), requiredString(meta, "message_id")];
    const content = readContent(meta["content_type"], request.body);
    const text = canonical(request.body);
    if (request.auth !== undefined || caller !== senderDid) await this.verifyOrigin(request, text, senderDid, target);
    const from = typeof meta["x_agent_id"] === "string" ? meta["x_agent_id"] : null;
    // A push of an operation is that operation (§7.2.3).
    const operation = { senderDid, targetDid: target.did, method: "direct.send", devices: "", operationId };
    return { key: { ...operation, messageId }, from, content, text };
  }

  private expectTarget(meta: JsonObject, kinds: readonly string[] = ["agent"]): { readonly kind: string; readonly did: string } {
    const { kind, did } = isObject(meta["target"]) ? meta["target"] : {};
    if (typeof kind !== "string" || !kinds.includes(kind) || typeof did !== "string")
      throw new RpcError("anp.invalid_target_binding", `meta.target is {kind: "${kinds.join('" or "')}", did}`);
    if (did !== this.options.identity.did) throw new RpcError("anp.target_not_found", "the target is not served here");
    return { kind, did };
  }

  private async verifyOrigin(
    request: RpcRequest,
    body: string,
    senderDid: string,
    target: { kind: string; did: string },
  ): Promise<void> {
    const { dids, nonces, wall } = this.options;
    const invalid = (why: string): RpcError => new RpcError("direct.invalid_origin_proof", why);
    const proof = readOriginProof(request.auth);
    if (proof === null) throw invalid("auth.origin_proof is missing or malformed");
    const { signature } = proof;
    if (signature.keyid.split("#", 1)[0] !== senderDid)
      throw new RpcError("direct.origin_did_mismatch", "the proof is not the sender's");
    const late = timeFailure(signature, Math.floor(wall() / 1000));
    if (late !== null) throw invalid(late);
    const signed = {
      method: request.method === "direct.incoming" ? "direct.send" : request.method,
      target,
      meta: canonical(request.meta),
      body,
    };
    const failure = await signerFailure(signature, dids, (key) => originProofHolds(proof, signed, key));
    if (failure !== null) throw invalid(`the proof is not verified: ${failure}`);
    // A nonce of an HTTP signature says nothing of a proof's, which others may make with the same.
    if (!nonces.use(signature.keyid, `origin:${nonceOf(signature, `${signature.params} ${proof.contentDigest}`)}`))
      throw new RpcError("direct.origin_proof_replayed", "the proof was used before");
  }
}
