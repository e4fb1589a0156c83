import type { AgentId } from "@failstorm/core";
import { createPace, type Pace } from "./pace.ts";
import type { Peer } from "./peer.ts";
import { PeriodicDetector } from "./periodic.ts";
import type { DetectorOptions, FailureDetector } from "./types.ts";

/** The `heartbeat` failure detector: dead at last heard + timeout. Fixed interval and timeout, or each link's own (`adaptive`). */
export function createHeartbeatDetector(options: DetectorOptions): FailureDetector {
  if (options.adaptive !== true) return new PeriodicDetector(options, { deathMs: () => options.timeoutMs });
  const paces = new Map<AgentId, { readonly incarnation: number; readonly pace: Pace }>();
  const paceOf = ({ id, incarnation }: Peer): Pace => {
    let link = paces.get(id);
    if (link?.incarnation !== incarnation)
      paces.set(id, (link = { incarnation, pace: createPace(options.intervalMs, options.timeoutMs) }));
    return link.pace;
  };
  return new PeriodicDetector(options, {
    deathMs: (peer) => paceOf(peer).timeoutMs,
    intervalMs: (peer) => paceOf(peer).intervalMs,
    answered: (peer, sentAt, now) => paceOf(peer).answered(now - sentAt),
    missed: (peer) => paceOf(peer).missed(),
    forget: (peer) => void paces.delete(peer),
  });
}
