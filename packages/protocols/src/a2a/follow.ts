import { type AgentEvent, type AgentId, CommError, type Part } from "@failstorm/core";
import {
  asAgentEvent,
  fromWireParts,
  INTERRUPTED_STATES,
  isRecord,
  readArtifact,
  readStatus,
  readTask,
  TERMINAL_STATES,
  textOf,
  type WireTask,
} from "./wire.ts";

/** An answer as far as it goes: the protocol's own objects, and what they say. */
export interface Answer {
  readonly raw: unknown;
  readonly text: string;
  readonly parts: readonly Part[];
  /** The task behind it; null when the peer answered with a bare message. */
  readonly task: Pick<WireTask, "id" | "contextId" | "timestamp"> | null;
}

/** A peer's task that will not give an answer is its error answer. */
function refuse(peer: AgentId, { id, state, statusText }: Pick<WireTask, "id" | "state" | "statusText">): never {
  throw new CommError("remote", peer, `${peer}: ${statusText || `task ${state}`}`, {
    detail: { taskId: id, state, message: statusText },
  });
}

/**
 * A task as its final answer: the parts of its artifacts; a peer that puts the answer into its closing status message instead gets
 * that read. CommError `remote` for a task that failed, was cancelled or rejected, or waits for its client.
 */
export function finalAnswer(peer: AgentId, task: WireTask, raw: unknown): Answer {
  if (task.state !== "TASK_STATE_COMPLETED") return refuse(peer, task);
  const parts = task.artifacts.flatMap((artifact) => artifact.parts);
  if (parts.length === 0 && task.statusText !== "")
    return { raw, task, text: task.statusText, parts: [{ kind: "text", text: task.statusText }] };
  return { raw, task, text: textOf(parts), parts };
}

/** The result of SendMessage (spec §3.1.1): a task or a message. CommError `protocol` when it is neither. */
export function readSendResult(peer: AgentId, result: unknown): Answer {
  if (isRecord(result) && isRecord(result["message"])) {
    const parts = fromWireParts(result["message"]["parts"]);
    return { raw: result, task: null, text: textOf(parts), parts };
  }
  const task = isRecord(result) ? readTask(result["task"]) : null;
  if (task === null) throw new CommError("protocol", peer, `${peer}: neither a task nor a message`, { detail: result });
  return finalAnswer(peer, task, result);
}

const STATUS: Readonly<Record<string, Extract<AgentEvent, { type: "status" }>["state"]>> = {
  TASK_STATE_WORKING: "working",
  TASK_STATE_COMPLETED: "completed",
  TASK_STATE_FAILED: "failed",
  TASK_STATE_REJECTED: "failed",
  TASK_STATE_CANCELED: "canceled",
};

interface Followed extends Pick<WireTask, "id" | "contextId" | "state" | "statusText" | "timestamp"> {
  readonly artifacts: Map<string, readonly Part[]>;
}

/** Folds the events of a task's stream (spec §3.1.2, §4.2) into its answer. */
export class StreamFollower {
  private readonly peer: AgentId;
  private readonly onTask: (task: WireTask) => void;
  private readonly onEvent: (event: AgentEvent) => void;
  private task: Followed | null = null;
  private message: Answer | null = null;
  private readonly raw: unknown[] = [];
  /** Whether the answer is complete. */
  ended = false;
  /** Whether the peer waits for its client. */
  interrupted = false;

  constructor(peer: AgentId, onTask: (task: WireTask) => void, onEvent: (event: AgentEvent) => void) {
    this.peer = peer;
    this.onTask = onTask;
    this.onEvent = onEvent;
  }

  /** One StreamResponse; one of a later version's is passed over. CommError `protocol` when it is none. */
  take(event: unknown): void {
    this.raw.push(event);
    if (!isRecord(event)) this.unreadable(event);
    else if (isRecord(event["message"])) this.takeMessage(event);
    else if (isRecord(event["task"])) this.takeTask(event["task"]);
    else if (isRecord(event["artifactUpdate"])) this.takeArtifact(event["artifactUpdate"]);
    else if (isRecord(event["statusUpdate"])) this.takeStatus(event["statusUpdate"]);
  }

  /** The answer, when the stream is over. CommError `protocol` when it ended before the task did. */
  answer(): Answer {
    if (this.message !== null) return this.message;
    if (this.task === null || !this.ended)
      throw new CommError("protocol", this.peer, `${this.peer}: the stream ended before the task did`);
    const artifacts = [...this.task.artifacts].map(([artifactId, parts]) => ({ artifactId, parts }));
    return finalAnswer(this.peer, { ...this.task, artifacts, messageIds: [] }, this.raw);
  }

  private unreadable(event: unknown): never {
    throw new CommError("protocol", this.peer, `${this.peer}: an unreadable event in the stream`, { detail: event });
  }

  private takeMessage(event: Record<string, unknown>): void {
    this.message = readSendResult(this.peer, event);
    this.onEvent(asAgentEvent(this.message.parts));
    this.ended = true;
  }

  private takeTask(raw: unknown): void {
    const task = readTask(raw) ?? this.unreadable(raw);
    const known = this.task !== null;
    this.task = { ...task, artifacts: new Map(task.artifacts.map(({ artifactId, parts }) => [artifactId, parts])) };
    if (!known) {
      this.onTask(task);
      for (const { parts } of task.artifacts) if (parts.length > 0) this.onEvent(asAgentEvent(parts));
    }
    this.noteState();
  }

  private takeArtifact(update: Record<string, unknown>): void {
    const artifact = readArtifact(update["artifact"]);
    if (artifact === null || this.task === null) return this.unreadable(update);
    const before = update["append"] === true ? (this.task.artifacts.get(artifact.artifactId) ?? []) : [];
    this.task.artifacts.set(artifact.artifactId, [...before, ...artifact.parts]);
    if (artifact.parts.length > 0) this.onEvent(asAgentEvent(artifact.parts));
  }

  private takeStatus(update: Record<string, unknown>): void {
    const status = readStatus(update["status"]);
    if (status === null || this.task === null) return this.unreadable(update);
    this.task = { ...this.task, ...status };
    this.noteState();
  }

  private noteState(): void {
    const { state: wireState, statusText } = this.task as Followed;
    const state = STATUS[wireState];
    if (state !== undefined) this.onEvent({ type: "status", state, ...(statusText === "" ? {} : { message: statusText }) });
    this.interrupted = INTERRUPTED_STATES.has(wireState);
    this.ended = this.interrupted || TERMINAL_STATES.has(wireState);
  }
}
