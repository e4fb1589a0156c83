import path from "node:path";
import {
  type AgentRequest,
  type AgentSpec,
  type Clock,
  createPrng,
  type FromAgent,
  type Protocol,
  type Roster,
  type RunEvent,
  type Sender,
  systemClock,
  type ToAgent,
} from "@failstorm/core";
import { createMeteredClient } from "@failstorm/protocols";
import fastify, { type FastifyPluginAsync } from "fastify";
import type { Agent, AgentParts } from "./agent.ts";
import { backendContext } from "./backendContext.ts";
import { type ControlLink, openControlLink } from "./controlLink.ts";
import { heldStreamHost } from "./heldStreams.ts";
import { createInbox } from "./inbox.ts";
import { nextIncarnation } from "./incarnation.ts";
import { Refusal } from "./messenger.ts";
import { type AgentMetrics, loadMetrics } from "./metrics.ts";
import { sampleProcess } from "./processStats.ts";
import { Recorder } from "./recorder.ts";
import { rehearseLoss } from "./rehearsal.ts";

const SAMPLE_MS = 1_000;
const MIN_SAMPLE_MS = 200;
const GRACE_MS = 500;

/** The process around the agent: its port, its files, its link to the orchestrator, and how it ends. */
export class AgentProcess {
  private readonly spec: AgentSpec;
  private readonly clock: Clock = systemClock;
  private readonly self: { agentId: string; incarnation: number; host: string; port: number };
  private readonly recorder: Recorder;
  private readonly parts: AgentParts;
  private metrics: AgentMetrics | null = null;
  private control: ControlLink | null = null;
  private agent: Agent | null = null;
  /** Whatever comes after the roster waits for what it loads. */
  private loaded: Promise<Agent> = Promise.reject(new Refusal("no_roster", "the roster comes first"));
  private parse: (data: unknown) => AgentRequest | null = () => null;
  private endSampling = (): void => {};

  constructor(spec: AgentSpec, protocol: Protocol) {
    const { clock } = this;
    this.spec = spec;
    this.self = { agentId: spec.agentId, incarnation: nextIncarnation(spec.workspaceDir), host: spec.host, port: spec.port };
    this.recorder = new Recorder({
      path: path.join(spec.workspaceDir, "events.ndjson"),
      agentId: spec.agentId,
      incarnation: this.self.incarnation,
      clock,
      fullRecording: spec.fullRecording,
      publish: (events: readonly RunEvent[]) => this.send({ type: "events", events }),
    });
    const client = createMeteredClient({
      clock,
      connectTimeoutMs: spec.config.network.connectionTimeoutMs,
      onResidual: (tag, sent, received) => this.recorder.residual(tag.kind, tag.cause, sent, received),
    });
    const self: Sender = this.self;
    const own = { spec, self, clock, prng: createPrng(spec.config.scenario.seed), recorder: this.recorder, client };
    const backend = protocol.createBackend(backendContext(own, protocol, () => this.agent?.capabilities ?? []));
    this.parts = { ...own, backend };
    this.loaded.catch(() => {});
  }

  async run(): Promise<void> {
    process.on("uncaughtException", (error) => this.fail(error));
    process.on("unhandledRejection", (error) => this.fail(error));
    // Ctrl-C reaches the whole process group; ending the agents is the orchestrator's affair.
    process.on("SIGINT", () => {});
    process.on("SIGTERM", () => this.leave("SIGTERM"));
    await this.listen();
    const { homeTool, shard, control } = this.spec;
    this.recorder.event({ ev: "agent.up", pid: process.pid, port: this.self.port, homeTool, shard, wallMs: this.clock.wall() });
    this.control = await openControlLink({
      host: control.host,
      port: control.port,
      onMessage: (message) => void this.handle(message).catch((error: unknown) => this.fail(error)),
      onGone: (reason) => this.leave(reason),
    });
    const { agentId, incarnation, port } = this.self;
    this.send({ type: "hello", agentId, token: control.token, pid: process.pid, incarnation });
    this.send({ type: "ready", port, rssBytes: process.memoryUsage.rss() });
  }

  private async listen(): Promise<void> {
    const { spec, self, parts } = this;
    const inbox = createInbox({
      parse: (data) => {
        this.present();
        return this.parse(data);
      },
      heard: (from) => this.agent?.networking.membership.heard(from),
      heardOf: (origin) => this.agent?.networking.membership.heardOf(origin),
      serve: async (request, from) => this.present().serve(request, from),
      messenger: () => this.present().networking.messenger,
    });
    const server = fastify({ forceCloseConnections: true, keepAliveTimeout: 600_000, requestTimeout: 0 });
    await server.register(parts.backend.hostPlugin(self.agentId, inbox));
    await server.register(heldStreamHost(self.incarnation));
    await server.register(this.metricsHost);
    await server.listen({ host: spec.host, port: spec.port });
    const [address] = server.addresses();
    this.self.port = typeof address === "object" ? address.port : spec.port;
  }

  private readonly metricsHost: FastifyPluginAsync = async (server) => {
    server.get("/metrics", async (_request, reply) => {
      if (this.metrics === null) return reply.code(503).send({ error: "not ready" });
      return reply.type(this.metrics.contentType).send(await this.metrics.text());
    });
  };

  private async handle(message: ToAgent): Promise<void> {
    switch (message.type) {
      case "roster":
        this.loaded = this.loadWork(message.roster);
        await this.loaded;
        this.startSampling();
        await this.loadMetrics();
        // A victim that comes back has no time for it, and no need: it will see no first storm.
        if (this.self.incarnation === 1) await rehearseLoss(this.clock);
        return this.send({ type: "prepared" });
      case "broadcast":
        return this.send({ type: "indexed", ...(await (await this.loaded).broadcast(message.t0)) });
      case "start":
        return (await this.loaded).start(message);
      case "drain":
        await (await this.loaded).drain();
        this.recorder.flush();
        return this.send({ type: "drained" });
      case "stop":
        await this.agent?.settle();
        this.agent?.stop();
        return this.leave("told to stop");
    }
  }

  /**
   * The network, the worker and the request schemas are loaded with the roster, not before `ready`: eight starting agents share few
   * cores, and none of them can use these before the last is ready.
   */
  private async loadWork(roster: Roster): Promise<Agent> {
    const [{ Agent }, { agentRequestSchema }] = await Promise.all([import("./agent.ts"), import("@failstorm/core/requests.ts")]);
    this.parse = (data) => agentRequestSchema.safeParse(data).data ?? null;
    this.agent = new Agent(this.parts, roster);
    return this.agent;
  }

  /** After `ready`, so that starting does not wait for it. */
  private async loadMetrics(): Promise<void> {
    const { agentId, incarnation } = this.self;
    const { protocol } = this.spec.config.scenario;
    this.metrics = await loadMetrics({ agent: agentId, incarnation: String(incarnation), protocol });
    this.recorder.observe(this.metrics);
  }

  private startSampling(): void {
    const stats = sampleProcess({
      clock: this.clock,
      recorder: this.recorder,
      intervalMs: Math.max(MIN_SAMPLE_MS, SAMPLE_MS * this.spec.config.scenario.timeScale),
      tasksInFlight: () => this.agent?.tasksInFlight ?? 0,
      socketTotals: () => this.parts.client.socketTotals(),
      protocolCounters: () => this.parts.backend.hooks?.extraMetrics?.(),
    });
    this.endSampling = () => {
      stats.sample();
      stats.stop();
    };
  }

  private present(): Agent {
    if (this.agent === null) throw new Refusal("not_ready", `${this.self.agentId} has no roster yet`);
    return this.agent;
  }

  private send(message: FromAgent): void {
    this.control?.send(message);
  }

  private leave(reason: string): void {
    try {
      this.endSampling();
      this.recorder.event({ ev: "agent.stopping", reason });
      this.recorder.close();
    } finally {
      process.exit(0);
    }
  }

  private fail(error: unknown): void {
    const { code = "AGENT_FAILED", message = String(error) } = error as { code?: string; message?: string };
    process.stderr.write(`ERROR [${this.self.agentId}] ${error instanceof Error ? error.stack : message}\n`);
    this.send({ type: "failed", code, message });
    // Long enough for the message to leave.
    this.clock.after(GRACE_MS, () => process.exit(1));
  }
}
