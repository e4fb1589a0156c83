import {
  type AgentId,
  type AgentRequest,
  type CommBackend,
  CommError,
  type DirectRequest,
  type MessageKind,
  type Part,
  type RelayRequest,
  type Sender,
  type Traffic,
  type TrafficCause,
  toCommError,
} from "@failstorm/core";
import type { Recorder } from "./recorder.ts";

/** What an agent answers: the result, or why not. */
export type Reply =
  | { readonly ok: true; readonly data: unknown }
  | { readonly ok: false; readonly code: string; readonly message: string };

export interface AskOptions {
  readonly kind: MessageKind;
  readonly cause: TrafficCause;
  readonly signal: AbortSignal;
  readonly task?: string;
  readonly step?: string;
  readonly attempt?: number;
  readonly idempotencyKey?: string;
  /** To the targets themselves, whatever the links are. Absent = over the links. */
  readonly direct?: boolean;
}

export interface Target {
  readonly agentId: AgentId;
  readonly request: DirectRequest;
}

interface Routing {
  /** The first hops towards `targets` over the present links, each with the targets behind it; what cannot be reached is left out. */
  hops(targets: readonly AgentId[], path: readonly AgentId[]): ReadonlyMap<AgentId, readonly AgentId[]>;
}

export interface MessengerOptions {
  readonly self: () => Sender;
  readonly backend: CommBackend;
  readonly recorder: Recorder;
  readonly routing: Routing;
  readonly ttl: number;
  /** Serves a request addressed to this agent. */
  readonly serve: (request: DirectRequest, from: Sender) => Promise<unknown>;
  readonly now: () => number;
  /** A signal that aborts when the agent is declared dead: a request to it is then given up. */
  readonly watchDeath: (peer: AgentId) => { readonly signal: AbortSignal; release(): void };
}

const NO_TRAFFIC: Traffic = { bytesSent: 0, bytesReceived: 0, roundTrips: 0, firstByteAt: null, ms: 0 };

/** The data part of an answer. */
function dataOf(parts: readonly Part[], peer: AgentId): unknown {
  const part = parts.find((candidate) => candidate.kind === "data");
  if (part === undefined) throw new CommError("protocol", peer, `${peer}: the answer has no data part`);
  return part.data;
}

/** Requests to other agents over the protocol under test: directly to neighbours, hop by hop with a TTL to the others. */
export class Messenger {
  private readonly options: MessengerOptions;

  constructor(options: MessengerOptions) {
    this.options = options;
  }

  /** One request to one agent. Throws CommError; an agent's refusal is code `remote` with the refusal's code as detail. */
  async ask(target: Target, options: AskOptions): Promise<unknown> {
    const replies = await this.askAll([target], options);
    const reply = replies.get(target.agentId);
    if (reply?.ok) return reply.data;
    const code = reply?.code ?? "unreachable";
    const known = ["refused", "reset", "timeout", "aborted", "protocol", "unknown_agent"] as const;
    const commCode = known.find((candidate) => candidate === code) ?? "remote";
    throw new CommError(commCode, target.agentId, reply?.message ?? `${target.agentId}: no way there`, { detail: code });
  }

  /** One request each to several agents; the answer has an entry for every target, and never throws for a peer's sake. */
  async askAll(targets: readonly Target[], options: AskOptions): Promise<Map<AgentId, Reply>> {
    const origin = this.options.self();
    return this.scatter(targets, { ttl: this.options.ttl, path: [origin.agentId], origin }, options);
  }

  /** Passes a relayed request on: serves what is ours, sends the rest to the next hops, merges the answers. */
  async relay(request: RelayRequest, options: AskOptions): Promise<Record<string, Reply>> {
    const self = this.options.self();
    const own = request.targets.find((target) => target.agentId === self.agentId);
    const others = request.targets.filter((target) => target.agentId !== self.agentId);
    const path = [...request.path, self.agentId];
    const [mine, rest] = await Promise.all([
      own === undefined ? undefined : this.serveLocally(own.request, request.origin),
      this.scatter(others, { ttl: request.ttl - 1, path, origin: request.origin }, options),
    ]);
    if (mine !== undefined) rest.set(self.agentId, mine);
    return Object.fromEntries(rest);
  }

  private async scatter(
    targets: readonly Target[],
    route: { ttl: number; path: readonly AgentId[]; origin: Sender },
    options: AskOptions,
  ): Promise<Map<AgentId, Reply>> {
    const replies = new Map<AgentId, Reply>();
    const byId = new Map(targets.map((target) => [target.agentId, target]));
    for (const id of byId.keys()) replies.set(id, { ok: false, code: "unreachable", message: `${id}: no way there` });
    const ids = [...byId.keys()];
    const hops = options.direct === true ? new Map(ids.map((id) => [id, [id]])) : this.options.routing.hops(ids, route.path);
    await Promise.all(
      [...hops].map(async ([hop, behind]) => {
        const group = behind.map((id) => byId.get(id)).filter((target) => target !== undefined);
        const [only] = group;
        const direct = group.length === 1 && only?.agentId === hop && route.path.length === 1;
        if (!direct && route.ttl <= 0) {
          for (const { agentId } of group) replies.set(agentId, { ok: false, code: "ttl", message: `${agentId}: TTL used up` });
          return;
        }
        const body: AgentRequest["body"] =
          direct && only !== undefined
            ? only.request
            : { op: "relay", ttl: route.ttl, path: [...route.path], targets: group, origin: route.origin };
        for (const [id, reply] of await this.post(hop, body, group, options)) replies.set(id, reply);
      }),
    );
    return replies;
  }

  /** One message to one neighbour, recorded; its answer as replies of the targets it was for. */
  private async post(
    hop: AgentId,
    body: AgentRequest["body"],
    targets: readonly Target[],
    options: AskOptions,
  ): Promise<ReadonlyArray<readonly [AgentId, Reply]>> {
    const { backend, recorder, self, now } = this.options;
    const from = self();
    const kind = body.op === "relay" ? "relay" : options.kind;
    const startedAt = now();
    const record = (traffic: Traffic, error: string | null): void =>
      recorder.message({
        kind,
        cause: options.cause,
        to: hop,
        task: options.task ?? null,
        step: options.step ?? null,
        attempt: options.attempt ?? 1,
        ms: now() - startedAt,
        bytesSent: traffic.bytesSent,
        bytesReceived: traffic.bytesReceived,
        roundTrips: traffic.roundTrips,
        error,
        protocol: traffic.protocol,
      });
    const watch = this.options.watchDeath(hop);
    const signal = AbortSignal.any([options.signal, watch.signal]);
    const payload = { parts: [{ kind: "data", data: { from, body } satisfies AgentRequest }] } as const;
    try {
      const answer = await backend.send(from.agentId, hop, payload, {
        kind,
        cause: options.cause,
        signal,
        ...(options.idempotencyKey === undefined || body.op === "relay" ? {} : { idempotencyKey: options.idempotencyKey }),
        ...(options.task === undefined ? {} : { taskId: options.task }),
      });
      const data = dataOf(answer.parts, hop) as Reply | Record<string, Reply>;
      record(answer.traffic, null);
      if (body.op === "relay") return Object.entries(data as Record<string, Reply>);
      return targets.map(({ agentId }) => [agentId, data as Reply] as const);
    } catch (error) {
      const failure = toCommError(error, hop, signal);
      record((error as { traffic?: Traffic }).traffic ?? NO_TRAFFIC, failure.code);
      return targets.map(({ agentId }) => [agentId, { ok: false, code: failure.code, message: failure.message }] as const);
    } finally {
      watch.release();
    }
  }

  private async serveLocally(request: DirectRequest, from: Sender): Promise<Reply> {
    try {
      return { ok: true, data: await this.options.serve(request, from) };
    } catch (error) {
      return refusalOf(error);
    }
  }
}

/** An agent's reason not to serve a request: it does not hold what was asked for, is not ready, … */
export class Refusal extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.name = "Refusal";
    this.code = code;
  }
}

/** A failure while serving, as the reply that tells the caller. */
export function refusalOf(error: unknown): Reply {
  if (error instanceof Refusal) return { ok: false, code: error.code, message: error.message };
  return { ok: false, code: "failed", message: error instanceof Error ? error.message : String(error) };
}
