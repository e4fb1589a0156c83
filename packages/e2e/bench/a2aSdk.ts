import { randomUUID } from "node:crypto";
import { AgentCard, type Part, Role, TaskState } from "@a2a-js/sdk";
import { ClientFactory, JsonRpcTransportFactory } from "@a2a-js/sdk/client";
import { AgentEvent, type AgentExecutor, DefaultRequestHandler, InMemoryTaskStore } from "@a2a-js/sdk/server";
import { jsonRpcHandler, UserBuilder } from "@a2a-js/sdk/server/express";
import { type Address, RunError, systemClock } from "@failstorm/core";
import express from "express";

/** The server by which the SDK's own samples are hosted: Express, tasks in memory only. It answers with what it was asked. */
const echo: AgentExecutor = {
  execute: async ({ taskId, contextId, userMessage }, bus) => {
    const status = (state: TaskState) => ({ state, message: undefined, timestamp: new Date(systemClock.wall()).toISOString() });
    bus.publish(
      AgentEvent.task({
        id: taskId,
        contextId,
        status: status(TaskState.TASK_STATE_SUBMITTED),
        artifacts: [],
        history: [userMessage],
        metadata: undefined,
      }),
    );
    const changed = (state: TaskState) =>
      bus.publish(AgentEvent.statusUpdate({ taskId, contextId, status: status(state), metadata: undefined }));
    changed(TaskState.TASK_STATE_WORKING);
    const artifact = {
      artifactId: randomUUID(),
      name: "",
      description: "",
      parts: userMessage.parts,
      metadata: undefined,
      extensions: [],
    };
    bus.publish(AgentEvent.artifactUpdate({ taskId, contextId, artifact, append: false, lastChunk: true, metadata: undefined }));
    changed(TaskState.TASK_STATE_COMPLETED);
    bus.finished();
  },
  cancelTask: async () => {},
};

const cardAt = (url: string): AgentCard =>
  AgentCard.fromJSON({
    name: "echo",
    description: "answers with what it was asked",
    version: "1",
    supportedInterfaces: [{ url, protocolBinding: "JSONRPC", protocolVersion: "1.0" }],
    capabilities: { streaming: false, pushNotifications: false },
    defaultInputModes: ["application/json"],
    defaultOutputModes: ["application/json"],
    skills: [],
  });

/** The SDK's Express server on any port. */
export async function startSdkServer(host: string): Promise<Address> {
  const app = express();
  const card = cardAt("http://unused/");
  const requestHandler = new DefaultRequestHandler(card, new InMemoryTaskStore(), echo);
  app.use("/", jsonRpcHandler({ requestHandler, userBuilder: UserBuilder.noAuthentication }));
  const server = app.listen(0, host);
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new RunError("BENCH_NO_PORT", "the SDK's server has no port");
  return { host, port: address.port };
}

/** Asks with the SDK's own client, its transport and Node's fetch. */
export async function sdkClient({ host, port }: Address, data: readonly unknown[]): Promise<() => Promise<void>> {
  const factory = new ClientFactory({ transports: [new JsonRpcTransportFactory()] });
  const client = await factory.createFromAgentCard(cardAt(`http://${host}:${port}/`));
  const parts = data.map(
    (value): Part => ({
      content: { $case: "data", value },
      metadata: undefined,
      filename: "",
      mediaType: "application/json",
    }),
  );
  return async () => {
    const answer = await client.sendMessage({
      tenant: "",
      message: {
        messageId: randomUUID(),
        contextId: "",
        taskId: "",
        role: Role.ROLE_USER,
        parts,
        metadata: undefined,
        extensions: [],
        referenceTaskIds: [],
      },
      configuration: undefined,
      metadata: undefined,
    });
    if (!("artifacts" in answer) || answer.artifacts[0]?.parts.length !== parts.length)
      throw new RunError("BENCH_WRONG_ANSWER", `the SDK's server answered ${JSON.stringify(answer)}`);
  };
}
