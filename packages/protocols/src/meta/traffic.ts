import type { Traffic } from "@failstorm/core";

const sum = (one: Traffic, other: Traffic): Traffic => ({
  bytesSent: one.bytesSent + other.bytesSent,
  bytesReceived: one.bytesReceived + other.bytesReceived,
  roundTrips: one.roundTrips + other.roundTrips,
  firstByteAt: one.firstByteAt ?? other.firstByteAt,
  ms: one.ms + other.ms,
});

/** All that was moved for one operation, under the protocol that settled it; null when nothing was. */
export function together(protocol: string, moved: readonly (Traffic | undefined)[]): Traffic | null {
  const [first, ...others] = moved.filter((traffic) => traffic !== undefined);
  return first === undefined ? null : { ...others.reduce(sum, first), protocol };
}

export const trafficOf = (error: unknown): Traffic | undefined => (error as { traffic?: Traffic } | null)?.traffic;

/** The same failure, saying by which protocol it came and what was moved in all. */
export function markFailure(error: unknown, protocol: string, before: readonly (Traffic | undefined)[] = []): unknown {
  const traffic = together(protocol, [...before, trafficOf(error)]);
  return traffic !== null && error instanceof Error ? Object.assign(error, { traffic }) : error;
}
