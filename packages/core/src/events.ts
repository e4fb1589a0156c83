import { z } from "zod";
import { MESSAGE_KINDS, TRAFFIC_CAUSES } from "./comm.ts";
import { TOOLS } from "./config.ts";

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
  event("agent.up", { pid: z.number(), port: z.number(), homeTool: z.enum(TOOLS), shard: z.number(), wallMs: z.number() }),
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
    bytesSent: z.number(),
    bytesReceived: z.number(),
    roundTrips: z.number(),
  }),
  event("link.down", { peer: z.string(), peerInc: z.number(), reason: z.string() }),
  event("link.failed", { peer: z.string(), reason: z.string(), code: z.string(), attempt: z.number() }),

  /** lastHeard: CLOCK_MONOTONIC of the last sign of life. */
  event("detect.suspect", { peer: z.string(), peerInc: z.number(), how, lastHeard: z.number() }),
  event("detect.dead", { peer: z.string(), peerInc: z.number(), how, lastHeard: z.number() }),
  event("detect.alive", { peer: z.string(), peerInc: z.number(), how }),
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
  /** At the end: what this agent's ledger says. `outcomes` maps task → `status|owner|incarnation|attempt`, only from one agent. */
  event("ledger.final", {
    digest: z.string(),
    entries: z.number(),
    conflicts: z.number(),
    outcomes: z.record(z.string(), z.string()).nullable(),
  }),
  /** The router of a mixed network has chosen by which protocol it speaks to `peer` (`reason` says why, with the figures). */
  event("route.chosen", { peer: z.string(), protocol: z.string(), before: z.string().nullable(), reason: z.string() }),
  event("log", { level: z.enum(["warning", "error"]), message: z.string() }),
] as const;

export const runEventSchema = z.discriminatedUnion("ev", [...orchestratorEvents, ...agentEvents]);
export type RunEvent = z.infer<typeof runEventSchema>;
export type RunEventName = RunEvent["ev"];
export type RunEventOf<Name extends RunEventName> = Extract<RunEvent, { ev: Name }>;

/** What a writer says; `t`, `src`, `inc` and `seq` are added by the event log. */
export type NewEvent = RunEvent extends infer E ? (E extends RunEvent ? Omit<E, "t" | "src" | "inc" | "seq"> : never) : never;
