import type { AgentId, TaskId } from "./ids.ts";
import type { QueueConfig } from "./queue.ts";

export const TOOLS = ["search", "extract", "triple", "reason"] as const;
export type Tool = (typeof TOOLS)[number];

export type TopologyKind = "mesh" | "ring" | "star" | "custom";
export type FaultKind = "sigkill" | "sigstop" | "sigterm";
export type DetectorKind = "heartbeat" | "phi-accrual" | "swim";

const TIMEOUT_MS = 3000;
const SWIM_TIMEOUT_PERIODS = 3;

/**
 * The timeout where none was given, ms. Swim's follows from its protocol period, as in implementations of it (memberlist: how long a suspicion lasts
 * is a multiple of the probe interval), so that who halves the one has both halved.
 */
export const defaultTimeoutMs = (detector: DetectorKind, intervalMs: number): number =>
  detector === "swim" ? SWIM_TIMEOUT_PERIODS * intervalMs : TIMEOUT_MS;

/** In how many ms a death has been noticed, when nothing is late: swim's suspicions may last two timeouts, after false ones. */
export const noticedWithinMs = ({
  detector,
  heartbeatIntervalMs,
  heartbeatTimeoutMs,
}: {
  readonly detector: DetectorKind;
  readonly heartbeatIntervalMs: number;
  readonly heartbeatTimeoutMs: number;
}): number => (detector === "swim" ? 2 : 1) * heartbeatTimeoutMs + 2 * heartbeatIntervalMs;

/** Hidden switches that break one mechanism each, to prove that a measure notices. */
export const MUTANTS = ["takeover-off", "ledger-off", "retry-off", "drop-orphans"] as const;
export type Mutant = (typeof MUTANTS)[number];

/** One fault of the storm. Times are ms after the run's t=0. `fake`: the marker is recorded and nothing is sent. */
export interface PlannedFault {
  readonly kind: FaultKind;
  readonly atMs: number;
  readonly cycle: number;
  readonly victims: readonly AgentId[];
  readonly fake: boolean;
  /** When the victims are started again (sigkill, sigterm) or continued (sigstop); null = never. */
  readonly restartAtMs: number | null;
}

export const LLM_TYPES = ["openai", "nvidia", "local"] as const;
export type LlmType = (typeof LLM_TYPES)[number];

/**
 * The model that thinks in place of the seeded think time, behind an endpoint that speaks OpenAI's chat completions. The key is not
 * in here, nor in anything else that is recorded: it travels in the environment only (`LLM_KEY_VARIABLE`).
 */
export interface LlmConfig {
  readonly type: LlmType;
  readonly model: string;
  /** Without `/chat/completions`, user, password or query. */
  readonly baseUrl: string;
  /** Of one reply. */
  readonly maxTokens: number;
  /** null = the endpoint's own. */
  readonly temperature: number | null;
  /** One request is given up after this long. */
  readonly timeoutMs: number;
  /** Further attempts at a request that failed with 408, 409, 429, 5xx, or for want of a (whole) answer. */
  readonly retries: number;
  /** All processes of the run together; each takes an equal share. null = no limit. */
  readonly requestsPerMinute: number | null;
  /** Whether replies are streamed. */
  readonly stream: boolean;
  /** Replies a model may take for one step or question, the last without functions. */
  readonly maxRounds: number;
  /** Per million tokens, in the currency of the configuration's price table; null = the table has no price for this model. */
  readonly price: { readonly prompt: number; readonly completion: number } | null;
}

/**
 * The environment variable with the model's key: the CLI sets it in its own environment once the configuration is read, agent processes
 * inherit it, and take it out of theirs when they start. Nothing else carries the key.
 */
export const LLM_KEY_VARIABLE = "FAILSTORM_LLM_API_KEY";

/** The whole configuration of a run, resolved: every default filled in, every time in ms and already scaled. */
export interface RunConfig {
  readonly scenario: {
    readonly name: string;
    readonly protocol: string;
    /** Which protocols each agent hosts, by agent index, where the protocol is a mix (`Protocol.hosts`). Absent = all speak `protocol`. */
    readonly hosts?: readonly (readonly string[])[];
    /** Ids by agent index where they are not `agent-0`, `agent-1`, … and `hosts` says what each hosts: the processes of a queue. */
    readonly agentIds?: readonly AgentId[];
    /** Victims are drawn from the agents that host this protocol only. */
    readonly killProtocol?: string;
    /** What to load it by: the path of its module; absent = by its name. */
    readonly protocolModule?: string;
    readonly agentCount: number;
    readonly killFraction: number;
    readonly killCount: number;
    readonly fault: FaultKind;
    readonly fakeFault: boolean;
    readonly faultTimeMs: number;
    readonly runtimeMs: number;
    readonly warmupMs: number;
    /** null = to the end of the run. */
    readonly recoveryDurationMs: number | null;
    readonly restartAfterMs: number | null;
    readonly cycles: number;
    readonly cycleIntervalMs: number;
    readonly seed: number;
    readonly timeScale: number;
  };
  readonly network: {
    readonly topology: TopologyKind;
    readonly customEdges: readonly (readonly [AgentId, AgentId])[];
    readonly redundancyLevel: number;
    readonly basePort: number;
    readonly connectionTimeoutMs: number;
    readonly heartbeatIntervalMs: number;
    readonly heartbeatTimeoutMs: number;
    readonly detector: DetectorKind;
    /** `auto`: the links up to 32 agents, above that 3 ring successors; a number: that many ring successors. */
    readonly monitors: "auto" | "all" | number;
    readonly transportSignals: boolean;
    /** heartbeat: interval and timeout follow each link's round trips and losses. Absent = false. */
    readonly adaptive?: boolean;
    /** Links that give signs of a failure to come get a stand-by handshake with the would-be replacements. Absent = false. */
    readonly predictive?: boolean;
    readonly ledgerSyncMs: number;
  };
  readonly tasks: {
    /** Tasks per second and agent. */
    readonly rate: number;
    readonly deadlineMs: number;
    readonly thinkTimeMs: number;
    /** Hops a relayed message may take. */
    readonly ttl: number;
    /** A step's attempt is given up after this long. */
    readonly attemptTimeoutMs: number;
  };
  readonly qa: {
    readonly source: "generated" | "corpus" | "document";
    readonly corpus: string | null;
    readonly document: string | null;
    readonly questions: string | null;
    readonly questionCount: number;
    readonly hops: readonly number[];
    readonly passages: number;
    readonly topK: number;
  };
  /** null: the deterministic workers. */
  readonly llm: LlmConfig | null;
  /** The section of the protocol in use, unchecked. */
  readonly protocolConfig: unknown;
  readonly logging: { readonly level: "debug" | "info" | "warning" | "error" };
  readonly output: { readonly dir: string; readonly metricsPort: number | null };
  readonly mutants: readonly Mutant[];
  /** Of a streaming queue; absent in a storm. */
  readonly queue?: QueueConfig;
}

/** A task of the schedule as agents see it. The gold answer is not in it: agents cannot grade themselves. */
export interface ScheduledTask {
  readonly task: TaskId;
  /** Intended start, ms after t=0. */
  readonly atMs: number;
  readonly homeOwner: AgentId;
  readonly question: string;
}

/** The same with what only the checker knows. */
export interface GradedTask extends ScheduledTask {
  readonly questionId: string;
  readonly hops: number;
  readonly gold: string;
  /** The answer the pipeline gives without faults (the gold answer, but for data sets not calibrated to be answerable). */
  readonly expected: string;
  /**
   * How an answer is held against `expected`: as it stands (absent), or `normalised`, as question-answering data sets do it: a model has
   * its own wording, and `expected` is then the gold answer.
   */
  readonly graded?: "normalised" | undefined;
  readonly evidence: readonly string[];
}

/** `schedule.json` of a run. */
export interface ScheduleFile {
  readonly version: 1;
  readonly seed: number;
  readonly tasks: readonly GradedTask[];
  readonly faults: readonly PlannedFault[];
  /** Whether `expected` is the gold answer for every task (calibrated corpus), and whoever answers finds it without faults. */
  readonly calibrated: boolean;
}

/** One agent of the roster. */
export interface RosterEntry {
  readonly agentId: AgentId;
  readonly host: string;
  readonly port: number;
  readonly incarnation: number;
  readonly homeTool: Tool;
  readonly shard: number;
}

export interface Roster {
  readonly agents: readonly RosterEntry[];
  readonly document: { readonly sha256: string; readonly bytes: number; readonly shards: number; readonly source: AgentId };
}

/** What every agent process is started with (a JSON file in its workspace, its path the only argument); roles add theirs. */
export interface ProcessSpec {
  readonly agentId: AgentId;
  readonly index: number;
  readonly host: string;
  /** Fixed port; 0 = any. */
  readonly port: number;
  readonly workspaceDir: string;
  readonly logFile: string;
  /** Of the JavaScript engine, after the launcher's own. */
  readonly nodeOptions?: readonly string[];
  /** Absent: nobody supervises it, and Ctrl-C ends it. */
  readonly control?: { readonly host: string; readonly port: number; readonly token: string };
  readonly config: RunConfig;
  /** Intervals, ms after t=0, in which every message is recorded singly. */
  readonly fullRecording: readonly (readonly [number, number])[];
}

/** What a shard worker of a storm is started with. */
export interface AgentSpec extends ProcessSpec {
  /** Absent too: a shard worker. */
  readonly role?: "shard";
  readonly control: NonNullable<ProcessSpec["control"]>;
  readonly homeTool: Tool;
  readonly shard: number;
  /** The document, for the agent that broadcasts it; null for the others. */
  readonly documentPath: string | null;
}

/** What a storm hands to the orchestrator: everything of a run that is decided before it starts. */
export interface RunPlan {
  readonly config: RunConfig;
  /** The document of the t=0 broadcast. */
  readonly document: Uint8Array;
  readonly schedule: ScheduleFile;
  /** What whoever starts the run should know of it. */
  readonly notes?: readonly string[];
  /** By agent index. */
  readonly homeTools: readonly Tool[];
  readonly fullRecording: AgentSpec["fullRecording"];
}
