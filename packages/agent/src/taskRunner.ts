import type { AgentId, Clock, ScheduledTask, Tool } from "@failstorm/core";
import { type OutcomeStatus, type TaskLedger, taskOwner } from "@failstorm/network";
import { type Answer, answerQuestion } from "@failstorm/qa";
import type { Membership } from "./membership.ts";
import type { Recorder } from "./recorder.ts";
import type { Steps, TaskContext } from "./steps.ts";

interface Entry extends ScheduledTask {
  /** CLOCK_MONOTONIC ms. */
  readonly startAt: number;
  readonly deadlineAt: number;
}

const SWEEP_SOON_MS = 50;

/** One agent's turn at a task. */
interface Execution {
  readonly attempt: number;
  /** The dead agent it would be with; null when it is simply ours. */
  readonly orphanOf: AgentId | null;
  /** Set when it was due with the dead agent before we came to it. */
  readonly takenFrom: { readonly from: AgentId; readonly fromInc: number } | null;
}

/**
 * Runs the tasks this agent owns: its own at their intended times (open loop), those of the dead as soon as the view makes it
 * their owner. A task that somebody alive has started, or that has an outcome, is left alone; the ledger says which.
 * Every task due is looked at again until it has an outcome, so that none is lost however views moved.
 */
export class TaskRunner {
  private entries: readonly Entry[] = [];
  /** Due tasks without a known outcome. */
  private readonly open = new Map<string, Entry>();
  private readonly running = new Set<string>();
  private cursor = 0;
  /** CLOCK_MONOTONIC ms: what is intended before was due while this agent was not there. */
  private begunAt = 0;
  private stopped = false;
  private sweepArmed = false;
  private sweepingSoon = false;
  private readonly stopAll = new AbortController();
  private readonly options: {
    readonly self: AgentId;
    readonly incarnation: number;
    readonly clock: Clock;
    readonly recorder: Recorder;
    readonly ledger: TaskLedger;
    readonly membership: Membership;
    readonly steps: Steps;
    readonly topK: number;
    readonly deadlineMs: number;
    readonly sweepMs: number;
    readonly dropOrphans: boolean;
  };

  constructor(options: TaskRunner["options"]) {
    this.options = options;
  }

  get inFlight(): number {
    return this.running.size;
  }

  start(tasks: readonly ScheduledTask[], t0: number): void {
    const { deadlineMs, clock } = this.options;
    this.begunAt = clock.now();
    this.entries = tasks
      .map((task) => ({ ...task, startAt: t0 + task.atMs, deadlineAt: t0 + task.atMs + deadlineMs }))
      .toSorted((a, b) => a.startAt - b.startAt);
    this.armNext();
  }

  /** True when every task due has an outcome that this agent knows of, or an owner alive that is not this agent. */
  get idle(): boolean {
    return (
      this.cursor >= this.entries.length &&
      this.running.size === 0 &&
      [...this.open.values()].every((entry) => !this.isMine(entry))
    );
  }

  /** True when every task due has an outcome that this agent knows of. */
  get settled(): boolean {
    const { ledger } = this.options;
    return this.cursor >= this.entries.length && [...this.open.keys()].every((task) => ledger.outcomeOf(task) !== null);
  }

  /** Looks at all open tasks: starts or expires those that are ours now. */
  sweep(): void {
    for (const entry of this.open.values()) this.consider(entry);
  }

  /**
   * Sweeps in a moment, once for all changes of view until then. The dead mostly come several at a time, and while some survivors still
   * find out, those that know leave them the cores: an orphaned task that has lost its owner can wait for so long.
   */
  sweepSoon(): void {
    if (this.sweepingSoon) return;
    this.sweepingSoon = true;
    this.options.clock.after(SWEEP_SOON_MS, () => {
      this.sweepingSoon = false;
      if (!this.stopped) this.sweep();
    });
  }

  stop(): void {
    this.stopped = true;
    this.stopAll.abort(new Error("the agent stops"));
  }

  private armNext(): void {
    const next = this.entries[this.cursor];
    if (next === undefined || this.stopped) return;
    this.options.clock.after(next.startAt - this.options.clock.now(), () => {
      if (this.stopped) return;
      const now = this.options.clock.now();
      for (
        let entry = this.entries[this.cursor];
        entry !== undefined && entry.startAt <= now;
        entry = this.entries[++this.cursor]
      ) {
        this.open.set(entry.task, entry);
        this.consider(entry, entry.startAt >= this.begunAt);
      }
      this.armNext();
      this.armSweep();
    });
  }

  /** As long as there is anything to look at. */
  private armSweep(): void {
    if (this.sweepArmed || this.open.size === 0) return;
    this.sweepArmed = true;
    this.options.clock.after(this.options.sweepMs, () => {
      this.sweepArmed = false;
      if (this.stopped) return;
      this.sweep();
      this.armSweep();
    });
  }

  /** Ours: nobody finished it, nobody alive has begun it, and ownership over the live view falls to us. */
  private isMine(entry: Entry): boolean {
    const { ledger, membership, self, incarnation } = this.options;
    if (ledger.outcomeOf(entry.task) !== null) return false;
    const starters = ledger.startedBy(entry.task);
    const startedAlive = starters.some(({ owner, incarnation: inc }) =>
      owner === self ? inc === incarnation : membership.view.isLive(owner) && membership.view.incarnationOf(owner) === inc,
    );
    if (startedAlive) return false;
    return taskOwner(entry.task, entry.homeOwner, membership.view) === self;
  }

  /**
   * Starts or expires a task that is ours. One that falls due just now (`onTime`) while its home owner is known dead is ordinary work
   * in new hands; one that was due before (also before a restart of this agent) is a takeover: somebody may have been at it.
   */
  private consider(entry: Entry, onTime = false): void {
    const { ledger, clock, dropOrphans } = this.options;
    if (this.running.has(entry.task)) return;
    if (ledger.outcomeOf(entry.task) !== null) {
      this.open.delete(entry.task);
      return;
    }
    if (!this.isMine(entry)) return;
    const orphanOf = this.orphanOf(entry);
    if (orphanOf !== null && dropOrphans) return;
    const attempt = ledger.highestAttempt(entry.task) + 1;
    const takenFrom = orphanOf === null || onTime ? null : this.claim(entry, orphanOf);
    const execution: Execution = { attempt, orphanOf, takenFrom };
    if (clock.now() >= entry.deadlineAt) {
      this.finish(entry, execution, "expired", null);
      return;
    }
    this.running.add(entry.task);
    void this.run(entry, execution);
  }

  /** The dead agent a task is taken over from: who began it, else its home owner; null when it is simply ours. */
  private orphanOf(entry: Entry): AgentId | null {
    const { ledger, self } = this.options;
    const starter = ledger.startedBy(entry.task).at(-1);
    if (starter !== undefined) return starter.owner;
    return entry.homeOwner === self ? null : entry.homeOwner;
  }

  private claim(entry: Entry, from: AgentId): { from: AgentId; fromInc: number } {
    const { membership, recorder, ledger } = this.options;
    const fromInc = ledger.startedBy(entry.task).at(-1)?.incarnation ?? membership.view.incarnationOf(from) ?? 0;
    recorder.event({ ev: "takeover.claimed", kind: "task", id: entry.task, from, fromInc, view: membership.view.hash });
    return { from, fromInc };
  }

  private async run(entry: Entry, execution: Execution): Promise<void> {
    const { attempt, orphanOf, takenFrom } = execution;
    const { clock, recorder, ledger, membership, steps } = this.options;
    recorder.event({ ev: "task.started", task: entry.task, attempt, view: membership.view.hash, orphanOf });
    recorder.counters.tasksStarted += 1;
    ledger.recordStarted({ task: entry.task, attempt }, clock.now());
    const deadline = AbortSignal.timeout(Math.max(1, Math.ceil(entry.deadlineAt - clock.now())));
    const signal = AbortSignal.any([deadline, this.stopAll.signal]);
    const context: TaskContext = {
      task: entry.task,
      attempt,
      takeover: takenFrom !== null,
      deadlineAt: entry.deadlineAt,
      signal,
    };
    let answer: Answer | null = null;
    try {
      const callTool = (tool: Tool, step: string, input: unknown): Promise<unknown> => steps.callTool(tool, step, input, context);
      answer = await answerQuestion(entry.question, { callTool }, { topK: this.options.topK });
    } catch (error) {
      if (!signal.aborted) recorder.event({ ev: "log", level: "warning", message: `${entry.task}: ${String(error)}` });
    }
    this.running.delete(entry.task);
    if (this.stopAll.signal.aborted) return;
    const status: OutcomeStatus = deadline.aborted
      ? "expired"
      : answer === null || answer.answer === null
        ? "no_answer"
        : "answered";
    this.finish(entry, execution, status, status === "answered" ? answer : null);
  }

  private finish(entry: Entry, { attempt, orphanOf, takenFrom }: Execution, status: OutcomeStatus, answer: Answer | null): void {
    const { clock, recorder, ledger } = this.options;
    const latencyMs = Math.round((clock.now() - entry.startAt) * 1000) / 1000;
    const given = answer?.answer ?? null;
    recorder.event({
      ev: "task.outcome",
      task: entry.task,
      attempt,
      status,
      answer: given,
      latencyMs,
      evidence: [...(answer?.evidence ?? [])],
      orphanOf,
    });
    recorder.counters.tasksFinished += 1;
    ledger.recordOutcome({ task: entry.task, attempt, status, answer: given }, clock.now());
    this.open.delete(entry.task);
    if (takenFrom !== null && status === "answered")
      recorder.event({ ev: "takeover.served", kind: "task", id: entry.task, ...takenFrom });
  }
}
