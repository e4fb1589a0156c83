import {
  type AgentId,
  type Clock,
  type CommBackend,
  type CommErrorCode,
  type DirectRequest,
  type RelayRequest,
  type Requirements,
  type Sender,
  type Tool,
  toCommError,
  type Traffic,
} from "@failstorm/core";
import { type Answer, answerQuestion } from "@failstorm/qa";
import { sendMessage, type TaskResult } from "./message.ts";
import type { RecoveryLog } from "./recovery.ts";
import type { Tally } from "./tally.ts";

/** Under which name the coordinator speaks. */
export const COORDINATOR: AgentId = "coordinator";

/** Work for a shard worker: a step of a tool, or a look-up in a shard (without `shard`: the worker's own). */
export type ShardTask =
  | { readonly tool: Tool; readonly input: unknown }
  | { readonly query: string; readonly shard?: number; readonly topK?: number };

export interface AgentHealth {
  readonly agent: AgentId;
  readonly up: boolean;
  /** Of the probe; null when it failed. */
  readonly ms: number | null;
}

export interface CoordinatorOptions {
  readonly backend: CommBackend;
  readonly ids: readonly AgentId[];
  /** What an agent hosts, joined by `+`. */
  readonly label: (agent: AgentId) => string;
  readonly clock: Clock;
  readonly tally: Tally;
  readonly recovery: RecoveryLog;
  readonly topK: number;
  /** Of one attempt at a task. */
  readonly attemptTimeoutMs: number;
  /** Of a task, all attempts together. */
  readonly deadlineMs: number;
}

type Body = DirectRequest | RelayRequest;

/** After these the worker is held to be down until it is heard of again. */
const DOWN: ReadonlySet<CommErrorCode> = new Set(["refused", "reset", "timeout"]);
/** A worker's own error may be the task's fault: so many workers are asked, no more. */
const MAX_REFUSALS = 3;
const RETRY_MS = 200;

/** Hands tasks to the least loaded agent that can do them and is up, and to another when that fails. */
export class Coordinator {
  private readonly options: CoordinatorOptions;
  private readonly inFlight = new Map<AgentId, number>();
  private readonly down = new Set<AgentId>();
  private readonly described = new Map<AgentId, readonly string[]>();
  private tasks = 0;

  constructor(options: CoordinatorOptions) {
    this.options = options;
  }

  loadOf(agent: AgentId): number {
    return this.inFlight.get(agent) ?? 0;
  }

  capabilitiesOf(agent: AgentId): readonly string[] {
    return this.described.get(agent) ?? [];
  }

  /** As far as it knows from its own messages: nobody tells it of deaths. */
  isUp(agent: AgentId): boolean {
    return !this.down.has(agent);
  }

  /** Shakes hands with an agent, and learns what it can do. Never throws. */
  async connect(agent: AgentId): Promise<{ readonly traffic: Traffic | null; readonly error: CommErrorCode | null }> {
    const { backend, attemptTimeoutMs } = this.options;
    const signal = AbortSignal.timeout(Math.ceil(attemptTimeoutMs));
    try {
      const { peer, traffic } = await backend.connect(COORDINATOR, agent, { cause: "setup", kind: "handshake", signal });
      this.described.set(agent, peer.capabilities);
      this.heard(agent);
      return { traffic, error: null };
    } catch (error) {
      const { code } = toCommError(error, agent, signal);
      this.failed(agent, code);
      return { traffic: null, error: code };
    }
  }

  /** Shakes hands with all anew: tools and shards move when agents die and return. */
  async refresh(): Promise<void> {
    await Promise.all(this.options.ids.map((id) => this.connect(id)));
  }

  async probe(agent: AgentId): Promise<AgentHealth> {
    const { backend, clock, attemptTimeoutMs } = this.options;
    const startedAt = clock.now();
    const signal = AbortSignal.timeout(Math.ceil(attemptTimeoutMs));
    try {
      await backend.healthCheck(agent, { cause: "heartbeat", kind: "probe", signal });
      this.heard(agent);
      return { agent, up: true, ms: clock.now() - startedAt };
    } catch (error) {
      this.failed(agent, toCommError(error, agent, signal).code);
      return { agent, up: false, ms: null };
    }
  }

  /** One attempt, at this worker. Never throws. */
  async sendTo(worker: AgentId, task: ShardTask, requirements: Requirements = {}): Promise<TaskResult> {
    return this.post(worker, this.requestFor(task, worker, this.nextTask(), 1), requirements);
  }

  /** The task done by whoever can, or the last failure at its deadline. Never throws. */
  async submit(task: ShardTask, requirements: Requirements = {}): Promise<TaskResult> {
    const { clock, deadlineMs, attemptTimeoutMs, recovery } = this.options;
    const needed = "tool" in task ? `tool:${task.tool}` : `shard:${task.shard ?? 0}`;
    const id = this.nextTask();
    const deadline = clock.now() + deadlineMs;
    const tried = new Set<AgentId>();
    const lost: AgentId[] = [];
    let refusals = 0;
    let last: TaskResult | null = null;
    for (let attempt = 1; ; ) {
      const worker = this.leastLoaded(needed, tried);
      if (worker === null) {
        if (clock.now() + RETRY_MS >= deadline) return last ?? nobody(needed);
        await clock.sleep(RETRY_MS);
        await this.refresh();
        tried.clear();
        continue;
      }
      // The last attempt does not outlive the task.
      const limitMs = Math.max(1, Math.min(attemptTimeoutMs, deadline - clock.now()));
      last = await this.post(worker, this.requestFor(task, worker, id, attempt, limitMs), requirements, { limitMs });
      attempt += 1;
      if (last.error === null) {
        for (const agent of lost) recovery.servedInsteadOf(agent, clock.now());
        return last;
      }
      tried.add(worker);
      if (DOWN.has(last.error)) lost.push(worker);
      else if (++refusals >= MAX_REFUSALS) return last;
      if (clock.now() >= deadline) return last;
    }
  }

  /** Answers a question by the pipeline of the shard workers, each step by whoever can. Throws what a step's last failure was. */
  ask(question: string): Promise<Answer> {
    const callTool = async (tool: Tool, step: string, input: unknown): Promise<unknown> => {
      const { error, message, data } = await this.submit({ tool, input });
      if (error !== null) throw toCommError(new Error(`${step}: ${message}`), tool);
      return data;
    };
    return answerQuestion(question, { callTool }, { topK: this.options.topK });
  }

  /** Has one agent ask another, over the link between them. Never throws. */
  relay(through: AgentId, to: AgentId, request: DirectRequest): Promise<TaskResult> {
    const targets = [{ agentId: to, request }];
    return this.post(
      through,
      { op: "relay", ttl: this.options.ids.length, path: [COORDINATOR], targets, origin: SENDER },
      {},
      { target: to },
    );
  }

  /** A task for a worker as the request that agents understand. */
  requestFor(
    task: ShardTask,
    worker: AgentId,
    id: string,
    attempt: number,
    budgetMs = this.options.attemptTimeoutMs,
  ): DirectRequest {
    if ("tool" in task) {
      const { tool, input } = task;
      return { op: "tool", tool, input, task: id, step: "1", attempt, budgetMs, takeover: false };
    }
    const shards = [task.shard ?? this.options.ids.indexOf(worker)];
    return { op: "lookup", task: id, step: "1", query: task.query, topK: task.topK ?? this.options.topK, shards };
  }

  nextTask(): string {
    this.tasks += 1;
    return `m-${String(this.tasks).padStart(6, "0")}`;
  }

  private leastLoaded(needed: string, tried: ReadonlySet<AgentId>): AgentId | null {
    const able = this.options.ids.filter((id) => this.isUp(id) && !tried.has(id) && this.capabilitiesOf(id).includes(needed));
    return able.toSorted((a, b) => this.loadOf(a) - this.loadOf(b))[0] ?? null;
  }

  /** `target`: whose answer is wanted, where the worker only passes the message on. */
  private async post(
    worker: AgentId,
    body: Body,
    requirements: Requirements,
    { target = null, limitMs }: { readonly target?: AgentId | null; readonly limitMs?: number } = {},
  ): Promise<TaskResult> {
    const { backend, attemptTimeoutMs } = this.options;
    this.inFlight.set(worker, this.loadOf(worker) + 1);
    const kind = body.op === "lookup" || body.op === "relay" ? body.op : "tool";
    const payload = { parts: [{ kind: "data", data: { from: SENDER, body } }] } as const;
    const result = await sendMessage({
      ...this.options,
      caller: COORDINATOR,
      worker,
      target,
      attemptTimeoutMs: limitMs ?? attemptTimeoutMs,
      send: (signal) => backend.send(COORDINATOR, worker, payload, { kind, cause: "work", signal, requirements }),
    });
    this.inFlight.set(worker, this.loadOf(worker) - 1);
    if (result.error === null || result.error === "remote") this.heard(worker);
    else this.failed(worker, result.error);
    return result;
  }

  private heard(agent: AgentId): void {
    this.down.delete(agent);
    this.options.recovery.answered(agent, this.options.clock.now());
  }

  private failed(agent: AgentId, code: CommErrorCode): void {
    if (!DOWN.has(code)) return;
    this.down.add(agent);
    this.options.recovery.failed(agent, this.options.clock.now());
  }
}

/** It is called by nobody: whoever answers it does so on the connection it opened. */
const SENDER: Sender = { agentId: COORDINATOR, incarnation: 1, host: "127.0.0.1", port: 0 };

const nobody = (needed: string): TaskResult => ({
  worker: "",
  protocol: "",
  raw: null,
  text: "",
  data: null,
  ms: 0,
  error: "unknown_agent",
  message: `no agent that is up has ${needed}`,
});
