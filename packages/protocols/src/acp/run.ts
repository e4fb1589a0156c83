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

/** One run: its state, its output, and the log of all its events. In memory: a crash forgets it, as ACP's reference server does. */
export class RunRecord {
  /** Not from the seeded Prng: another incarnation of this agent must not hand out the same ids. */
  readonly id = randomUUID();
  readonly events: RunLogEvent[] = [];
  readonly cancellation = new AbortController();
  private readonly agentName: string;
  private readonly sessionId: string;
  private readonly createdAt: string;
  private readonly now: () => string;
  private readonly messages: Message[] = [];
  private state: RunState = { status: "created" };
  private waiters: Array<() => void> = [];

  constructor(options: { agentName: string; sessionId: string; now: () => string }) {
    this.agentName = options.agentName;
    this.sessionId = options.sessionId;
    this.now = options.now;
    this.createdAt = this.now();
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

  get output(): readonly Message[] {
    return this.messages;
  }

  snapshot(): Run {
    const { state } = this;
    return {
      agent_name: this.agentName,
      session_id: this.sessionId,
      run_id: this.id,
      status: state.status,
      ...(state.status === "awaiting" ? { await_request: state.request } : {}),
      output: [...this.messages],
      ...(state.status === "failed" ? { error: state.error } : {}),
      created_at: this.createdAt,
      ...("finishedAt" in state ? { finished_at: state.finishedAt } : {}),
    };
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
    const at = this.now();
    const message: Message = { role: `agent/${this.agentName}`, parts, created_at: at, completed_at: at };
    this.messages.push(message);
    this.events.push({ type: "message.created", message });
    for (const part of parts) this.events.push({ type: "message.part", part });
    this.events.push({ type: "message.completed", message });
    this.wake();
  }

  /** Something that is no message: a note on progress. */
  note(generic: object): void {
    if (this.terminal) return;
    this.events.push({ type: "generic", generic });
    this.wake();
  }

  /** Asks the client something; resolves with its answer, rejects when the run ends before one comes. */
  awaitAnswer(payload: Payload): Promise<Message> {
    const message: Message = { role: `agent/${this.agentName}`, parts: toMessageParts(payload), created_at: this.now() };
    return new Promise((resolve, reject) => {
      if (this.state.status !== "in-progress") {
        reject(new Error(`run ${this.id} is ${this.state.status}: it cannot await anything`));
        return;
      }
      const onEnd = (): void => reject(this.cancellation.signal.reason);
      this.cancellation.signal.addEventListener("abort", onEnd, { once: true });
      const resume = (answer: Message): void => {
        this.cancellation.signal.removeEventListener("abort", onEnd);
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
    this.cancellation.abort(new Error(`run ${this.id} was cancelled`));
    return true;
  }

  complete(): void {
    this.finish({ status: "completed", finishedAt: this.now() }, "run.completed");
  }

  fail(error: ErrorModel): void {
    this.finish({ status: "failed", finishedAt: this.now(), error }, "run.failed");
  }

  cancelled(): void {
    this.finish({ status: "cancelled", finishedAt: this.now() }, "run.cancelled");
  }

  /** Fails an unfinished run and tells its executor. */
  abandon(error: ErrorModel): void {
    if (this.terminal) return;
    this.fail(error);
    this.cancellation.abort(new Error(error.message));
  }

  /** Resolves with the next event. */
  change(): Promise<void> {
    return new Promise((resolve) => this.waiters.push(resolve));
  }

  /** Whatever becomes of the execution, a run that was being cancelled ends as cancelled. */
  private finish(state: RunState, type: RunEventType): void {
    if (this.terminal) return;
    if (this.state.status === "cancelling") this.enter({ status: "cancelled", finishedAt: this.now() }, "run.cancelled");
    else this.enter(state, type);
  }

  private enter(state: RunState, type: RunEventType): void {
    this.state = state;
    this.log(type);
  }

  private log(type: RunEventType): void {
    this.events.push({ type, run: this.snapshot() });
    this.wake();
  }

  private wake(): void {
    const { waiters } = this;
    if (waiters.length === 0) return;
    this.waiters = [];
    for (const waiter of waiters) waiter();
  }
}
