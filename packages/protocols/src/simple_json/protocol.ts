import type { Protocol, ProtocolInfo, ReconnectionInfo } from "@failstorm/core";
import { createSimpleJsonBackend, parseSimpleJsonConfig, type SimpleJsonConfig } from "./backend.ts";

const info: ProtocolInfo = {
  name: "simple_json",
  version: "1",
  description: "Plain HTTP POST of a JSON envelope; the control group: whatever it costs is the harness, not a protocol.",
  features: ["request/response", "idempotency by message id", "GET /health"],
  heartbeat: "native",
  capabilities: {
    streaming: false,
    cancel: false,
    resume: false,
    idempotency: true,
    authentication: false,
    nativeProbe: true,
  },
};

const reconnection: ReconnectionInfo = { method: "GET /agent", authentication: "none", expectedRoundTrips: 1 };

export const protocol: Protocol = {
  getProtocolInfo: (config) => {
    const { idempotency } = (config as SimpleJsonConfig | undefined) ?? info.capabilities;
    return { ...info, capabilities: { ...info.capabilities, idempotency } };
  },
  getReconnectionInfo: () => reconnection,
  parseConfig: parseSimpleJsonConfig,
  createBackend: (context) => createSimpleJsonBackend(context),
};
