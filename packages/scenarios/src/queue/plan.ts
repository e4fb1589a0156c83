import {
  type AgentId,
  createPrng,
  InputError,
  type PlannedFault,
  type Prng,
  type QueueConfig,
  type QueueNode,
  type QueuePlan,
  type RunConfig,
} from "@failstorm/core";

type Process = QueuePlan["processes"][number];
export type QueueRunConfig = QueuePlan["config"];

/** What is killed, and when. */
export interface QueueFaults {
  /** Share of the workers of ours, 0 to 1; above 0 at least one. */
  readonly killFraction: number;
  readonly killCoordinator: boolean;
  readonly atMs: number;
}

export const COORDINATOR: AgentId = "coordinator-1";

/** An agent that runs already: `http://host:port/path`, and its name after a `#`, where it does not go by its port. */
export function externalNode(url: string, protocol: string, fedBy: AgentId): QueueNode {
  const wrong = (why: string): InputError =>
    new InputError(`--worker ${url}: ${why}; give a URL such as http://127.0.0.1:9101, with its name after a # if it has one`);
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch (error) {
    throw new InputError(wrong("is no URL").message, { cause: error });
  }
  if (parsed.protocol !== "http:") throw wrong(`${parsed.protocol} is not spoken here`);
  const name = nameIn(parsed.hash);
  if (name === null) throw wrong(`${parsed.hash} is no name (a % is written %25)`);
  const port = parsed.port === "" ? "80" : parsed.port;
  const agentId = name === "" ? externalName(Number(port)) : name;
  const endpoint = `http://${parsed.hostname}:${port}${parsed.pathname.replace(/\/+$/, "")}`;
  return { agentId, role: "worker", endpoint, protocol, external: true, fedBy };
}

function nameIn(hash: string): string | null {
  try {
    return decodeURIComponent(hash.slice(1));
  } catch {
    return null;
  }
}

/** What an agent goes by that was started alone. */
export const externalName = (port: number): AgentId => `worker-at-${port}`;

/** Which processes there are and who feeds whom. Throws InputError. */
export function queueNetwork(
  queue: QueueConfig,
  protocol: string,
): { readonly processes: readonly Process[]; readonly external: readonly QueueNode[] } {
  if (queue.workers + queue.external.length === 0)
    throw new InputError("--workers 0: a queue needs a worker; start some, or name those that run with --worker URL");
  const subs = queue.topology === "layered" ? names("sub-coordinator", queue.subCoordinators) : [];
  const members = queue.workers + queue.external.length;
  if (subs.length > members)
    throw new InputError(
      `--sub-coordinators ${subs.length}: ${members} workers do not fill as many pools; use at most ${members}`,
    );
  const feeder = (index: number): AgentId => subs[index % Math.max(1, subs.length)] ?? COORDINATOR;
  const external = queue.external.map((url, index) => externalNode(url, protocol, feeder(queue.workers + index)));
  const processes: Process[] = [
    { agentId: COORDINATOR, role: "coordinator", fedBy: null },
    ...subs.map((agentId): Process => ({ agentId, role: "sub-coordinator", fedBy: COORDINATOR })),
    ...names("worker", queue.workers).map((agentId, index): Process => ({ agentId, role: "worker", fedBy: feeder(index) })),
  ];
  rejectTwins(external, new Set(processes.map(({ agentId }) => agentId)));
  return { processes, external };
}

const names = (kind: string, count: number): AgentId[] => Array.from({ length: count }, (_, index) => `${kind}-${index + 1}`);

/** `own`: names of the processes that the run starts. */
function rejectTwins(external: readonly QueueNode[], own: ReadonlySet<AgentId>): void {
  const [endpoints, names] = [new Set<string>(), new Set<AgentId>()];
  for (const { agentId, endpoint } of external) {
    if (endpoints.has(endpoint))
      throw new InputError(`--worker ${endpoint}: ${endpoint} is given twice; two agents cannot be the same one`);
    if (own.has(agentId))
      throw new InputError(`--worker ${endpoint}#${agentId}: ${agentId} is a process of this run; that agent needs another name`);
    if (names.has(agentId))
      throw new InputError(
        `--worker ${endpoint}: two workers go by ${agentId}; start one with another name (failstorm agent --name NAME) and give it after a #: ${endpoint}#NAME`,
      );
    endpoints.add(endpoint);
    names.add(agentId);
  }
}

const victimCount = ({ killFraction }: QueueFaults, workers: number): number =>
  killFraction === 0 ? 0 : Math.max(1, Math.round(killFraction * workers));

/** SIGKILL to seeded workers, and perhaps the coordinator, all at one time, jittered over one interval of the health checks. */
export function planQueueFaults(
  faults: QueueFaults,
  { scenario, network, queue }: QueueRunConfig,
  processes: readonly Process[],
  prng: Prng,
): PlannedFault[] {
  const workers = processes.filter(({ role }) => role === "worker").map(({ agentId }) => agentId);
  const count = victimCount(faults, workers.length);
  if (count > workers.length)
    throw new InputError("--kill-fraction: only workers that this run starts can be killed, and it starts none; use --workers");
  const struck = new Set(prng.shuffle(workers).slice(0, count));
  const victims = [...(faults.killCoordinator ? [COORDINATOR] : []), ...workers.filter((id) => struck.has(id))];
  if (victims.length === 0) return [];
  const atMs = Math.floor((faults.atMs + prng.next() * network.heartbeatIntervalMs) * 1000) / 1000;
  return [{ kind: "sigkill", atMs, cycle: 0, victims, fake: scenario.fakeFault, restartAtMs: atMs + queue.restartAfterMs }];
}

/** Everything of a queue that is decided before it starts, but for its files. */
export function planQueue(config: QueueRunConfig, faults: QueueFaults): Pick<QueuePlan, "processes" | "external" | "faults"> {
  const { processes, external } = queueNetwork(config.queue, config.scenario.protocol);
  const prng = createPrng(config.scenario.seed).fork("queue-faults");
  return { processes, external, faults: planQueueFaults(faults, config, processes, prng) };
}

/**
 * Which protocols each process hosts where they are mixed: the workers as dealt to them, coordinators the first one of the first worker. Throws
 * InputError for workers of which nobody knows.
 */
function mixOf(
  { scenario: { hosts, protocol } }: RunConfig,
  { external }: QueueConfig,
  processes: readonly Process[],
): Pick<RunConfig["scenario"], "hosts" | "agentIds"> {
  if (hosts === undefined) return {};
  const [stranger] = external;
  if (stranger !== undefined)
    throw new InputError(
      `--worker ${stranger}: with --protocol ${protocol} nobody knows which protocol it hosts; name that one with --protocol, or start the workers here (--workers)`,
    );
  const [[first] = []] = hosts;
  const ofCoordinators = first === undefined ? [] : [first];
  const coordinators = processes.filter(({ role }) => role !== "worker").length;
  return {
    hosts: processes.map(({ role }, index) => (role === "worker" ? (hosts[index - coordinators] ?? []) : ofCoordinators)),
    agentIds: processes.map(({ agentId }) => agentId),
  };
}

/**
 * A run's configuration made a queue's: its processes are counted, its faults are in it. Of a mix, `base` has what each worker hosts. Throws
 * InputError.
 */
export const asQueueConfig = (base: RunConfig, queue: QueueConfig, faults: QueueFaults): QueueRunConfig => {
  const { processes } = queueNetwork(queue, base.scenario.protocol);
  const victims = victimCount(faults, queue.workers) + Number(faults.killCoordinator);
  return {
    ...base,
    scenario: {
      ...base.scenario,
      name: "queue",
      agentCount: processes.length,
      ...mixOf(base, queue, processes),
      killFraction: faults.killFraction,
      killCount: victims,
      fault: "sigkill",
      faultTimeMs: faults.atMs,
      restartAfterMs: queue.restartAfterMs,
    },
    queue,
  };
};
