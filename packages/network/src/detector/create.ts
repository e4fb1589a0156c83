import type { DetectorKind } from "@failstorm/core";
import { Foresight } from "./foresight.ts";
import { createHeartbeatDetector } from "./heartbeat.ts";
import { createPhiAccrualDetector } from "./phiAccrual.ts";
import { createSwimDetector } from "./swim/swim.ts";
import type { DetectorOptions, FailureDetector } from "./types.ts";

const CREATORS: Readonly<Record<DetectorKind, (options: DetectorOptions) => FailureDetector>> = {
  heartbeat: createHeartbeatDetector,
  "phi-accrual": createPhiAccrualDetector,
  swim: createSwimDetector,
};

/** The detector of the configured kind. */
export function createFailureDetector(kind: DetectorKind, options: DetectorOptions): FailureDetector {
  const detector = CREATORS[kind](options);
  return options.predictive === true ? new Foresight(detector, options) : detector;
}
