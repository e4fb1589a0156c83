import type { Bench } from "./bench.ts";
import { control } from "./control.ts";
import { heartbeat64, sigstop, sigstopSwim } from "./detectionLimits.ts";
import { idleLoad } from "./idleLoad.ts";
import { antiEntropy } from "./networkAntiEntropy.ts";
import { networkMessaging } from "./networkMessaging.ts";
import { protocols } from "./protocols.ts";
import { queue } from "./queue.ts";
import { scale } from "./scale.ts";
import { spawn } from "./spawn.ts";
import { stalls } from "./stalls.ts";
import { detectionHeartbeat, detectionTransport } from "./storms.ts";

/** All benches, in the order they run. A new one is a module and a line here. */
export const benches: readonly Bench[] = [
  spawn,
  detectionTransport,
  detectionHeartbeat,
  idleLoad,
  control,
  protocols,
  scale,
  heartbeat64,
  sigstop,
  sigstopSwim,
  stalls,
  networkMessaging,
  antiEntropy,
  queue,
];
