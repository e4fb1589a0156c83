import { type DetectorKind, InputError } from "@failstorm/core";
import { createHeartbeatDetector, type HeartbeatOptions } from "./heartbeat.ts";
import type { FailureDetector } from "./types.ts";

/** The detector of the configured kind. InputError for the kinds that do not exist yet. */
export function createFailureDetector(kind: DetectorKind, options: HeartbeatOptions): FailureDetector {
  if (kind === "heartbeat") return createHeartbeatDetector(options);
  throw new InputError(`network.detector: ${kind} is not built yet; use heartbeat`);
}
