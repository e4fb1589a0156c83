import { randomUUID } from "node:crypto";
import { type AgentDescription, type AgentId, type Clock, CommError, type Payload, type SendOptions } from "@failstorm/core";
import type { AnpConfig } from "./config.ts";
import { type Content, contentOf, payloadOf, readContent } from "./directMessage.ts";
import type { SealedMessage } from "./e2ee/secureDevice.ts";
import { SecureLink, type SecureLinkOptions } from "./e2ee/secureLink.ts";
import type { Identity } from "./identity.ts";
import { canonical, instantOf, isObject, type JsonObject } from "./json.ts";
import { proveOrigin } from "./originProof.ts";
import { describedPeer, type Peers } from "./peers.ts";
import type { Replies } from "./replies.ts";
import type { Transport } from "./transport.ts";
import { type Access, type RpcCall, type RpcClient, unlessAborted } from "./rpcClient.ts";

/** What a handshake established. */
export interface Session {
  readonly src: Identity;
  readonly did: string;
  readonly access: Access;
  readonly peer: AgentDescription;
  /** Where messages are encrypted end to end. */
  readonly secure: SecureLink | null;
}

export interface CallerOptions {
  readonly config: AnpConfig;
  readonly clock: Clock;
  readonly peers: Peers;
  readonly rpc: RpcClient;
  readonly replies: Replies;
  readonly transport: Transport;
  /** What end-to-end encryption needs of this identity. */
  readonly security: (identity: Identity) => Pick<SecureLinkOptions, "device" | "dids">;
  /** The agent that sends, with a DID document that others can fetch. */
  readonly identity: (src: AgentId) => Promise<Identity>;
}

/** How long an answer that comes as a message of its own is waited for when the caller sets no deadline. */
const REPLY_TIMEOUT_MS = 60_000;

/** The client's side: handshakes, sessions, direct messages. */
export class Caller {
  private readonly options: CallerOptions;
  private readonly sessions = new Map<string, Session>();
  private readonly opening = new Map<string, Promise<Session>>();
  private sequence = 0;

  constructor(options: CallerOptions) {
    this.options = options;
  }

  /** DID resolution, then authentication with the session's capabilities in one signed exchange. */
  async open(src: AgentId, dst: AgentId, signal?: AbortSignal): Promise<Session> {
    const { peers, transport, config } = this.options;
    // An unknown peer is an error even where this process has no identity to show yet.
    peers.base(dst);
    const identity = await this.options.identity(src);
    const { did, endpoint } = await peers.resolve(dst, signal);
    const access: Access = { peer: dst, endpoint, token: null };
    const capabilities = await this.capabilities(identity, access, signal);
    const secure = config.e2ee ? this.secureLink(identity, did, access) : null;
    const session = { src: identity, did, access, peer: describedPeer(dst, capabilities), secure };
    await secure?.prepare(signal);
    if (config.negotiate) await this.negotiate(session, signal);
    await transport.open(session, signal);
    const key = `${src} ${dst}`;
    const former = this.sessions.get(key);
    if (former !== undefined) transport.close(former);
    this.sessions.set(key, session);
    return session;
  }

  /** `anp.get_capabilities` over HTTP, which authenticates as well. */
  capabilities(identity: Identity, access: Access, signal?: AbortSignal): Promise<JsonObject> {
    const meta = { ...this.meta("anp.core.binding.v1", identity), operation_id: randomUUID() };
    const call = this.request("anp.get_capabilities", { meta: canonical(meta), body: "{}" });
    return this.options.rpc.call(access, identity.signingKey, call, signal);
  }

  forget(dst: AgentId): void {
    for (const [key, session] of this.sessions)
      if (session.access.peer === dst) {
        this.sessions.delete(key);
        this.options.transport.close(session);
      }
  }

  forgetAll(): void {
    for (const session of this.sessions.values()) this.options.transport.close(session);
    this.sessions.clear();
  }

  /** Sends a direct message; resolves with the result and the answer's content. */
  async send(
    src: AgentId,
    dst: AgentId,
    payload: Payload,
    options: SendOptions,
  ): Promise<{ readonly result: JsonObject; readonly answer: Payload }> {
    const session = await this.session(src, dst, options.signal);
    const operationId = options.idempotencyKey ?? randomUUID();
    const content = contentIn(contentOf(payload), options.contextId);
    const expected = this.options.replies.expect(session.did, operationId);
    const post = (call: RpcCall): Promise<JsonObject> => this.options.transport.call(session, call, options.signal);
    try {
      if (session.secure !== null) {
        const annotated = { ...content, body: { ...content.body, annotations: { x_agent_id: session.src.agentId } } };
        const call = (message: SealedMessage): Promise<JsonObject> => post(this.plainRequest("direct.send", message));
        const { result, answer, settle } = await session.secure.send(operationId, annotated, call, options.signal);
        expectAccepted(dst, result);
        const later = answer ?? (await this.laterReply(expected.content, options.signal));
        settle();
        return { result, answer: payloadOf(later) };
      }
      const result = await post(this.directSend(session, operationId, content));
      expectAccepted(dst, result);
      const answer = replyIn(dst, result) ?? (await this.laterReply(expected.content, options.signal));
      return { result, answer: payloadOf(answer) };
    } finally {
      expected.release();
    }
  }

  private laterReply(content: Promise<Content>, signal = AbortSignal.timeout(REPLY_TIMEOUT_MS)): Promise<Content> {
    return unlessAborted(content, signal);
  }

  /** The session with `dst`; many that ask at once share one handshake. */
  private async session(src: AgentId, dst: AgentId, signal: AbortSignal | undefined): Promise<Session> {
    const key = `${src} ${dst}`;
    for (;;) {
      const session = this.sessions.get(key);
      if (session !== undefined) return session;
      const shared = this.opening.get(key);
      if (shared === undefined) break;
      // Its handshake may fail because whoever began it gave up; then it is this caller's turn.
      await unlessAborted(
        shared.catch(() => null),
        signal,
      );
    }
    const opening = this.open(src, dst, signal).finally(() => this.opening.delete(key));
    this.opening.set(key, opening);
    return opening;
  }

  private async negotiate(session: Session, signal?: AbortSignal): Promise<void> {
    const meta = {
      ...this.meta("anp.meta.negotiation.v1", session.src),
      target: { kind: "agent", did: session.did },
      operation_id: randomUUID(),
      content_type: "application/json",
    };
    const body = {
      intent: { name: "run_step", intentTags: ["tool.step", "shard.lookup"] },
      callerCapabilities: {
        supportedProfiles: ["anp.core.binding.v1", "anp.direct.base.v1"],
        supportedSecurityProfiles: ["transport-protected"],
        supportedContentTypes: ["application/json", "text/plain"],
      },
      constraints: { preferredInterfaceTypes: ["StructuredInterface"] },
    };
    const call = this.request("anp.negotiate", { meta: canonical(meta), body: canonical(body) });
    const { status, selected } = await this.options.rpc.call(session.access, session.src.signingKey, call, signal);
    const { peer } = session.access;
    if (status !== "accepted" || !isObject(selected) || selected["profile"] !== "anp.direct.base.v1")
      throw new CommError("protocol", peer, `${peer}: the negotiation selected no profile of ours`, { detail: selected });
  }

  private directSend({ src, did }: Session, operationId: string, content: Content): RpcCall {
    const target = { did, kind: "agent" } as const;
    const { created_at, profile, security_profile, sender_did } = this.meta("anp.direct.base.v1", src);
    // In the order in which it is canonical, which need not be made then.
    const meta = canonical({
      content_type: content.contentType,
      created_at,
      message_id: operationId,
      operation_id: operationId,
      profile,
      security_profile,
      sender_did,
      target,
      x_agent_id: src.agentId,
    });
    const body = canonical(content.body);
    const nowS = Math.floor(this.options.clock.wall() / 1000);
    const auth = proveOrigin(src.signingKey, { method: "direct.send", target, meta, body }, nowS);
    return this.request("direct.send", { meta, auth: JSON.stringify(auth), body });
  }

  private secureLink(identity: Identity, peerDid: string, access: Access): SecureLink {
    const { clock, rpc, security } = this.options;
    return new SecureLink({
      ...security(identity),
      peer: access.peer,
      peerDid,
      ask: (method, params, signal) => rpc.call(access, identity.signingKey, this.plainRequest(method, params), signal),
      wall: () => clock.wall(),
    });
  }

  private plainRequest(method: string, { meta, body }: SealedMessage): RpcCall {
    return this.request(method, { meta: JSON.stringify(meta), body: JSON.stringify(body) });
  }

  private meta(profile: string, { did }: Identity) {
    const created_at = instantOf(this.options.clock.wall());
    return { profile, security_profile: "transport-protected", sender_did: did, created_at };
  }

  /** What was made canonical to be signed is sent as it is. */
  private request(method: string, params: { readonly meta: string; readonly auth?: string; readonly body: string }): RpcCall {
    const id = (this.sequence++).toString(36);
    const auth = params.auth === undefined ? "" : `"auth":${params.auth},`;
    const text = `{"jsonrpc":"2.0","id":"${id}","method":"${method}","params":{"meta":${params.meta},${auth}"body":${params.body}}}`;
    return { id, text };
  }
}

/** The content with its conversation, where it belongs to one. */
const contentIn = (content: Content, contextId: string | undefined): Content =>
  contextId === undefined ? content : { ...content, body: { ...content.body, conversation_id: contextId } };

function expectAccepted(peer: AgentId, result: JsonObject): void {
  if (result["accepted"] !== true)
    throw new CommError("protocol", peer, `${peer}: the message is not accepted`, { detail: result });
}

/** The answer that our own agents put in the result. */
function replyIn(peer: AgentId, { reply }: JsonObject): Content | null {
  if (reply === undefined) return null;
  try {
    if (isObject(reply) && isObject(reply["body"])) return readContent(reply["content_type"], reply["body"]);
  } catch {
    // Said below.
  }
  throw new CommError("protocol", peer, `${peer}: the reply is not a direct message`, { detail: reply });
}
