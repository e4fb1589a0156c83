import { type Message, Role, type StreamResponse, TaskState } from "@a2a-js/sdk";
import {
  type Client,
  ClientFactory,
  ClientFactoryOptions,
  JsonRpcTransportFactory,
  RestTransportFactory,
} from "@a2a-js/sdk/client";
import { ClientFactory as FormerClientFactory } from "a2a-sdk-0-3/client";
import { afterEach, describe, expect, test } from "vitest";
import { a2aPeer, closeAll, echo, gate, serve } from "./a2aPeers.ts";

afterEach(closeAll);

/** The SDK's own client, over the binding that the card offers under that name. */
async function stranger(url: string, binding: string): Promise<Client> {
  const factory = new ClientFactory({ ...ClientFactoryOptions.default, preferredTransports: [binding] });
  return factory.createFromUrl(url, `${new URL(url).pathname.replace(/\/$/, "")}/.well-known/agent-card.json`);
}

const words = (text: string, taskId = ""): Message => ({
  messageId: crypto.randomUUID(),
  role: Role.ROLE_USER,
  parts: [{ content: { $case: "text", value: text }, metadata: undefined, filename: "", mediaType: "text/plain" }],
  taskId,
  contextId: "",
  metadata: undefined,
  extensions: [],
  referenceTaskIds: [],
});

const request = (text: string, returnImmediately = false) => ({
  tenant: "",
  message: words(text),
  configuration: { acceptedOutputModes: [], taskPushNotificationConfig: undefined, returnImmediately },
  metadata: undefined,
});

const task = (answer: object) => {
  if (!("status" in answer)) throw new Error("not a task");
  return answer as Exclude<Awaited<ReturnType<Client["sendMessage"]>>, Message>;
};

async function collect(stream: AsyncGenerator<StreamResponse>): Promise<string[]> {
  const seen: string[] = [];
  for await (const { payload } of stream) {
    const status = payload?.$case === "statusUpdate" || payload?.$case === "task" ? payload.value.status?.state : undefined;
    seen.push(`${payload?.$case}${status === undefined ? "" : `:${TaskState[status].replace("TASK_STATE_", "")}`}`);
  }
  return seen;
}

/** Webhooks of a task, made, told, listed and deleted. */
async function webhooks(client: Client, taskId: string): Promise<void> {
  const authentication = { scheme: "Bearer", credentials: "secret" };
  const hook = { tenant: "", id: "h-1", taskId, url: "http://127.0.0.1:1/", token: "t", authentication };
  expect(await client.createTaskPushNotificationConfig(hook)).toEqual(hook);
  const one = { tenant: "", taskId, id: "h-1" };
  const listed = { tenant: "", taskId, pageSize: 0, pageToken: "" };
  expect(await client.getTaskPushNotificationConfig(one)).toEqual(hook);
  expect((await client.listTaskPushNotificationConfig(listed)).configs).toEqual([hook]);
  for (let i = 0; i < 2; i++) await client.deleteTaskPushNotificationConfig(one);
  expect((await client.listTaskPushNotificationConfig(listed)).configs).toEqual([]);
  await expect(client.getTaskPushNotificationConfig(one)).rejects.toMatchObject({ name: "TaskNotFoundError" });
}

describe.each(["JSONRPC", "HTTP+JSON"])("the SDK's client over %s", (binding) => {
  test(`[a2a-jsonrpc] [a2a-rest] sends, gets, lists, under a prefix`, async () => {
    const { url } = await serve(a2aPeer("agent-1", { prefix: "/some/where" }));
    const client = await stranger(url, binding);
    const sent = task(await client.sendMessage(request("hello")));
    expect(sent.status?.state).toBe(TaskState.TASK_STATE_COMPLETED);
    expect(sent.artifacts.map(({ parts }) => parts[0]?.content)).toEqual([{ $case: "text", value: "hello" }]);
    expect(sent.history.map(({ parts }) => parts[0]?.content)).toEqual([{ $case: "text", value: "hello" }]);
    expect(await client.getTask({ tenant: "", id: sent.id, historyLength: 0 })).toEqual({ ...sent, history: [] });
    const list = await client.listTasks({
      tenant: "",
      contextId: sent.contextId,
      status: TaskState.TASK_STATE_COMPLETED,
      pageToken: "",
      statusTimestampAfter: undefined,
    });
    expect(list).toMatchObject({ tasks: [{ id: sent.id, artifacts: [] }], nextPageToken: "", totalSize: 1, pageSize: 50 });
    await expect(client.getTask({ tenant: "", id: "no such" })).rejects.toMatchObject({ name: "TaskNotFoundError" });
  });

  test(`[a2a-push-configs] makes, gets, lists and deletes webhooks`, async () => {
    const { url } = await serve(a2aPeer("agent-1"));
    const client = await stranger(url, binding);
    await webhooks(client, task(await client.sendMessage(request("hello"))).id);
  });

  test(`[a2a-streaming] [a2a-subscribe] streams, follows a second time, and cancels`, async () => {
    const halfway = gate();
    const { url } = await serve(a2aPeer("agent-1"), async (context, queue) => {
      await echo(context, queue);
      await halfway.passed;
      queue.enqueue({ type: "agent_text_message", text: " again" });
    });
    const client = await stranger(url, binding);
    const stream = client.sendMessageStream(request("hello"));
    const first = (await stream.next()).value as StreamResponse;
    if (first.payload?.$case !== "task") throw new Error("a stream begins with its task");
    const { id } = first.payload.value;
    const again = client.resubscribeTask({ tenant: "", id });
    expect(((await again.next()).value as StreamResponse).payload).toMatchObject({
      $case: "task",
      value: { id, artifacts: [{ parts: [{ content: { value: "hello" } }] }] },
    });
    halfway.open();
    const rest = ["artifactUpdate", "statusUpdate:COMPLETED"];
    expect(await collect(stream)).toEqual(["statusUpdate:WORKING", "artifactUpdate", ...rest]);
    expect(await collect(again)).toEqual(rest);
    const ended = await client.getTask({ tenant: "", id });
    expect(ended.artifacts.map(({ parts }) => parts.map(({ content }) => content?.value))).toEqual([["hello", " again"]]);
    await expect(client.resubscribeTask({ tenant: "", id }).next()).rejects.toMatchObject({ name: "UnsupportedOperationError" });
    await expect(client.cancelTask({ tenant: "", id, metadata: {} })).rejects.toMatchObject({ name: "TaskNotCancelableError" });
  });

  test(`[a2a-cancel] [a2a-return-immediately] returns at once when asked, and cancels, as often as it likes`, async () => {
    const canceled: string[] = [];
    const stopped = gate();
    const { url } = await serve(
      a2aPeer("agent-1"),
      ({ signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => {
            stopped.open();
            reject(signal.reason as Error);
          });
        }),
      async (messageId) => void canceled.push(messageId),
    );
    const client = await stranger(url, binding);
    const asked = request("work", true);
    const running = task(await client.sendMessage(asked));
    expect(running.status?.state).toBe(TaskState.TASK_STATE_WORKING);
    for (let i = 0; i < 2; i++)
      expect((await client.cancelTask({ tenant: "", id: running.id, metadata: {} })).status?.state).toBe(
        TaskState.TASK_STATE_CANCELED,
      );
    await stopped.passed;
    expect(canceled).toEqual([asked.message.messageId]);
    expect((await client.getTask({ tenant: "", id: running.id })).status?.state).toBe(TaskState.TASK_STATE_CANCELED);
  });
});

test("[a2a-legacy] the SDK's client for 0.3 sends, streams and gets", async () => {
  const peer = a2aPeer("agent-1");
  const { url } = await serve(peer);
  const options = { legacyCompat: { enabled: true } };
  const factory = new ClientFactory({ transports: [new JsonRpcTransportFactory(options), new RestTransportFactory(options)] });
  const card = (await (await fetch(`${url}/.well-known/agent-card.json`, { headers: { "a2a-version": "0.3" } })).json()) as {
    supportedInterfaces: { protocolVersion: string }[];
  };
  // Only what 0.3 knows of: no client of that time understands the rest.
  const old = { ...card, supportedInterfaces: card.supportedInterfaces.filter((one) => one.protocolVersion === "0.3") };
  const client = await factory.createFromAgentCard(old as unknown as Parameters<ClientFactory["createFromAgentCard"]>[0]);
  const sent = task(await client.sendMessage(request("hello")));
  expect(sent.artifacts[0]?.parts[0]?.content?.value).toBe("hello");
  expect((await client.getTask({ tenant: "", id: sent.id })).id).toBe(sent.id);
  expect(await collect(client.sendMessageStream(request("hello")))).toEqual([
    "task:SUBMITTED",
    "statusUpdate:WORKING",
    "artifactUpdate",
    "statusUpdate:COMPLETED",
  ]);
  await expect(client.getTask({ tenant: "", id: "no such" })).rejects.toMatchObject({ name: "TaskNotFoundError" });
  await expect(client.resubscribeTask({ tenant: "", id: "no such" }).next()).rejects.toMatchObject({
    cause: { name: "TaskNotFoundError" },
  });
  await webhooks(client, sent.id);
});

test("[a2a-legacy] the SDK's release 0.3, given nothing but the URL, sends, streams, gets, and sets webhooks", async () => {
  const { url } = await serve(a2aPeer("agent-1", { prefix: "/some/where" }));
  const client = await new FormerClientFactory().createFromUrl(url, "/some/where/.well-known/agent-card.json");
  expect((await client.getAgentCard()).protocolVersion).toBe("0.3.0");
  const said = (text: string) => ({
    message: {
      kind: "message" as const,
      messageId: crypto.randomUUID(),
      role: "user" as const,
      parts: [{ kind: "text" as const, text }],
    },
  });
  const sent = await client.sendMessage(said("hello"));
  if (sent.kind !== "task") throw new Error("not a task");
  expect(sent).toMatchObject({ status: { state: "completed" }, artifacts: [{ parts: [{ kind: "text", text: "hello" }] }] });
  const seen: string[] = [];
  for await (const event of client.sendMessageStream(said("again")))
    seen.push("status" in event ? `${event.kind}:${event.status.state}` : event.kind);
  expect(seen).toEqual(["task:submitted", "status-update:working", "artifact-update", "status-update:completed"]);
  expect(await client.getTask({ id: sent.id })).toMatchObject({ id: sent.id, status: { state: "completed" } });
  await expect(client.getTask({ id: "no such" })).rejects.toMatchObject({ name: "TaskNotFoundError" });
  const hook = { taskId: sent.id, pushNotificationConfig: { id: "h-1", url: "http://127.0.0.1:1/", token: "t" } };
  expect(await client.setTaskPushNotificationConfig(hook)).toEqual(hook);
});
