import {
  type Address,
  type AgentId,
  type CallOptions,
  type Clock,
  type CommBackend,
  CommError,
  type Payload,
  type SendOptions,
  type SendResult,
  toCommError,
} from "@failstorm/core";

/** How a neighbour does, as its probes tell. */
export interface Health {
  readonly peer: AgentId;
  readonly alive: boolean;
  /** Why it is not: a CommErrorCode. */
  readonly reason: string | null;
}

export interface NetworkOptions {
  /** Who speaks. */
  readonly self: AgentId;
  readonly backend: CommBackend;
  readonly clock: Clock;
}

/** Probes in a row without an answer that mean death; a refused one means it at once. */
const MISSED_PROBES = 2;

/** `http://host:port/path` as an address. Throws TypeError when it is no URL. */
export function addressOf(endpoint: string): Address {
  const { hostname, port, pathname, protocol } = new URL(endpoint);
  const basePath = pathname.replace(/\/+$/, "");
  return {
    host: hostname,
    port: port === "" ? (protocol === "https:" ? 443 : 80) : Number(port),
    ...(basePath === "" ? {} : { basePath }),
  };
}

/**
 * Who can reach whom, and where: agent id → neighbours, agent id → endpoint. Links go both ways. It says who may speak to whom; what is said
 * goes through the CommBackend, all of it, and only to neighbours.
 */
export class NetworkBase {
  private readonly endpoints = new Map<AgentId, string>();
  private readonly links = new Map<AgentId, Set<AgentId>>();
  private readonly self: AgentId;
  private readonly backend: CommBackend;
  private readonly clock: Clock;

  constructor({ self, backend, clock }: NetworkOptions) {
    this.self = self;
    this.backend = backend;
    this.clock = clock;
  }

  /** Makes an agent known, or moves it. Throws TypeError when the endpoint is no URL. */
  register(agent: AgentId, endpoint: string): void {
    const address = addressOf(endpoint);
    this.endpoints.set(agent, endpoint);
    if (!this.links.has(agent)) this.links.set(agent, new Set());
    if (agent !== this.self) this.backend.registerEndpoint(agent, address);
  }

  /** Everybody with `centre`, nobody else with anybody. */
  setupStarTopology(centre: AgentId): void {
    this.unlinkAll();
    for (const agent of this.agents()) if (agent !== centre) this.link(centre, agent);
  }

  /** Everybody with everybody. */
  setupMeshTopology(): void {
    this.unlinkAll();
    const agents = this.agents();
    for (const [index, a] of agents.entries()) for (const b of agents.slice(index + 1)) this.link(a, b);
  }

  /** `centre` with each sub-coordinator, each of these with its own pool. Throws RangeError when an agent is in two pools. */
  setupLayeredTopology(centre: AgentId, pools: ReadonlyMap<AgentId, readonly AgentId[]>): void {
    this.unlinkAll();
    const placed = new Set<AgentId>();
    for (const [sub, pool] of pools) {
      this.link(centre, sub);
      for (const agent of pool) {
        if (placed.has(agent)) throw new RangeError(`${agent} is in two pools`);
        placed.add(agent);
        this.link(sub, agent);
      }
    }
  }

  agents(): readonly AgentId[] {
    return [...this.endpoints.keys()];
  }

  endpointOf(agent: AgentId): string | undefined {
    return this.endpoints.get(agent);
  }

  /** In the order they were linked. */
  neighbours(agent: AgentId = this.self): readonly AgentId[] {
    return [...(this.links.get(agent) ?? [])];
  }

  /** The shortest way, both ends included; null when there is none. */
  route(from: AgentId, to: AgentId): readonly AgentId[] | null {
    const before = new Map<AgentId, AgentId | null>([[from, null]]);
    for (const agent of before.keys()) {
      if (agent === to) break;
      for (const next of this.neighbours(agent)) if (!before.has(next)) before.set(next, agent);
    }
    if (!before.has(to)) return null;
    const way: AgentId[] = [];
    for (let at: AgentId | null = to; at !== null; at = before.get(at) ?? null) way.unshift(at);
    return way;
  }

  /** To a neighbour. Throws CommError; `unknown_agent` when it is none, with the way there, if there is one. */
  async send(to: AgentId, payload: Payload, options: SendOptions = {}): Promise<SendResult> {
    if (this.links.get(this.self)?.has(to) === true) return this.backend.send(this.self, to, payload, options);
    const way = this.route(this.self, to);
    const hint = way === null ? "there is no way there" : `the way there is ${way.join(" → ")}`;
    throw new CommError("unknown_agent", to, `${to} is no neighbour of ${this.self}: ${hint}`);
  }

  /** The same to all neighbours (or to some), at the same time. Never rejects: what went wrong is in the result. */
  async broadcast(
    payload: Payload,
    options: SendOptions & { readonly to?: readonly AgentId[] } = {},
  ): Promise<ReadonlyMap<AgentId, SendResult | CommError>> {
    const { to = this.neighbours(), ...rest } = options;
    const ask = async (agent: AgentId): Promise<readonly [AgentId, SendResult | CommError]> => {
      try {
        return [agent, await this.send(agent, payload, rest)];
      } catch (error) {
        return [agent, toCommError(error, agent, rest.signal)];
      }
    };
    return new Map(await Promise.all(to.map(ask)));
  }

  /** One probe. An answer, even one of the protocol's errors, is a sign of life. */
  async probe(agent: AgentId, options: CallOptions): Promise<Health> {
    try {
      await this.backend.healthCheck(agent, options);
      return { peer: agent, alive: true, reason: null };
    } catch (error) {
      const { code } = toCommError(error, agent, options.signal);
      return { peer: agent, alive: code === "remote", reason: code };
    }
  }

  /**
   * Probes every neighbour (or only some) once per interval and reports those that are found dead, each time: a refused connection is
   * enough, of other failures two in a row. Ends with `signal`.
   */
  monitor(options: {
    readonly of?: readonly AgentId[];
    readonly intervalMs: number;
    readonly signal: AbortSignal;
    readonly onDead: (health: Health) => void;
  }): void {
    const { intervalMs, signal, onDead } = options;
    const missed = new Map<AgentId, number>();
    const look = async (agent: AgentId): Promise<void> => {
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(Math.max(1, Math.ceil(intervalMs)))]);
      const health = await this.probe(agent, { signal: deadline });
      if (signal.aborted) return;
      const misses = health.alive ? 0 : (missed.get(agent) ?? 0) + 1;
      missed.set(agent, misses);
      if (misses >= MISSED_PROBES || health.reason === "refused") onDead(health);
    };
    const round = (): void => {
      if (signal.aborted) return;
      for (const agent of options.of ?? this.neighbours()) void look(agent);
      this.clock.after(intervalMs, round);
    };
    this.clock.after(intervalMs, round);
  }

  private link(a: AgentId, b: AgentId): void {
    const [ofA, ofB] = [this.links.get(a), this.links.get(b)];
    if (ofA === undefined || ofB === undefined) throw new RangeError(`${ofA === undefined ? a : b} is not registered`);
    ofA.add(b);
    ofB.add(a);
  }

  private unlinkAll(): void {
    for (const neighbours of this.links.values()) neighbours.clear();
  }
}
