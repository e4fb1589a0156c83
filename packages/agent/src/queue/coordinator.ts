import path from "node:path";
import {
  type AgentExecutor,
  CommError,
  type FromAgent,
  type QueueConfig,
  type QueueNode,
  type QueueSpec,
  RunError,
  type ToAgent,
} from "@failstorm/core";
import {
  type FinishedQuestion,
  type Journal,
  openJournal,
  type QuestionSource,
  QueueEngine,
  type QueueQuestion,
} from "@failstorm/qa";
import { Refusal } from "../messenger.ts";
import type { Role, RoleParts } from "../role.ts";
import { type Cost, Dispatcher, resultEvent } from "./dispatcher.ts";
import { NetworkBase } from "./network.ts";
import { feederConfig, joinNetwork, Neighbours } from "./neighbours.ts";
import { firstDispatches, type OpenedQuestions, openQuestions, paced } from "./questions.ts";
import { readIncoming } from "./wire.ts";

/** The journal of a run: every result, as it comes. */
const RESULTS = "queue_results.jsonl";
const STATUS_TIMEOUT_MS = 1000;
const PROGRESS_MS = 1000;
const MIN_PROGRESS_MS = 200;

/**
 * The coordinator of a queue: hosts the protocol, answers `status` and `dispatch`, pulls questions from their source while workers are free
 * for them, and keeps each result in its journal before anything else happens. Started again after a crash it goes on from there.
 */
export class Coordinator implements Role {
  readonly up: Role["up"] = { homeTool: null, shard: null, role: "coordinator" };
  readonly routes = [];
  readonly inStorm = false;
  private readonly parts: RoleParts<QueueSpec>;
  private readonly queue: QueueConfig;
  private readonly network: NetworkBase;
  private readonly stopping = new AbortController();
  private nodes: readonly QueueNode[] = [];
  private questions: OpenedQuestions | null = null;
  private journal: Journal | null = null;
  private engine: QueueEngine | null = null;
  private dispatcher: Dispatcher | null = null;
  /** Messages are not waited for one after the other: what comes after the network waits for what it loads. */
  private prepared: Promise<void> = Promise.resolve();
  private iterator: AsyncIterator<QueueQuestion> | null = null;
  private fed: { readonly t0: number; readonly resumed: boolean } | null = null;
  private state: "waiting" | "running" | "closed" = "waiting";
  private recorded = { before: 0, failedBefore: 0, rejected: 0 };
  private pulling = false;
  private sourceEnded = false;

  constructor(parts: RoleParts<QueueSpec>, queue: QueueConfig) {
    this.parts = parts;
    this.queue = queue;
    this.network = new NetworkBase({ self: parts.self.agentId, backend: parts.backend, clock: parts.clock });
  }

  readonly executor: AgentExecutor = {
    execute: async ({ payload }, queue) => {
      const incoming = readIncoming(payload);
      if (incoming?.kind !== "command")
        throw new Refusal("bad_request", 'a coordinator takes the commands "status" and "dispatch"');
      if (incoming.command === "dispatch") {
        if (this.fed === null) throw new Refusal("not_ready", "there is nothing to dispatch yet");
        this.begin();
      }
      const workers = incoming.command === "status" ? await this.workersStatus() : {};
      queue.enqueue({ type: "agent_parts_message", parts: [{ kind: "data", data: { ...this.status(), ...workers } }] });
    },
    cancel: async () => undefined,
  };

  capabilities = (): readonly string[] => ["command:status", "command:dispatch"];

  tasksInFlight = (): number => this.engine?.status().inFlight ?? 0;

  async handle(message: Exclude<ToAgent, { type: "stop" }>): Promise<FromAgent | null> {
    switch (message.type) {
      case "network":
        this.prepared = this.prepare(message.nodes);
        await this.prepared;
        return { type: "prepared" };
      case "questions":
        await this.prepared;
        this.questions?.followed?.grow(message.bytes, message.ended);
        return null;
      case "feed":
        this.fed = message;
        this.parts.recorder.setEpoch(message.t0);
        // One that was killed had been told to dispatch.
        if (message.resumed) this.begin();
        return null;
      default:
        throw new Error(`a coordinator was sent ${message.type}`);
    }
  }

  async stop(): Promise<void> {
    this.stopping.abort(new Error("the coordinator stops"));
    this.dispatcher?.stop();
    this.journal?.close();
  }

  /** Opens questions and journal: what is wrong with them shows before anything is asked. */
  private async prepare(nodes: readonly QueueNode[]): Promise<void> {
    const { spec, recorder, tell } = this.parts;
    this.nodes = nodes;
    joinNetwork(this.network, nodes, this.queue.topology);
    this.questions = await openQuestions({
      path: spec.questionsPath ?? "",
      kind: this.queue.source,
      onBad: (line, reason) => {
        this.recorded.rejected += 1;
        recorder.event({ ev: "queue.rejected", line, reason });
      },
      onRead: (bytes) => tell({ type: "taken", bytes }),
    });
    this.recorded.rejected += this.questions.badUntold;
  }

  private begin(): void {
    if (this.state !== "waiting") return;
    this.state = "running";
    this.open().catch((error: unknown) => this.parts.fail(error));
  }

  private async open(): Promise<void> {
    const { spec, clock, prng, recorder } = this.parts;
    await this.prepared;
    const { questions, fed, queue } = this;
    if (questions === null || fed === null || spec.resultsDir === null)
      throw new RunError("NOT_PREPARED", "the coordinator was told to dispatch before it had a network");
    const { journal, replay } = openJournal({
      path: path.join(spec.resultsDir, RESULTS),
      source: questions.source.fingerprint,
      onRecreated: () =>
        recorder.event({
          ev: "log",
          level: "warning",
          message: `${RESULTS} had been taken away; it is back, with all that was in it`,
        }),
    });
    this.journal = journal;
    this.recorded = { ...this.recorded, before: replay.recorded, failedBefore: replay.failed };
    for (const line of replay.badLines)
      recorder.event({ ev: "log", level: "warning", message: `${RESULTS}:${line}: no result; it counts for nothing` });
    const neighbours = new Neighbours(this.parts, this.network, this.nodes);
    recorder.event({
      ev: "queue.opened",
      source: queue.source,
      questions: questions.source.count,
      recorded: replay.recorded,
      batch: queue.batch,
      workers: neighbours.described(),
    });
    this.engine = new QueueEngine({
      config: feederConfig(queue),
      prng: prng.fork("queue"),
      now: clock.now(),
      done: replay.done,
      takesBatches: (worker) => neighbours.takesBatches(worker),
    });
    this.dispatcher = this.createDispatcher(this.engine, neighbours);
    this.iterator = (await this.timed(questions.source, fed, replay.recorded))[Symbol.asyncIterator]();
    this.report();
    await neighbours.join(this.dispatcher, this.stopping.signal);
    this.pull();
  }

  /** The questions with the times they were or are due. A schedule goes on where it was when a coordinator of the same start was killed. */
  private async timed(
    source: QuestionSource,
    { t0, resumed }: { readonly t0: number; readonly resumed: boolean },
    recorded: number,
  ): Promise<AsyncIterable<QueueQuestion>> {
    const { parts, queue } = this;
    const { clock, spec } = parts;
    const earlier = resumed ? await firstDispatches(path.join(spec.workspaceDir, "events.ndjson"), t0) : null;
    const from = earlier?.recorded ?? recorded;
    const due = queue.rate === null ? source : paced(source, { rate: queue.rate, t0, from, clock });
    return withFirstDispatch(due, earlier?.sent ?? new Map());
  }

  private createDispatcher(engine: QueueEngine, neighbours: Neighbours): Dispatcher {
    const { clock, recorder, spec, fail } = this.parts;
    return new Dispatcher({
      engine,
      network: this.network,
      clock,
      recorder,
      run: path.basename(spec.resultsDir ?? ""),
      takesBatches: (worker) => neighbours.takesBatches(worker),
      onRecords: (results, cost) => this.keep(results, cost, neighbours),
      onChange: () => this.pull(),
      onReturned: (worker) => neighbours.greetAgain(worker, this.stopping.signal),
      onStarved: (open, sinceMs) =>
        fail(
          new RunError(
            "QUEUE_STARVED",
            `no worker for ${Math.round(sinceMs / 1000)} s, ${open} questions are open; nothing is lost: start workers and go on with --resume`,
          ),
        ),
    });
  }

  private keep(results: readonly FinishedQuestion[], cost: Cost, neighbours: Neighbours): void {
    const { self, recorder, fail } = this.parts;
    const protocolOf = (worker: string | null): string | null => (worker === null ? null : neighbours.protocolOf(worker));
    try {
      this.journal?.record(
        ...results.map((result) => ({ ...result, protocol: protocolOf(result.worker), inc: self.incarnation })),
      );
    } catch (error) {
      this.dispatcher?.stop();
      // What could not be kept is not done: the queue is not closed over it.
      this.state = "closed";
      fail(error);
      return;
    }
    for (const result of results) recorder.event(resultEvent(result, cost));
    recorder.counters.tasksFinished += results.length;
  }

  /** Takes questions from the source while the engine wants some; closes the queue when all is done. */
  private pull(): void {
    if (this.engine?.finished === true) return this.close();
    if (this.pulling || this.sourceEnded || this.iterator === null) return;
    if ((this.engine?.wanted() ?? 0) === 0) return;
    this.pulling = true;
    this.pullAll(this.iterator)
      .catch((error: unknown) => this.parts.fail(error))
      .finally(() => {
        this.pulling = false;
        if (this.engine?.finished === true) this.close();
      });
  }

  private async pullAll(iterator: AsyncIterator<QueueQuestion>): Promise<void> {
    while (!this.stopping.signal.aborted && (this.engine?.wanted() ?? 0) > 0) {
      const next = await iterator.next();
      if (next.done === true) {
        this.sourceEnded = true;
        this.dispatcher?.endOfSource();
        return;
      }
      this.dispatcher?.offer([next.value]);
    }
  }

  private close(): void {
    if (this.state !== "running" || this.engine === null) return;
    this.state = "closed";
    const { recorder, tell, fail } = this.parts;
    const { recorded, failed } = this.counts();
    try {
      this.journal?.check();
    } catch (error) {
      fail(error);
      return;
    }
    recorder.event({ ev: "queue.closed", recorded, failed, rejected: this.recorded.rejected });
    recorder.flush();
    tell({ type: "drained" });
  }

  /** Says how far the queue is, and looks after the journal, once per interval. */
  private report(): void {
    const { clock, recorder, spec, fail } = this.parts;
    clock.after(Math.max(MIN_PROGRESS_MS, PROGRESS_MS * spec.config.scenario.timeScale), () => {
      if (this.stopping.signal.aborted || this.engine === null) return;
      const { inFlight, waiting, free, quarantined } = this.engine.status();
      recorder.event({ ev: "queue.progress", ...this.counts(), inFlight, waiting, free, quarantined });
      try {
        this.journal?.check();
      } catch (error) {
        fail(error);
        return;
      }
      this.report();
    });
  }

  private counts(): { recorded: number; failed: number } {
    const { recorded = 0, failed = 0 } = this.engine?.status() ?? {};
    return { recorded: this.recorded.before + recorded, failed: this.recorded.failedBefore + failed };
  }

  private status(): Record<string, unknown> {
    const { agentId, incarnation } = this.parts.self;
    const status = this.engine?.status();
    return {
      agentId,
      incarnation,
      role: "coordinator",
      ...status,
      phase: this.state === "running" ? (status?.phase ?? "running") : this.state,
      ...this.counts(),
      questions: this.questions?.source.count ?? null,
      workers: this.network.neighbours(),
    };
  }

  /** What those of ours say that it feeds; a stranger would take the command for a question. */
  private async workersStatus(): Promise<Record<string, unknown>> {
    const { agentId } = this.parts.self;
    const to = this.nodes.filter(({ fedBy, external }) => fedBy === agentId && !external).map((node) => node.agentId);
    const signal = AbortSignal.timeout(STATUS_TIMEOUT_MS);
    const command = { parts: [{ kind: "data", data: { command: "status" } }] } as const;
    const answers = await this.network.broadcast(command, { to, kind: "command", signal });
    const said = [...answers].map(([worker, answer]) => {
      if (answer instanceof CommError) return [worker, { unreachable: answer.code }] as const;
      const part = answer.parts.find(({ kind }) => kind === "data");
      return [worker, part?.kind === "data" ? part.data : null] as const;
    });
    return { workers: Object.fromEntries(said) };
  }
}

async function* withFirstDispatch(source: QuestionSource, known: ReadonlyMap<string, number>): AsyncGenerator<QueueQuestion> {
  for await (const question of source.questions()) {
    const intendedAt = question.intendedAt ?? known.get(question.id);
    yield intendedAt === undefined ? question : { ...question, intendedAt };
  }
}
