import { type CheckedRun, gatherEvidence, type Violation } from "./checkedRun.ts";
import {
  checkFakeFault,
  checkFaultsAsPlanned,
  checkIndexed,
  warnOfSmallStorm,
  warnOfSaturation,
  warnOfExits,
} from "./faultInvariants.ts";
import { checkCounters, checkDeadSilence, checkIncarnations, checkRejoin, checkSequences } from "./processInvariants.ts";
import {
  checkExpiredStarts,
  checkLedger,
  checkLedgersEqual,
  checkOutcomes,
  checkSteps,
  checkTasksLost,
  warnOfLedgerLag,
  warnOfUncheckedLedger,
} from "./taskInvariants.ts";

export type { CheckedRun, EventRef, Violation } from "./checkedRun.ts";

export interface CheckResult {
  /** Broken invariants: the numbers of this run cannot be trusted, or the system under test is wrong. */
  readonly violations: readonly Violation[];
  /** What makes the run unfit for comparison without being wrong. */
  readonly warnings: readonly Violation[];
}

const INVARIANTS = [
  checkIndexed,
  checkSequences,
  checkCounters,
  checkIncarnations,
  checkDeadSilence,
  checkRejoin,
  checkFaultsAsPlanned,
  checkFakeFault,
  checkTasksLost,
  checkOutcomes,
  checkExpiredStarts,
  checkSteps,
  checkLedger,
  checkLedgersEqual,
];

const WARNINGS = [warnOfSmallStorm, warnOfSaturation, warnOfExits, warnOfLedgerLag, warnOfUncheckedLedger];

/**
 * Checks the invariants of a run, at its end or on replay, from its events alone; of a run that broke off, as far as they can
 * be. It never fills in what the agents did not log.
 */
export function checkRun(run: CheckedRun): CheckResult {
  const evidence = gatherEvidence(run);
  return {
    violations: INVARIANTS.flatMap((invariant) => invariant(evidence)),
    warnings: WARNINGS.flatMap((warning) => warning(evidence)),
  };
}
