import {
  type AgentExecutor,
  type AgentId,
  type BackendContext,
  type CallOptions,
  type Clock,
  type CommBackend,
  CommError,
  type ConnectResult,
  type HealthResult,
  type Payload,
  type SendOptions,
  type SendResult,
} from "@failstorm/core";
import fastify, { type FastifyPluginAsync } from "fastify";
import { type CallDefaults, Caller } from "./caller.ts";
import { incarnationOf } from "./card.ts";
import type { A2aConfig } from "./config.ts";
import { type Answer, finalAnswer, readSendResult, StreamFollower } from "./follow.ts";
import { type Attempt, InFlight } from "./inFlight.ts";
import { recoverWork } from "./recover.ts";
import { asAgentEvent, INTERRUPTED_STATES, readTask, TERMINAL_STATES, toWireParts } from "./wire.ts";

const WORK: CallDefaults = { kind: "tool", cause: "work" };
const HANDSHAKE: CallDefaults = { kind: "handshake", cause: "setup" };
const PROBE: CallDefaults = { kind: "probe", cause: "heartbeat" };

/** After these the peer may have taken the message all the same; after the others it has not, or has answered. */
const LEAVES_WORK_BEHIND: ReadonlySet<string> = new Set(["reset", "timeout", "aborted"]);

/** How long until a peer that does not stream is asked again about a task that runs, ms. */
const POLL_MS = 250;

/** The JSON-RPC error for an operation that a task's state does not allow (UnsupportedOperationError). */
const UNSUPPORTED_OPERATION = -32004;

const rpcCode = (error: unknown): unknown =>
  error instanceof CommError && error.code === "remote" ? (error.detail as { code?: unknown } | undefined)?.code : undefined;

/** Tells listeners all at once what a peer that does not stream answered. */
function announced(answer: Answer, { onAccepted, onEvent }: SendOptions): Answer {
  if (answer.task !== null) onAccepted?.(answer.task.id);
  if (answer.parts.length > 0) onEvent?.(asAgentEvent(answer.parts));
  if (answer.task !== null) onEvent?.({ type: "status", state: "completed" });
  return answer;
}

/** The client's side of A2A: SendMessage and SendStreamingMessage, tasks fetched and followed again, cards. */
class A2aClient {
  private readonly caller: Caller;
  private readonly inFlight: InFlight;
  private readonly describeSelf: BackendContext["describeSelf"];
  private readonly clock: Clock;
  private sequence = 0;

  constructor({ client, clock, describeSelf, config }: BackendContext) {
    const [ownToken] = (config as A2aConfig).bearerTokens.values();
    this.caller = new Caller(client, ownToken);
    this.inFlight = new InFlight(() => clock.now());
    this.describeSelf = describeSelf;
    this.clock = clock;
  }

  registerEndpoint: CommBackend["registerEndpoint"] = (agentId, address) => this.caller.register(agentId, address);

  /** The card; and, when work was lost sight of at this peer, what became of it. */
  connect = async (_src: AgentId, dst: AgentId, options: CallOptions = {}): Promise<ConnectResult> => {
    const { value, traffic } = await this.caller.measured(dst, options, HANDSHAKE, async (signal) => {
      const { description, rpcUrl } = await this.caller.card(dst, signal);
      const lost = this.inFlight.lostAt(dst);
      const rpc = (method: string, params: object) => this.caller.rpc(dst, method, params, signal);
      const recovered = await recoverWork(lost, { rpc, tellsMessageIds: rpcUrl === null });
      this.inFlight.reconnected(dst, lost);
      return { peer: description, ...(lost.length === 0 ? {} : { recovered }) };
    });
    return { ...value, traffic };
  };

  healthCheck = async (peer: AgentId, options: CallOptions = {}): Promise<HealthResult> => {
    const { value, traffic } = await this.caller.measured(peer, options, PROBE, (signal) => this.caller.probe(peer, signal));
    return { incarnation: incarnationOf(value.headers["etag"]), traffic };
  };

  send = async (src: AgentId, dst: AgentId, payload: Payload, options: SendOptions = {}): Promise<SendResult> => {
    const messageId = options.idempotencyKey ?? `${src}/${this.describeSelf().incarnation}/${this.sequence++}`;
    const attempt = this.inFlight.begin(dst, messageId, options.contextId);
    const message = {
      messageId,
      role: "ROLE_USER",
      parts: toWireParts(payload),
      ...(attempt.contextId === undefined ? {} : { contextId: attempt.contextId }),
    };
    // The answer is wanted, not our own words again.
    const params = { message, configuration: { historyLength: 0 } };
    // The task's id is told before the answer only by the streaming form, where the peer has it.
    const listens = options.onEvent !== undefined || options.onAccepted !== undefined;
    try {
      const { value, traffic } = await this.caller.measured(dst, options, WORK, async (signal) =>
        listens && this.caller.streams(dst)
          ? this.follow(dst, "SendStreamingMessage", params, { options, attempt, signal })
          : announced(readSendResult(dst, await this.caller.rpc(dst, "SendMessage", params, signal)), options),
      );
      if (value.task !== null) this.inFlight.answered(dst, attempt, value.task);
      return { raw: value.raw, text: value.text, parts: value.parts, traffic };
    } catch (error) {
      if (LEAVES_WORK_BEHIND.has((error as CommError).code)) this.inFlight.lost(dst, attempt);
      throw error;
    }
  };

  /** GetTask; while it still runs, SubscribeToTask up to its end, or GetTask again where the peer does not stream (spec §3.5.1). */
  resume = async (_src: AgentId, dst: AgentId, workId: string, options: SendOptions = {}): Promise<SendResult> => {
    const { value, traffic } = await this.caller.measured(dst, options, WORK, async (signal) => {
      let ended = await this.fetched(dst, workId, signal);
      while (ended === null && !this.caller.streams(dst)) {
        await this.clock.sleep(POLL_MS, signal);
        ended = await this.fetched(dst, workId, signal);
      }
      if (ended !== null) return ended;
      try {
        return await this.follow(dst, "SubscribeToTask", { id: workId }, { options, signal });
      } catch (error) {
        // It ended between the two requests.
        const late = rpcCode(error) === UNSUPPORTED_OPERATION ? await this.fetched(dst, workId, signal) : null;
        if (late === null) throw error;
        return late;
      }
    });
    return { raw: value.raw, text: value.text, parts: value.parts, traffic };
  };

  cancel = async (_src: AgentId, dst: AgentId, workId: string, options: CallOptions = {}): Promise<void> => {
    await this.caller.measured(dst, options, WORK, (signal) => this.caller.rpc(dst, "CancelTask", { id: workId }, signal));
  };

  close = async (): Promise<void> => {
    this.caller.forgetAll();
    this.inFlight.forgetAll();
  };

  /** The answer of a task that has ended, or waits for its client; null while it runs. */
  private async fetched(dst: AgentId, workId: string, signal: AbortSignal | undefined): Promise<Answer | null> {
    const raw = await this.caller.rpc(dst, "GetTask", { id: workId, historyLength: 0 }, signal);
    const task = readTask(raw);
    if (task === null) throw new CommError("protocol", dst, `${dst}: GetTask gave no task`, { detail: raw });
    return TERMINAL_STATES.has(task.state) || INTERRUPTED_STATES.has(task.state) ? finalAnswer(dst, task, raw) : null;
  }

  private async follow(
    dst: AgentId,
    method: string,
    params: object,
    { options, attempt, signal }: { options: SendOptions; attempt?: Attempt; signal: AbortSignal | undefined },
  ): Promise<Answer> {
    const follower = new StreamFollower(
      dst,
      ({ id }) => {
        if (attempt !== undefined) attempt.taskId = id;
        options.onAccepted?.(id);
      },
      (event) => options.onEvent?.(event),
    );
    try {
      // Read to its end, which follows at once: a stream that is left early takes its connection with it.
      for await (const event of this.caller.stream(dst, method, params, signal)) {
        if (!follower.ended) follower.take(event);
        if (follower.interrupted) break; // some peers keep such a stream open
      }
    } catch (error) {
      if (!follower.ended) throw error;
    }
    return follower.answer();
  }
}

/** A2A 1.0 as a CommBackend: JSON-RPC to others; JSON-RPC (1.0 and 0.3) and REST (1.0) for whoever calls. */
export function createA2aBackend(context: BackendContext): CommBackend {
  const client = new A2aClient(context);
  // The SDK is loaded by those who serve, when they do: it takes as long as the rest of a backend several times over.
  const lazyHost =
    (agentId: AgentId, executor: AgentExecutor, baseUrl: (() => string) | null): FastifyPluginAsync =>
    async (server) => {
      const { a2aHost } = await import("./host.ts");
      await server.register(a2aHost({ agentId, executor, context, config: context.config as A2aConfig, baseUrl }));
    };
  return {
    registerEndpoint: client.registerEndpoint,
    connect: client.connect,
    send: client.send,
    cancel: client.cancel,
    resume: client.resume,
    healthCheck: client.healthCheck,
    hostPlugin: (agentId, executor) => lazyHost(agentId, executor, null),
    async spawnLocalAgent(agentId, host, port, executor) {
      // A stream that is being followed must not keep the server from closing.
      const server = fastify({ forceCloseConnections: true });
      let baseUrl = "";
      await server.register(lazyHost(agentId, executor, () => baseUrl));
      baseUrl = await server.listen({ host, port });
      return { baseUrl, close: () => server.close() };
    },
    close: client.close,
  };
}
