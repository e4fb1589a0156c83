import { availableParallelism } from "node:os";
import { type AgentId, type Clock, type FaultKind, type FromAgent, type ProcessSpec, RunError } from "@failstorm/core";
import { genuineEvents } from "./control/messages.ts";
import type { ControlHandlers, ControlLink } from "./control/server.ts";
import type { Exit, LaunchedAgent, Launcher } from "./launcher/launcher.ts";
import { logTail } from "./logTail.ts";
import { type Recorder, remedySuffix, toRunError } from "./recorder.ts";
import type { Waiting } from "./waiting.ts";

/** Where an agent is in its life. */
type Life =
  | { readonly kind: "down" }
  | { readonly kind: "starting"; readonly since: number; readonly child: Child | null; readonly link: ControlLink | null }
  | { readonly kind: "live"; readonly child: Child; readonly link: ControlLink };

/** One started process and what is known of its end. */
interface Child {
  readonly process: LaunchedAgent;
  /** The fault that was done to it; what it dies of after that is the fault's doing. */
  fate: FaultKind | null;
  stopped: boolean;
}

/** One agent of the run, through all its incarnations. */
export interface SupervisedAgent {
  readonly id: AgentId;
  readonly index: number;
  /** What it is started with; the port is the one it has, once it has one. */
  spec: ProcessSpec;
  life: Life;
  /** What its present incarnation has reported, the last of each kind. */
  said: ReportMap;
}

type Report = Exclude<FromAgent, { type: "hello" | "events" }>;

/** The last message of each kind. */
class ReportMap {
  private readonly byType = new Map<string, Report>();

  has(type: Report["type"]): boolean {
    return this.byType.has(type);
  }

  get<Type extends Report["type"]>(type: Type): Extract<Report, { type: Type }> | undefined {
    return this.byType.get(type) as Extract<Report, { type: Type }> | undefined;
  }

  add(report: Report): void {
    this.byType.set(report.type, report);
  }
}

export type LiveAgent = SupervisedAgent & { readonly life: Extract<Life, { kind: "live" }> };
export const isLive = (agent: SupervisedAgent): agent is LiveAgent => agent.life.kind === "live";

/**
 * What a run is doing, as far as the supervision of agents is concerned: an agent's death is fatal before the load starts,
 * an event while it runs, and expected when it is being stopped.
 */
type Stage = "starting" | "running" | "stopping";

/** Starts agents, keeps track of them, and tells what became of each. */
export class Supervisor {
  readonly agents: readonly SupervisedAgent[];
  readonly waiting: Waiting;
  private stage: Stage = "starting";
  /** Processes whose exit has not been seen. */
  private readonly children = new Set<Child>();
  private readonly launches = new Set<Promise<unknown>>();
  private readonly launcher: Launcher;
  private readonly clock: Clock;
  private readonly recorder: Recorder;
  private readonly onFatal: (error: unknown) => void;

  constructor(options: {
    readonly specs: readonly ProcessSpec[];
    readonly launcher: Launcher;
    readonly clock: Clock;
    readonly recorder: Recorder;
    readonly waiting: Waiting;
    readonly onFatal: (error: unknown) => void;
  }) {
    this.agents = options.specs.map((spec) => ({
      id: spec.agentId,
      index: spec.index,
      spec,
      life: { kind: "down" },
      said: new ReportMap(),
    }));
    this.waiting = options.waiting;
    this.launcher = options.launcher;
    this.clock = options.clock;
    this.recorder = options.recorder;
    this.onFatal = options.onFatal;
  }

  /** The control server's handlers. */
  readonly handlers: ControlHandlers = {
    onHello: (link) => this.onHello(link),
    onMessage: (link, message) => this.onMessage(link, message),
    onClosed: (link) => this.onClosed(link),
    onRefused: (reason) => this.warn(reason),
  };

  get live(): LiveAgent[] {
    return this.agents.filter(isLive);
  }

  /** All processes that have not been seen to exit. */
  get remaining(): readonly LaunchedAgent[] {
    return [...this.children].map((child) => child.process);
  }

  /** Sends a line to every agent that is up. */
  tellAll(line: string): void {
    for (const { life } of this.live) life.link.send(line);
  }

  agent(id: AgentId): SupervisedAgent {
    const agent = this.agents.find((other) => other.id === id);
    if (agent === undefined) throw new Error(`no agent ${id} in this run`);
    return agent;
  }

  /** Starts all agents, at most as many at a time as there are cores; resolves when all are ready. */
  async startAll(startTimeoutMs: number, signal: AbortSignal): Promise<void> {
    const queue = [...this.agents];
    const startInTurn = async (): Promise<void> => {
      for (let agent = queue.shift(); agent !== undefined; agent = queue.shift()) await this.start(agent, startTimeoutMs, signal);
    };
    await Promise.all(Array.from({ length: Math.min(queue.length, availableParallelism()) }, startInTurn));
  }

  /**
   * Starts one agent and resolves when it is ready (true) or has died on the way (false; the death has been dealt with).
   * Throws RunError when it cannot be started, or is not ready in time.
   */
  async start(agent: SupervisedAgent, startTimeoutMs: number, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    const since = this.clock.now();
    agent.life = { kind: "starting", since, child: null, link: null };
    agent.said = new ReportMap();
    const launch = this.launch(agent);
    this.launches.add(launch);
    await launch.finally(() => this.launches.delete(launch));
    const settled = await this.waiting.until(() => agent.life.kind !== "starting", since + startTimeoutMs, signal);
    if (!settled) {
      throw new RunError(
        "START_TIMEOUT",
        `${agent.id} was not ready ${startTimeoutMs} ms after its start.${await logTail(agent.spec.logFile)}`,
      );
    }
    return isLive(agent);
  }

  /** From now on the death of an agent nobody killed is an event, and the run goes on. */
  loadStarted(): void {
    this.stage = "running";
  }

  /** From now on every exit is expected. Resolves when no launch is under way any more. */
  async stopping(): Promise<void> {
    this.stage = "stopping";
    await Promise.allSettled(this.launches);
  }

  /** Resolves true when every process is gone, false at the deadline. */
  allGone(withinMs: number): Promise<boolean> {
    return this.waiting.until(() => this.children.size === 0, this.clock.now() + withinMs);
  }

  warn(message: string): void {
    this.recorder.write({ ev: "log", level: "warning", message });
  }

  private async launch(agent: SupervisedAgent): Promise<void> {
    let process: LaunchedAgent;
    try {
      process = await this.launcher.start(agent.spec);
    } catch (error) {
      agent.life = { kind: "down" };
      throw toRunError(error, `${agent.id} cannot be started`);
    }
    const child: Child = { process, fate: null, stopped: false };
    this.children.add(child);
    this.recorder.write({ ev: "agent.spawned", agent: agent.id, pid: process.pid });
    // A launcher that takes its time may return after the agent has introduced itself.
    if (agent.life.kind === "starting") agent.life = { ...agent.life, child };
    void process.exited.then((exit) => this.onExit(agent, child, exit));
  }

  private onHello(link: ControlLink): boolean {
    const agent = this.agents.find((other) => other.id === link.agentId);
    if (agent?.life.kind !== "starting" || agent.life.link !== null) return false;
    agent.life = { ...agent.life, link };
    return true;
  }

  private onMessage(link: ControlLink, message: Exclude<FromAgent, { type: "hello" }>): void {
    const agent = this.agent(link.agentId);
    if (message.type === "events") {
      const events = genuineEvents(message.events, agent.id);
      if (events.length < message.events.length) {
        this.warn(`${agent.id}: ${message.events.length - events.length} malformed events dropped from the live view`);
      }
      for (const event of events) this.recorder.show(event);
      return;
    }
    if (agent.life.kind === "down" || agent.life.link !== link) return;
    agent.said.add(message);
    if (message.type === "ready") this.onReady(agent, message.port, message.rssBytes);
    else if (message.type === "failed") this.onFailed(agent, message.code, message.message);
    this.waiting.changed();
  }

  private onReady(agent: SupervisedAgent, port: number, rssBytes: number): void {
    const { life } = agent;
    if (life.kind !== "starting" || life.link === null) return;
    if (life.child === null) {
      // `launch` is about to learn of the process: come back when it has.
      void this.readyAfterLaunch(agent, port, rssBytes);
      return;
    }
    agent.life = { kind: "live", child: life.child, link: life.link };
    agent.spec = { ...agent.spec, port };
    const { pid, incarnation } = life.link;
    const ms = Math.round((this.clock.now() - life.since) * 1000) / 1000;
    this.recorder.write({ ev: "agent.ready", agent: agent.id, agentInc: incarnation, pid, port, rssBytes, ms });
  }

  private async readyAfterLaunch(agent: SupervisedAgent, port: number, rssBytes: number): Promise<void> {
    await Promise.allSettled(this.launches);
    this.onReady(agent, port, rssBytes);
    this.waiting.changed();
  }

  private onFailed(agent: SupervisedAgent, code: string, message: string): void {
    if (this.stage === "stopping") this.warn(`${agent.id} failed while it was stopped: ${message} (${code})`);
    else {
      const remedy = remedySuffix(code) || `; its log is ${agent.spec.logFile}`;
      this.onFatal(new RunError("AGENT_FAILED", `${agent.id} cannot go on: ${message} (${code})${remedy}`));
    }
  }

  private onClosed(link: ControlLink): void {
    const agent = this.agent(link.agentId);
    if (agent.life.kind !== "live" || agent.life.link !== link) return;
    if (this.stage === "stopping" || agent.life.child.fate !== null) return;
    // It exits by itself now; the exit is what counts.
    this.warn(`${agent.id} (pid ${link.pid}) closed its control link`);
  }

  private onExit(agent: SupervisedAgent, child: Child, exit: Exit): void {
    this.children.delete(child);
    const { life } = agent;
    const present = life.kind !== "down" && life.child === child;
    const agentInc = present ? (life.link?.incarnation ?? null) : null;
    const cause = this.causeOf(child, exit);
    this.recorder.write({ ev: "agent.exited", agent: agent.id, agentInc, pid: child.process.pid, ...exit, cause });
    if (present) {
      life.link?.close();
      agent.life = { kind: "down" };
    }
    this.waiting.changed();
    if (cause === "unexpected" && this.stage === "starting") void this.reportEarlyDeath(agent, exit);
  }

  private causeOf({ fate }: Child, exit: Exit): "fault" | "stop" | "unexpected" {
    if (fate === "sigterm" || (fate === "sigkill" && exit.signal === "SIGKILL")) return "fault";
    return this.stage === "stopping" ? "stop" : "unexpected";
  }

  private async reportEarlyDeath(agent: SupervisedAgent, exit: Exit): Promise<void> {
    const how = exit.signal === null ? `with code ${exit.code}` : `of ${exit.signal}`;
    const tail = await logTail(agent.spec.logFile);
    this.onFatal(new RunError("AGENT_DIED", `${agent.id} ended ${how} before the load had started.${tail}`));
  }
}
