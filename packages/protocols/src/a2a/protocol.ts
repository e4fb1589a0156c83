import type { Protocol, ProtocolInfo, ReconnectionInfo } from "@failstorm/core";
import { createA2aBackend } from "./backend.ts";
import { type A2aConfig, parseA2aConfig } from "./config.ts";

const info: ProtocolInfo = {
  name: "a2a",
  version: "1.0",
  description:
    "Agent2Agent (Linux Foundation): agent cards, messages that become tasks, JSON-RPC and REST over HTTP, streams of server-sent events.",
  features: [
    "agent card",
    "SendMessage, SendStreamingMessage",
    "GetTask, ListTasks, CancelTask, SubscribeToTask",
    "tasks survive the process; orphans fail",
    "push notifications",
    "JSON-RPC 1.0 and 0.3, HTTP+JSON 1.0",
    "conditional GET of the card as heartbeat",
  ],
  heartbeat: "added",
  capabilities: {
    streaming: true,
    cancel: true,
    resume: true,
    idempotency: false,
    authentication: false,
    nativeProbe: false,
  },
};

/** A second round trip, only when work was in flight: what became of it (GetTask where the task is known by id, else ListTasks). */
const reconnection: ReconnectionInfo = {
  method: "GET agent card; GetTask / ListTasks for what was in flight",
  authentication: "none, or a bearer token when configured",
  expectedRoundTrips: 1,
};

const hasTokens = (config: unknown): boolean => ((config as A2aConfig | undefined)?.bearerTokens.size ?? 0) > 0;

export const protocol: Protocol = {
  getProtocolInfo: (config) => ({ ...info, capabilities: { ...info.capabilities, authentication: hasTokens(config) } }),
  getReconnectionInfo: () => reconnection,
  parseConfig: parseA2aConfig,
  createBackend: (context) => createA2aBackend(context),
};
