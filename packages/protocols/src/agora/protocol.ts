import type { Protocol, ProtocolInfo, ReconnectionInfo } from "@failstorm/core";
import { createAgoraBackend } from "./backend.ts";
import { parseAgoraConfig } from "./config.ts";

const info: ProtocolInfo = {
  name: "agora",
  version: "0.2",
  description:
    "Agora (Working Standard 0.2): natural language for rare messages, protocol documents addressed by their hash for frequent ones.",
  features: [
    "protocol documents by SHA-1, with sources",
    "GET /wellknown",
    "multi-round conversations with expiry",
    "negotiation of documents for frequent messages (deterministic)",
    "natural language for rare messages",
    "the Python library's dialect accepted on input: base64 hashes, negotiation in words, its error fields, DELETE of conversations",
    "deviation: plain HTTP, where the standard requires HTTPS",
    "added: who an agent is, as a protocol document in /wellknown; GET /documents/{hash}; GET /alive",
  ],
  heartbeat: "added",
  capabilities: {
    streaming: false,
    cancel: false,
    resume: false,
    idempotency: false,
    authentication: false,
    nativeProbe: false,
  },
};

const reconnection: ReconnectionInfo = {
  method:
    "GET /wellknown: whether the agreed documents are still known; sources, conversations and negotiations with the messages",
  authentication: "none",
  expectedRoundTrips: 1,
};

export const protocol: Protocol = {
  getProtocolInfo: () => info,
  getReconnectionInfo: () => reconnection,
  parseConfig: parseAgoraConfig,
  createBackend: createAgoraBackend,
};
