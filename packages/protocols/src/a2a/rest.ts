import {
  AgentCard,
  type ListTasksRequest,
  ListTaskPushNotificationConfigsResponse,
  SendMessageRequest,
  SendMessageResponse,
  StreamResponse,
  Task,
  TaskPushNotificationConfig,
  taskStateFromJSON,
} from "@a2a-js/sdk";
import {
  ContentTypeNotSupportedError,
  HTTP_STATUS,
  RequestMalformedError,
  restStatusFor,
  toRestErrorBody,
} from "@a2a-js/sdk/errors";
import type { ServerCallContext } from "@a2a-js/sdk/server";
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from "fastify";
import { type Binding, callContext, checkContentType, confirmExtension, decoded, objectBody, versionOf } from "./binding.ts";
import { sendEvents } from "./streaming.ts";
import { CALLER_GONE, type TaskService } from "./taskService.ts";
import { checkRawMessage } from "./validation.ts";
import { isRecord, VERSION } from "./wire.ts";

const MEDIA_TYPE = "application/a2a+json";
const PLAIN_MEDIA_TYPE = "application/json";

/** A2A's own media type (spec §11.1), unless the caller speaks plain JSON, as 1.0.0 had it. */
function mediaTypeFor({ headers }: FastifyRequest): string {
  const { accept = "", "content-type": sent = "" } = headers;
  const plain = accept.includes(PLAIN_MEDIA_TYPE) || sent.startsWith(PLAIN_MEDIA_TYPE);
  return plain && !accept.includes(MEDIA_TYPE) ? PLAIN_MEDIA_TYPE : MEDIA_TYPE;
}

interface Call {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly context: ServerCallContext;
  readonly gone: AbortController;
  readonly service: TaskService;
  readonly tenant: string;
  readonly id: string;
  readonly configId: string;
}

type Handler = (call: Call) => Promise<unknown>;

/** Answers as google.rpc.Status (spec §11.6). */
function refuse(reply: FastifyReply, error: unknown, status = restStatusFor(error)): FastifyReply {
  return reply
    .code(status)
    .type(mediaTypeFor(reply.request))
    .send(JSON.stringify(toRestErrorBody(error, status)));
}

const ok = (reply: FastifyReply, body: unknown, status: number = HTTP_STATUS.OK): FastifyReply =>
  reply.code(status).type(mediaTypeFor(reply.request)).send(JSON.stringify(body));

/** A number in the query; undefined when absent. RequestMalformedError when it is no whole number. */
function numberIn(query: Record<string, unknown>, name: string): number | undefined {
  const value = query[name];
  if (value === undefined || value === "") return undefined;
  if (typeof value !== "string" || !/^\d{1,9}$/.test(value)) throw new RequestMalformedError(`${name} is not a whole number`);
  return Number(value);
}

const textIn = (query: Record<string, unknown>, name: string): string => {
  const value = query[name] ?? "";
  if (typeof value !== "string") throw new RequestMalformedError(`${name} is given twice`);
  return value;
};

/** Whom a request is for: as its path says, else its body or its query (spec §11.5); "" is nobody in particular. */
function tenantOf({ params, body, query }: FastifyRequest): string {
  const inPath = (params as Record<string, string | undefined>)["tenant"];
  if (inPath !== undefined && inPath !== "") return inPath;
  const given = (isRecord(body) ? body["tenant"] : undefined) ?? (query as Record<string, unknown>)["tenant"];
  return typeof given === "string" ? given : "";
}

function sendRequest({ request, tenant }: Call): SendMessageRequest {
  const body = objectBody(request.body);
  checkRawMessage(body);
  return decoded(SendMessageRequest, { ...body, tenant });
}

async function* encoded(events: AsyncGenerator<StreamResponse>): AsyncGenerator {
  try {
    for await (const event of events) yield StreamResponse.toJSON(event);
  } catch (error) {
    yield toRestErrorBody(error, restStatusFor(error));
  }
}

const isError = (event: unknown): event is { error: { code: number } } =>
  typeof event === "object" && event !== null && "error" in event;

async function stream({ reply, gone }: Call, events: AsyncGenerator<StreamResponse>): Promise<FastifyReply> {
  return sendEvents(reply, gone, encoded(events), (first) => {
    if (isError(first)) reply.code(first.error.code).type(mediaTypeFor(reply.request));
    return isError(first);
  });
}

const send: Handler = async (call) => {
  const task = await call.service.sendMessage(sendRequest(call), call.context);
  return ok(call.reply, SendMessageResponse.toJSON({ payload: { $case: "task", value: task } }));
};

const sendStreaming: Handler = (call) => stream(call, call.service.sendMessageStream(sendRequest(call), call.context));

const subscribe: Handler = (call) => stream(call, call.service.resubscribe({ id: call.id, tenant: call.tenant }, call.context));

const get: Handler = async ({ request, reply, service, context, tenant, id }) => {
  const historyLength = numberIn(request.query as Record<string, unknown>, "historyLength");
  return ok(reply, Task.toJSON(await service.getTask({ id, tenant, historyLength }, context)));
};

const cancel: Handler = async ({ request, reply, service, context, tenant, id }) => {
  const metadata = objectBody(request.body)["metadata"] as Record<string, unknown> | undefined;
  return ok(reply, Task.toJSON(await service.cancelTask({ id, tenant, metadata }, context)));
};

const list: Handler = async ({ request, reply, service, context, tenant }) => {
  const query = request.query as Record<string, unknown>;
  const status = textIn(query, "status");
  const params: ListTasksRequest = {
    tenant,
    contextId: textIn(query, "contextId"),
    status: taskStateFromJSON(status === "" ? 0 : /^\d+$/.test(status) ? Number(status) : status),
    pageSize: numberIn(query, "pageSize"),
    pageToken: textIn(query, "pageToken"),
    historyLength: numberIn(query, "historyLength"),
    statusTimestampAfter: textIn(query, "statusTimestampAfter"),
    includeArtifacts: textIn(query, "includeArtifacts") === "true",
  };
  const { tasks, nextPageToken, pageSize, totalSize } = await service.listTasks(params, context);
  return ok(reply, {
    tasks: tasks.map((task) => Object.assign(params.includeArtifacts === true ? { artifacts: [] } : {}, Task.toJSON(task))),
    nextPageToken,
    pageSize,
    totalSize,
  });
};

const createPush: Handler = async ({ request, reply, service, context, tenant, id }) => {
  const config = decoded(TaskPushNotificationConfig, { ...objectBody(request.body), tenant, taskId: id });
  return ok(
    reply,
    TaskPushNotificationConfig.toJSON(await service.createTaskPushNotificationConfig(config, context)),
    HTTP_STATUS.CREATED,
  );
};

const listPushes: Handler = async ({ reply, service, context, tenant, id }) => {
  const params = { tenant, taskId: id, pageSize: 0, pageToken: "" };
  return ok(
    reply,
    ListTaskPushNotificationConfigsResponse.toJSON(await service.listTaskPushNotificationConfigs(params, context)),
  );
};

const getPush: Handler = async ({ reply, service, context, tenant, id, configId }) =>
  ok(
    reply,
    TaskPushNotificationConfig.toJSON(await service.getTaskPushNotificationConfig({ tenant, taskId: id, id: configId }, context)),
  );

const deletePush: Handler = async ({ reply, service, context, tenant, id, configId }) => {
  await service.deleteTaskPushNotificationConfig({ tenant, taskId: id, id: configId }, context);
  return reply.code(HTTP_STATUS.NO_CONTENT).send();
};

const extendedCard: Handler = async ({ reply, service, context, tenant }) =>
  ok(reply, AgentCard.toJSON(await service.getAuthenticatedExtendedAgentCard({ tenant }, context)));

/** `tasks/{id}:verb`: routers take the colon for a parameter of their own, so the last one is looked for here. */
const verbs = (byVerb: Readonly<Record<string, Handler>>, plain?: Handler): Handler => {
  return async (call) => {
    const colon = call.id.lastIndexOf(":");
    const handler = colon === -1 ? undefined : byVerb[call.id.slice(colon + 1)];
    if (handler !== undefined) return handler({ ...call, id: call.id.slice(0, colon) });
    if (plain !== undefined) return plain(call);
    const error = new RequestMalformedError(`No such operation; known are ${Object.keys(byVerb).join(", ")}`);
    return refuse(call.reply, error, HTTP_STATUS.NOT_FOUND);
  };
};

const ROUTES: readonly (readonly ["GET" | "POST" | "DELETE", string, Handler])[] = [
  ["POST", "/message::send", send],
  ["POST", "/message::stream", sendStreaming],
  ["GET", "/tasks", list],
  // The specification's table says POST for subscribe, its proto GET.
  ["GET", "/tasks/:id", verbs({ subscribe }, get)],
  ["POST", "/tasks/:id", verbs({ subscribe, cancel })],
  ["POST", "/tasks/:id/pushNotificationConfigs", createPush],
  ["GET", "/tasks/:id/pushNotificationConfigs", listPushes],
  ["GET", "/tasks/:id/pushNotificationConfigs/:configId", getPush],
  ["DELETE", "/tasks/:id/pushNotificationConfigs/:configId", deletePush],
  ["GET", "/extendedAgentCard", extendedCard],
];

/** The HTTP+JSON binding (spec §11) of 1.0; each path also under a tenant's, and with a slash at its end. */
export function restRoutes(binding: Binding): FastifyPluginAsync {
  const serve = (handler: Handler) => async (request: FastifyRequest, reply: FastifyReply) => {
    const user = binding.userOf(request);
    if (user === null) {
      const error = new RequestMalformedError("Authenticate with a bearer token");
      const body = toRestErrorBody(error, HTTP_STATUS.UNAUTHORIZED);
      reply.code(HTTP_STATUS.UNAUTHORIZED).header("www-authenticate", "Bearer").type(mediaTypeFor(request));
      return reply.send(JSON.stringify({ error: { ...body.error, status: "UNAUTHENTICATED", details: [] } }));
    }
    const gone = new AbortController();
    const { id = "", configId = "" } = request.params as Record<string, string | undefined>;
    const tenant = tenantOf(request);
    try {
      const version = versionOf(request, [VERSION]);
      checkContentType(request, [MEDIA_TYPE, PLAIN_MEDIA_TYPE]);
      confirmExtension(request, reply);
      const state = new Map([[CALLER_GONE, gone.signal]]);
      const context = callContext(user, version, tenant === "" ? undefined : tenant, state);
      return await handler({ request, reply, context, gone, service: binding.service, tenant, id, configId });
    } catch (error) {
      return refuse(reply, error);
    }
  };
  const add = (server: FastifyInstance, [method, url, handler]: (typeof ROUTES)[number]): void => {
    for (const path of [url, `/:tenant${url}`])
      for (const slash of ["", "/"]) server.route({ method, url: path + slash, handler: serve(handler) });
  };
  return async (server) => {
    server.setErrorHandler(async (error: { statusCode?: number; message: string }, _request, reply) => {
      const { statusCode = 500, message } = error;
      // Of Fastify's: a Content-Type that is no media type at all, a body too big, a body cut short.
      if (statusCode === 415) return refuse(reply, new ContentTypeNotSupportedError(message));
      return statusCode < 500 ? refuse(reply, new RequestMalformedError(message), statusCode) : refuse(reply, error);
    });
    for (const route of ROUTES) add(server, route);
  };
}
