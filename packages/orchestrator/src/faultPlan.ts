import { type AgentId, agentId, byAgentIndex, InputError, type PlannedFault, type Prng, type RunConfig } from "@failstorm/core";

/** What a process may take to start and rejoin, whatever the time scale. */
const START_MS = 3000;

/**
 * The storm, from the configuration and a seed alone. Per cycle: `killCount` victims drawn from the agents that are up at that
 * time, at least one agent always spared; the time jittered uniformly over one heartbeat interval, so that faults fall anywhere
 * between two heartbeats. A cycle that would begin at or after the end, or find nobody to strike, is left out.
 *
 * With `killProtocol` only agents that host it are drawn, and `killCount` is a number of those; which others are up does not matter but
 * that one of the whole network is spared. Throws InputError when no agent hosts it.
 *
 * `restartAtMs` of sigstop is the end of the run (SIGCONT); of the others null when it would not come before the end.
 */
export function planFaults(config: RunConfig, prng: Prng): PlannedFault[] {
  const { scenario, network } = config;
  const { runtimeMs, fault: kind } = scenario;
  const targets = targetsOf(scenario);
  /** Until when each agent struck so far is out, ms after t=0; a restarted one gets a heartbeat timeout to come up, and START_MS. */
  const downUntil = new Map<AgentId, number>();
  const faults: PlannedFault[] = [];
  for (let cycle = 0; cycle < scenario.cycles; cycle++) {
    const earliestMs = scenario.faultTimeMs + cycle * scenario.cycleIntervalMs;
    if (earliestMs >= runtimeMs) break;
    const draws = prng.fork(`fault-${cycle}`);
    const jitterMs = draws.next() * Math.min(network.heartbeatIntervalMs, runtimeMs - earliestMs);
    const atMs = Math.floor((earliestMs + jitterMs) * 1000) / 1000;
    const up = Array.from({ length: scenario.agentCount }, (_, index) => agentId(index)).filter(
      (id) => (downUntil.get(id) ?? 0) <= atMs,
    );
    const victims = drawVictims(draws, { up, targets, count: scenario.killCount });
    if (victims.length === 0) continue;
    const restartAtMs = restartTime(config, atMs);
    const upAgainMs =
      kind === "sigstop" || restartAtMs === null
        ? Number.POSITIVE_INFINITY
        : restartAtMs + Math.max(START_MS, network.heartbeatTimeoutMs);
    for (const id of victims) downUntil.set(id, upAgainMs);
    faults.push({ kind, atMs, cycle, victims, fake: scenario.fakeFault, restartAtMs });
  }
  return faults;
}

/** At most `count` of the targets that are up, by index; one agent of all that are up is always spared. */
export function drawVictims(
  prng: Prng,
  from: { readonly up: readonly AgentId[]; readonly targets: ReadonlySet<AgentId>; readonly count: number },
): AgentId[] {
  const most = Math.max(0, Math.min(from.count, from.up.length - 1));
  return prng
    .shuffle(from.up.filter((id) => from.targets.has(id)))
    .slice(0, most)
    .toSorted(byAgentIndex);
}

/** Who may be struck: those that host `killProtocol`, else all. Throws InputError when that is nobody. */
export function targetsOf({
  agentCount,
  hosts,
  killProtocol,
}: Pick<RunConfig["scenario"], "agentCount" | "hosts" | "killProtocol">): ReadonlySet<AgentId> {
  const ids = Array.from({ length: agentCount }, (_, index) => agentId(index));
  if (killProtocol === undefined) return new Set(ids);
  const targets = ids.filter((_, index) => hosts?.[index]?.includes(killProtocol) === true);
  if (targets.length > 0) return new Set(targets);
  const there =
    hosts === undefined ? "all agents speak one protocol" : `they host ${[...new Set(hosts.flat())].toSorted().join(", ")}`;
  throw new InputError(`scenario.kill_protocol (--kill-protocol): no agent hosts ${killProtocol}; ${there}`);
}

function restartTime({ scenario }: RunConfig, atMs: number): number | null {
  if (scenario.fault === "sigstop") return scenario.runtimeMs;
  if (scenario.restartAfterMs === null) return null;
  const restartAtMs = atMs + scenario.restartAfterMs;
  return restartAtMs < scenario.runtimeMs ? restartAtMs : null;
}
