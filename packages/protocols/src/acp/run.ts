import { randomUUID } from "node:crypto";
import type { Payload } from "@failstorm/core";
import { toMessageParts } from "./content.ts";
import {
  type AwaitMessage,
  type ErrorModel,
  isTerminal,
  type Message,
  type Run,
  type RunEventType,
  type RunLogEvent,
  type RunStatus,
} from "./model.ts";

/**
 * Where a run stands:
 * created → in-progress ⇄ awaiting; each of these → cancelling → cancelled; in-progress → completed | failed; awaiting → failed
 * (nobody answered). Terminal states are never left, and nothing is logged after one.
 */
type RunState =
  | { readonly status: "created" | "in-progress" | "cancelling" }
  | { readonly status: "awaiting"; readonly request: AwaitMessage; readonly resume: (answer: Message) => void }
  | { readonly status: "completed" | "cancelled"; readonly finishedAt: string }
  | { readonly status: "failed"; readonly finishedAt: string; readonly error: ErrorModel };

/** What the log keeps: enough to tell each event again as it was. */
type LogEntry =
  | { readonly kind: "state"; readonly type: RunEventType; readonly state: RunState; readonly messages: number }
  | { readonly kind: "message"; readonly message: Message }
  | { readonly kind: "generic"; readonly generic: object };

export interface RunOptions {
  readonly agentName: string;
  /** Absent when the client named none: then the run is a session of its own, under its own id. */
  readonly sessionId: string | undefined;
  readonly input: readonly Message[];
  /** ISO 8601. */
  readonly now: () => string;
}

/** One run: its state, its output, and the log of all its events. In memory: a crash forgets it, as ACP's reference server does. */
export class RunRecord {
  /** Not from the seeded Prng: another incarnation of this agent must not hand out the same ids. */
  readonly id = randomUUID();
  readonly sessionId: string;
  readonly input: readonly Message[];
  readonly output: Message[] = [];
  private readonly options: RunOptions;
  private readonly createdAt: string;
  private readonly entries: LogEntry[] = [];
  private controller: AbortController | null = null;
  private state: RunState = { status: "created" };
  private waiters: Array<() => void> = [];

  constructor(options: RunOptions) {
    this.options = options;
    this.input = options.input;
    this.sessionId = options.sessionId ?? this.id;
    this.createdAt = options.now();
    this.log("run.created");
  }

  get status(): RunStatus {
    return this.state.status;
  }

  get terminal(): boolean {
    return isTerminal(this.state.status);
  }

  /** Nothing more comes by itself. */
  get stopped(): boolean {
    return this.terminal || this.state.status === "awaiting";
  }

  /** How far the log is; see `eventsAt`. */
  get logLength(): number {
    return this.entries.length;
  }

  /** Aborts when the run is cancelled, or given up. */
  get signal(): AbortSignal {
    return this.abortController().signal;
  }

  snapshot(): Run {
    return this.inState(this.state, this.output.length);
  }

  /** The events of one place in the log (a message is several), [] behind its end. */
  eventsAt(index: number): readonly RunLogEvent[] {
    const entry = this.entries[index];
    if (entry === undefined) return [];
    if (entry.kind === "generic") return [{ type: "generic", generic: entry.generic }];
    if (entry.kind === "state") return [{ type: entry.type, run: this.inState(entry.state, entry.messages) }];
    const { message } = entry;
    return [
      { type: "message.created", message },
      ...message.parts.map((part) => ({ type: "message.part", part }) as const),
      { type: "message.completed", message },
    ];
  }

  begin(): void {
    if (this.state.status === "created") this.enter({ status: "in-progress" }, "run.in-progress");
  }

  /** One whole message of the agent. */
  say(payload: Payload): void {
    if (this.terminal) return;
    const parts = toMessageParts(payload);
    // A message has at least one part.
    if (parts.length === 0) return;
    const at = this.options.now();
    const message: Message = { role: `agent/${this.options.agentName}`, parts, created_at: at, completed_at: at };
    this.output.push(message);
    this.add({ kind: "message", message });
  }

  /** Something that is no message: a note on progress. */
  note(generic: object): void {
    if (this.terminal) return;
    this.add({ kind: "generic", generic });
  }

  /** Asks the client something; resolves with its answer, rejects when the run ends before one comes. */
  awaitAnswer(payload: Payload): Promise<Message> {
    const { agentName, now } = this.options;
    const at = now();
    // Without an end, the SDKs would give it one of their own at each reading.
    const message: Message = { role: `agent/${agentName}`, parts: toMessageParts(payload), created_at: at, completed_at: at };
    return new Promise((resolve, reject) => {
      if (this.state.status !== "in-progress") {
        reject(new Error(`run ${this.id} is ${this.state.status}: it cannot await anything`));
        return;
      }
      const { signal } = this;
      const onEnd = (): void => reject(signal.reason);
      signal.addEventListener("abort", onEnd, { once: true });
      const resume = (answer: Message): void => {
        signal.removeEventListener("abort", onEnd);
        resolve(answer);
      };
      this.enter({ status: "awaiting", request: { type: "message", message }, resume }, "run.awaiting");
    });
  }

  /** The client's answer; false when nothing is awaited. */
  resume(answer: Message): boolean {
    if (this.state.status !== "awaiting") return false;
    const { resume } = this.state;
    this.enter({ status: "in-progress" }, "run.in-progress");
    resume(answer);
    return true;
  }

  /** False when the run has ended or is being cancelled already. The executor's signal aborts. */
  requestCancel(): boolean {
    if (this.terminal || this.state.status === "cancelling") return false;
    this.state = { status: "cancelling" };
    this.abortController().abort(new Error(`run ${this.id} was cancelled`));
    return true;
  }

  complete(): void {
    this.finish({ status: "completed", finishedAt: this.options.now() }, "run.completed");
  }

  fail(error: ErrorModel): void {
    this.finish({ status: "failed", finishedAt: this.options.now(), error }, "run.failed");
  }

  cancelled(): void {
    this.finish({ status: "cancelled", finishedAt: this.options.now() }, "run.cancelled");
  }

  /** Fails an unfinished run and tells its executor. */
  abandon(error: ErrorModel): void {
    if (this.terminal) return;
    this.fail(error);
    this.abortController().abort(new Error(error.message));
  }

  /** Resolves with the next event. */
  change(): Promise<void> {
    return new Promise((resolve) => this.waiters.push(resolve));
  }

  /** Whatever becomes of the execution, a run that was being cancelled ends as cancelled. */
  private finish(state: RunState, type: RunEventType): void {
    if (this.terminal) return;
    if (this.state.status === "cancelling") this.enter({ status: "cancelled", finishedAt: this.options.now() }, "run.cancelled");
    else this.enter(state, type);
  }

  private enter(state: RunState, type: RunEventType): void {
    this.state = state;
    this.log(type);
  }

  private log(type: RunEventType): void {
    this.add({ kind: "state", type, state: this.state, messages: this.output.length });
  }

  private add(entry: LogEntry): void {
    this.entries.push(entry);
    const { waiters } = this;
    if (waiters.length === 0) return;
    this.waiters = [];
    for (const waiter of waiters) waiter();
  }

  private inState(state: RunState, messages: number): Run {
    return {
      agent_name: this.options.agentName,
      session_id: this.sessionId,
      run_id: this.id,
      status: state.status,
      ...(state.status === "awaiting" ? { await_request: state.request } : {}),
      output: this.output.slice(0, messages),
      ...(state.status === "failed" ? { error: state.error } : {}),
      created_at: this.createdAt,
      ...("finishedAt" in state ? { finished_at: state.finishedAt } : {}),
    };
  }

  /** Made when somebody asks: most executors never look at their signal. */
  private abortController(): AbortController {
    return (this.controller ??= new AbortController());
  }
}
