import path from "node:path";
import {
  type Clock,
  createPrng,
  type FromAgent,
  type ProcessSpec,
  type Protocol,
  type RunEvent,
  type Sender,
  systemClock,
  type ToAgent,
} from "@failstorm/core";
import { createMeteredClient } from "@failstorm/protocols";
import fastify, { type FastifyPluginAsync } from "fastify";
import { backendContext } from "./backendContext.ts";
import { type ControlLink, openControlLink } from "./controlLink.ts";
import { addDateHeader } from "./dateHeader.ts";
import { nextIncarnation } from "./incarnation.ts";
import { LoopLag } from "./loopLag.ts";
import { LowDescriptors } from "./lowDescriptors.ts";
import { type AgentMetrics, loadMetrics } from "./metrics.ts";
import { sampleProcess } from "./processStats.ts";
import { Recorder } from "./recorder.ts";
import { rehearseLoss } from "./rehearsal.ts";
import type { Role, RoleFactory, RoleParts } from "./role.ts";

const SAMPLE_MS = 1_000;
const MIN_SAMPLE_MS = 200;
const GRACE_MS = 500;

/** The process around a role: its port, its files, its link to the orchestrator, and how it ends. */
export class AgentProcess<Spec extends ProcessSpec> {
  private readonly spec: Spec;
  private readonly lag = new LoopLag(systemClock);
  private readonly clock: Clock = this.lag.clock;
  private readonly self: { agentId: string; incarnation: number; host: string; port: number };
  private readonly recorder: Recorder;
  private readonly parts: RoleParts<Spec>;
  private readonly role: Role;
  private lowDescriptors: LowDescriptors | null = null;
  private metrics: AgentMetrics | null = null;
  private control: ControlLink | null = null;
  private endSampling = (): void => {};
  private failed = false;

  constructor(spec: Spec, protocol: Protocol, createRole: RoleFactory<Spec>) {
    const { clock } = this;
    this.spec = spec;
    this.self = { agentId: spec.agentId, incarnation: nextIncarnation(spec.workspaceDir), host: spec.host, port: spec.port };
    this.recorder = new Recorder({
      path: path.join(spec.workspaceDir, "events.ndjson"),
      agentId: spec.agentId,
      incarnation: this.self.incarnation,
      clock,
      fullRecording: spec.fullRecording,
      publish: (events: readonly RunEvent[]) => this.tell({ type: "events", events }),
    });
    const client = createMeteredClient({
      clock,
      connectTimeoutMs: spec.config.network.connectionTimeoutMs,
      onResidual: (tag, sent, received) => this.recorder.residual(tag.kind, tag.cause, sent, received),
    });
    const self: Sender = this.self;
    const own = { spec, self, clock, prng: createPrng(spec.config.scenario.seed), recorder: this.recorder, client };
    const backend = protocol.createBackend(backendContext(own, protocol, () => this.role.capabilities()));
    this.parts = {
      ...own,
      backend,
      tell: (message) => this.tell(message),
      fail: (error) => this.fail(error),
      releaseDescriptors: () => this.lowDescriptors?.release(),
    };
    this.role = createRole(this.parts);
  }

  async run(): Promise<void> {
    process.on("uncaughtException", (error) => this.fail(error));
    process.on("unhandledRejection", (error) => this.fail(error));
    const { control } = this.spec;
    // Ctrl-C and a closed terminal reach the whole process group; ending the agents is the orchestrator's affair, where there is one.
    for (const signal of ["SIGINT", "SIGHUP"] as const)
      process.on(signal, () => (control === undefined ? void this.stop(signal) : undefined));
    process.on("SIGTERM", () => (control === undefined ? void this.stop("SIGTERM") : this.leave("SIGTERM")));
    if (this.role.inStorm) this.lowDescriptors = new LowDescriptors();
    await this.listen();
    this.recorder.event({ ev: "agent.up", pid: process.pid, port: this.self.port, ...this.role.up, wallMs: this.clock.wall() });
    if (control === undefined) return this.standAlone();
    this.control = await openControlLink({
      host: control.host,
      port: control.port,
      onMessage: (message) => void this.handle(message).catch((error: unknown) => this.fail(error)),
      onGone: (reason) => this.leave(reason),
    });
    const { agentId, incarnation, port } = this.self;
    this.tell({ type: "hello", agentId, token: control.token, pid: process.pid, incarnation });
    this.tell({ type: "ready", port, rssBytes: process.memoryUsage.rss() });
  }

  /** Nobody supervises it: it gets going by itself, says where it is, and ends with whoever started it. */
  private async standAlone(): Promise<void> {
    await this.getGoing();
    process.stdin.on("end", () => void this.stop("its starter is gone")).resume();
    process.stdout.write(`${JSON.stringify({ type: "ready", host: this.self.host, port: this.self.port })}\n`);
  }

  private async listen(): Promise<void> {
    const { spec, self, parts, role } = this;
    const server = fastify({ forceCloseConnections: true, keepAliveTimeout: 600_000, requestTimeout: 0 });
    addDateHeader(server, this.clock);
    await server.register(parts.backend.hostPlugin(self.agentId, role.executor));
    for (const routes of role.routes) await server.register(routes);
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
    if (message.type === "stop") return this.stop("told to stop");
    const report = await this.role.handle(message);
    if (report?.type === "prepared") await this.getGoing();
    if (report === null) return;
    // Who is told that this agent has got somewhere may look at once for what has happened on the way.
    this.recorder.flush();
    this.tell(report);
  }

  /** After `ready`, so that starting does not wait for it. */
  private async getGoing(): Promise<void> {
    this.startSampling();
    const { agentId, incarnation } = this.self;
    const { protocol } = this.spec.config.scenario;
    this.metrics = await loadMetrics({ agent: agentId, incarnation: String(incarnation), protocol });
    this.recorder.observe(this.metrics);
    // A victim that comes back has no time for it, and no need: it will see no first storm.
    if (this.role.inStorm && incarnation === 1) await rehearseLoss(this.clock);
  }

  private startSampling(): void {
    const stats = sampleProcess({
      lag: this.lag,
      recorder: this.recorder,
      intervalMs: Math.max(MIN_SAMPLE_MS, SAMPLE_MS * this.spec.config.scenario.timeScale),
      tasksInFlight: () => this.role.tasksInFlight(),
      socketTotals: () => this.parts.client.socketTotals(),
      protocolCounters: () => this.parts.backend.hooks?.extraMetrics?.(),
    });
    this.endSampling = () => {
      stats.sample();
      stats.stop();
    };
  }

  private tell(message: FromAgent): void {
    this.control?.send(message);
  }

  private async stop(reason: string): Promise<void> {
    await this.role.stop();
    this.leave(reason);
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
    // On a full disk the log cannot be written either, which would be the next failure, and so on without end.
    if (this.failed) return;
    this.failed = true;
    const { code = "AGENT_FAILED", message = String(error) } = error as { code?: string; message?: string };
    process.stderr.write(`ERROR [${this.self.agentId}] ${error instanceof Error ? error.stack : message}\n`);
    this.tell({ type: "failed", code, message });
    // Long enough for the message to leave.
    this.clock.after(GRACE_MS, () => process.exit(1));
  }
}
