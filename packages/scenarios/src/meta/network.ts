import path from "node:path";
import {
  type AgentExecutor,
  type AgentId,
  agentId,
  agentIndex,
  type Clock,
  type CommErrorCode,
  createPrng,
  InputError,
  makeFolder,
  type Prng,
  type Requirements,
  type RunConfig,
  type RunEvent,
  type RunPlan,
  systemClock,
  toCommError,
  type Traffic,
} from "@failstorm/core";
import { buildLinks, neighbours } from "@failstorm/network";
import { drawVictims, targetsOf } from "@failstorm/orchestrator/faultPlan.ts";
import { createMeteredClient, loadProtocol, type OwnMeteredClient } from "@failstorm/protocols";
import type { MetaBackend } from "@failstorm/protocols/meta/backend.ts";
import { createMetaClient } from "@failstorm/protocols/meta/client.ts";
import type { Answer } from "@failstorm/qa";
import { failStorm } from "../failStorm.ts";
import type { AgentHost, LethalFault } from "./agentHost.ts";
import { type BaseAgent, baseAgent } from "./baseAgent.ts";
import { type AgentHealth, COORDINATOR, Coordinator, type ShardTask } from "./coordinator.ts";
import { openLocally } from "./localHost.ts";
import type { TaskResult } from "./message.ts";
import { healthByProtocol, type MetaNetworkMetrics, networkMetrics, type ProtocolHealth } from "./metaMetrics.ts";
import { openProcesses } from "./processHost.ts";
import { RecoveryLog } from "./recovery.ts";
import { Tally } from "./tally.ts";
import { networkClosed } from "./turns.ts";

/** Where the agents run. */
export type AgentPlacement =
  /** Shard workers, each in a process of its own: `agentEntry` is the path of the agent's main.ts. */
  | { readonly kind: "processes"; readonly agentEntry: string }
  /**
   * Protocol hosts in this process, around executors of the caller's; a fault cannot be done to them. `ports`: by agent index, absent
   * or 0 = any.
   */
  | {
      readonly kind: "in-process";
      readonly executorOf: (agent: AgentId) => AgentExecutor;
      readonly capabilitiesOf?: (agent: AgentId) => readonly string[];
      readonly ports?: readonly number[];
    };

export interface MetaNetworkOptions {
  readonly agents: AgentPlacement;
  /** For events, logs and workspaces; made when it is not there. With processes, `failstorm report` reads it after `close`. */
  readonly runDir: string;
  readonly clock?: Clock;
  /** Events as they come in, with processes. */
  readonly onEvent?: (event: RunEvent) => void;
}

/** One dialled way from one to another. */
export interface OutboundAdapter {
  readonly from: AgentId;
  readonly to: AgentId;
  readonly protocol: string;
  readonly round_trips: number;
  readonly ms: number;
  readonly error: CommErrorCode | null;
}

/** Whom a fault strikes: of those that host `protocol` (absent: of all) so many, or such a share (absent: all); one agent always survives. */
export interface Strike {
  readonly protocol?: string;
  readonly count?: number;
  readonly fraction?: number;
  /** Absent: sigkill. */
  readonly fault?: LethalFault;
}

/** How often it is looked whether the agents have met. */
const LINK_POLL_MS = 50;
/** So long an agent may keep to itself what it has dialled. */
const LIVE_VIEW_MS = 1_000;

interface NetworkParts {
  readonly config: RunConfig;
  readonly plan: RunPlan | null;
  readonly host: AgentHost;
  readonly client: OwnMeteredClient;
  readonly backend: MetaBackend;
  readonly clock: Clock;
  readonly prng: Prng;
}

/** A network of several protocols at a program's disposal; made by `createFailstormMetaNetwork`. */
export class FailstormMetaNetwork {
  readonly agents: ReadonlyMap<AgentId, BaseAgent>;
  readonly placement: AgentHost["kind"];
  private readonly parts: NetworkParts;
  private readonly coordinator: Coordinator;
  private readonly tally = new Tally();
  private readonly recovery = new RecoveryLog((id) => this.hosted(id));
  private strikes = 0;
  private closed: Promise<void> | null = null;

  constructor(parts: NetworkParts) {
    this.parts = parts;
    const { config, host, backend, clock } = parts;
    this.placement = host.kind;
    const ids = Array.from({ length: config.scenario.agentCount }, (_, index) => agentId(index));
    const { attemptTimeoutMs, deadlineMs } = config.tasks;
    const label = (id: AgentId): string => this.hosted(id).join("+");
    const { tally, recovery } = this;
    const common = { label, clock, tally, attemptTimeoutMs };
    this.coordinator = new Coordinator({ ...common, backend, ids, recovery, deadlineMs, topK: config.qa.topK });
    const { coordinator } = this;
    const register = (id: AgentId): void => this.register(id);
    this.agents = new Map(ids.map((id) => [id, baseAgent(id, this.hosted(id), { ...common, host, coordinator, register })]));
    for (const id of ids) register(id);
  }

  /** Questions the agents' document answers, with the answers; none of agents in this process, whose executors are the caller's. */
  get questions(): readonly { readonly question: string; readonly expected: string }[] {
    return this.parts.plan?.schedule.tasks ?? [];
  }

  /**
   * Dials every agent in its own protocol, for the coordinator, and every other for each agent in this process. Agents in processes of
   * their own dial their neighbours by themselves when the network comes up: that is waited for. A failure is in the list, not thrown.
   * Throws RunError when the network is closed, like all that sends.
   */
  async installOutboundAdapters(): Promise<readonly OutboundAdapter[]> {
    this.mustBeOpen();
    const { connectFrom } = this.parts.host;
    const ids = [...this.agents.keys()];
    const own = ids.map((to) => this.dial(COORDINATOR, to, () => this.coordinator.connect(to)));
    if (connectFrom === undefined) return [...(await Promise.all(own)), ...(await this.dialledByAgents())];
    const pairs = ids.flatMap((from) => ids.filter((to) => to !== from).map((to) => [from, to] as const));
    return Promise.all([...own, ...pairs.map(([from, to]) => this.dial(from, to, () => connectFrom(from, to)))]);
  }

  /** One attempt at a task by this worker; a failure is in the result, not thrown. Throws InputError when there is no such worker. */
  async sendShardTask(workerId: AgentId, shardData: ShardTask, requirements?: Requirements): Promise<TaskResult> {
    this.mustBeOpen();
    if (!this.agents.has(workerId))
      throw new InputError(`${workerId}: no such worker; they are ${[...this.agents.keys()].join(", ")}`);
    return this.coordinator.sendTo(workerId, shardData, requirements);
  }

  /** The task done by the least loaded agent that can and is up, by another when that fails; a failure is in the result, not thrown. */
  async submit(shardData: ShardTask, requirements?: Requirements): Promise<TaskResult> {
    this.mustBeOpen();
    return this.coordinator.submit(shardData, requirements);
  }

  /** A question answered by the workers' pipeline, each step by whoever is free. Throws CommError when a step comes to nothing. */
  async ask(question: string): Promise<Answer> {
    this.mustBeOpen();
    return this.coordinator.ask(question);
  }

  /** Probes all agents. */
  async health(): Promise<{ readonly agents: readonly AgentHealth[]; readonly protocols: readonly ProtocolHealth[] }> {
    this.mustBeOpen();
    const agents = await Promise.all([...this.agents.values()].map((agent) => agent.health()));
    return { agents, protocols: healthByProtocol([...this.agents.values()], agents) };
  }

  /** Strikes at once; returns the victims, drawn by the seed. Throws InputError when there is nobody to strike. */
  strike({ protocol, count, fraction, fault = "sigkill" }: Strike): readonly AgentId[] {
    this.mustBeOpen();
    const { config, host, prng, clock } = this.parts;
    if (count !== undefined && !(Number.isInteger(count) && count >= 1))
      throw new InputError(`strike: count ${count} must be a whole number, at least 1`);
    if (fraction !== undefined && !(fraction > 0 && fraction <= 1))
      throw new InputError(`strike: fraction ${fraction} must be above 0, at most 1`);
    const { agentCount, hosts } = config.scenario;
    const targets = targetsOf({
      agentCount,
      ...(hosts === undefined ? {} : { hosts }),
      ...(protocol === undefined ? {} : { killProtocol: protocol }),
    });
    const up = [...this.agents.keys()].filter((id) => host.addressOf(id) !== null);
    const wanted = count ?? (fraction === undefined ? targets.size : Math.max(1, Math.round(fraction * targets.size)));
    const draws = prng.fork(`strike-${this.strikes++}`);
    const victims = drawVictims(draws, { up, targets, count: wanted });
    if (victims.length === 0)
      throw new InputError(`strike: nobody is left to be struck${protocol === undefined ? "" : ` of ${protocol}`}`);
    const at = clock.now();
    host.strike(victims, fault);
    this.recovery.fault(fault, victims, at);
    return victims;
  }

  getFailstormMetrics(): MetaNetworkMetrics {
    const { tally, recovery, coordinator } = this;
    return networkMetrics({ agents: [...this.agents.values()], isUp: (id) => coordinator.isUp(id), tally, recovery });
  }

  /** Ends all agents and connections; tasks under way are given up. Throws RunError when the network had ended early. */
  close(): Promise<void> {
    this.closed ??= this.end();
    return this.closed;
  }

  private async end(): Promise<void> {
    const { host, backend, client } = this.parts;
    this.coordinator.close();
    try {
      await host.close();
    } finally {
      await backend.close();
      await client.close();
    }
  }

  /** What the agents have dialled, once every one that is up has met its neighbours, or should have. */
  private async dialledByAgents(): Promise<OutboundAdapter[]> {
    const { config, host, clock } = this.parts;
    const ids = [...this.agents.keys()].filter((id) => host.addressOf(id) !== null);
    const links = buildLinks(config.network.topology, ids, config.network.customEdges);
    const wanted = ids.flatMap((from) => neighbours(links, from).map((to) => `${from} ${to}`));
    const deadline = clock.now() + config.network.connectionTimeoutMs + LIVE_VIEW_MS;
    for (;;) {
      const dialled = host.dialled?.() ?? [];
      const made = new Set(dialled.map(({ from, to }) => `${from} ${to}`));
      const missing = wanted.filter((pair) => !made.has(pair));
      if (missing.length > 0 && clock.now() < deadline && this.closed === null) {
        await clock.sleep(LINK_POLL_MS);
        continue;
      }
      const there = dialled.map(({ from, to, protocol, ms, roundTrips }): OutboundAdapter => {
        return { from, to, protocol: protocol ?? this.hosted(to).join("+"), round_trips: roundTrips, ms, error: null };
      });
      return [...there, ...missing.map((pair) => this.notDialled(pair))];
    }
  }

  private mustBeOpen(): void {
    if (this.closed !== null) throw networkClosed();
  }

  private notDialled(pair: string): OutboundAdapter {
    const [from = "", to = ""] = pair.split(" ");
    return { from, to, protocol: this.hosted(to).join("+"), round_trips: 0, ms: 0, error: "timeout" };
  }

  private hosted(id: AgentId): readonly string[] {
    return this.parts.config.scenario.hosts?.[agentIndex(id)] ?? [];
  }

  private register(id: AgentId): void {
    const address = this.parts.host.addressOf(id);
    if (address !== null) this.parts.backend.registerEndpoint(id, address);
  }

  private async dial(
    from: AgentId,
    to: AgentId,
    connect: () => Promise<{ readonly traffic: Traffic | null; readonly error?: CommErrorCode | null }>,
  ): Promise<OutboundAdapter> {
    const protocol = this.hosted(to).join("+");
    try {
      const { traffic, error = null } = await connect();
      const { roundTrips = 0, ms = 0 } = traffic ?? {};
      return { from, to, protocol: traffic?.protocol ?? protocol, round_trips: roundTrips, ms, error };
    } catch (error) {
      return { from, to, protocol, round_trips: 0, ms: 0, error: toCommError(error, to).code };
    }
  }
}

/**
 * Starts the agents of a resolved configuration (`failstorm validate` checks one, the CLI's `loadConfig` makes it) and a coordinator in
 * this process that dials them all, and hands the network over; its faults and its load are the caller's, the schedule's are not used.
 * Throws InputError when the configuration is no network of several protocols or a port is taken, RunError when it does not come up.
 */
export async function createFailstormMetaNetwork(config: RunConfig, options: MetaNetworkOptions): Promise<FailstormMetaNetwork> {
  const { hosts, protocol, agentCount, seed } = config.scenario;
  if (hosts === undefined)
    throw new InputError(
      `scenario.protocol ${protocol}: all agents speak the same one; a meta network needs scenario.protocol: meta`,
    );
  if (hosts.length !== agentCount)
    throw new InputError(`scenario.hosts: ${hosts.length} entries for ${agentCount} agents; give one for each`);
  const clock = options.clock ?? systemClock;
  const prng = createPrng(seed).fork("coordinator");
  const workspaceDir = path.join(options.runDir, "coordinator");
  try {
    makeFolder(workspaceDir);
  } catch (error) {
    throw new InputError(`runDir: ${workspaceDir} cannot be made: ${(error as Error).message}`, { cause: error });
  }
  const { host, plan } = await place(config, options, clock);
  try {
    const client = createMeteredClient({ clock, connectTimeoutMs: config.network.connectionTimeoutMs, onResidual: () => {} });
    const section = config.protocolConfig;
    const backend = createMetaClient({ agentId: COORDINATOR, hosts, section, workspaceDir, client, clock, prng });
    return new FailstormMetaNetwork({ config, plan, host, client, backend, clock, prng });
  } catch (error) {
    // Nobody else could end what runs by now.
    await host.close();
    throw error;
  }
}

async function place(
  config: RunConfig,
  { agents, runDir, onEvent }: MetaNetworkOptions,
  clock: Clock,
): Promise<{ readonly host: AgentHost; readonly plan: RunPlan | null }> {
  if (agents.kind === "in-process") {
    const { ports, executorOf, capabilitiesOf = (): string[] => [] } = agents;
    rejectSharedPorts(ports ?? []);
    const { protocol: name, protocolModule = name } = config.scenario;
    const protocol = await loadProtocol(protocolModule);
    const workspaceDir = path.join(runDir, "workspaces");
    const shared = { config, protocol, executorOf, capabilitiesOf, workspaceDir, clock };
    return { host: await openLocally(ports === undefined ? shared : { ...shared, ports }), plan: null };
  }
  const plan = await failStorm.plan(config);
  const { agentEntry } = agents;
  return { host: await openProcesses({ plan, runDir, agentEntry, clock, onEvent: onEvent ?? (() => {}) }), plan };
}

/** Two agents cannot listen on one port. */
function rejectSharedPorts(ports: readonly number[]): void {
  for (const [index, port] of ports.entries()) {
    const first = ports.indexOf(port);
    if (port !== 0 && first !== index)
      throw new InputError(
        `ports: ${agentId(first)} and ${agentId(index)} are both given ${port}; each needs a port of its own, or 0 for any`,
      );
  }
}
