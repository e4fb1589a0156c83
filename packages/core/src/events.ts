import { z } from "zod";
import { MESSAGE_KINDS, TRAFFIC_CAUSES, WORK_STATES } from "./comm.ts";
import { TOOLS } from "./config.ts";
import { LLM_STATUSES, MODEL_OUTCOMES } from "./llm.ts";

/**
 * Run events: the only source of every number. One JSON object a line. `t` is CLOCK_MONOTONIC in ms (1 µs resolution),
 * `src` the writer (`orchestrator` or an agent id), `inc` its incarnation (0 for the orchestrator), `seq` counts per (src, inc)
 * from 0 without gaps. An agent writes an event with write(2) before the effect it announces.
 */
const base = { t: z.number(), src: z.string(), inc: z.number().int(), seq: z.number().int() };
const event = <Name extends string, Shape extends z.ZodRawShape>(name: Name, shape: Shape) =>
  z.object({ ...base, ev: z.literal(name), ...shape });

const cause = z.enum(TRAFFIC_CAUSES);
const kind = z.enum(MESSAGE_KINDS);
const faultKind = z.enum(["sigkill", "sigstop", "sigterm"]);
const how = z.enum(["probe", "gossip", "transport", "incarnation"]);
const orphan = z.enum(["shard", "tool", "task"]);

const orchestratorEvents = [
  event("run.started", {
    runId: z.string(),
    wallMs: z.number(),
    /** The resolved RunConfig. */
    config: z.record(z.string(), z.unknown()),
  }),
  event("run.phase", { phase: z.enum(["spawn", "broadcast", "normal", "fault", "recovery", "drain", "end"]) }),
  /** t0: CLOCK_MONOTONIC of the run's t=0 (the broadcast's start). Load starts loadFromMs later. */
  event("run.load", { t0: z.number(), loadFromMs: z.number() }),
  event("run.finished", { status: z.enum(["done", "failed", "interrupted"]), reason: z.string().nullable() }),
  event("port.skipped", { port: z.number(), reason: z.string() }),
  event("agent.spawned", { agent: z.string(), pid: z.number() }),
  event("agent.ready", {
    agent: z.string(),
    agentInc: z.number(),
    pid: z.number(),
    port: z.number(),
    rssBytes: z.number(),
    /** Spawned → ready. */
    ms: z.number(),
  }),
  event("agent.exited", {
    agent: z.string(),
    agentInc: z.number().nullable(),
    pid: z.number(),
    code: z.number().nullable(),
    signal: z.string().nullable(),
    cause: z.enum(["fault", "stop", "unexpected"]),
  }),
  /** One per victim. before/after: CLOCK_MONOTONIC around its kill(2). Written after the call. `fake`: nothing was sent. */
  event("fault.injected", {
    kind: faultKind,
    cycle: z.number(),
    agent: z.string(),
    agentInc: z.number(),
    pid: z.number(),
    before: z.number(),
    after: z.number(),
    fake: z.boolean(),
  }),
  /** SIGCONT after a sigstop. */
  event("fault.cleared", {
    kind: faultKind,
    cycle: z.number(),
    agent: z.string(),
    agentInc: z.number(),
    before: z.number(),
    after: z.number(),
  }),
  /** Of the machine over the last sample interval: shares of all cores, 0…1. */
  event("machine", { busy: z.number(), steal: z.number(), orchestratorCpu: z.number(), orchestratorRss: z.number() }),
] as const;

const agentEvents = [
  /** `homeTool` and `shard` of a shard worker; null for other roles. */
  event("agent.up", {
    pid: z.number(),
    port: z.number(),
    homeTool: z.enum(TOOLS).nullable(),
    shard: z.number().nullable(),
    wallMs: z.number(),
    role: z.enum(["shard", "coordinator", "sub-coordinator", "worker"]).optional(),
  }),
  /** Anti-entropy with `peer` is done: a restarted agent serves nothing before this. */
  event("agent.rejoined", { peer: z.string(), entries: z.number(), ms: z.number() }),
  event("agent.stopping", { reason: z.string() }),
  event("document.stored", { sha256: z.string(), bytes: z.number(), from: z.string().nullable(), ms: z.number() }),
  event("shard.indexed", { shard: z.number(), passages: z.number(), ms: z.number(), role: z.enum(["home", "warm", "cold"]) }),

  /** A handshake with `peer` completed; `startedAt` is its first byte (CLOCK_MONOTONIC). */
  event("link.up", {
    peer: z.string(),
    peerInc: z.number(),
    /** setup: the network forms; incarnation: a restarted peer; replacement: the peer that took over from `lost`; repair: a new
     * neighbour in the repaired topology; rejoin: this agent was restarted; healed: the same incarnation answers again. */
    reason: z.enum(["setup", "incarnation", "replacement", "repair", "rejoin", "healed"]),
    lost: z.string().nullable(),
    startedAt: z.number(),
    ms: z.number(),
    /** A handshake that is good for several (a new neighbour that has taken over from two others) has several events: its traffic is in the first. */
    bytesSent: z.number(),
    bytesReceived: z.number(),
    roundTrips: z.number(),
    /** States of the work that was in flight at this peer when contact was lost, as it told when asked; absent where the protocol cannot ask. */
    recovered: z.array(z.enum(WORK_STATES)).optional(),
  }),
  event("link.down", { peer: z.string(), peerInc: z.number(), reason: z.string() }),
  event("link.failed", { peer: z.string(), reason: z.string(), code: z.string(), attempt: z.number() }),

  /** lastHeard: CLOCK_MONOTONIC of the last sign of life. */
  event("detect.suspect", { peer: z.string(), peerInc: z.number(), how, lastHeard: z.number() }),
  event("detect.dead", { peer: z.string(), peerInc: z.number(), how, lastHeard: z.number() }),
  event("detect.alive", { peer: z.string(), peerInc: z.number(), how }),
  /**
   * Signs that the peer will fail, by this agent's link with it (network.predictive): those who would replace it are shaken hands with
   * beforehand. Written before those handshakes; their messages have the kind `handshake` and the cause `heartbeat`, as no fault caused them.
   */
  event("link.predicted", { peer: z.string(), peerInc: z.number(), reason: z.enum(["phi", "latency"]), score: z.number() }),
  /** The kernel closed the held-open connection to this incarnation; acted upon only with transport signals. */
  event("transport.notice", { peer: z.string(), peerInc: z.number() }),
  event("view.changed", { view: z.string(), live: z.array(z.string()) }),

  event("takeover.claimed", { kind: orphan, id: z.string(), from: z.string(), fromInc: z.number(), view: z.string() }),
  /** The first service by its new owner: a look-up answered from the shard, a step done with the tool, the task's answer. */
  event("takeover.served", { kind: orphan, id: z.string(), from: z.string(), fromInc: z.number() }),
  event("takeover.released", { kind: orphan, id: z.string(), to: z.string() }),

  event("task.started", { task: z.string(), attempt: z.number(), view: z.string(), orphanOf: z.string().nullable() }),
  event("task.outcome", {
    task: z.string(),
    attempt: z.number(),
    /** answered: an answer was given (right or wrong is graded by the reader); no_answer: the pipeline found none; expired: the
     * deadline passed before it was started or finished. */
    status: z.enum(["answered", "no_answer", "expired"]),
    answer: z.string().nullable(),
    /** From the intended start. */
    latencyMs: z.number(),
    evidence: z.array(z.string()),
    orphanOf: z.string().nullable(),
  }),
  /** An execution of a tool step at its executor. `exec` is unique per (src, inc). */
  event("step.started", {
    exec: z.number(),
    task: z.string(),
    step: z.string(),
    tool: z.enum(TOOLS),
    attempt: z.number(),
    caller: z.string(),
  }),
  event("step.finished", { exec: z.number(), task: z.string(), step: z.string(), attempt: z.number(), ok: z.boolean() }),
  /** A step request answered from the protocol's own idempotency record, without an execution. */
  event("step.deduplicated", { task: z.string(), step: z.string() }),

  /** One message, seen by its sender; only inside the intervals of full recording. */
  event("msg", {
    kind,
    cause,
    to: z.string(),
    task: z.string().nullable(),
    step: z.string().nullable(),
    attempt: z.number(),
    ms: z.number(),
    bytesSent: z.number(),
    bytesReceived: z.number(),
    error: z.string().nullable(),
    /** By which protocol, in a mixed network. */
    protocol: z.string().optional(),
  }),
  /** All messages of one kind and cause that ended in one second (`second` after t=0; negative before). */
  event("msg.second", {
    second: z.number().int(),
    kind,
    cause,
    n: z.number(),
    failed: z.number(),
    bytesSent: z.number(),
    bytesReceived: z.number(),
    roundTrips: z.number(),
    msSum: z.number(),
    msMax: z.number(),
  }),
  /** Once per sample interval. Counters are cumulative per incarnation and never decrease. */
  event("process", {
    rssBytes: z.number(),
    /** User + system CPU of this process since its start. */
    cpuMs: z.number(),
    loopLagP99Ms: z.number(),
    tasksInFlight: z.number(),
    counters: z.object({
      tasksStarted: z.number(),
      tasksFinished: z.number(),
      stepsExecuted: z.number(),
      messagesSent: z.number(),
      /** Attributed to requests. */
      bytesSent: z.number(),
      bytesReceived: z.number(),
      /** Counted on the client sockets themselves. */
      socketBytesSent: z.number(),
      socketBytesReceived: z.number(),
      heartbeats: z.number(),
      events: z.number(),
      /** Time spent writing events. */
      eventUs: z.number(),
    }),
    /** The protocol's own counters (`ProtocolHooks.extraMetrics`). */
    protocol: z.record(z.string(), z.number()).optional(),
  }),
  /** At the end: what this agent's ledger says. `outcomes` maps task → `status|owner|incarnation|attempt`, only from the first agents alive. */
  event("ledger.final", {
    digest: z.string(),
    entries: z.number(),
    conflicts: z.number(),
    outcomes: z.record(z.string(), z.string()).nullable(),
  }),
  /**
   * Of a streaming queue, written by its coordinator. It opens, also again after a restart: what earlier incarnations have recorded
   * is not asked again. `questions`: how many there are; null = an endless stream.
   */
  event("queue.opened", {
    source: z.enum(["generated", "file", "stdin"]),
    questions: z.number().nullable(),
    recorded: z.number(),
    batch: z.union([z.number(), z.literal("auto")]),
    workers: z.array(z.object({ worker: z.string(), endpoint: z.string(), protocol: z.string(), external: z.boolean() })),
  }),
  /** A message with questions leaves for a worker. `message` counts per incarnation; `attempt` is the highest among its questions. */
  event("queue.dispatched", { message: z.number(), worker: z.string(), questions: z.array(z.string()), attempt: z.number() }),
  /**
   * A message came to nothing for these questions: no answer, the protocol's error (degraded to an empty text), or an answer that is
   * none. `code`: a CommErrorCode, or `garbage`, `missing`. `retryInMs`: back-off before the next attempt; null = there is none, the
   * result follows.
   */
  event("queue.failed", {
    message: z.number(),
    worker: z.string(),
    questions: z.array(z.string()),
    attempt: z.number(),
    code: z.string(),
    detail: z.string(),
    ms: z.number(),
    bytesSent: z.number(),
    bytesReceived: z.number(),
    retryInMs: z.number().nullable(),
  }),
  /**
   * The result of a question is recorded: once per question and run. `intendedAt` (CLOCK_MONOTONIC ms): when it was due for the first
   * time, whatever came between; latency counts from there. `ms` and bytes: of the message that brought the answer, shared evenly
   * among its questions. failed: every attempt was used up.
   */
  event("queue.result", {
    question: z.string(),
    worker: z.string().nullable(),
    attempt: z.number(),
    status: z.enum(["answered", "no_answer", "failed"]),
    answer: z.string().nullable(),
    intendedAt: z.number(),
    latencyMs: z.number(),
    ms: z.number(),
    bytesSent: z.number(),
    bytesReceived: z.number(),
  }),
  /** A question was finished a second time (a late answer, or one given twice): it is not recorded again. `same`: the same answer. */
  event("queue.duplicate", { question: z.string(), worker: z.string(), attempt: z.number(), same: z.boolean() }),
  /** A line of the question file is no question and was left out. */
  event("queue.rejected", { line: z.number(), reason: z.string() }),
  /** Once per sample interval. */
  event("queue.progress", {
    recorded: z.number(),
    failed: z.number(),
    inFlight: z.number(),
    waiting: z.number(),
    free: z.number(),
    quarantined: z.number(),
  }),
  /** Every question has its result, or the stream was ended. */
  event("queue.closed", { recorded: z.number(), failed: z.number(), rejected: z.number() }),
  /** A worker gets no questions until health checks have succeeded. */
  event("worker.quarantined", { worker: z.string(), reason: z.string(), failures: z.number() }),
  event("worker.returned", { worker: z.string(), afterMs: z.number(), probes: z.number() }),
  /** The router of a mixed network has chosen by which protocol it speaks to `peer` (`reason` says why, with the figures). */
  event("route.chosen", { peer: z.string(), protocol: z.string(), before: z.string().nullable(), reason: z.string() }),
  /** One attempt at a request to the model, when it has ended. Nothing of what was said. */
  event("llm.call", {
    task: z.string(),
    step: z.string(),
    model: z.string(),
    /** Counts from 1, per request. */
    attempt: z.number(),
    status: z.enum(LLM_STATUSES),
    /** HTTP; null when no answer came. */
    code: z.number().nullable(),
    /** As the endpoint says; null when it does not. */
    promptTokens: z.number().nullable(),
    completionTokens: z.number().nullable(),
    /** By the configured price table; null without a price or without tokens. */
    cost: z.number().nullable(),
    /** From the request to the end of the reply, waiting for the rate limit left out. */
    ms: z.number(),
  }),
  /** What became of a step that a model was to do. Anything but `ok` is a step without a result, never a crash. */
  event("llm.step", {
    task: z.string(),
    step: z.string(),
    outcome: z.enum(MODEL_OUTCOMES),
    /** Replies of the model. */
    rounds: z.number(),
    /** Functions it called, and how many of those calls named none of ours. */
    calls: z.number(),
    unknownCalls: z.number(),
  }),
  event("log", { level: z.enum(["warning", "error"]), message: z.string() }),
] as const;

export const runEventSchema = z.discriminatedUnion("ev", [...orchestratorEvents, ...agentEvents]);
export type RunEvent = z.infer<typeof runEventSchema>;
export type RunEventName = RunEvent["ev"];
export type RunEventOf<Name extends RunEventName> = Extract<RunEvent, { ev: Name }>;

/** What a writer says; `t`, `src`, `inc` and `seq` are added by the event log. */
export type NewEvent = RunEvent extends infer E ? (E extends RunEvent ? Omit<E, "t" | "src" | "inc" | "seq"> : never) : never;
