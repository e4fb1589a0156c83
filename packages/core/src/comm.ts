import type { FastifyPluginAsync } from "fastify";
import type { Clock } from "./clock.ts";
import type { AgentId, HostedById, TaskId } from "./ids.ts";
import type { Prng } from "./prng.ts";

/** Where an agent can be reached. */
export interface Address {
  readonly host: string;
  readonly port: number;
  /** Under which path its host is mounted, e.g. `/a2a`; no trailing slash; absent or "" = at the root. */
  readonly basePath?: string;
}

/** One piece of a payload: words, or structured data. */
export type Part = { readonly kind: "text"; readonly text: string } | { readonly kind: "data"; readonly data: unknown };

/** What travels between agents, whatever the protocol: words, or parts. */
export type Payload = { readonly text: string } | { readonly parts: readonly Part[] };

/**
 * Why a message was sent; bytes are accounted under it. Everything but `work`, `heartbeat`, `ledger`, `setup` and
 * `broadcast` is caused by a fault.
 */
export const TRAFFIC_CAUSES = [
  "work", // steps and look-ups, first attempts
  "heartbeat", // probes of peers believed alive
  "ledger", // replication of the task ledger, gossip
  "setup", // handshakes when the network forms
  "broadcast", // the document at t=0
  "handshake", // handshakes caused by a lost link: with a new incarnation, or with a replacement
  "retry", // further attempts at a step or look-up
  "rereplication", // anti-entropy and document transfer with a restarted or a new holder
  "takeover", // first attempts at steps and look-ups for a task that was due with a dead owner already
  "excess_heartbeat", // probes of peers not believed alive
] as const;
export type TrafficCause = (typeof TRAFFIC_CAUSES)[number];

/** What kind of message it was. */
export const MESSAGE_KINDS = [
  "tool",
  "lookup",
  "relay",
  "ledger",
  "gossip",
  "document",
  "handshake",
  "hello",
  "probe",
  "question",
  "command",
] as const;
export type MessageKind = (typeof MESSAGE_KINDS)[number];

/** TCP payload bytes (headers included) as counted on the caller's sockets, round trips (requests), and duration. */
export interface Traffic {
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly roundTrips: number;
  /** By which protocol it went, where that is not always the same one. */
  readonly protocol?: string;
  /** CLOCK_MONOTONIC ms at which the first byte was handed to a socket; null when none was (refused, unknown). */
  readonly firstByteAt: number | null;
  readonly ms: number;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly cause?: TrafficCause;
  readonly kind?: MessageKind;
}

/** What a message needs of the protocol that carries it, where there is a choice. */
export interface Requirements {
  readonly streaming?: boolean;
  readonly authentication?: boolean;
  readonly idempotency?: boolean;
  readonly encryption?: boolean;
}

/** Which protocol a router took for a link or a message, and why. */
export interface RouteChoice {
  readonly peer: AgentId;
  readonly protocol: string;
  /** What it was before; null at first. */
  readonly before: string | null;
  /** In words, with the figures it was decided by. */
  readonly reason: string;
}

export interface SendOptions extends CallOptions {
  readonly requirements?: Requirements;
  /** The step this message performs; a protocol with idempotency of its own derives its key from it. */
  readonly idempotencyKey?: string;
  readonly taskId?: TaskId;
  /** Conversation this message belongs to, where the protocol has such a thing. */
  readonly contextId?: string;
  /** Given, the protocol's streaming form is used where it has one; called with each event of the answer as it arrives. */
  readonly onEvent?: (event: AgentEvent) => void;
  /** Called once the peer has said under which id it does the work (a task, a run); `cancel` and `resume` take that id. */
  readonly onAccepted?: (workId: string) => void;
}

export interface SendResult {
  /** The answer as the protocol delivered it. */
  readonly raw: unknown;
  /** Its words; "" when it has none. */
  readonly text: string;
  /** Its parts, in order. */
  readonly parts: readonly Part[];
  readonly traffic: Traffic;
}

/** What a peer says of itself in the protocol's own handshake (card, manifest, description). */
export interface AgentDescription {
  readonly agentId: AgentId;
  readonly incarnation: number;
  /** Tools, shards and other capabilities: `tool:search`, `shard:3`, … */
  readonly capabilities: readonly string[];
}

export interface ConnectResult {
  readonly peer: AgentDescription;
  readonly traffic: Traffic;
  /** What became of work that was in flight at this peer when contact was lost, where the protocol lets one ask (reconnection). */
  readonly recovered?: readonly RecoveredWork[];
}

/** `running`: the peer still does it; `unknown`: the peer has no record of it. */
export const WORK_STATES = ["running", "completed", "failed", "canceled", "unknown"] as const;

export interface RecoveredWork {
  readonly workId: string;
  readonly state: (typeof WORK_STATES)[number];
}

export interface HealthResult {
  /** The incarnation that answered, where the probe's answer tells; else null. */
  readonly incarnation: number | null;
  readonly traffic: Traffic;
}

export interface ProtocolCapabilities {
  readonly streaming: boolean;
  readonly cancel: boolean;
  readonly resume: boolean;
  readonly idempotency: boolean;
  readonly authentication: boolean;
  readonly nativeProbe: boolean;
}

export interface ProtocolInfo {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly features: readonly string[];
  /** `native`: the protocol defines a liveness operation; `added`: ours. */
  readonly heartbeat: "native" | "added";
  readonly capabilities: ProtocolCapabilities;
}

export interface ReconnectionInfo {
  readonly method: string;
  readonly authentication: string;
  readonly expectedRoundTrips: number;
}

/** One event of an answer in the making. `agent_text_message` carries words or parts; `done` ends it. */
export type AgentEvent =
  | { readonly type: "agent_text_message"; readonly text: string }
  | { readonly type: "agent_parts_message"; readonly parts: readonly Part[] }
  | { readonly type: "status"; readonly state: "working" | "completed" | "failed" | "canceled"; readonly message?: string };

export interface EventQueue {
  enqueue(event: AgentEvent): void;
}

export interface ExecutionContext {
  /** The protocol's id of this message, unique per attempt unless the protocol says otherwise. */
  readonly messageId: string;
  readonly from: AgentId | null;
  readonly payload: Payload;
  readonly contextId?: string;
  /** Aborts when the work is cancelled in the protocol's way (a lost client does not cancel). */
  readonly signal: AbortSignal;
}

/** The agent's side of a protocol host: what runs when a message arrives. A thrown error is the protocol's error answer. */
export interface AgentExecutor {
  execute(context: ExecutionContext, queue: EventQueue): Promise<void>;
  cancel(messageId: string): Promise<void>;
}

export interface LocalAgent {
  readonly baseUrl: string;
  close(): Promise<void>;
}

/**
 * What a protocol may take part in beyond answering; the agent calls them. A hook that throws ends the agent: it is the protocol's
 * bug, and a run with it is none.
 */
export interface ProtocolHooks {
  /** After t=0: the first handshakes with these peers are done. The document may be on its way already. */
  meshSetUp?(peers: readonly AgentId[]): Promise<void>;
  /** The document is stored. */
  broadcast?(document: { readonly sha256: string; readonly bytes: number }): Promise<void>;
  /** Work begins. */
  normalPhase?(): void;
  /** This agent's failure detector has declared an incarnation of a peer dead. */
  peerDown?(peer: AgentId, incarnation: number): void;
  /** It has declared one alive: back, or not dead after all. */
  peerUp?(peer: AgentId, incarnation: number): void;
  /** Counters of the protocol's own, recorded with every `process` event. */
  extraMetrics?(): Readonly<Record<string, number>>;
}

/**
 * What every protocol implements, one instance per agent. Failures are thrown as CommError. `src` is always an agent of
 * this process; `dst` may be in this process, in another, or already running elsewhere (a registered endpoint is enough).
 */
export interface CommBackend {
  readonly hooks?: ProtocolHooks;
  registerEndpoint(agentId: AgentId, address: Address): void;
  /** The protocol's own handshake, from its first byte to the peer's description. */
  connect(src: AgentId, dst: AgentId, options?: CallOptions): Promise<ConnectResult>;
  send(src: AgentId, dst: AgentId, payload: Payload, options?: SendOptions): Promise<SendResult>;
  /** Cancels work at the peer in the protocol's way. Present exactly where `capabilities.cancel` is true. */
  cancel?(src: AgentId, dst: AgentId, workId: string, options?: CallOptions): Promise<void>;
  /**
   * The answer to work that an earlier `send` began, in the protocol's way: fetched, or by attaching to it again. CommError
   * `remote` when the peer does not know it any more. Present exactly where `capabilities.resume` is true.
   */
  resume?(src: AgentId, dst: AgentId, workId: string, options?: SendOptions): Promise<SendResult>;
  /** The lightest liveness operation: the protocol's own, else one of ours. */
  healthCheck(agentId: AgentId, options?: CallOptions): Promise<HealthResult>;
  /** The protocol host as a Fastify plug-in, for the agent's one port. */
  hostPlugin(agentId: AgentId, executor: AgentExecutor): FastifyPluginAsync;
  /** The same host on a Fastify server of its own; port 0 = any. */
  spawnLocalAgent(agentId: AgentId, host: string, port: number, executor: AgentExecutor): Promise<LocalAgent>;
  /** Closes client connections and forgets endpoints. */
  close(): Promise<void>;
}

/** What a backend is given: it makes no client, clock or randomness of its own. */
export interface BackendContext {
  /** What this agent currently says of itself; called at each handshake, as it changes with takeovers. */
  readonly describeSelf: () => AgentDescription;
  /** Where this agent's own host is reached, for cards and descriptions; asked once the host is listening, not before. */
  readonly selfAddress: () => Address;
  readonly client: MeteredClient;
  /** To be called when a request was answered from the protocol's own idempotency record, without an execution. */
  readonly onDeduplicated: (messageId: string) => void;
  /** Which protocols each agent hosts, for a protocol that is a mix of others; null or absent where all speak the same one. */
  readonly hosts?: HostedById | null;
  /** To be called when a protocol that is a mix of others has chosen, or chosen anew. */
  readonly onRoute?: (choice: RouteChoice) => void;
  readonly clock: Clock;
  /** By what the times of the run are multiplied; absent = 1. */
  readonly timeScale?: number;
  readonly prng: Prng;
  /** A folder that survives this incarnation (keys, task stores). */
  readonly workspaceDir: string;
  /** The section `<protocol>.*` of the configuration, checked by the protocol's `parseConfig`. */
  readonly config: unknown;
}

/** The agent's one counted HTTP client. All client traffic of a backend goes through it. */
export interface MeteredClient {
  /** undici's fetch over the counted dispatcher, for SDKs that take one. */
  readonly fetch: typeof globalThis.fetch;
  /** A plain request: the whole answer as bytes. Rejects with what undici throws. */
  request(url: string, init: MeteredRequest): Promise<MeteredResponse>;
  /** A WebSocket over the same counted sockets; call inside `measure`. Its bytes after the upgrade count under that tag. */
  webSocket(
    url: string,
    init?: { readonly headers?: Readonly<Record<string, string>>; readonly protocols?: readonly string[] },
  ): Promise<WebSocket>;
  /** Runs `fn`; all requests started inside it, however deep, are counted into the returned traffic. */
  measure<T>(tag: TrafficTag, fn: () => Promise<T>): Promise<{ value: T; traffic: Traffic }>;
}

export interface TrafficTag {
  readonly cause: TrafficCause;
  readonly kind: MessageKind;
  readonly peer: AgentId;
}

export interface MeteredRequest {
  readonly method: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly signal?: AbortSignal;
}

export interface MeteredResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** A protocol is a value; it is found by name in the registry, by path, or by package name. */
export interface Protocol {
  /** `config`: what `parseConfig` made, where it changes what the protocol is or can; absent = the defaults. */
  getProtocolInfo(config?: unknown): ProtocolInfo;
  /** `config`: the same, where it changes the handshake. */
  getReconnectionInfo(config?: unknown): ReconnectionInfo;
  /** Checks the section `<protocol>.*`; throws InputError naming the key. */
  parseConfig(section: unknown): unknown;
  /**
   * Which protocols each agent hosts, by agent index, where this protocol is a mix of others; `config` is what `parseConfig` made.
   * Throws InputError when the configuration does not fit so many agents.
   */
  hosts?(config: unknown, agentCount: number): readonly (readonly string[])[];
  createBackend(context: BackendContext): CommBackend;
}
