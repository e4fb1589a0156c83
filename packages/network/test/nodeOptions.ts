import { systemClock } from "@failstorm/core";
import type { Security } from "../src/index.ts";

const security: Security = {
  kind: "secret",
  keyId: "node",
  keys: { node: { secret: "the secret of the test network", role: "member" } },
};

/**
 * What a node over real sockets needs. Deaths are noticed by closed links; the timeouts are so long that whoever lives, and stands still on a busy
 * machine for a while, is not taken for dead.
 */
export const nodeOptions = <Self extends { readonly agentId: string; readonly incarnation: number }>(self: Self) => ({
  self,
  clock: systemClock,
  log: () => {},
  security,
  timing: {
    heartbeatIntervalMs: 100,
    heartbeatTimeoutMs: 10_000,
    syncIntervalMs: 200,
    cleanupIntervalMs: 500,
    connectTimeoutMs: 30_000,
    requestTimeoutMs: 30_000,
  },
});
