import type { FaultKind, PlannedFault } from "@failstorm/core";
import { fakeOf } from "./fake.ts";
import type { Fault } from "./fault.ts";
import { sigkill } from "./sigkill.ts";
import { sigstop } from "./sigstop.ts";
import { sigterm } from "./sigterm.ts";

const FAULTS: Readonly<Record<FaultKind, Fault>> = { sigkill, sigstop, sigterm };

/** What a planned fault does. */
export const faultOf = (planned: PlannedFault): Fault => (planned.fake ? fakeOf(FAULTS[planned.kind]) : FAULTS[planned.kind]);
