import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from "fastify";
import type { Authenticator, AuthFailure } from "./authenticator.ts";
import { agentDescription, discoveryDocument, type Identity, interfaceDocument, MAX_BODY_BYTES } from "./identity.ts";
import { type JsonObject, parseJson } from "./json.ts";
import type { MessageService, MessageServiceOptions } from "./messageService.ts";
import type { Records } from "./records.ts";
import { errorAnswer, idOf, readRequest, RpcError, type RpcRequest } from "./rpc.ts";
import { webSocketHost } from "./webSocketHost.ts";

export interface HostOptions {
  readonly identity: Identity;
  readonly describeSelf: MessageServiceOptions["describeSelf"];
  readonly authenticator: Authenticator;
  readonly service: MessageService;
  /** Nothing is answered before what was noted of it is written. */
  readonly records: Pick<Records, "written" | "overdue">;
  readonly webSocket: boolean;
}

const ACCEPT_SIGNATURE = 'sig1=("@method" "@target-uri" "@authority" "content-digest");created;expires;nonce;keyid';
/** Errors of the envelope; all others are answers to a well-formed request, with HTTP status 200. */
const MALFORMED = new Set([-32_700, -32_600, 1000, 1003, 1004]);

/** Any failure as JSON-RPC says it. What nobody foresaw says nothing of this agent's inside. */
const asRpcError = (error: unknown): RpcError => {
  if (error instanceof RpcError) return error;
  if (error instanceof TypeError || error instanceof RangeError) return new RpcError("invalid_request", error.message);
  return new RpcError("internal_error", "internal error");
};

/** 401 with the challenge of ANP-02 §3.2.4.1, mirrored in a JSON-RPC error. */
function challenge(
  reply: FastifyReply,
  authenticator: Authenticator,
  error: AuthFailure,
  description: string,
  id: string | null,
) {
  const nonce = authenticator.issueNonce();
  const failure = new RpcError("anp.unauthorized", description, { retryable: true, details: { error, nonce } });
  return reply
    .code(401)
    .headers({
      "www-authenticate": `DIDWba realm="anp", error="${error}", error_description="${description}", nonce="${nonce}"`,
      "accept-signature": ACCEPT_SIGNATURE,
      "cache-control": "no-store",
    })
    .send(errorAnswer(id, failure));
}

/** Reads one message of an authenticated caller and does what it asks; null when it was a notification. */
async function answerTo(service: MessageService, message: unknown, caller: string | null): Promise<JsonObject | null> {
  const id = idOf(message);
  let request: RpcRequest;
  try {
    if (message === undefined) throw new RpcError("parse_error", "not JSON");
    request = readRequest(message);
  } catch (error) {
    return errorAnswer(id, asRpcError(error));
  }
  try {
    if (request.id === null) {
      await service.notified(request, caller);
      return null;
    }
    return { jsonrpc: "2.0", id, result: await service.handle(request, caller) };
  } catch (error) {
    return request.id === null ? null : errorAnswer(id, asRpcError(error));
  }
}

/**
 * The answer, once what was noted of the message is written; `message` is undefined when it was no JSON. Nothing is done while what
 * was noted of earlier ones can't be written.
 */
async function serve({ service, records }: HostOptions, message: unknown, caller: string | null): Promise<JsonObject | null> {
  let isNotification = false;
  try {
    const overdue = records.overdue();
    if (overdue !== null) await overdue;
    const answer = await answerTo(service, message, caller);
    isNotification = answer === null;
    const writing = records.written();
    if (writing !== null) await writing;
    return answer;
  } catch (error) {
    return isNotification ? null : errorAnswer(idOf(message), asRpcError(error));
  }
}

const statusOf = (answer: JsonObject): number =>
  answer["error"] instanceof RpcError && MALFORMED.has(answer["error"].code) ? 400 : 200;

const methodIn = (message: unknown): unknown => (message as { method?: unknown } | null | undefined)?.method;

const authenticate = (authenticator: Authenticator, { method, raw, url, headers }: FastifyRequest, body: Buffer | null) =>
  authenticator.authenticate({ method, target: raw.url ?? url, headers, body });

/** The DID of who asks for an upgrade; null when the refusal is sent. */
async function authenticated(
  { authenticator, records }: HostOptions,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<string | null> {
  const caller = await authenticate(authenticator, request, null);
  await records.written();
  if (caller.kind === "bearer" || caller.kind === "signature") return caller.did;
  const [error, description] =
    caller.kind === "refused" ? [caller.error, caller.description] : (["invalid_request", "The request is not signed"] as const);
  await challenge(reply, authenticator, error, description, null);
  return null;
}

async function post(options: HostOptions, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const { authenticator } = options;
  const body = request.body instanceof Buffer ? request.body : null;
  const caller = await authenticate(authenticator, request, body);
  const message = parseJson(body?.toString("utf8") ?? "");
  if (caller.kind === "refused") return challenge(reply, authenticator, caller.error, caller.description, idOf(message));
  // Capabilities are public (ANP-P1 §8.2.1); everything else that can be read has a caller.
  if (caller.kind === "anonymous" && message !== undefined && methodIn(message) !== "anp.get_capabilities")
    return challenge(reply, authenticator, "invalid_request", "The request is not signed", idOf(message));
  const answer = await serve(options, message, caller.kind === "anonymous" ? null : caller.did);
  if (caller.kind === "signature") void reply.header("authentication-info", caller.info);
  if (answer === null) return reply.code(204).send();
  return reply.code(statusOf(answer)).send(answer);
}

const HTTP_ERRORS: Readonly<Record<number, string>> = {
  413: "the request is too big",
  415: "the content type must be application/json",
};

/**
 * The routes of an ANP agent, below whatever prefix the plug-in is mounted under: `POST /anp` (JSON-RPC), the DID document, the
 * discovery document, the description, its OpenRPC interface, and `GET /health`, which ANP does not have: the added probe.
 */
export function anpHost(options: HostOptions): FastifyPluginAsync {
  const { identity, describeSelf } = options;
  return async (server) => {
    server.removeAllContentTypeParsers();
    server.addContentTypeParser("application/json", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
    server.setErrorHandler((error: { statusCode?: number }, _request, reply) => {
      const status = error.statusCode ?? 500;
      const failure =
        status < 500
          ? new RpcError("invalid_request", HTTP_ERRORS[status] ?? "bad request")
          : new RpcError("internal_error", "internal error");
      return reply.code(status).send(errorAnswer(null, failure));
    });
    server.post("/anp", { bodyLimit: MAX_BODY_BYTES }, (request, reply) => post(options, request, reply));
    if (options.webSocket)
      await webSocketHost(
        server,
        (request, reply) => authenticated(options, request, reply),
        (message, caller) => serve(options, message, caller),
      );
    server.get("/health", async () => ({ incarnation: describeSelf().incarnation }));
    server.get("/ad.json", async () => agentDescription(identity, describeSelf()));
    server.get("/interface.json", async () => interfaceDocument(identity));
    server.get("/.well-known/agent-descriptions", async () => discoveryDocument(identity));
    const sendDocument = async (request: FastifyRequest, reply: FastifyReply) => {
      const { pathname } = new URL(request.url, "http://localhost");
      if (pathname !== `${server.prefix}${identity.documentPath}`)
        return reply.code(404).send({ error: "no DID document of that name" });
      return identity.document;
    };
    server.get("/.well-known/did.json", sendDocument);
    server.get("/:agent/:fingerprint/did.json", sendDocument);
  };
}
