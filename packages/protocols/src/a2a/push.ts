import type { Clock, MeteredClient } from "@failstorm/core";
import { StreamResponse, type Task } from "@a2a-js/sdk";
import type { StreamEvent } from "./execution.ts";
import type { PushConfig, TaskRecord } from "./taskStore.ts";

/** A webhook has this long to answer, ms (spec §4.3.3 recommends 10 to 30 s). */
const TIMEOUT_MS = 10_000;
/** A delivery that fails is tried again after these, ms; then it is given up. */
const RETRY_AFTER_MS = [500, 2_000];

/** Delivers a task's events to its webhooks (spec §4.3.3): in order for each webhook, off the path of the task itself. */
export class PushSender {
  private readonly client: MeteredClient;
  private readonly clock: Clock;
  /** The last delivery to each webhook of each task. */
  private readonly queues = new Map<string, Promise<void>>();

  constructor(client: MeteredClient, clock: Clock) {
    this.client = client;
    this.clock = clock;
  }

  notify({ task, pushes }: TaskRecord, event: StreamEvent): void {
    for (const push of pushes) {
      const key = `${task.id}\n${push.config.id}`;
      const before = this.queues.get(key) ?? Promise.resolve();
      const delivery = before.then(async () => this.deliver(push, event, task));
      this.queues.set(key, delivery);
      void delivery.finally(() => {
        if (this.queues.get(key) === delivery) this.queues.delete(key);
      });
    }
  }

  private async deliver(push: PushConfig, event: StreamEvent, task: Task): Promise<void> {
    const { url, token, authentication } = push.config;
    const { scheme = "", credentials = "" } = authentication ?? {};
    const { body, contentType } = await serialize(push, event, task);
    const headers = {
      "content-type": contentType,
      ...(token === "" ? {} : { "x-a2a-notification-token": token }),
      ...(scheme === "" || credentials === "" ? {} : { authorization: `${scheme} ${credentials}` }),
    };
    for (const pauseMs of [...RETRY_AFTER_MS, null]) {
      if (await this.post(url, headers, body)) return;
      if (pauseMs !== null) await this.clock.sleep(pauseMs);
    }
  }

  private async post(url: string, headers: Record<string, string>, body: string): Promise<boolean> {
    const tag = { cause: "work", kind: "tool", peer: new URL(url).host } as const;
    try {
      const { value } = await this.client.measure(tag, () =>
        this.client.request(url, { method: "POST", headers, body, signal: AbortSignal.timeout(TIMEOUT_MS) }),
      );
      return value.status >= 200 && value.status < 300;
    } catch {
      return false;
    }
  }
}

/** 1.0 sends what happened, 0.3 the task as it was then (0.3 spec §9.5). */
async function serialize(
  { wireVersion }: PushConfig,
  event: StreamEvent,
  task: Task,
): Promise<{ body: string; contentType: string }> {
  if (wireVersion === "1.0")
    return { body: JSON.stringify(StreamResponse.toJSON({ payload: event })), contentType: "application/a2a+json" };
  const { V03PushNotificationSerializer } = await import("@a2a-js/sdk/compat/v0_3/server");
  return new V03PushNotificationSerializer().serialize({ payload: event }, task);
}
