import type { Fault } from "./fault.ts";

/** The marker of a fault without the fault: same stamps, no signal. A measure that moves on it measures itself. */
export const fakeOf = (fault: Fault): Fault => ({ kind: fault.kind, fake: true, strike: () => true, clear: null });
