import type { Claims, FaultLine } from "./claims.ts";
import type { AgentProcess, OwnedConnection, Outside } from "./outside.ts";

/** A victim of the first storm: its fault as recorded, and its process as the kernel showed it. */
export interface Victim {
  readonly fault: FaultLine;
  readonly process: AgentProcess;
}

/** The first storm of a run, seen from both sides: recorded instants bound the intervals, processes are those of the kernel. */
export interface Storm {
  readonly at: number;
  /** End of the interval that its measures look at. */
  readonly until: number;
  /** The next storm ended it. */
  readonly isFollowed: boolean;
  readonly victims: readonly Victim[];
  readonly survivors: ReadonlySet<AgentProcess>;
}

/** Null when the run had no storm. A recorded victim whose process was never seen is an error: there is nothing to compare with. */
export function firstStorm(claims: Claims, { processes }: Outside): Storm | null {
  const { faults, t0, runtimeMs, recoveryDurationMs } = claims;
  const cycle = faults[0]?.cycle;
  const own = faults.filter((fault) => fault.cycle === cycle && !fault.fake);
  if (own.length === 0) return null;
  const victims = own.map((fault) => {
    const process = processes.find(({ pid, agent }) => pid === fault.pid && agent === fault.agent);
    if (process === undefined) throw new Error(`${fault.agent}: no process ${fault.pid} was seen from outside`);
    return { fault, process };
  });
  const at = Math.min(...own.map((fault) => fault.before));
  const next = Math.min(...faults.filter((fault) => fault.cycle !== cycle).map((fault) => fault.before));
  const recovered = recoveryDurationMs === null ? Number.POSITIVE_INFINITY : at + recoveryDurationMs;
  const struck = new Set(victims.map(({ process }) => process));
  const until = Math.min(next, recovered, t0 + runtimeMs);
  return {
    at,
    until,
    isFollowed: until === next,
    victims,
    survivors: new Set(
      processes.filter(
        (process) => process.seenAt < at && (process.exitedAt ?? Number.POSITIVE_INFINITY) > at && !struck.has(process),
      ),
    ),
  };
}

/** The connections that survivors opened. */
export const bySurvivors = (storm: Storm, { connections }: Outside): OwnedConnection[] =>
  connections.filter(({ client }) => client !== null && storm.survivors.has(client));

/** The next process of a victim's agent. */
export const successorOf = ({ process }: Victim, { processes }: Outside): AgentProcess | undefined =>
  processes.find(({ agent, seenAt }) => agent === process.agent && seenAt > process.seenAt);
