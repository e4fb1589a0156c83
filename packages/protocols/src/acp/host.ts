import { Readable } from "node:stream";
import type { AgentDescription, AgentExecutor, AgentId, Clock } from "@failstorm/core";
import type { FastifyError, FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from "fastify";
import { toPayload } from "./content.ts";
import { errorModelOf, Execution, type ExecutionOptions } from "./execution.ts";
import { manifestOf } from "./manifest.ts";
import { AcpError, agentNameOf, type ErrorModel, invalidInput, notFound, type RunLogEvent, type RunMode } from "./model.ts";
import type { RunRecord } from "./run.ts";
import { type Retention, RunStore, SessionStore } from "./stores.ts";
import { pageOf, runCreationOf, runResumptionOf, uuidOf } from "./validation.ts";

export const MAX_BODY_BYTES = 64 * 1024 * 1024;
/** Events that are there already travel together, up to this many characters. */
const CHUNK_CHARS = 65_536;
/** The header in which the reference server names a new run. */
const RUN_ID_HEADER = "run-id";

export interface HostOptions {
  readonly agentId: AgentId;
  readonly executor: AgentExecutor;
  readonly describeSelf: () => AgentDescription;
  readonly clock: Clock;
  readonly retention: Retention;
  readonly fetchMessage: ExecutionOptions["fetchMessage"];
}

type WithId = FastifyRequest<{ Params: { id: string } }>;

/** ACP's error answer for whatever went wrong, bad requests that Fastify found included. */
export function errorAnswer(error: unknown): { readonly status: number; readonly body: ErrorModel } {
  if (error instanceof AcpError) return { status: error.status, body: { code: error.code, message: error.message } };
  const { statusCode = 500, message } = error as FastifyError;
  if (statusCode < 400 || statusCode >= 500) return { status: 500, body: { ...errorModelOf(error), code: "server_error" } };
  // Malformed JSON and the like: what the reference server's validation answers. 413 and 415 say more than it does.
  return { status: statusCode === 400 ? 422 : statusCode, body: { code: "invalid_input", message } };
}

const STOPPING: ReadonlySet<RunLogEvent["type"]> = new Set(["run.awaiting", "run.completed", "run.failed", "run.cancelled"]);

/** No line ends in SSE, but where the Python client's reader (httpx-sse 0.4.0) cuts lines; JSON itself escapes its other ones. */
const FOREIGN_LINE_ENDS = /[\u0085\u2028\u2029]/g;
const escaped = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;

function frame(event: RunLogEvent): string {
  try {
    return `data: ${JSON.stringify(event).replace(FOREIGN_LINE_ENDS, escaped)}\n\n`;
  } catch (error) {
    return `data: ${JSON.stringify({ type: "error", error: errorModelOf(error) } satisfies RunLogEvent)}\n\n`;
  }
}

/** The run's log from one place on, as it grows, to its end or to the next question to the client. */
async function* eventStream(run: RunRecord, from: number): AsyncGenerator<string> {
  let next = from;
  for (;;) {
    let chunk = "";
    while (next < run.logLength && chunk.length < CHUNK_CHARS) {
      for (const event of run.eventsAt(next)) {
        chunk += frame(event);
        if (STOPPING.has(event.type)) {
          yield chunk;
          return;
        }
      }
      next += 1;
    }
    if (chunk === "") await run.change();
    else yield chunk;
  }
}

/** Answers a request that started or resumed a run, in the mode asked for. */
async function answerIn(mode: RunMode, run: RunRecord, from: number, start: () => void, reply: FastifyReply): Promise<unknown> {
  void reply.header(RUN_ID_HEADER, run.id);
  if (mode === "async") {
    const accepted = run.snapshot();
    start();
    return reply.code(202).send(accepted);
  }
  start();
  if (mode === "stream") {
    void reply.header("content-type", "text/event-stream").header("cache-control", "no-store");
    return reply.send(Readable.from(eventStream(run, from), { objectMode: false }));
  }
  while (!run.stopped) await run.change();
  return run.snapshot();
}

/** JSON, also when no content type is given: ACP's Python client gives none. */
function acceptJson(server: FastifyInstance): void {
  const parse = server.getDefaultJsonParser("error", "error");
  server.removeAllContentTypeParsers();
  server.addContentTypeParser("application/json", { parseAs: "string", bodyLimit: MAX_BODY_BYTES }, (request, body, done) => {
    // An empty body is no JSON error: cancel has none, whatever its content type says.
    if (body === "") done(null, undefined);
    else void parse(request, body as string, done);
  });
  server.addContentTypeParser("*", { parseAs: "string", bodyLimit: MAX_BODY_BYTES }, (request, body, done) => {
    // Nothing has no type: curl's -d '' says that it is a form.
    if (body === "") done(null, undefined);
    else if (request.headers["content-type"] !== undefined) done(invalidInput("expected content type application/json", 415));
    else void parse(request, body as string, done);
  });
}

/** The reads that do not depend on runs. */
function discoveryRoutes(server: FastifyInstance, { agentId, describeSelf }: HostOptions): void {
  const name = agentNameOf(agentId);
  server.get("/ping", () => ({}));
  server.get("/agents", (request) => {
    const { limit, offset } = pageOf(request.query);
    return { agents: [manifestOf(agentId, describeSelf())].slice(offset, offset + limit) };
  });
  server.get("/agents/:id", (request: WithId) => {
    if (request.params.id !== name) throw notFound(`Agent ${request.params.id} not found`);
    return manifestOf(agentId, describeSelf());
  });
}

const eventsOf = (run: RunRecord): RunLogEvent[] =>
  Array.from({ length: run.logLength }, (_, index) => run.eventsAt(index)).flat();

/** A run without a session named by the client is one of its own; it becomes one that is kept when somebody refers to it. */
function openSession(id: string, runs: RunStore, sessions: SessionStore): void {
  if (sessions.has(id)) return;
  const run = runs.get(id);
  const isOwn = run !== undefined && run.sessionId === id && run.status === "completed";
  sessions.record(id, isOwn ? [...run.input, ...run.output] : []);
}

function sessionRoutes(server: FastifyInstance, runs: RunStore, sessions: SessionStore): void {
  const readSession = (request: WithId): unknown => {
    const id = uuidOf(request.params.id, "session_id");
    if (runs.get(id)?.sessionId === id) openSession(id, runs, sessions);
    // Relative to the address under which the asker found us, as the reference server does it.
    const session = sessions.read(id, `${request.protocol}://${request.host}${server.prefix}`);
    if (session === undefined) throw notFound(`Session ${id} not found`);
    return session;
  };
  // The document says /session, the reference server and its client /sessions.
  server.get("/session/:id", readSession);
  server.get("/sessions/:id", readSession);
  server.get("/resources/:id", (request: WithId) => {
    const message = sessions.resource(uuidOf(request.params.id, "resource_id"));
    if (message === undefined) throw notFound(`Resource ${request.params.id} not found`);
    return message;
  });
}

/** The time as ISO 8601, made once for each millisecond: a busy host asks several times in one. */
function timestamps(clock: Clock): () => string {
  let at = Number.NaN;
  let text = "";
  return () => {
    const wall = clock.wall();
    if (wall !== at) text = new Date(wall).toISOString();
    at = wall;
    return text;
  };
}

function runRoutes(server: FastifyInstance, options: HostOptions, runs: RunStore, sessions: SessionStore): void {
  const { agentId, executor, clock, retention, fetchMessage } = options;
  const name = agentNameOf(agentId);
  const execution = new Execution({ executor, clock, runs, sessions, awaitMs: retention.ms, fetchMessage });
  const now = timestamps(clock);
  const find = (id: string): RunRecord => {
    const run = runs.get(uuidOf(id, "run_id"));
    if (run === undefined) throw notFound(`Run ${id} not found`);
    return run;
  };

  server.post("/runs", async (request, reply) => {
    const creation = runCreationOf(request.body);
    if (creation.agentName !== name) throw notFound(`Agent ${creation.agentName} not found`);
    const payload = toPayload(creation.input);
    const { sessionId, session, input, mode } = creation;
    const run = runs.create({ agentName: name, sessionId, input, now });
    if (session !== undefined) sessions.adopt(session);
    else if (sessionId !== undefined) openSession(sessionId, runs, sessions);
    return answerIn(mode, run, 0, () => void execution.carryOut(run, creation, payload), reply);
  });

  server.get("/runs/:id", (request: WithId) => find(request.params.id).snapshot());

  server.get("/runs/:id/events", (request: WithId) => ({ events: eventsOf(find(request.params.id)) }));

  server.post("/runs/:id", async (request: WithId, reply) => {
    const run = find(request.params.id);
    const { answer, mode } = runResumptionOf(request.body, run.id);
    // Refused here, where the client hears of it, not in the executor.
    toPayload([answer.message]);
    const from = run.logLength;
    if (!run.resume(answer.message)) throw invalidInput(`run ${run.id} is ${run.status}: it awaits nothing`, 403);
    return answerIn(mode, run, from, () => {}, reply);
  });

  server.post("/runs/:id/cancel", async (request: WithId, reply) => {
    const run = find(request.params.id);
    execution.cancel(run);
    return reply.code(202).send(run.snapshot());
  });
}

/** An ACP 0.2.0 server with one agent: every endpoint of the OpenAPI document, and `/resources/{id}` for what histories point at. */
export function acpHost(options: HostOptions): FastifyPluginAsync {
  const now = (): number => options.clock.now();
  return async (server) => {
    const runs = new RunStore(options.retention, now);
    const sessions = new SessionStore(options.retention, now);
    acceptJson(server);
    server.setErrorHandler((error, _request, reply) => {
      const { status, body } = errorAnswer(error);
      return reply.code(status).type("application/json").send(body);
    });
    server.setNotFoundHandler((request, reply) => {
      const { status, body } = errorAnswer(notFound(`${request.method} ${request.url}: no such endpoint`));
      return reply.code(status).send(body);
    });
    discoveryRoutes(server, options);
    sessionRoutes(server, runs, sessions);
    runRoutes(server, options, runs, sessions);
    server.addHook("preClose", async () => {
      runs.close();
      sessions.clear();
    });
  };
}
