import { systemClock } from "@failstorm/core";
import type { Security } from "../src/index.ts";

const security: Security = {
  kind: "secret",
  keyId: "node",
  keys: { node: { secret: "the secret of the test network", role: "member" } },
};

/** What a node over real sockets needs; short times, so that real deaths are noticed soon. */
export const nodeOptions = <Self extends { readonly agentId: string; readonly incarnation: number }>(self: Self) => ({
  self,
  clock: systemClock,
  log: () => {},
  security,
  timing: { heartbeatIntervalMs: 100, heartbeatTimeoutMs: 400, syncIntervalMs: 200, cleanupIntervalMs: 500 },
});
