import { randomUUID } from "node:crypto";
import type {
  DeleteTaskPushNotificationConfigRequest,
  GetTaskPushNotificationConfigRequest,
  ListTaskPushNotificationConfigsRequest,
  ListTaskPushNotificationConfigsResponse,
  TaskPushNotificationConfig,
} from "@a2a-js/sdk";
import { PushNotificationNotSupportedError, RequestMalformedError, TaskNotFoundError } from "@a2a-js/sdk/errors";
import type { ServerCallContext } from "@a2a-js/sdk/server";
import { requireText } from "./validation.ts";
import type { PushConfig, TaskRecord, TaskStore } from "./taskStore.ts";
import { VERSION } from "./wire.ts";

/** Webhooks of one task; more are refused. */
const MAX_CONFIGS = 16;

/** RFC 9110 §5.5: what a header's value may hold; anything else would make the delivery impossible. */
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

function checked(config: TaskPushNotificationConfig, taskId: string): TaskPushNotificationConfig {
  const { id, url, token, authentication } = config;
  const { scheme = "", credentials = "" } = authentication ?? {};
  requireText({ id, url, token, scheme, credentials });
  const protocol = URL.parse(url)?.protocol;
  if (protocol !== "http:" && protocol !== "https:") throw new RequestMalformedError("url of the webhook is no http(s) URL");
  if (scheme === "" && credentials !== "")
    throw new RequestMalformedError("authentication of the webhook has credentials, but no scheme");
  if (![token, scheme, credentials].every((value) => HEADER_VALUE.test(value)))
    throw new RequestMalformedError("token and authentication of the webhook do not fit into a header");
  return { ...config, taskId, id: id === "" ? randomUUID() : id };
}

function requireId(id: string): void {
  requireText({ id });
  if (id === "") throw new RequestMalformedError("The id of the push notification config is required");
}

/**
 * Push notification configurations of tasks (spec §3.1.7 to §3.1.10). Webhooks on loopback and private addresses are allowed, against
 * §13.2's advice: this agent's peers live there.
 */
export class PushConfigs {
  private readonly store: TaskStore;
  private readonly supported: boolean;
  private readonly find: (taskId: string, context: ServerCallContext) => TaskRecord;

  constructor(store: TaskStore, supported: boolean, find: (taskId: string, context: ServerCallContext) => TaskRecord) {
    this.store = store;
    this.supported = supported;
    this.find = find;
  }

  /** The webhook that a message brings for the task it begins. */
  forNewTask(taskId: string, config: TaskPushNotificationConfig | undefined, context: ServerCallContext): PushConfig[] {
    if (config === undefined) return [];
    this.requireSupport();
    return [{ config: checked(config, taskId), wireVersion: context.requestedVersion }];
  }

  create(params: TaskPushNotificationConfig, context: ServerCallContext): TaskPushNotificationConfig {
    const record = this.taskOf(params.taskId, context);
    const config = checked(params, record.task.id);
    const others = record.pushes.filter((push) => push.config.id !== config.id);
    if (others.length >= MAX_CONFIGS) throw new RequestMalformedError(`A task has at most ${MAX_CONFIGS} webhooks`);
    this.store.setPushes(record, [...others, { config, wireVersion: context.requestedVersion }]);
    return config;
  }

  /** Without an id, which only 0.3 allows, the first there is. */
  get({ taskId, id }: GetTaskPushNotificationConfigRequest, context: ServerCallContext): TaskPushNotificationConfig {
    const { pushes } = this.taskOf(taskId, context);
    if (context.requestedVersion === VERSION) requireId(id);
    const found = id === "" || id === undefined ? pushes[0] : pushes.find(({ config }) => config.id === id);
    if (found === undefined) throw new TaskNotFoundError(`Task ${taskId} has no push notification config ${id}`);
    return found.config;
  }

  list({ taskId }: ListTaskPushNotificationConfigsRequest, context: ServerCallContext): ListTaskPushNotificationConfigsResponse {
    return { configs: this.taskOf(taskId, context).pushes.map(({ config }) => config), nextPageToken: "" };
  }

  /** Idempotent. */
  delete({ taskId, id }: DeleteTaskPushNotificationConfigRequest, context: ServerCallContext): void {
    const record = this.taskOf(taskId, context);
    requireId(id);
    const kept = record.pushes.filter(({ config }) => config.id !== id);
    if (kept.length < record.pushes.length) this.store.setPushes(record, kept);
  }

  private taskOf(taskId: string, context: ServerCallContext): TaskRecord {
    this.requireSupport();
    return this.find(taskId, context);
  }

  private requireSupport(): void {
    if (!this.supported) throw new PushNotificationNotSupportedError();
  }
}
