import type { PlannedFault, ProcessSpec, RunConfig } from "./config.ts";
import type { AgentId } from "./ids.ts";

/** How the network of a queue hangs together: who has whose address. */
export type QueueTopology = "star" | "mesh" | "layered";

/** What answers the questions at a worker. */
export const QUEUE_ENGINES = ["corpus", "echo", "llm"] as const;
/** `corpus`: the deterministic pipeline over the whole document; `echo`: the question itself, at once; `llm`: the configured model. */
export type QueueEngine = (typeof QUEUE_ENGINES)[number];

/** Of a streaming queue, resolved; times in ms, scaled. */
export interface QueueConfig {
  /** Processes of ours. With `layered`: in all pools together. */
  readonly workers: number;
  /** Agents that run already, by URL. */
  readonly external: readonly string[];
  readonly topology: QueueTopology;
  readonly subCoordinators: number;
  readonly source: "generated" | "file" | "stdin";
  /** Questions to generate. */
  readonly count: number;
  /** Questions in one message, at most; `auto`: as many as come back at once. */
  readonly batch: number | "auto";
  /** Messages on their way to one worker at a time. */
  readonly concurrency: number;
  /** Questions due per second, open loop; null = as fast as workers are free. */
  readonly rate: number | null;
  /** A message without an answer is given up after this long. */
  readonly deadlineMs: number;
  /** Messages a question may be in before it is recorded as failed. */
  readonly maxAttempts: number;
  /** Before the second attempt; doubled for each further one, with jitter. */
  readonly backoffMs: number;
  /** Failures in a row that put a worker into quarantine; and how often it is probed there. */
  readonly quarantineAfter: number;
  readonly probeIntervalMs: number;
  readonly engine: QueueEngine;
  /** Mean of a worker's seeded think time per question. */
  readonly thinkTimeMs: number;
  /** How long a victim stays away. */
  readonly restartAfterMs: number;
}

/** One agent of a queue's network. */
export interface QueueNode {
  readonly agentId: AgentId;
  readonly role: "coordinator" | "sub-coordinator" | "worker";
  /** Where it is reached: `http://host:port/path`. */
  readonly endpoint: string;
  readonly protocol: string;
  /** Not started by us: it may know nothing but its protocol. */
  readonly external: boolean;
  /** The coordinator that feeds it; null for the first coordinator. */
  readonly fedBy: AgentId | null;
}

/** What a process of a queue is started with. */
export interface QueueSpec extends ProcessSpec {
  readonly role: "coordinator" | "sub-coordinator" | "worker";
  /** The passages the corpus engine answers from; null = it has another engine. */
  readonly documentPath: string | null;
  /** The coordinator's: where questions come from, and where results go. */
  readonly questionsPath: string | null;
  readonly resultsDir: string | null;
}

/** What a queue hands to the orchestrator. */
export interface QueuePlan {
  readonly config: RunConfig & { readonly queue: QueueConfig };
  /** Ours, the first coordinator first; ports are the orchestrator's affair. */
  readonly processes: readonly Pick<QueueNode, "agentId" | "role" | "fedBy">[];
  readonly external: readonly QueueNode[];
  readonly faults: readonly PlannedFault[];
  /** Null = nobody answers from it. */
  readonly documentPath: string | null;
  readonly questionsPath: string;
  readonly fullRecording: ProcessSpec["fullRecording"];
}
