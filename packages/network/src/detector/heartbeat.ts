import { PeriodicDetector } from "./periodic.ts";
import type { DetectorOptions, FailureDetector } from "./types.ts";

/** The `heartbeat` failure detector: dead at last heard + timeout, whatever the link's history. */
export const createHeartbeatDetector = (options: DetectorOptions): FailureDetector =>
  new PeriodicDetector(options, { deathMs: () => options.timeoutMs, answered: () => {} });
