import type { FastifyError, FastifyInstance, FastifyPluginAsync, FastifyReply } from "fastify";
import { type Failure, failureBody, isFailure, readRequest } from "./envelope.ts";
import { AgoraServer, type ServerOptions } from "./server.ts";

export const MAX_BODY_BYTES = 64 * 1024 * 1024;
const fail = (reply: FastifyReply, { http, error }: Failure): FastifyReply => reply.code(http).send(failureBody(error));

/** The first message: of a single round, or of a conversation (spec 5.2, 7.1). */
async function begin(server: AgoraServer, value: unknown, reply: FastifyReply): Promise<unknown> {
  const request = readRequest(value);
  if (isFailure(request)) return fail(reply, request);
  const served = await server.resolve(request);
  if (isFailure(served)) return fail(reply, served);
  if (!request.multiround) {
    const outcome = await server.serve(served, request.body);
    return isFailure(outcome) ? fail(reply, outcome) : { status: "success", body: outcome.body };
  }
  const conversation = server.conversations.open(served);
  const outcome = await server.serve(served, request.body, conversation.id);
  if (isFailure(outcome)) {
    server.conversations.close(conversation.id);
    return fail(reply, outcome);
  }
  server.conversations.extend(conversation);
  const { id, expires } = conversation;
  return { status: "success", body: outcome.body, conversationId: id, conversationExpires: expires };
}

/** A later message of a conversation (spec 7.2, 7.3). */
async function proceed(server: AgoraServer, id: string, value: unknown, reply: FastifyReply): Promise<unknown> {
  const found = server.conversations.find(id);
  if (found.state === "unknown") return fail(reply, { http: 404, error: "Conversation not found" });
  if (found.state === "expired") return fail(reply, { http: 200, error: "Conversation expired" });
  const request = readRequest(value);
  if (isFailure(request)) return fail(reply, request);
  const { conversation } = found;
  // The library repeats the hash in every message; another one is a change of protocol, which is malformed.
  if (request.protocolHash !== null && request.protocolHash !== conversation.served.protocolHash)
    return fail(reply, { http: 400, error: "The protocol of a conversation cannot be changed" });
  const outcome = await server.serve(conversation.served, request.body, id);
  if (isFailure(outcome)) return fail(reply, outcome);
  server.conversations.extend(conversation);
  return { status: "success", body: outcome.body, conversationId: id, conversationExpires: conversation.expires };
}

/** Whatever goes wrong below us, malformed JSON, a wrong content type, too large a body, is answered in Agora's form (spec 10.1). */
function answerErrors(instance: FastifyInstance): void {
  instance.setErrorHandler<FastifyError>(async (error, _request, reply) => {
    const http = error.statusCode !== undefined && error.statusCode >= 400 ? error.statusCode : 500;
    return fail(reply, { http, error: error.message });
  });
  instance.setNotFoundHandler(async (request, reply) =>
    fail(reply, { http: 404, error: `no ${request.method} ${request.url} here` }),
  );
}

/** `DELETE` of a conversation. It needs no body, also where its content type promises one. */
function closing(instance: FastifyInstance, server: AgoraServer, path: string): void {
  instance.removeAllContentTypeParsers();
  instance.addContentTypeParser("*", (_request, payload, done) => {
    payload.resume();
    done(null);
  });
  instance.delete<{ Params: { id: string } }>(path, (request, reply) => {
    // Closing one that is not there succeeds, as with the library.
    server.conversations.close(request.params.id);
    return reply.send({ status: "success" });
  });
}

/**
 * The routes of an Agora agent: `POST {base}`, `POST` and (as the library has it) `DELETE {base}/conversations/{id}`, `GET {base}/wellknown`
 * (before 0.2: `/.wellknown`); and, added by us, `GET {base}/documents/{hash}` and `GET {base}/alive`.
 */
export function agoraHost(options: ServerOptions): FastifyPluginAsync {
  return async (instance) => {
    const server = new AgoraServer(options);
    answerErrors(instance);
    // Agora is JSON and nothing else (spec 5.1).
    instance.removeContentTypeParser("text/plain");
    const large = { bodyLimit: MAX_BODY_BYTES };
    instance.post("/", large, async (request, reply) => begin(server, request.body, reply));
    // A base URL may end with a slash; then what is under it begins with two.
    for (const under of ["", "/"]) {
      instance.post<{ Params: { id: string } }>(`${under}/conversations/:id`, large, async (request, reply) =>
        proceed(server, request.params.id, request.body, reply),
      );
      instance.get(`${under}/wellknown`, async () => server.wellKnown());
      instance.get(`${under}/.wellknown`, async () => server.references());
      await instance.register(async (bodiless) => closing(bodiless, server, `${under}/conversations/:id`));
    }
    instance.get<{ Params: { hash: string } }>("/documents/:hash", async (request, reply) => {
      const document = server.document(request.params.hash);
      if (document === undefined) return fail(reply, { http: 404, error: "Document not found" });
      return reply.type("text/plain; charset=utf-8").send(document.text);
    });
    instance.get("/alive", async () => ({ status: "success", body: { incarnation: options.describeSelf().incarnation } }));
  };
}
