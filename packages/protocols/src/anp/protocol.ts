import type { Protocol, ProtocolInfo, ReconnectionInfo } from "@failstorm/core";
import { createAnpBackend } from "./backend.ts";
import { type AnpConfig, parseAnpConfig } from "./config.ts";

const info: ProtocolInfo = {
  name: "anp",
  version: "1.2",
  description:
    "Agent Network Protocol: did:wba identities, signed HTTP requests, JSON-RPC direct messages. Declared deviations: plain HTTP instead of TLS, DIDs that name localhost, and an agent's answer in the result of direct.send (member reply).",
  features: [
    "did:wba identity per agent (ANP-03), DID document served",
    "HTTP message signatures and content digest (ANP-02)",
    "bearer tokens, 401 challenge",
    "agent description and discovery (ANP-07, ANP-08)",
    "anp.get_capabilities, direct.send, direct.incoming with origin proof (P1, P2, P3)",
    "mandatory idempotency and replay protection that survive a crash",
    "meta-protocol negotiation (ANP-06)",
    "end-to-end encryption (P5 v2), as an option",
  ],
  heartbeat: "added",
  capabilities: {
    streaming: false,
    cancel: false,
    resume: false,
    idempotency: true,
    authentication: true,
    nativeProbe: false,
  },
};

const reconnection: ReconnectionInfo = {
  method: "DID resolution, then anp.get_capabilities as a signed request",
  authentication: "HTTP message signature with the DID's key; a bearer token afterwards",
  expectedRoundTrips: 2,
};

/** What the configuration adds to a handshake, a round trip each. */
function furtherSteps({ challenge, transport, e2ee, negotiate }: AnpConfig): string[] {
  return [
    ...(challenge ? ["a challenge for the nonce"] : []),
    ...(transport === "websocket" ? ["the upgrade to a WebSocket"] : []),
    ...(e2ee ? ["the prekey bundle"] : []),
    ...(negotiate ? ["a meta-protocol negotiation"] : []),
  ];
}

function reconnectionWith(config: unknown): ReconnectionInfo {
  const steps = config === undefined ? [] : furtherSteps(config as AnpConfig);
  const { method, expectedRoundTrips } = reconnection;
  return { ...reconnection, method: [method, ...steps].join("; "), expectedRoundTrips: expectedRoundTrips + steps.length };
}

export const protocol: Protocol = {
  getProtocolInfo: () => info,
  getReconnectionInfo: reconnectionWith,
  parseConfig: parseAnpConfig,
  createBackend: (context) => createAnpBackend(context),
};
