import path from "node:path";
import { AgentCard, TaskState } from "@a2a-js/sdk";
import type { AgentExecutor, AgentId, BackendContext } from "@failstorm/core";
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from "fastify";
import { type Binding, NOT_JSON, userOf } from "./binding.ts";
import { buildCard, etagOf, isKnown, withLegacyFields } from "./card.ts";
import type { A2aConfig } from "./config.ts";
import { statusOf } from "./execution.ts";
import { jsonRpcRoutes } from "./jsonrpc.ts";
import { PushSender } from "./push.ts";
import { restRoutes } from "./rest.ts";
import { TaskService } from "./taskService.ts";
import { TaskStore } from "./taskStore.ts";
import { CARD_PATH } from "./wire.ts";

export const MAX_BODY_BYTES = 64 * 1024 * 1024;
/** What finished tasks may take in memory. */
const MAX_FINISHED_BYTES = 64 * 1024 * 1024;
/** Where clients of 0.2 and early 0.3 look for the card. */
const OLD_CARD_PATH = "/.well-known/agent.json";

export interface HostOptions {
  readonly agentId: AgentId;
  readonly executor: AgentExecutor;
  readonly context: BackendContext;
  readonly config: A2aConfig;
  /** Where the host is mounted; null: at the agent's own address. */
  readonly baseUrl: (() => string) | null;
}

/** Bodies are parsed here, whatever their type: the bindings answer wrong ones in A2A's own words. */
function parseBodies(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser("*", { parseAs: "string", bodyLimit: MAX_BODY_BYTES }, (_request, body, done) => {
    if (body === "") return done(null, undefined);
    try {
      done(null, JSON.parse(body as string));
    } catch {
      done(null, NOT_JSON);
    }
  });
}

/** The card's routes; public, whoever asks. */
function cardRoutes(server: FastifyInstance, card: () => Record<string, unknown>, { context, config }: HostOptions): void {
  const serve = (always: boolean) => async (request: FastifyRequest) => {
    const version = String(request.headers["a2a-version"] ?? "").trim();
    const legacy = always || (version === "" ? config.legacyCard : version.startsWith("0.3"));
    const json = JSON.stringify(legacy ? withLegacyFields(card()) : card());
    return { json, etag: etagOf(context.describeSelf(), json) };
  };
  for (const [url, always] of [
    [CARD_PATH, false],
    [OLD_CARD_PATH, true],
  ] as const) {
    const content = serve(always);
    server.get(url, async (request, reply) => {
      const { json, etag } = await content(request);
      // Takeovers change the card: it is asked for again each time, but need not be sent again.
      reply.header("etag", etag).header("cache-control", "max-age=0").header("vary", "A2A-Version");
      return isKnown(request.headers["if-none-match"], etag) ? reply.code(304).send() : reply.type("application/json").send(json);
    });
  }
}

/** The tasks that survive this process. Those that an earlier one left unfinished have failed: their executor died with it. */
function openStore({ agentId, context, config }: HostOptions, pushes: PushSender): TaskStore {
  const { clock, workspaceDir, describeSelf } = context;
  const store = new TaskStore({
    dir: path.join(workspaceDir, "a2a", encodeURIComponent(agentId)),
    retainMs: config.retainMs,
    maxFinishedBytes: MAX_FINISHED_BYTES,
    now: () => clock.now(),
    wall: () => clock.wall(),
  });
  const { incarnation } = describeSelf();
  const words = `${agentId} was restarted (incarnation ${incarnation}) while it worked on this; it will not be continued`;
  const orphans = store.open((task) => statusOf(task, TaskState.TASK_STATE_FAILED, clock.wall(), words));
  for (const record of orphans) {
    const { id: taskId, contextId, status } = record.task;
    pushes.notify(record, { $case: "statusUpdate", value: { taskId, contextId, status, metadata: undefined } });
  }
  return store;
}

/** An A2A 1.0 agent: its card, JSON-RPC (1.0 and 0.3) and HTTP+JSON (1.0), all under one URL. */
export function a2aHost(options: HostOptions): FastifyPluginAsync {
  const { executor, context, config } = options;
  return async (server) => {
    const baseUrl = (): string => {
      if (options.baseUrl !== null) return options.baseUrl();
      const { host, port, basePath = "" } = context.selfAddress();
      return `http://${host.includes(":") ? `[${host}]` : host}:${port}${basePath}`;
    };
    const authenticated = config.bearerTokens.size > 0;
    const card = () =>
      buildCard(context.describeSelf(), { baseUrl: baseUrl(), pushNotifications: config.pushNotifications, authenticated });
    const pushes = new PushSender(context.client, context.clock);
    const store = openStore(options, pushes);
    const service = new TaskService({
      store,
      executor,
      wall: () => context.clock.wall(),
      pushNotifications: config.pushNotifications,
      card: () => AgentCard.fromJSON(card()),
      extendedCard: authenticated ? () => AgentCard.fromJSON(extendedCard(card(), config)) : null,
      notify: (record, event) => pushes.notify(record, event),
    });
    const binding: Binding = { service, userOf: userOf(config) };
    parseBodies(server);
    cardRoutes(server, card, options);
    await server.register(jsonRpcRoutes(binding));
    await server.register(restRoutes(binding));
    server.addHook("onClose", async () => store.close());
  };
}

/** The card for those who authenticated: it tells the agent's limits too. */
function extendedCard(card: Record<string, unknown>, { retainMs }: A2aConfig): Record<string, unknown> {
  const capabilities = card["capabilities"] as { extensions: { params: object }[] };
  const [ours, ...others] = capabilities.extensions;
  const limits = { maxBodyBytes: MAX_BODY_BYTES, retainMs };
  return {
    ...card,
    capabilities: { ...capabilities, extensions: [{ ...ours, params: { ...ours?.params, limits } }, ...others] },
  };
}
