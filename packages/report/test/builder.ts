import {
  type AgentId,
  type GradedTask,
  type NewEvent,
  type PlannedFault,
  type RunConfig,
  type RunEvent,
  taskId,
} from "@failstorm/core";
import { type RunRecord, toRunRecord } from "../src/run.ts";

/** CLOCK_MONOTONIC of t=0 in built runs; events are given in ms after it. */
export const T0 = 5_000_000;

type Override<T> = { readonly [Key in keyof T]?: Partial<T[Key]> };

export function buildConfig(override: Override<Pick<RunConfig, "scenario" | "network" | "tasks">> = {}): RunConfig {
  return {
    scenario: {
      name: "fail-storm",
      protocol: "simple_json",
      agentCount: 4,
      killFraction: 0.25,
      killCount: 1,
      fault: "sigkill",
      fakeFault: false,
      faultTimeMs: 60_000,
      runtimeMs: 120_000,
      warmupMs: 30_000,
      recoveryDurationMs: null,
      restartAfterMs: 20_000,
      cycles: 1,
      cycleIntervalMs: 0,
      seed: 7,
      timeScale: 1,
      ...override.scenario,
    },
    network: {
      topology: "mesh",
      customEdges: [],
      redundancyLevel: 1,
      basePort: 9000,
      connectionTimeoutMs: 10_000,
      heartbeatIntervalMs: 1000,
      heartbeatTimeoutMs: 3000,
      detector: "heartbeat",
      monitors: "auto",
      transportSignals: false,
      ledgerSyncMs: 1000,
      ...override.network,
    },
    tasks: { rate: 2, deadlineMs: 10_000, thinkTimeMs: 300, ttl: 15, attemptTimeoutMs: 3000, ...override.tasks },
    qa: {
      source: "generated",
      corpus: null,
      document: null,
      questions: null,
      questionCount: 10,
      hops: [2],
      passages: 10,
      topK: 3,
    },
    llm: null,
    protocolConfig: {},
    logging: { level: "info" },
    output: { dir: "results", metricsPort: null },
    mutants: [],
  };
}

/** Writes a run by hand, event by event, the way agents and orchestrator would. */
export class RunBuilder {
  readonly events: RunEvent[] = [];
  readonly tasks: GradedTask[] = [];
  readonly faults: PlannedFault[] = [];
  readonly config: RunConfig;
  private readonly seqs = new Map<string, number>();

  constructor(config: RunConfig = buildConfig()) {
    this.config = config;
    this.at(-3000, { ev: "run.started", runId: "test-run", wallMs: 0, config: { ...config } });
    for (let i = 0; i < config.scenario.agentCount; i++) this.up(-2000, `agent-${i}`, 1);
    this.at(0, { ev: "run.load", t0: T0, loadFromMs: 1000 });
  }

  /** An event of `src` (default: the orchestrator) at `t` ms after t=0. */
  at(t: number, event: NewEvent, src = "orchestrator", inc = src === "orchestrator" ? 0 : 1): this {
    const key = `${src}/${inc}`;
    const seq = this.seqs.get(key) ?? 0;
    this.seqs.set(key, seq + 1);
    this.events.push({ t: T0 + t, src, inc, seq, ...event });
    return this;
  }

  up(t: number, agent: AgentId, inc: number): this {
    const index = Number(agent.slice(6));
    const homeTool = (["search", "extract", "triple", "reason"] as const)[index % 4] ?? "search";
    const pid = 1000 + index + inc * 100;
    this.at(t, { ev: "agent.up", pid, port: 9000 + index, homeTool, shard: index, wallMs: 0 }, agent, inc);
    return this.at(t + 1, { ev: "agent.ready", agent, agentInc: inc, pid, port: 9000 + index, rssBytes: 1, ms: 300 });
  }

  /** kill(2) of `agent` with stamps at `t` and `t` + 0.1 ms, and its exit. */
  kill(
    t: number,
    agent: AgentId,
    options: { inc?: number; cycle?: number; fake?: boolean; kind?: "sigkill" | "sigstop" } = {},
  ): this {
    const { inc = 1, cycle = 0, fake = false, kind = "sigkill" } = options;
    const pid = 1000 + Number(agent.slice(6)) + inc * 100;
    this.faults.push({ kind, atMs: t, cycle, victims: [agent], fake, restartAtMs: null });
    this.at(t + 0.2, { ev: "fault.injected", kind, cycle, agent, agentInc: inc, pid, before: T0 + t, after: T0 + t + 0.1, fake });
    if (!fake && kind === "sigkill")
      this.at(t + 5, { ev: "agent.exited", agent, agentInc: inc, pid, code: null, signal: "SIGKILL", cause: "fault" });
    return this;
  }

  linkUp(
    t: number,
    src: AgentId,
    peer: AgentId,
    link: Partial<Extract<NewEvent, { ev: "link.up" }>> & { inc?: number } = {},
  ): this {
    const { inc = 1, ...rest } = link;
    const event = { ev: "link.up", peer, peerInc: 1, reason: "setup", lost: null, startedAt: T0 + t - 4, ms: 4 } as const;
    return this.at(t, { ...event, bytesSent: 100, bytesReceived: 200, roundTrips: 1, ...rest }, src, inc);
  }

  linkDown(t: number, src: AgentId, peer: AgentId, peerInc = 1): this {
    return this.at(t, { ev: "link.down", peer, peerInc, reason: "declared dead" }, src);
  }

  dead(
    t: number,
    src: AgentId,
    peer: AgentId = "agent-3",
    how: "probe" | "gossip" | "transport" | "incarnation" = "probe",
    peerInc = 1,
  ): this {
    return this.at(t, { ev: "detect.dead", peer, peerInc, how, lastHeard: T0 + t - 3000 }, src);
  }

  /** Every agent greets every neighbour of a mesh. */
  meshUp(t: number): this {
    const ids = Array.from({ length: this.config.scenario.agentCount }, (_, i) => `agent-${i}`);
    for (const a of ids) for (const b of ids) if (a !== b) this.linkUp(t, a, b);
    return this;
  }

  /** Puts a task on the schedule; returns its id. */
  task(atMs: number, homeOwner: AgentId): string {
    const task = taskId(this.tasks.length);
    this.tasks.push({
      task,
      atMs,
      homeOwner,
      question: "?",
      questionId: `q-${task}`,
      hops: 2,
      gold: "Paris",
      expected: "Paris",
      evidence: ["e1", "e2"],
    });
    return task;
  }

  started(t: number, src: AgentId, task: string, inc = 1, attempt = 1): this {
    return this.at(t, { ev: "task.started", task, attempt, view: "v", orphanOf: null }, src, inc);
  }

  outcome(
    t: number,
    src: AgentId,
    task: string,
    options: { inc?: number; answer?: string | null; status?: "answered" | "no_answer" | "expired"; attempt?: number } = {},
  ): this {
    const { inc = 1, answer = "Paris", status = "answered", attempt = 1 } = options;
    const event = { ev: "task.outcome", task, attempt, status, answer, latencyMs: 0, evidence: ["e1"], orphanOf: null } as const;
    return this.at(t, { ...event, evidence: [...event.evidence] }, src, inc);
  }

  /** A task with start and outcome: right, and `latency` ms after it was due, unless said otherwise. */
  served(atMs: number, owner: AgentId, options: { latency?: number; answer?: string } = {}): string {
    const task = this.task(atMs, owner);
    this.started(atMs, owner, task);
    this.outcome(atMs + (options.latency ?? 500), owner, task, options.answer === undefined ? {} : { answer: options.answer });
    return task;
  }

  step(
    from: number,
    to: number | null,
    src: AgentId,
    task: string,
    options: { exec: number; inc?: number; ok?: boolean; step?: string },
  ): this {
    const { exec, inc = 1, ok = true, step = "s1" } = options;
    this.at(from, { ev: "step.started", exec, task, step, tool: "search", attempt: 1, caller: "agent-0" }, src, inc);
    return to === null ? this : this.at(to, { ev: "step.finished", exec, task, step, attempt: 1, ok }, src, inc);
  }

  finish(t = 121_000): this {
    return this.at(t, { ev: "run.finished", status: "done", reason: null });
  }

  build(): RunRecord {
    const schedule = { version: 1, seed: 7, tasks: this.tasks, faults: this.faults, calibrated: true };
    return toRunRecord({ dir: "test-run", events: this.events, schedule });
  }
}
