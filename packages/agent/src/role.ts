import type { AgentExecutor, FromAgent, ProcessSpec, RunEventOf, ToAgent } from "@failstorm/core";
import type { FastifyPluginAsync } from "fastify";
import type { AgentParts } from "./agent.ts";

/** What the process gives its role. */
export type RoleParts<Spec extends ProcessSpec> = Omit<AgentParts, "spec"> & {
  readonly spec: Spec;
  /** Tells the orchestrator, if there is one. */
  readonly tell: (message: FromAgent) => void;
  /** All that others hold to this process stands: what is opened from now on may come before it (see `LowDescriptors`). */
  readonly releaseDescriptors: () => void;
  /** The process cannot go on. */
  readonly fail: (error: unknown) => void;
};

/** What a process is for: a shard worker of a storm, a worker or a coordinator of a queue. The rest is `AgentProcess`. */
export interface Role {
  /** What it says of itself when it is up. */
  readonly up: Pick<RunEventOf<"agent.up">, "homeTool" | "shard" | "role">;
  /** Answers what arrives over the protocol. */
  readonly executor: AgentExecutor;
  /** Further routes of its port. */
  readonly routes: readonly FastifyPluginAsync[];
  /** Whether it is to be struck, or to lose others: then it rehearses that (`rehearseLoss`, `rehearseDeaths`) and keeps its descriptors in order (`LowDescriptors`). */
  readonly inStorm: boolean;
  capabilities(): readonly string[];
  tasksInFlight(): number;
  /** Does what the orchestrator asks (but `stop`); what is returned is reported when it is done. */
  handle(message: Exclude<ToAgent, { type: "stop" }>): Promise<FromAgent | null>;
  /** The last things to do and to record. */
  stop(): Promise<void>;
}

export type RoleFactory<Spec extends ProcessSpec> = (parts: RoleParts<Spec>) => Role;
