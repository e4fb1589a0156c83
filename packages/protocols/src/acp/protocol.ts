import type { Protocol, ProtocolInfo, ReconnectionInfo } from "@failstorm/core";
import { createAcpBackend } from "./backend.ts";
import { parseAcpConfig } from "./config.ts";

const info: ProtocolInfo = {
  name: "acp",
  version: "0.2.0",
  description:
    "Agent Communication Protocol (IBM BeeAI): REST runs in the modes sync, async and stream, sessions, a native ping.",
  features: [
    "GET /ping",
    "agent manifests",
    "runs: sync, async, stream (SSE)",
    "await and resume",
    "cancel",
    "event log of each run",
    "sessions: history as resource URLs",
  ],
  heartbeat: "native",
  capabilities: {
    streaming: true,
    cancel: true,
    resume: true,
    idempotency: false,
    authentication: false,
    nativeProbe: true,
  },
};

const reconnection: ReconnectionInfo = {
  method: "GET /ping, GET /agents/{name}, then GET /runs/{id} for each run lost in flight whose id was known",
  authentication: "none",
  expectedRoundTrips: 2,
};

export const protocol: Protocol = {
  getProtocolInfo: () => info,
  getReconnectionInfo: () => reconnection,
  parseConfig: parseAcpConfig,
  createBackend: (context) => createAcpBackend(context),
};
