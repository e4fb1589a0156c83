import {
  type AgentId,
  type Clock,
  CommError,
  type CommErrorCode,
  type DirectRequest,
  type RelayRequest,
  type Requirements,
  type Sender,
  type Tool,
  toCommError,
  type Traffic,
} from "@failstorm/core";
import type { MetaBackend } from "@failstorm/protocols/meta/backend.ts";
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
  /** Any of its protocols answers. */
  readonly up: boolean;
  /** Of the quickest probe; null when all failed. */
  readonly ms: number | null;
  /** Of each protocol that it hosts. */
  readonly protocols: readonly { readonly protocol: string; readonly up: boolean; readonly ms: number | null }[];
}

export interface CoordinatorOptions {
  readonly backend: MetaBackend;
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
/** While there are tasks, who is up is asked anew what it can do when its last handshake is so old: tools and shards move. */
const DESCRIBED_FOR_MS = 5_000;
/** And who is down, or could do nothing, whether it is back. */
const DOWN_FOR_MS = 1_000;
/** An agent that was started again serves nothing before it has caught up; what it refuses meanwhile is not the task's fault. */
const REJOIN_MS = 5_000;

interface Connected {
  readonly traffic: Traffic | null;
  readonly error: CommErrorCode | null;
}

/** Hands tasks to the least loaded agent that can do them and is up, and to another when that fails. */
export class Coordinator {
  private readonly options: CoordinatorOptions;
  private readonly inFlight = new Map<AgentId, number>();
  /** Messages so far: of several that have nothing to do, the one that has had least to do is taken. */
  private readonly given = new Map<AgentId, number>();
  /** Since when. */
  private readonly down = new Map<AgentId, number>();
  private readonly dialledAt = new Map<AgentId, number>();
  private readonly dialling = new Map<AgentId, Promise<Connected>>();
  private readonly startedAt = new Map<AgentId, number>();
  private readonly end = new AbortController();
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

  /** Gives up what is under way; whoever waits for a task gets what came of it so far. */
  close(): void {
    this.end.abort();
  }

  /** An agent has been started again. */
  async welcome(agent: AgentId): Promise<void> {
    this.startedAt.set(agent, this.options.clock.now());
    await this.connect(agent);
  }

  /** Shakes hands with an agent, and learns what it can do; once at a time, whoever asks. Never throws. */
  connect(agent: AgentId): Promise<Connected> {
    const present = this.dialling.get(agent);
    if (present !== undefined) return present;
    const dial = this.dial(agent).finally(() => this.dialling.delete(agent));
    this.dialling.set(agent, dial);
    return dial;
  }

  private async dial(agent: AgentId): Promise<Connected> {
    const { backend, attemptTimeoutMs, clock } = this.options;
    const signal = this.within(attemptTimeoutMs);
    const startedAt = clock.now();
    this.dialledAt.set(agent, startedAt);
    try {
      const { peer, traffic } = await backend.connect(COORDINATOR, agent, { cause: "setup", kind: "handshake", signal });
      this.described.set(agent, peer.capabilities);
      this.heard(agent, startedAt);
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

  /** Each of its protocols. */
  async probe(agent: AgentId): Promise<AgentHealth> {
    const { backend, clock, attemptTimeoutMs } = this.options;
    const startedAt = clock.now();
    const signal = this.within(attemptTimeoutMs);
    const failures: CommErrorCode[] = [];
    const probes = backend.protocolsOf(agent).map(async (protocol) => {
      try {
        await backend.healthOf(agent, protocol, { cause: "heartbeat", kind: "probe", signal });
        return { protocol, up: true, ms: clock.now() - startedAt };
      } catch (error) {
        failures.push(toCommError(error, agent, signal).code);
        return { protocol, up: false, ms: null };
      }
    });
    const protocols = await Promise.all(probes);
    const answered = protocols.flatMap(({ ms }) => ms ?? []);
    if (answered.length > 0) this.heard(agent, startedAt);
    else for (const code of failures) this.failed(agent, code);
    return { agent, up: answered.length > 0, ms: answered.length > 0 ? Math.min(...answered) : null, protocols };
  }

  /** One attempt, at this worker. Never throws. */
  async sendTo(worker: AgentId, task: ShardTask, requirements: Requirements = {}): Promise<TaskResult> {
    return this.post(worker, this.requestFor(task, worker, this.nextTask(), 1), requirements);
  }

  /** The task done by whoever can, or the last failure at its deadline. Never throws. */
  async submit(task: ShardTask, requirements: Requirements = {}): Promise<TaskResult> {
    const { clock, deadlineMs, attemptTimeoutMs, recovery } = this.options;
    const { signal } = this.end;
    const id = this.nextTask();
    const deadline = clock.now() + deadlineMs;
    const tried = new Set<AgentId>();
    const lost: AgentId[] = [];
    let refusals = 0;
    let last: TaskResult | null = null;
    for (let attempt = 1; ; ) {
      this.renew();
      const worker = this.leastLoaded(task, tried);
      if (worker === null) {
        if (signal.aborted || clock.now() + RETRY_MS >= deadline) return last ?? nobody(wanted(task));
        // Not awaited: one that does not answer would hold up what another may do by now.
        void this.refresh();
        await clock.sleep(RETRY_MS, signal).catch(() => undefined);
        tried.clear();
        continue;
      }
      // The last attempt does not outlive the task.
      const limitMs = Math.max(1, Math.min(attemptTimeoutMs, deadline - clock.now()));
      last = withoutShard(
        await this.post(worker, this.requestFor(task, worker, id, attempt, limitMs), requirements, { limitMs }),
        task,
      );
      attempt += 1;
      if (last.error === null) {
        for (const agent of lost) if (agent !== worker) recovery.servedInsteadOf(agent, clock.now());
        return last;
      }
      tried.add(worker);
      if (DOWN.has(last.error)) lost.push(worker);
      else if ((last.error !== "remote" || (await this.isFaultOf(task, worker))) && ++refusals >= MAX_REFUSALS) return last;
      if (signal.aborted || clock.now() >= deadline) return last;
    }
  }

  /** Whether the task is why it was refused: one that has given a tool or a shard back, or has just been started, has reasons of its own. */
  private async isFaultOf(task: ShardTask, worker: AgentId): Promise<boolean> {
    await this.connect(worker);
    const upSince = this.startedAt.get(worker) ?? Number.NEGATIVE_INFINITY;
    return this.isAble(worker, task) && this.options.clock.now() - upSince >= REJOIN_MS;
  }

  /** In the background, and only while there are tasks: a network that nobody uses is left alone. */
  private renew(): void {
    const { ids, clock } = this.options;
    const now = clock.now();
    for (const id of ids) {
      const age = now - (this.dialledAt.get(id) ?? Number.NEGATIVE_INFINITY);
      // One that has just been started has nothing yet to say of itself.
      const isSettled = this.isUp(id) && this.capabilitiesOf(id).length > 0;
      if (age >= (isSettled ? DESCRIBED_FOR_MS : DOWN_FOR_MS)) void this.connect(id);
    }
  }

  /** Answers a question by the pipeline of the shard workers, each step by whoever can. Throws what a step's last failure was. */
  ask(question: string): Promise<Answer> {
    const callTool = async (tool: Tool, step: string, input: unknown): Promise<unknown> => {
      const { worker, error, message, data } = await this.submit({ tool, input });
      if (error !== null) throw new CommError(error, worker || tool, `${step}: ${message}`);
      return data;
    };
    return answerQuestion(question, { callTool }, { topK: this.options.topK });
  }

  /**
   * Has one agent ask another, over the link between them: the result is the other's, in a protocol it hosts. The message that is counted
   * is the one to the first. Never throws.
   */
  async relay(through: AgentId, to: AgentId, request: DirectRequest): Promise<TaskResult> {
    const { ids, label } = this.options;
    const body: RelayRequest = {
      op: "relay",
      ttl: ids.length,
      path: [COORDINATOR],
      targets: [{ agentId: to, request }],
      origin: SENDER,
    };
    const result = await this.post(through, body, {}, { target: to });
    return { ...result, worker: to, protocol: label(to) };
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

  private isAble(id: AgentId, task: ShardTask): boolean {
    const needed = "tool" in task ? `tool:${task.tool}` : `shard:${task.shard ?? this.options.ids.indexOf(id)}`;
    return this.capabilitiesOf(id).includes(needed);
  }

  private leastLoaded(task: ShardTask, tried: ReadonlySet<AgentId>): AgentId | null {
    const able = this.options.ids.filter((id) => this.isUp(id) && !tried.has(id) && this.isAble(id, task));
    const given = (id: AgentId): number => this.given.get(id) ?? 0;
    return able.toSorted((a, b) => this.loadOf(a) - this.loadOf(b) || given(a) - given(b))[0] ?? null;
  }

  private within(limitMs: number): AbortSignal {
    return AbortSignal.any([AbortSignal.timeout(Math.ceil(limitMs)), this.end.signal]);
  }

  /** `target`: whose answer is wanted, where the worker only passes the message on. */
  private async post(
    worker: AgentId,
    body: Body,
    requirements: Requirements,
    { target = null, limitMs }: { readonly target?: AgentId | null; readonly limitMs?: number } = {},
  ): Promise<TaskResult> {
    const { backend, attemptTimeoutMs, clock } = this.options;
    const startedAt = clock.now();
    this.inFlight.set(worker, this.loadOf(worker) + 1);
    this.given.set(worker, (this.given.get(worker) ?? 0) + 1);
    const kind = body.op === "lookup" || body.op === "relay" ? body.op : "tool";
    const payload = { parts: [{ kind: "data", data: { from: SENDER, body } }] } as const;
    const result = await sendMessage({
      ...this.options,
      caller: COORDINATOR,
      worker,
      target,
      attemptTimeoutMs: limitMs ?? attemptTimeoutMs,
      end: this.end.signal,
      send: (signal) => backend.send(COORDINATOR, worker, payload, { kind, cause: "work", signal, requirements }),
    });
    this.inFlight.set(worker, this.loadOf(worker) - 1);
    if (result.error === null || result.error === "remote") this.heard(worker, startedAt);
    else this.failed(worker, result.error);
    return result;
  }

  /** `since`: when what it has answered began. An answer that was under way when it was lost is no sign that it is back. */
  private heard(agent: AgentId, since: number): void {
    if (since < (this.down.get(agent) ?? since)) return;
    this.down.delete(agent);
    this.options.recovery.answered(agent, this.options.clock.now());
  }

  private failed(agent: AgentId, code: CommErrorCode): void {
    if (!DOWN.has(code)) return;
    const now = this.options.clock.now();
    this.down.set(agent, this.down.get(agent) ?? now);
    this.options.recovery.failed(agent, now);
  }
}

/** It is called by nobody: whoever answers it does so on the connection it opened. */
const SENDER: Sender = { agentId: COORDINATOR, incarnation: 1, host: "127.0.0.1", port: 0 };

const wanted = (task: ShardTask): string => {
  if ("tool" in task) return `tool:${task.tool}`;
  return task.shard === undefined ? "a shard of its own" : `shard:${task.shard}`;
};

/** A worker that has given the shard back answers a look-up in it with nothing, and says so. */
function withoutShard(result: TaskResult, task: ShardTask): TaskResult {
  const missing = "tool" in task ? [] : ((result.data as { missing?: readonly number[] } | null)?.missing ?? []);
  if (result.error !== null || missing.length === 0) return result;
  const message = `not_holder: ${result.worker} does not serve shard ${missing.join(", ")}`;
  return { ...result, text: "", data: null, error: "remote", message };
}

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
