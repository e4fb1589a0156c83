import { randomUUID } from "node:crypto";
import type { Message, Part as SdkPart, StreamResponse, TaskStatus } from "@a2a-js/sdk";
import { Role, TaskState } from "@a2a-js/sdk";
import type { AgentEvent, AgentExecutor, Part, Payload } from "@failstorm/core";
import type { TaskRecord, TaskStore } from "./taskStore.ts";
import { isTerminal } from "./taskStore.ts";

export type StreamEvent = NonNullable<StreamResponse["payload"]>;

/** A task's answer is one artifact (spec §3.7); its parts are added as they come. */
const ARTIFACT_ID = "answer";

const plain = { metadata: undefined, filename: "", mediaType: "" };

export const textPart = (value: string): SdkPart => ({ ...plain, content: { $case: "text", value } });

const toSdkPart = (part: Part): SdkPart =>
  part.kind === "text" ? textPart(part.text) : { ...plain, content: { $case: "data", value: part.data ?? null } };

/** Words alone are `{text}`; whatever else there is, parts. Files never get here: the agent declares that it takes none. */
function toPayload(parts: readonly SdkPart[]): Payload {
  const [only] = parts;
  if (parts.length === 1 && only?.content?.$case === "text") return { text: only.content.value };
  return {
    parts: parts.map(({ content }) =>
      // The SDK's codec drops a null; a part without content was checked to be one.
      content?.$case === "text" ? { kind: "text", text: content.value } : { kind: "data", data: content?.value ?? null },
    ),
  };
}

const STATES = {
  working: TaskState.TASK_STATE_WORKING,
  completed: TaskState.TASK_STATE_COMPLETED,
  failed: TaskState.TASK_STATE_FAILED,
  canceled: TaskState.TASK_STATE_CANCELED,
} as const;

/** A status of a task, with a message of the agent's when there are words. */
export function statusOf(
  task: { readonly id: string; readonly contextId: string },
  state: TaskState,
  at: number,
  words?: string,
): TaskStatus {
  const message: Message | undefined =
    words === undefined
      ? undefined
      : {
          messageId: randomUUID(),
          contextId: task.contextId,
          taskId: task.id,
          role: Role.ROLE_AGENT,
          parts: [textPart(words)],
          metadata: undefined,
          extensions: [],
          referenceTaskIds: [],
        };
  return { state, message, timestamp: new Date(at).toISOString() };
}

interface ExecutionOptions {
  readonly record: TaskRecord;
  readonly store: TaskStore;
  readonly executor: AgentExecutor;
  readonly wall: () => number;
  /** Told of every event before the subscribers are. */
  readonly onEvent: (record: TaskRecord, event: StreamEvent) => void;
  readonly onEnd: () => void;
}

/** The running of one task: from SUBMITTED over WORKING to one of the last states, which nothing changes any more. */
export class Execution {
  /** Resolves when the task has ended; never rejects. */
  readonly ended: Promise<void>;
  private readonly options: ExecutionOptions;
  private readonly controller = new AbortController();
  private readonly subscribers = new Set<(event: StreamEvent) => void>();
  private resolveEnded: () => void = () => {};
  private answered = false;

  constructor(options: ExecutionOptions) {
    this.options = options;
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
  }

  get record(): TaskRecord {
    return this.options.record;
  }

  /** Hears every event from now on. Returns how to stop hearing. */
  subscribe(listener: (event: StreamEvent) => void): () => void {
    this.subscribers.add(listener);
    return () => this.subscribers.delete(listener);
  }

  /** Hands `message` to the executor. Not awaited: what comes of it are events. */
  start(message: Message): void {
    this.setStatus("working");
    void this.run(message);
  }

  /** CancelTask: the task ends now, whatever its executor makes of it. */
  async cancel(messageId: string): Promise<void> {
    this.finish("canceled", "canceled on request");
    this.controller.abort(new Error("the task was canceled"));
    try {
      await this.options.executor.cancel(messageId);
    } catch {
      // The task is canceled already; an executor that can not stop says so to nobody.
    }
  }

  private async run(message: Message): Promise<void> {
    const { contextId, id } = this.record.task;
    const context = { messageId: message.messageId, from: null, payload: toPayload(message.parts), contextId };
    try {
      const queue = { enqueue: (event: AgentEvent) => this.take(event) };
      await this.options.executor.execute({ ...context, signal: this.controller.signal }, queue);
      this.finish("completed");
    } catch (error) {
      this.finish("failed", error instanceof Error ? error.message : `${id}: ${String(error)}`);
    }
  }

  private take(event: AgentEvent): void {
    if (isTerminal(this.record.task)) return;
    if (event.type === "agent_text_message") this.addParts([textPart(event.text)]);
    else if (event.type === "agent_parts_message") this.addParts(event.parts.map(toSdkPart));
    else if (event.state === "working") this.setStatus("working", event.message);
    else this.finish(event.state, event.message);
  }

  /** An artifact has at least one part (spec §4.1.7): none is no artifact. */
  private addParts(parts: SdkPart[]): void {
    if (parts.length === 0) return;
    const artifact = { artifactId: ARTIFACT_ID, name: "", description: "", parts, metadata: undefined, extensions: [] };
    this.options.store.addArtifact(this.record, artifact);
    const { id: taskId, contextId } = this.record.task;
    this.emit({
      $case: "artifactUpdate",
      value: { taskId, contextId, artifact, append: this.answered, lastChunk: false, metadata: undefined },
    });
    this.answered = true;
  }

  private setStatus(state: keyof typeof STATES, words?: string): void {
    const { record, store, wall } = this.options;
    const status = statusOf(record.task, STATES[state], wall(), words);
    store.setStatus(record, status);
    this.emitStatus(status);
  }

  private finish(state: Exclude<keyof typeof STATES, "working">, words?: string): void {
    const { record, store, wall, onEnd } = this.options;
    if (isTerminal(record.task)) return;
    const status = statusOf(record.task, STATES[state], wall(), words);
    try {
      store.end(record, status);
    } catch {
      // The disk is full: after a crash the task counts as an orphan and fails, which its client can live with.
    }
    this.emitStatus(status);
    onEnd();
    this.resolveEnded();
    this.subscribers.clear();
  }

  private emitStatus(status: TaskStatus): void {
    const { id: taskId, contextId } = this.record.task;
    this.emit({ $case: "statusUpdate", value: { taskId, contextId, status, metadata: undefined } });
  }

  private emit(event: StreamEvent): void {
    this.options.onEvent(this.record, event);
    for (const hear of this.subscribers) hear(event);
  }
}
