import type { AgentEvent, AgentExecutor, Clock, ExecutionContext, Payload } from "@failstorm/core";
import { authorOf, toPayload } from "./content.ts";
import { AcpError, ERROR_CODES, type ErrorModel, isRecord, type Message } from "./model.ts";
import type { RunRecord } from "./run.ts";
import type { RunStore, SessionStore } from "./stores.ts";
import type { RunCreation } from "./validation.ts";

/** What an executor finds in its context when ACP serves it: more than the common ground of all protocols. */
export interface AcpExecutionContext extends ExecutionContext {
  /**
   * Asks the client something: the run is `awaiting` until the client resumes it (`POST /runs/{run_id}`). Rejects when the run is
   * cancelled, or nobody answers for as long as finished runs are kept.
   */
  awaitAnswer(question: Payload): Promise<Payload>;
  /** The session's earlier messages, oldest first; those kept by other servers are fetched from there. Throws CommError. */
  history(): Promise<readonly Message[]>;
}

/** What an executor threw, as ACP's error: one of ACP's codes if it carries one, its own code as data. */
export function errorModelOf(error: unknown): ErrorModel {
  const message = error instanceof Error ? error.message : String(error);
  const thrown = isRecord(error) ? error["code"] : undefined;
  const code = ERROR_CODES.find((candidate) => candidate === thrown);
  if (code !== undefined) return { code, message };
  return { code: "server_error", message, ...(typeof thrown === "string" ? { data: { code: thrown } } : {}) };
}

export interface ExecutionOptions {
  readonly executor: AgentExecutor;
  readonly clock: Clock;
  readonly runs: RunStore;
  readonly sessions: SessionStore;
  readonly awaitMs: number;
  /** Reads a message that another server keeps. */
  readonly fetchMessage: (url: string, signal: AbortSignal) => Promise<Message>;
}

/** Runs the executor for a run, to the end of either. */
export class Execution {
  private readonly options: ExecutionOptions;

  constructor(options: ExecutionOptions) {
    this.options = options;
  }

  /** Starts it; whatever happens is told by the run. `payload` is the creation's input. */
  async carryOut(run: RunRecord, creation: RunCreation, payload: Payload): Promise<void> {
    run.begin();
    try {
      await this.options.executor.execute(this.contextOf(run, creation, payload), {
        enqueue: (event) => this.take(run, event),
      });
      run.complete();
    } catch (error) {
      run.fail(errorModelOf(error));
    }
    const { sessions } = this.options;
    if (run.status === "completed" && (creation.sessionId !== undefined || sessions.has(run.sessionId)))
      sessions.record(run.sessionId, [...run.input, ...run.output]);
    this.options.runs.retire(run);
  }

  /** Throws AcpError when the run has ended already. */
  cancel(run: RunRecord): void {
    if (run.terminal) throw new AcpError(403, "invalid_input", `run ${run.id} is ${run.status}: it cannot be cancelled`);
    if (run.requestCancel()) void this.finishCancel(run);
  }

  /** Ended as soon as the executor has been told: an executor that cannot stop works on, but nobody waits for it. */
  private async finishCancel(run: RunRecord): Promise<void> {
    try {
      await this.options.executor.cancel(run.id);
    } catch {
      // Its signal has aborted all the same.
    }
    run.cancelled();
    this.options.runs.retire(run);
  }

  private take(run: RunRecord, event: AgentEvent): void {
    switch (event.type) {
      case "agent_text_message":
        return run.say({ text: event.text });
      case "agent_parts_message":
        return run.say({ parts: event.parts });
      case "status":
        if (event.state === "failed") return run.fail({ code: "server_error", message: event.message ?? "the agent failed" });
        if (event.state === "canceled") return run.cancelled();
        // ACP has no event for progress: a generic one. The states themselves are told by the run's own events.
        if (event.message !== undefined) run.note({ state: event.state, message: event.message });
    }
  }

  private contextOf(run: RunRecord, creation: RunCreation, payload: Payload): AcpExecutionContext {
    return {
      messageId: run.id,
      from: authorOf(creation.input),
      payload,
      ...(creation.sessionId === undefined ? {} : { contextId: creation.sessionId }),
      get signal() {
        return run.signal;
      },
      awaitAnswer: (question) => this.awaitAnswer(run, question),
      history: () => this.history(run),
    };
  }

  private async awaitAnswer(run: RunRecord, question: Payload): Promise<Payload> {
    const { clock, awaitMs, runs } = this.options;
    const stopWaiting = clock.after(awaitMs, () => {
      run.abandon({ code: "server_error", message: "nobody answered what the run awaited" });
      runs.retire(run);
    });
    try {
      return toPayload([await run.awaitAnswer(question)]);
    } finally {
      stopWaiting();
    }
  }

  private history({ sessionId, signal }: RunRecord): Promise<Message[]> {
    const { sessions, fetchMessage } = this.options;
    return Promise.all(
      sessions
        .entries(sessionId)
        .map((entry) => ("url" in entry ? fetchMessage(entry.url, signal) : Promise.resolve(entry.message))),
    );
  }
}
