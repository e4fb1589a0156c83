import {
  type AgentExecutor,
  type AgentId,
  type BackendContext,
  type CallOptions,
  type CommBackend,
  CommError,
  type ConnectResult,
  type HealthResult,
  type Payload,
  type RecoveredWork,
  type SendOptions,
  type SendResult,
} from "@failstorm/core";
import fastify, { type FastifyReply } from "fastify";
import { AcpClient, isNotFound, type Line, runOf } from "./client.ts";
import type { AcpConfig } from "./config.ts";
import { acpHost, errorAnswer, MAX_BODY_BYTES } from "./host.ts";
import { descriptionOf } from "./manifest.ts";
import { isRecord, type RunStatus } from "./model.ts";
import { Runner } from "./runner.ts";
import { messageOf } from "./validation.ts";

/** An ACP backend: what every protocol has, and the client's half of ACP's await and resume. */
export interface AcpBackend extends CommBackend {
  /**
   * Answers what a run awaits (`POST /runs/{run_id}`). A run that awaits something fails `send` and `resume` with CommError
   * `remote`, `detail.code` "awaiting", `detail.run` the run.
   */
  resumeAwait(src: AgentId, dst: AgentId, workId: string, answer: Payload, options?: SendOptions): Promise<SendResult>;
}

const STATE_OF: Readonly<Record<RunStatus, RecoveredWork["state"]>> = {
  created: "running",
  "in-progress": "running",
  awaiting: "running",
  cancelling: "running",
  cancelled: "canceled",
  completed: "completed",
  failed: "failed",
};

/** The handshake: ping, manifest, and the state of every run that was lost in flight there. */
async function shakeHands(client: AcpClient, runner: Runner, line: Line): Promise<Omit<ConnectResult, "traffic">> {
  await ping(client, line);
  const manifest = await client.manifest(line);
  const peer = descriptionOf(manifest, line.peer, client.nameOf(line.peer));
  const lost = runner.lostAt(line.peer);
  if (lost.length === 0) return { peer };
  const asked = await Promise.all(lost.map((runId) => stateOf(client, runId, line)));
  const recovered = asked.filter((work) => work !== null);
  for (const { workId, state } of recovered) if (state !== "running") runner.forget(line.peer, workId);
  return { peer, recovered };
}

async function ping(client: AcpClient, line: Line): Promise<void> {
  const answer = await client.get("/ping", line);
  if (!isRecord(answer)) throw new CommError("protocol", line.peer, `${line.peer}: /ping does not answer with an object`);
}

/** What became of a run; `unknown` when the peer has no record of it: a restarted server has none. Null when it cannot be told now. */
async function stateOf(client: AcpClient, runId: string, line: Line): Promise<RecoveredWork | null> {
  try {
    const { status } = runOf(await client.get(`/runs/${runId}`, line), line.peer);
    return { workId: runId, state: STATE_OF[status] };
  } catch (error) {
    line.signal?.throwIfAborted();
    return isNotFound(error) ? { workId: runId, state: "unknown" } : null;
  }
}

/** Fastify on its own, with ACP's errors even for requests that never reach a route. */
async function spawn(plugin: ReturnType<typeof acpHost>, host: string, port: number) {
  const server = fastify({
    bodyLimit: MAX_BODY_BYTES,
    forceCloseConnections: true,
    frameworkErrors: (error, _request, reply) => {
      const { status, body } = errorAnswer(error);
      void (reply as FastifyReply).code(status).send(body);
    },
  });
  await server.register(plugin);
  const baseUrl = await server.listen({ host, port });
  return { baseUrl, close: () => server.close() };
}

/** ACP as a CommBackend. It has no idempotency key: `idempotencyKey` is not sent, and a retry is a new run. */
export function createAcpBackend(context: BackendContext): AcpBackend {
  const { clock, describeSelf } = context;
  const config = context.config as AcpConfig;
  const client = new AcpClient(context.client);
  const runner = new Runner(client, clock, config);

  const fetchMessage: Parameters<typeof acpHost>[0]["fetchMessage"] = async (url, signal) => {
    const peer = client.ownerOf(url) ?? new URL(url).host;
    const tag = { peer, kind: "document", cause: "work" } as const;
    const { value } = await context.client.measure(tag, () => client.get("", { peer, base: url, signal }));
    return messageOf(value, url, 0);
  };

  const hostPlugin = (agentId: AgentId, executor: AgentExecutor) =>
    acpHost({
      agentId,
      executor,
      describeSelf,
      clock,
      retention: { count: config.retainCount, ms: config.retainMs, chars: config.retainChars },
      fetchMessage,
    });

  return {
    registerEndpoint: (agentId, address) => client.register(agentId, address),

    async connect(_src, dst, options = {}) {
      const defaults = { kind: "handshake", cause: "setup" } as const;
      const { value, traffic } = await client.call(dst, options, defaults, (line) => shakeHands(client, runner, line));
      return { ...value, traffic };
    },

    async healthCheck(peer: AgentId, options: CallOptions = {}): Promise<HealthResult> {
      const defaults = { kind: "probe", cause: "heartbeat" } as const;
      const { traffic } = await client.call(peer, options, defaults, (line) => ping(client, line));
      // ACP's ping says that somebody answers, not who.
      return { incarnation: null, traffic };
    },

    send: (src, dst, payload, options = {}) => runner.send(src, dst, payload, options),
    resume: (_src, dst, workId, options = {}) => runner.resume(dst, workId, options),
    resumeAwait: (src, dst, workId, answer, options = {}) => runner.resumeAwait(src, dst, workId, answer, options),

    async cancel(_src, dst, workId, options = {}) {
      const defaults = { kind: "tool", cause: "work" } as const;
      const path = `/runs/${encodeURIComponent(workId)}/cancel`;
      await client.call(dst, options, defaults, async (line) => runOf(await client.post(path, undefined, line), dst));
    },

    hostPlugin,
    spawnLocalAgent: (agentId, host, port, executor) => spawn(hostPlugin(agentId, executor), host, port),
    async close() {
      client.forgetAll();
      runner.close();
    },
  };
}
