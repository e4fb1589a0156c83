import type { AgentRequest, AgentSpec, FromAgent, Roster, ToAgent } from "@failstorm/core";
import type { Agent } from "./agent.ts";
import { heldStreamHost } from "./heldStreams.ts";
import { createInbox } from "./inbox.ts";
import { Refusal } from "./messenger.ts";
import type { Role, RoleParts } from "./role.ts";

/** A shard worker of a storm: the agent, from the roster on. */
class ShardRole implements Role {
  readonly up: Role["up"];
  readonly inStorm = true;
  private readonly parts: RoleParts<AgentSpec>;
  private agent: Agent | null = null;
  /** Whatever comes after the roster waits for what it loads. */
  private loaded: Promise<Agent> = Promise.reject(new Refusal("no_roster", "the roster comes first"));
  private parse: (data: unknown) => AgentRequest | null = () => null;

  constructor(parts: RoleParts<AgentSpec>) {
    this.parts = parts;
    this.up = { homeTool: parts.spec.homeTool, shard: parts.spec.shard };
    this.loaded.catch(() => {});
  }

  readonly executor = createInbox({
    parse: (data) => {
      this.present();
      return this.parse(data);
    },
    heard: (from) => this.agent?.networking.membership.heard(from),
    heardOf: (origin) => this.agent?.networking.membership.heardOf(origin),
    serve: async (request, from) => this.present().serve(request, from),
    messenger: () => this.present().networking.messenger,
  });

  get routes(): Role["routes"] {
    const { self, clock } = this.parts;
    const onHeld = (holder: string, incarnation: number) => this.agent?.networking.heldBy(holder, incarnation);
    return [heldStreamHost({ incarnation: self.incarnation, clock, onHeld })];
  }

  capabilities = (): readonly string[] => this.agent?.capabilities ?? [];

  tasksInFlight = (): number => this.agent?.tasksInFlight ?? 0;

  async handle(message: Exclude<ToAgent, { type: "stop" }>): Promise<FromAgent | null> {
    switch (message.type) {
      case "roster":
        this.loaded = this.loadWork(message.roster);
        await this.loaded;
        await this.rehearse();
        return { type: "prepared" };
      case "broadcast":
        return { type: "indexed", ...(await (await this.loaded).broadcast(message.t0)) };
      case "start":
        await (await this.loaded).start(message);
        this.parts.releaseDescriptors();
        return null;
      case "drain":
        await (await this.loaded).drain();
        return { type: "drained" };
      default:
        throw new Error(`a shard worker was sent ${message.type}`);
    }
  }

  async stop(): Promise<void> {
    await this.agent?.settle();
    this.agent?.stop();
  }

  /**
   * The network, the worker and the request schemas are loaded with the roster, not before `ready`: eight starting agents share few
   * cores, and none of them can use these before the last is ready.
   */
  private async loadWork(roster: Roster): Promise<Agent> {
    const [{ Agent }, { agentRequestSchema }] = await Promise.all([import("./agent.ts"), import("@failstorm/core/requests.ts")]);
    this.parse = (data) => agentRequestSchema.safeParse(data).data ?? null;
    this.agent = new Agent(this.parts, roster);
    return this.agent;
  }

  /** One that comes back has no time for it. */
  private async rehearse(): Promise<void> {
    const { spec, clock, self } = this.parts;
    if (self.incarnation > 1) return;
    const { rehearseDeaths } = await import("./rehearseDeaths.ts");
    await rehearseDeaths(spec, clock);
  }

  private present(): Agent {
    if (this.agent === null) throw new Refusal("not_ready", `${this.parts.self.agentId} has no roster yet`);
    return this.agent;
  }
}

export const shardRole = (parts: RoleParts<AgentSpec>): Role => new ShardRole(parts);
