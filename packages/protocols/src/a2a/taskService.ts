import { randomUUID } from "node:crypto";
import type {
  AgentCard,
  CancelTaskRequest,
  GetTaskRequest,
  ListTasksRequest,
  ListTasksResponse,
  SendMessageRequest,
  StreamResponse,
  SubscribeToTaskRequest,
  Task,
  TaskPushNotificationConfig,
} from "@a2a-js/sdk";
import { TaskState } from "@a2a-js/sdk";
import {
  ExtendedAgentCardNotConfiguredError,
  RequestMalformedError,
  TaskNotCancelableError,
  TaskNotFoundError,
  UnsupportedOperationError,
} from "@a2a-js/sdk/errors";
import type { A2ARequestHandler, ServerCallContext } from "@a2a-js/sdk/server";
import type { AgentExecutor } from "@failstorm/core";
import { Execution, type StreamEvent, statusOf } from "./execution.ts";
import { Feed } from "./feed.ts";
import { checkHistoryLength, listTasks, withHistory } from "./listing.ts";
import { PushConfigs } from "./pushConfigs.ts";
import { isTerminal, type TaskRecord, type TaskStore } from "./taskStore.ts";
import { checkMessage, requireText } from "./validation.ts";

/** Under this key of a call's context lies the signal that its caller is gone. */
export const CALLER_GONE = "callerGone";
/** This key is in a call's context once the call has got past the transport's reading of it. */
export const WAS_READ = "wasRead";

interface ServiceOptions {
  readonly store: TaskStore;
  readonly executor: AgentExecutor;
  readonly wall: () => number;
  readonly pushNotifications: boolean;
  /** The card for those who authenticated; null: there is none. */
  readonly extendedCard: (() => AgentCard) | null;
  readonly card: () => AgentCard;
  readonly notify: (record: TaskRecord, event: StreamEvent) => void;
}

/** Whose tasks a call may see: those of its tenant and user. Without authentication, everybody is one user. */
function scopeOf(context: ServerCallContext): string {
  context.state.set(WAS_READ, true);
  return `${context.tenant ?? ""}\n${context.user?.userName ?? ""}`;
}

const callerGone = (context: ServerCallContext): AbortSignal | undefined =>
  context.state.get(CALLER_GONE) as AbortSignal | undefined;

/**
 * The operations of A2A (spec §3.1) over our task store, behind the SDK's transports. Every message begins a task: A2A leaves
 * idempotency to the agent (spec §3.3.1) and its SDK has none, so a message that comes twice is done twice.
 */
export class TaskService implements A2ARequestHandler {
  private readonly options: ServiceOptions;
  private readonly running = new Map<string, Execution>();
  private readonly pushes: PushConfigs;

  constructor(options: ServiceOptions) {
    this.options = options;
    this.pushes = new PushConfigs(options.store, options.pushNotifications, (id, context) => this.find(id, context));
  }

  async getAgentCard(): Promise<AgentCard> {
    return this.options.card();
  }

  async getAuthenticatedExtendedAgentCard(_params: unknown, context: ServerCallContext): Promise<AgentCard> {
    const { extendedCard } = this.options;
    if (extendedCard === null) throw new UnsupportedOperationError("This agent has no extended card: nobody authenticates");
    if (context.user?.isAuthenticated !== true) throw new ExtendedAgentCardNotConfiguredError();
    return extendedCard();
  }

  async sendMessage(params: SendMessageRequest, context: ServerCallContext): Promise<Task> {
    const { execution, message } = this.accept(params, context);
    execution.start(message);
    if (params.configuration?.returnImmediately !== true) await execution.ended;
    return withHistory(execution.record.task, params.configuration?.historyLength);
  }

  async *sendMessageStream(
    params: SendMessageRequest,
    context: ServerCallContext,
  ): AsyncGenerator<StreamResponse, void, undefined> {
    const { execution, message } = this.accept(params, context);
    const events = this.follow(execution, params.configuration?.historyLength, callerGone(context));
    execution.start(message);
    yield* events;
  }

  async getTask({ id, historyLength }: GetTaskRequest, context: ServerCallContext): Promise<Task> {
    return withHistory(this.find(id, context).task, historyLength);
  }

  async listTasks(params: ListTasksRequest, context: ServerCallContext): Promise<ListTasksResponse> {
    return listTasks(
      this.options.store.inScope(scopeOf(context)).map(({ task }) => task),
      params,
    );
  }

  /** Idempotent: canceling what was canceled returns it. */
  async cancelTask({ id }: CancelTaskRequest, context: ServerCallContext): Promise<Task> {
    const record = this.find(id, context);
    const [message] = record.task.history;
    await this.running.get(id)?.cancel(message?.messageId ?? id);
    if (record.task.status?.state !== TaskState.TASK_STATE_CANCELED)
      throw new TaskNotCancelableError(`Task not cancelable: ${id} has ended`);
    return withHistory(record.task, undefined);
  }

  async *resubscribe(
    { id }: SubscribeToTaskRequest,
    context: ServerCallContext,
  ): AsyncGenerator<StreamResponse, void, undefined> {
    this.find(id, context);
    const execution = this.running.get(id);
    if (execution === undefined)
      throw new UnsupportedOperationError(`Task ${id} is in a terminal state: GetTask tells its result`);
    yield* this.follow(execution, undefined, callerGone(context));
  }

  createTaskPushNotificationConfig = async (params: TaskPushNotificationConfig, context: ServerCallContext) =>
    this.pushes.create(params, context);
  getTaskPushNotificationConfig: A2ARequestHandler["getTaskPushNotificationConfig"] = async (params, context) =>
    this.pushes.get(params, context);
  listTaskPushNotificationConfigs: A2ARequestHandler["listTaskPushNotificationConfigs"] = async (params, context) =>
    this.pushes.list(params, context);
  deleteTaskPushNotificationConfig: A2ARequestHandler["deleteTaskPushNotificationConfig"] = async (params, context) =>
    this.pushes.delete(params, context);

  /** A new task for a message that is in order. Throws the SDK's errors. */
  private accept(params: SendMessageRequest, context: ServerCallContext) {
    const scope = scopeOf(context);
    const message = checkMessage(params.message);
    checkHistoryLength(params.configuration?.historyLength);
    if (message.taskId !== "") this.refuseFollowUp(message.taskId, message.contextId, context);
    const id = randomUUID(); // not of the seeded generator: unique over all incarnations
    const contextId = message.contextId === "" ? randomUUID() : message.contextId;
    const { store, executor, wall, notify } = this.options;
    const status = statusOf({ id, contextId }, TaskState.TASK_STATE_SUBMITTED, wall());
    const task: Task = { id, contextId, status, artifacts: [], history: [], metadata: undefined };
    const pushes = this.pushes.forNewTask(id, params.configuration?.taskPushNotificationConfig, context);
    const record = store.create(scope, task, { ...message, taskId: id, contextId }, pushes);
    notify(record, { $case: "task", value: record.task });
    const onEnd = (): void => {
      this.running.delete(id);
    };
    const execution = new Execution({ record, store, executor, wall, onEvent: notify, onEnd });
    this.running.set(id, execution);
    return { execution, message };
  }

  /** No task of ours ever waits for a further message: none can take one. */
  private refuseFollowUp(taskId: string, contextId: string, context: ServerCallContext): never {
    const { task } = this.find(taskId, context);
    if (contextId !== "" && contextId !== task.contextId)
      throw new RequestMalformedError(`message.contextId is not that of task ${taskId}`);
    throw new UnsupportedOperationError(
      isTerminal(task) ? `Task ${taskId} is in a terminal state` : `Task ${taskId} takes no further messages`,
    );
  }

  private find(id: string, context: ServerCallContext): TaskRecord {
    const scope = scopeOf(context);
    requireText({ id });
    if (id.trim() === "") throw new RequestMalformedError("A task id is required");
    const record = this.options.store.get(scope, id);
    if (record === undefined) throw new TaskNotFoundError({ message: `Task not found: ${id}`, metadata: { taskId: id } });
    return record;
  }

  /** The task as it is now, then its events to the end. Hears from the call on, not from when it is first read. */
  private follow(execution: Execution, historyLength: number | undefined, gone: AbortSignal | undefined) {
    const feed = new Feed<StreamResponse>(gone);
    feed.push({ payload: { $case: "task", value: withHistory(execution.record.task, historyLength) } });
    const unsubscribe = execution.subscribe((event) => feed.push({ payload: event }));
    void execution.ended.then(feed.end);
    return (async function* events(): AsyncGenerator<StreamResponse, void, undefined> {
      try {
        yield* feed.items();
      } finally {
        unsubscribe();
      }
    })();
  }
}
