import type { AgentId, Clock, MessageKind, Traffic, TrafficCause } from "@failstorm/core";
import type { Recorder } from "./recorder.ts";

/** A request that is recorded like any other message, however it ends; rejects as the request does. */
export async function measured<T extends { readonly traffic: Traffic }>(
  { clock, recorder }: { readonly clock: Clock; readonly recorder: Recorder },
  message: { readonly to: AgentId; readonly kind: MessageKind; readonly cause: TrafficCause },
  request: () => Promise<T>,
): Promise<T> {
  const startedAt = clock.now();
  const record = (traffic: Partial<Traffic>, error: string | null): void => {
    const { bytesSent = 0, bytesReceived = 0, roundTrips = 0, protocol } = traffic;
    const ms = clock.now() - startedAt;
    recorder.message({
      ...message,
      task: null,
      step: null,
      attempt: 1,
      ms,
      bytesSent,
      bytesReceived,
      roundTrips,
      error,
      protocol,
    });
  };
  try {
    const result = await request();
    record(result.traffic, null);
    return result;
  } catch (error) {
    record((error as { traffic?: Traffic }).traffic ?? {}, (error as { code?: string }).code ?? "failed");
    throw error;
  }
}
