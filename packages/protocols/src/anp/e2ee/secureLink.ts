import { randomUUID } from "node:crypto";
import { type AgentId, CommError } from "@failstorm/core";
import type { DidLookup } from "../authenticator.ts";
import type { DidDocument } from "../did.ts";
import type { Content } from "../directMessage.ts";
import { isObject, type JsonObject } from "../json.ts";
import { RpcError } from "../rpc.ts";
import { eligibleDevices, type VerifiedBundle, verifiedBundle } from "./bundle.ts";
import { E2EE_PROFILE } from "./envelope.ts";
import { agreementKey } from "./keySchedule.ts";
import { readEnvelope, type SealedMessage, type SecureDevice, type SecureSession } from "./secureDevice.ts";

export interface SecureLinkOptions {
  readonly peer: AgentId;
  readonly peerDid: string;
  readonly device: SecureDevice;
  readonly dids: DidLookup;
  /** A JSON-RPC call of the key service; rejects with CommError. */
  readonly ask: (method: string, params: SealedMessage, signal: AbortSignal | undefined) => Promise<JsonObject>;
  /** Ms since the Unix epoch. */
  readonly wall: () => number;
}

type OneTimePrekey = NonNullable<Parameters<SecureDevice["initiate"]>[1]>;

const NO_SUCH_DEVICE = 1017;
/** session_not_found, bad_init_message (a bundle of a process before), reset_required, another device: a new session is the way on. */
const RENEWABLE = new Set([4005, 4007, 4011, NO_SUCH_DEVICE]);
const E2EE_CODES = { from: 4000, to: 4012 };

const codeOf = (error: unknown): number | null => {
  const detail = error instanceof CommError ? error.detail : null;
  return isObject(detail) && typeof detail["code"] === "number" ? detail["code"] : null;
};

function readOneTimePrekey(value: unknown): OneTimePrekey | null {
  if (value === undefined) return null;
  const key = isObject(value) ? agreementKey(value["public_key_b64u"]) : null;
  if (!isObject(value) || typeof value["key_id"] !== "string" || key === null)
    throw new RpcError("anp.direct.e2ee.bundle_invalid", "the one-time prekey is malformed");
  return { keyId: value["key_id"], key };
}

/**
 * The caller's side of end-to-end encryption with one peer (ANP-P5). While no session is established, every message begins one of its
 * own, since a session carries nothing further before its first answer (§9.4.6).
 */
export class SecureLink {
  private readonly options: SecureLinkOptions;
  private bundle: VerifiedBundle | null = null;
  private oneTimePrekey: OneTimePrekey | null = null;
  private established: SecureSession | null = null;

  constructor(options: SecureLinkOptions) {
    this.options = options;
  }

  /** Fetches and verifies the peer's prekey bundle: part of a handshake. */
  async prepare(signal: AbortSignal | undefined): Promise<void> {
    const { dids, peer, peerDid } = this.options;
    const attempt = async (document: DidDocument | null): Promise<void> => {
      const [device] = document === null ? [] : eligibleDevices(document);
      if (document === null || device === undefined)
        throw new CommError("protocol", peer, `${peer}: no device for end-to-end encryption, and nothing is sent without`);
      const result = await this.fetchBundle(document, device.device_id, signal);
      if (result["target_did"] !== peerDid || result["target_device_id"] !== device.device_id)
        throw new RpcError("anp.direct.e2ee.bundle_invalid", "a bundle of somebody else");
      this.bundle = verifiedBundle(result["prekey_bundle"], document, device, this.options.wall());
      this.oneTimePrekey = readOneTimePrekey(result["one_time_prekey"]);
    };
    const document = await dids.resolve(peerDid);
    try {
      await attempt(document);
    } catch (error) {
      if (!(error instanceof RpcError) && codeOf(error) !== NO_SUCH_DEVICE) throw error;
      // The peer may have other keys than its document said when it was fetched.
      const current = await dids.refresh(peerDid);
      if (current === document) throw error instanceof RpcError ? this.protocolError(error) : error;
      await attempt(current).catch((second: unknown) => {
        throw second instanceof RpcError ? this.protocolError(second) : second;
      });
    }
  }

  /** Sends a message and opens its answer, null when none came with the result. `call` rejects with CommError. */
  async send(
    messageId: string,
    content: Content,
    call: (message: SealedMessage) => Promise<JsonObject>,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly result: JsonObject; readonly answer: Content | null; readonly settle: () => void }> {
    for (let isFirst = true; ; isFirst = false) {
      if (this.bundle === null && this.established === null) await this.prepare(signal);
      const { session, message } = this.sealed(messageId, content);
      try {
        const result = await call(message);
        const answer = result["reply"] === undefined ? null : await this.openAnswer(session, messageId, result["reply"]);
        const settle = (): void => {
          if (!session.ratchet.isPending) this.established = session;
        };
        settle();
        return { result, answer, settle };
      } catch (error) {
        const code = codeOf(error);
        if (session.ratchet.isPending || (code !== null && code >= E2EE_CODES.from && code <= E2EE_CODES.to)) this.drop(session);
        if (!isFirst || code === null || !RENEWABLE.has(code)) throw error;
        this.drop(session);
        this.bundle = null;
      }
    }
  }

  private sealed(messageId: string, content: Content): { session: SecureSession; message: SealedMessage } {
    const { device, peerDid } = this.options;
    const session = this.established;
    if (session !== null) return { session, message: device.seal(session, messageId, content) };
    const { oneTimePrekey } = this;
    this.oneTimePrekey = null;
    try {
      return device.initiate(this.bundle as VerifiedBundle, oneTimePrekey, peerDid, messageId, content);
    } catch (error) {
      throw error instanceof RpcError ? this.protocolError(error) : error;
    }
  }

  private async openAnswer(session: SecureSession, messageId: string, reply: unknown): Promise<Content> {
    const { device, peer } = this.options;
    const wrong = (why: string): CommError => new CommError("protocol", peer, `${peer}: the reply ${why}`, { detail: reply });
    if (!isObject(reply) || !isObject(reply["meta"]) || !isObject(reply["body"])) throw wrong("is no sealed message");
    const { meta, body } = reply;
    try {
      const envelope = readEnvelope({ meta });
      const { sender, recipient } = envelope;
      if (sender.did !== session.peer.did || sender.deviceId !== session.peer.deviceId || recipient.did !== session.own.did)
        throw wrong("is somebody else's");
      const { content } = device.open(envelope, meta["content_type"], body, await device.sender(envelope), session);
      if (content.body["reply_to_message_id"] !== messageId) throw wrong("answers another message");
      return content;
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      this.drop(session);
      throw this.protocolError(error);
    }
  }

  private fetchBundle(document: DidDocument, target_device_id: string, signal: AbortSignal | undefined): Promise<JsonObject> {
    const { device, peerDid, wall, ask } = this.options;
    const services: unknown[] = Array.isArray(document["service"]) ? document["service"] : [];
    const service = services.filter(isObject).find(({ type }) => type === "ANPMessageService");
    const meta = {
      profile: E2EE_PROFILE,
      security_profile: "transport-protected",
      sender_did: device.endpoint.did,
      sender_device_id: device.endpoint.deviceId,
      target: { kind: "service", did: typeof service?.["serviceDid"] === "string" ? service["serviceDid"] : peerDid },
      operation_id: randomUUID(),
      created_at: new Date(wall()).toISOString(),
    };
    return ask("direct.e2ee.get_prekey_bundle", { meta, body: { target_did: peerDid, target_device_id } }, signal);
  }

  private drop(session: SecureSession): void {
    this.options.device.forget(session);
    if (this.established === session) this.established = null;
  }

  private protocolError(error: RpcError): CommError {
    const { peer } = this.options;
    return new CommError("protocol", peer, `${peer}: ${error.message}`, { detail: error.toJSON(), cause: error });
  }
}
