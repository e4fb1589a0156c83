import {
  A2A_ERROR_CODE,
  ContentTypeNotSupportedError,
  HTTP_STATUS,
  RequestMalformedError,
  toJsonRpcError,
} from "@a2a-js/sdk/errors";
import { JsonRpcTransportHandler } from "@a2a-js/sdk/server";
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from "fastify";
import { type Binding, callContext, checkContentType, confirmExtension, NOT_JSON, versionOf } from "./binding.ts";
import { sendEvents } from "./streaming.ts";
import { CALLER_GONE, WAS_READ } from "./taskService.ts";
import { checkRawMessage } from "./validation.ts";
import { isRecord, VERSION } from "./wire.ts";

const LEGACY_VERSION = "0.3";
/** JSON-RPC leaves -32000 to servers; A2A gives authentication no code of its own (spec §3.3.2). */
const UNAUTHENTICATED = -32000;

type Id = string | number | null;
type RpcAnswer = { readonly jsonrpc: string; readonly id: Id; readonly result?: unknown; readonly error?: unknown };
type Handle = (
  body: Record<string, unknown>,
  context: ReturnType<typeof callContext>,
) => Promise<RpcAnswer | AsyncGenerator<RpcAnswer>>;

interface Dialect {
  readonly handle: Handle;
  readonly toError: (error: unknown) => unknown;
}

const idOf = (body: unknown): Id => {
  const id = isRecord(body) ? body["id"] : null;
  return typeof id === "string" || typeof id === "number" ? id : null;
};

const failure = (id: Id, code: number, message: string): RpcAnswer => ({ jsonrpc: "2.0", id, error: { code, message } });

/** What is wrong with the envelope (JSON-RPC 2.0 §4); null when nothing is. Batches are not of A2A. */
function envelopeError(body: unknown): RpcAnswer | null {
  if (body === NOT_JSON || body === undefined) return failure(null, A2A_ERROR_CODE.PARSE_ERROR, "Invalid JSON payload");
  const id = isRecord(body) ? body["id"] : null;
  const idFits = id === undefined || id === null || typeof id === "string" || Number.isInteger(id);
  if (isRecord(body) && body["jsonrpc"] === "2.0" && typeof body["method"] === "string" && body["method"] !== "" && idFits)
    return null;
  return failure(idOf(body), A2A_ERROR_CODE.INVALID_REQUEST, "Request payload validation error");
}

function dialects({ service }: Binding): (version: string) => Promise<Dialect> {
  const current = new JsonRpcTransportHandler(service);
  const v1: Dialect = {
    handle: async (body, context) => {
      if (body["method"] === "SendMessage" || body["method"] === "SendStreamingMessage") checkRawMessage(body["params"]);
      return current.handle(body, context);
    },
    toError: toJsonRpcError,
  };
  let legacy: Promise<Dialect> | null = null;
  const loadLegacy = async (): Promise<Dialect> => {
    const { LegacyJsonRpcTransportHandler } = await import("@a2a-js/sdk/compat/v0_3/server");
    const handler = new LegacyJsonRpcTransportHandler(service);
    return {
      handle: async (body, context) => (await handler.handle(body, context)) as RpcAnswer | AsyncGenerator<RpcAnswer>,
      toError: (error) => LegacyJsonRpcTransportHandler.mapToLegacyJSONRPCError(error),
    };
  };
  return async (version) => (version === LEGACY_VERSION ? (legacy ??= loadLegacy()) : v1);
}

/** What the SDK's codecs stumble over is the caller's mistake, not an internal error. */
function blamed(answer: RpcAnswer, toError: Dialect["toError"]): RpcAnswer {
  const { code } = isRecord(answer.error) ? answer.error : {};
  if (code !== A2A_ERROR_CODE.INTERNAL_ERROR) return answer;
  return { jsonrpc: "2.0", id: answer.id, error: toError(new RequestMalformedError("Invalid parameters")) };
}

async function* catching(id: Id, toError: Dialect["toError"], events: AsyncGenerator<RpcAnswer>): AsyncGenerator<RpcAnswer> {
  try {
    yield* events;
  } catch (error) {
    yield { jsonrpc: "2.0", id, error: toError(error) };
  }
}

/** The JSON-RPC binding (spec §9): one URL, with and without a slash at its end. Errors are answers of HTTP status 200. */
export function jsonRpcRoutes(binding: Binding): FastifyPluginAsync {
  const dialect = dialects(binding);

  const answer = async (request: FastifyRequest, reply: FastifyReply) => {
    checkContentType(request, ["application/json"]);
    const { body } = request;
    const wrong = envelopeError(body);
    if (wrong !== null) return wrong;
    // Parameters may be left out (JSON-RPC 2.0 §4.2); the SDK's handler wants some.
    const rpc: Record<string, unknown> = { params: {}, ...(body as Record<string, unknown>) };
    const id = idOf(rpc);
    const user = binding.userOf(request);
    if (user === null) {
      reply.code(HTTP_STATUS.UNAUTHORIZED).header("www-authenticate", "Bearer");
      return failure(id, UNAUTHENTICATED, "Authenticate with a bearer token");
    }
    const gone = new AbortController();
    try {
      const version = versionOf(request, [VERSION, LEGACY_VERSION]);
      const { handle, toError } = await dialect(version);
      confirmExtension(request, reply);
      const context = callContext(user, version, undefined, new Map([[CALLER_GONE, gone.signal]]));
      const result = await handle(rpc, context).catch((error: unknown) => ({ jsonrpc: "2.0", id, error: toError(error) }));
      if (!(Symbol.asyncIterator in result)) return context.state.has(WAS_READ) ? result : blamed(result, toError);
      // Clients of 0.3 take nothing but a stream for the answer of this one (0.3 spec §7.9), and find the error in there.
      const alwaysStream = version === LEGACY_VERSION && rpc["method"] === "tasks/resubscribe";
      return await sendEvents(reply, gone, catching(id, toError, result), (first) => first.error !== undefined && !alwaysStream);
    } catch (error) {
      return { jsonrpc: "2.0", id, error: toJsonRpcError(error) };
    }
  };

  return async (server) => {
    server.setErrorHandler(async (error: { statusCode?: number; message: string }, _request, reply) => {
      const { statusCode = 500, message } = error;
      reply.code(statusCode === 413 ? 413 : HTTP_STATUS.OK);
      // Of Fastify's: a Content-Type that is no media type at all, a body too big, a body cut short.
      if (statusCode === 415)
        return { jsonrpc: "2.0", id: null, error: toJsonRpcError(new ContentTypeNotSupportedError(message)) };
      return statusCode < 500
        ? failure(null, A2A_ERROR_CODE.INVALID_REQUEST, message)
        : { jsonrpc: "2.0", id: null, error: toJsonRpcError(error) };
    });
    server.post("/", answer);
  };
}
