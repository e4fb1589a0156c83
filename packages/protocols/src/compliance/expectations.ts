import assert from "node:assert/strict";
import { type CommError, type CommErrorCode, systemClock, type Traffic } from "@failstorm/core";

/** A failure as the contract wants it; backends add what was moved before it. */
export type Failure = CommError & { readonly traffic?: Traffic };

/** What is right is not slow, but on a machine that has too much to do, or whose loop stands still, it may take a while. */
export const PATIENCE_MS = 30_000;

/** Rejects when `promise` has not settled in time, so that what hangs is named. */
export async function within<T>(what: string, ms: number, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const cancel = systemClock.after(ms, () => late.reject(new assert.AssertionError({ message: `not within ${ms} ms: ${what}` })));
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    cancel();
  }
}

/** That the operation fails, in time, as a CommError about `peer` with one of these codes. */
export async function expectFailure(
  what: string,
  promise: Promise<unknown>,
  {
    peer,
    codes,
    withinMs = PATIENCE_MS,
  }: { readonly peer: string; readonly codes: readonly CommErrorCode[]; readonly withinMs?: number },
): Promise<Failure> {
  let outcome: unknown;
  try {
    outcome = await within(what, withinMs, promise);
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    const failure = error as Failure;
    assert.equal(failure?.name, "CommError", `${what}: failures are CommErrors, this is ${String(error)}`);
    assert.ok(codes.includes(failure.code), `${what}: code ${failure.code} (${failure.message}), expected ${codes.join(" or ")}`);
    assert.equal(failure.peer, peer, `${what}: the error names the peer`);
    return failure;
  }
  throw new assert.AssertionError({ message: `${what}: it did not fail but gave ${JSON.stringify(outcome)}` });
}

/** Checks that traffic was measured at all. */
export function expectTraffic(what: string, { bytesSent, bytesReceived, roundTrips, firstByteAt, ms }: Traffic): void {
  assert.ok(bytesSent > 0 && bytesReceived > 0, `${what}: bytes are counted (sent ${bytesSent}, received ${bytesReceived})`);
  assert.ok(roundTrips >= 1, `${what}: round trips are counted (${roundTrips})`);
  assert.ok(firstByteAt !== null && firstByteAt <= systemClock.now(), `${what}: the first byte has its time (${firstByteAt})`);
  assert.ok(ms >= 0 && firstByteAt >= systemClock.now() - 600_000, `${what}: times are those of the clock`);
}

/** Resolves as soon as `check` holds. */
export async function eventually(what: string, ms: number, check: () => boolean): Promise<void> {
  const deadline = systemClock.now() + ms;
  while (!check()) {
    if (systemClock.now() > deadline) throw new assert.AssertionError({ message: `not within ${ms} ms: ${what}` });
    await systemClock.sleep(5);
  }
}
