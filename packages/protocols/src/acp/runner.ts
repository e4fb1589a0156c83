import {
  type AgentEvent,
  type AgentId,
  type Clock,
  CommError,
  type Payload,
  type SendOptions,
  type SendResult,
} from "@failstorm/core";
import { type AcpClient, type Line, runOf, sessionIdOf } from "./client.ts";
import type { AcpConfig } from "./config.ts";
import { roleOf, textOf, toMessageParts, toParts, toSdkMessage } from "./content.ts";
import { isRecord, isTerminal, type Message, type Run, type RunLogEvent, type RunMode, type Session } from "./model.ts";
import { SessionTracker } from "./sessions.ts";
import { messageOf } from "./validation.ts";

const DEFAULTS = { kind: "tool", cause: "work" } as const;
/** Runs remembered as lost, per peer; a peer that never comes back is never asked. */
const MAX_LOST = 1000;

/** A run's answer; its failure, its cancellation and its question to the client are errors of the peer. */
function answerOf(run: Run, peer: AgentId): Omit<SendResult, "traffic"> {
  const refuse = (message: string, detail: unknown): CommError =>
    new CommError("remote", peer, `${peer}: ${message}`, { detail });
  if (run.status === "completed") {
    const parts = toParts(run.output);
    return { raw: run, text: textOf(parts), parts };
  }
  if (run.status === "failed") throw refuse(run.error?.message ?? "the run failed", run.error ?? { code: "server_error" });
  if (run.status === "cancelled") throw refuse("the run was cancelled", { code: "cancelled", run });
  if (run.status === "awaiting") throw refuse("the run awaits an answer", { code: "awaiting", run });
  throw new CommError("protocol", peer, `${peer}: the answer is a run that is ${run.status}`, { detail: run });
}

/**
 * Turns a run's events into the events of an answer, as they come. A server that announces a message with all its parts has said
 * it all at once; one that announces it empty sends the parts one by one.
 */
function eventReader(
  peer: AgentId,
  onEvent: ((event: AgentEvent) => void) | undefined,
  onRun: (run: unknown) => void,
): (event: RunLogEvent) => void {
  let whole = false;
  const say = (message: Message): void => {
    const parts = toParts([message]);
    const [only] = parts;
    if (parts.length === 1 && only?.kind === "text") onEvent?.({ type: "agent_text_message", text: only.text });
    else onEvent?.({ type: "agent_parts_message", parts });
  };
  return (event) => {
    switch (event.type) {
      case "message.created":
        whole = event.message.parts.length > 0;
        if (whole) say(messageOf(event.message, "message", 0));
        return;
      case "message.part":
        if (!whole) say(messageOf({ parts: [event.part] }, "message", 1));
        return;
      case "message.completed":
        return;
      case "generic": {
        const { message } = event.generic as { message?: unknown };
        if (typeof message === "string") onEvent?.({ type: "status", state: "working", message });
        return;
      }
      case "run.created":
      case "run.in-progress":
        onRun(event.run);
        if (event.type === "run.in-progress") onEvent?.({ type: "status", state: "working" });
        return;
      case "run.completed":
      case "run.failed":
      case "run.cancelled":
      case "run.awaiting":
        return onRun(event.run);
      case "error":
        throw new CommError("remote", peer, `${peer}: ${event.error.message}`, { detail: event.error });
      default:
        throw new CommError("protocol", peer, `${peer}: an event that ACP does not know`, { detail: event });
    }
  };
}

/** Ends an answer's events. */
function tellEnd({ status, error }: Run, onEvent: ((event: AgentEvent) => void) | undefined): void {
  if (status === "completed") onEvent?.({ type: "status", state: "completed" });
  if (status === "cancelled") onEvent?.({ type: "status", state: "canceled" });
  if (status === "failed") onEvent?.({ type: "status", state: "failed", ...(error ? { message: error.message } : {}) });
}

/** Creates runs at peers, follows them to their end in the mode wanted, and remembers those whose end it missed. */
export class Runner {
  private readonly client: AcpClient;
  private readonly clock: Clock;
  private readonly config: AcpConfig;
  private readonly sessions: SessionTracker;
  private readonly lost = new Map<AgentId, Set<string>>();

  constructor(client: AcpClient, clock: Clock, config: AcpConfig) {
    this.client = client;
    this.clock = clock;
    this.config = config;
    this.sessions = new SessionTracker(client);
  }

  /** A new run. Streamed when its events or, before its end, its id are wanted: a sync run tells its id with its answer only. */
  async send(src: AgentId, dst: AgentId, payload: Payload, options: SendOptions): Promise<SendResult> {
    const early = options.onEvent !== undefined || (options.onAccepted !== undefined && this.config.mode === "sync");
    const mode: RunMode = early ? "stream" : this.config.mode;
    const input: Message[] = [{ role: roleOf(src), parts: toMessageParts(payload) }];
    const sessionId = options.contextId === undefined ? undefined : sessionIdOf(options.contextId);
    return this.follow(dst, options, async (line, accepted) => {
      const session = sessionId === undefined ? undefined : await this.sessions.forwardFor(sessionId, line);
      if (mode === "stream") return this.stream(line, { input, sessionId, session }, options, accepted);
      const body = {
        agent_name: this.client.nameOf(dst),
        input,
        mode,
        ...(sessionId === undefined ? {} : { session_id: sessionId }),
        ...(session === undefined ? {} : { session }),
      };
      const run = runOf(await this.client.post("/runs", body, line), dst);
      if (mode === "sync") return run;
      accepted(run.run_id);
      return this.poll(run.run_id, line);
    });
  }

  /** The answer of a run begun earlier. ACP cannot re-attach to a stream: its state, or its log, is read until it has ended. */
  resume(dst: AgentId, workId: string, options: SendOptions): Promise<SendResult> {
    return this.follow(dst, options, async (line, accepted) => {
      accepted(workId);
      return options.onEvent === undefined ? this.poll(workId, line) : this.pollEvents(workId, line, options);
    });
  }

  /** Answers what a run awaits, and follows it on. */
  resumeAwait(src: AgentId, dst: AgentId, workId: string, answer: Payload, options: SendOptions): Promise<SendResult> {
    const message = toSdkMessage({ role: roleOf(src), parts: toMessageParts(answer) }, this.clock.wall());
    return this.follow(dst, options, async (line, accepted) => {
      accepted(workId);
      const path = `/runs/${encodeURIComponent(workId)}`;
      // The document wants the run's id here as well.
      const body = { run_id: workId, await_resume: { type: "message", message } };
      if (options.onEvent === undefined) return runOf(await this.client.post(path, { ...body, mode: "sync" }, line), dst);
      return this.readStream(path, { ...body, mode: "stream" }, line, options, accepted);
    });
  }

  /** Runs there whose end was not seen: the connection broke, or the caller gave up. */
  lostAt(peer: AgentId): readonly string[] {
    return [...(this.lost.get(peer) ?? [])];
  }

  forget(peer: AgentId, workId: string): void {
    const runs = this.lost.get(peer);
    runs?.delete(workId);
    if (runs?.size === 0) this.lost.delete(peer);
  }

  close(): void {
    this.lost.clear();
    this.sessions.clear();
  }

  /** One measured call for a run, to its end. */
  private async follow(
    dst: AgentId,
    options: SendOptions,
    fn: (line: Line, accepted: (workId: string) => void) => Promise<Run>,
  ): Promise<SendResult> {
    let workId: string | null = null;
    const accepted = (id: string): void => {
      if (workId !== null) return;
      workId = id;
      options.onAccepted?.(id);
    };
    try {
      const { value, traffic } = await this.client.call(dst, options, DEFAULTS, async (line) => {
        const run = await fn(line, accepted);
        accepted(run.run_id);
        tellEnd(run, options.onEvent);
        return answerOf(run, dst);
      });
      if (workId !== null) this.forget(dst, workId);
      return { ...value, traffic };
    } catch (error) {
      if (workId !== null) this.remember(dst, workId, error);
      throw error;
    }
  }

  private remember(peer: AgentId, workId: string, error: unknown): void {
    // What the peer itself said is the end of it.
    if (error instanceof CommError && error.code === "remote") return this.forget(peer, workId);
    const runs = this.lost.get(peer) ?? new Set();
    this.lost.set(peer, runs.add(workId));
    for (const oldest of runs) {
      if (runs.size <= MAX_LOST) break;
      runs.delete(oldest);
    }
  }

  private async poll(workId: string, line: Line): Promise<Run> {
    for (;;) {
      const run = runOf(await this.client.get(`/runs/${encodeURIComponent(workId)}`, line), line.peer);
      if (isTerminal(run.status) || run.status === "awaiting") return run;
      await this.clock.sleep(this.config.pollIntervalMs, line.signal);
    }
  }

  /** The whole log each time: ACP has no way to ask for what came since. */
  private async pollEvents(workId: string, line: Line, { onEvent }: SendOptions): Promise<Run> {
    let latest: unknown = null;
    let seen = 0;
    const read = eventReader(line.peer, onEvent, (run) => {
      latest = run;
    });
    for (;;) {
      const answer = await this.client.get(`/runs/${encodeURIComponent(workId)}/events`, line);
      const events = isRecord(answer) ? answer["events"] : undefined;
      if (!Array.isArray(events)) throw new CommError("protocol", line.peer, `${line.peer}: the answer is no list of events`);
      for (const event of events.slice(seen)) read(event as RunLogEvent);
      seen = events.length;
      const run = latest === null ? null : runOf(latest, line.peer);
      if (run !== null && (isTerminal(run.status) || run.status === "awaiting")) return run;
      await this.clock.sleep(this.config.pollIntervalMs, line.signal);
    }
  }

  private stream(
    line: Line,
    { input, sessionId, session }: { input: Message[]; sessionId: string | undefined; session: Session | undefined },
    options: SendOptions,
    accepted: (workId: string) => void,
  ): Promise<Run> {
    const body = {
      agent_name: this.client.nameOf(line.peer),
      input: input.map((message) => toSdkMessage(message, this.clock.wall())),
      mode: "stream",
      ...(sessionId === undefined ? {} : { session_id: sessionId }),
      ...(session === undefined ? {} : { session }),
    };
    return this.readStream("/runs", body, line, options, accepted);
  }

  private async readStream(
    path: string,
    body: object,
    line: Line,
    { onEvent }: SendOptions,
    accepted: (workId: string) => void,
  ): Promise<Run> {
    let latest: Run | null = null;
    const read = eventReader(line.peer, onEvent, (raw) => {
      latest = runOf(raw, line.peer);
      accepted(latest.run_id);
    });
    for await (const event of this.client.events(path, body, line)) read(event as RunLogEvent);
    const last = latest as Run | null;
    if (last !== null && (isTerminal(last.status) || last.status === "awaiting")) return last;
    throw new CommError("reset", line.peer, `${line.peer}: the stream ended before the run did`);
  }
}
