import type { Bench } from "./bench.ts";
import { spawn } from "./spawn.ts";
import { detectionHeartbeat, detectionTransport } from "./storms.ts";

/** All benches, in the order they run. A new one is a module and a line here. */
export const benches: readonly Bench[] = [spawn, detectionTransport, detectionHeartbeat];
