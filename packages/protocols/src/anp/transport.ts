import type { Session } from "./caller.ts";
import type { JsonObject } from "./json.ts";
import type { RpcCall, RpcClient } from "./rpcClient.ts";

/** What carries the calls of a session. All reject with CommError, or with what undici or the signal throws. */
export interface Transport {
  /** Makes ready for calls; belongs to the handshake. */
  open(session: Session, signal?: AbortSignal): Promise<unknown>;
  call(session: Session, call: RpcCall, signal?: AbortSignal): Promise<JsonObject>;
  close(session: Session): void;
}

/** A request each; nothing to open. */
export const httpTransport = (rpc: RpcClient): Transport => ({
  open: async () => {},
  call: ({ access, src }, call, signal) => rpc.call(access, src.signingKey, call, signal),
  close: () => {},
});
