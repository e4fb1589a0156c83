import type { Traffic } from "@failstorm/core";
import type { Session } from "./caller.ts";
import type { JsonObject } from "./json.ts";
import type { RpcCall, RpcClient } from "./rpcClient.ts";

/** Told what an operation moved beside the requests that are measured with it. */
export type NoteTraffic = (traffic: Traffic) => void;

/** What carries the calls of a session. All reject with CommError, or with what undici or the signal throws. */
export interface Transport {
  /** Makes ready for calls; belongs to the handshake. */
  open(session: Session, note: NoteTraffic, signal?: AbortSignal): Promise<unknown>;
  call(session: Session, call: RpcCall, note: NoteTraffic, signal?: AbortSignal): Promise<JsonObject>;
  close(session: Session): void;
}

/** A request each; nothing to open. */
export const httpTransport = (rpc: RpcClient): Transport => ({
  open: async () => {},
  call: ({ access, src }, call, _note, signal) => rpc.call(access, src.signingKey, call, signal),
  close: () => {},
});

/** What was measured and what was noted, as one operation's. */
export function sumOf(measured: Traffic, noted: readonly Traffic[]): Traffic {
  let { bytesSent, bytesReceived, roundTrips, firstByteAt } = measured;
  for (const traffic of noted) {
    bytesSent += traffic.bytesSent;
    bytesReceived += traffic.bytesReceived;
    roundTrips += traffic.roundTrips;
    if (traffic.firstByteAt !== null && (firstByteAt === null || traffic.firstByteAt < firstByteAt))
      firstByteAt = traffic.firstByteAt;
  }
  return { bytesSent, bytesReceived, roundTrips, firstByteAt, ms: measured.ms };
}
