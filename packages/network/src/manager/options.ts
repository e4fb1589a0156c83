import { type AgentId, type Clock, type DetectorKind, defaultTimeoutMs, InputError, type Prng } from "@failstorm/core";
import type { NetworkLogger } from "../logger.ts";
import type { MessagingLimits } from "../messaging/messagePassing.ts";
import type { ConflictResolver } from "../state/resolve.ts";
import type { Policy } from "../transport/authorization.ts";
import type { Transport } from "../transport/transport.ts";

export interface NetworkOptions {
  readonly self: {
    readonly agentId: AgentId;
    /** Greater at each start of the agent. The transport's must be the same. */
    readonly incarnation: number;
    readonly capabilities?: readonly string[];
    /** Of the program, for the others to know. */
    readonly version?: string;
    readonly metadata?: Readonly<Record<string, string>>;
  };
  readonly transport: Transport;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly log: NetworkLogger;
  /** What each role may do. Default: see DEFAULT_POLICY. */
  readonly policy?: Policy;
  /** The role this agent proves to have, for messages to itself. Default member. */
  readonly role?: string;
  /** Where messages for agents offline are kept across this process's death: a file. Default null: in memory only. */
  readonly offlineQueueFile?: string | null;
  readonly messaging?: Partial<MessagingLimits>;
  /** Hands each message over once by id. Default true. */
  readonly deduplicate?: boolean;
  readonly states?: {
    readonly replicationFactor?: number;
    readonly resolver?: ConflictResolver;
    readonly maxAgeMs?: number | null;
    /** Default 512 KiB: half of the largest frame. */
    readonly maxStateBytes?: number;
  };
  /** Default heartbeat. */
  readonly detector?: DetectorKind;
  /** The heartbeat detector's interval and timeout follow each link's round trips and losses. Default false. */
  readonly adaptive?: boolean;
  /** Closed links tell of deaths. Default true. */
  readonly transportSignals?: boolean;
  readonly timing?: Partial<NetworkTiming>;
}

export interface NetworkTiming {
  readonly heartbeatIntervalMs: number;
  /** Default 3 s; of swim, three intervals. */
  readonly heartbeatTimeoutMs: number;
  /** Between two rounds of anti-entropy, of states and of who there is, each with one other agent. */
  readonly syncIntervalMs: number;
  readonly cleanupIntervalMs: number;
  /** For one dial with its handshake. */
  readonly connectTimeoutMs: number;
  /** For one request between the networks themselves. */
  readonly requestTimeoutMs: number;
  /** Dead for so long, an agent is taken out of the registry, and its states go elsewhere. */
  readonly removeAfterMs: number;
}

const DEFAULT_TIMING: Omit<NetworkTiming, "heartbeatTimeoutMs"> = {
  heartbeatIntervalMs: 1_000,
  syncIntervalMs: 5_000,
  cleanupIntervalMs: 10_000,
  connectTimeoutMs: 5_000,
  requestTimeoutMs: 3_000,
  removeAfterMs: 600_000,
};

/** The longest that a timer of Node waits; it takes what is longer for no time at all. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Defaults filled in. Throws InputError for times that no timer can wait. */
export function completeTiming(timing: Partial<NetworkTiming> = {}, detector: DetectorKind = "heartbeat"): NetworkTiming {
  const { heartbeatIntervalMs = DEFAULT_TIMING.heartbeatIntervalMs } = timing;
  const complete = { ...DEFAULT_TIMING, heartbeatTimeoutMs: defaultTimeoutMs(detector, heartbeatIntervalMs), ...timing };
  for (const [name, ms] of Object.entries(complete)) {
    const mostMs = name === "removeAfterMs" ? Number.POSITIVE_INFINITY : MAX_TIMER_MS;
    if (!(ms > 0 && ms <= mostMs))
      throw new InputError(`network timing: ${name} is ${ms}; it must be more than 0 and at most ${mostMs} ms`);
  }
  return complete;
}

/** At the same time, by one agent. */
export const MAX_DIALS = 16;
