import {
  type AgentId,
  type Clock,
  CommError,
  type LookupRequest,
  type Prng,
  type Tool,
  type TrafficCause,
} from "@failstorm/core";
import { chooseHolder, createBackoff, type HomeTools, shardOwner, toolHolders } from "@failstorm/network";
import { type Hit, mergeHits } from "@failstorm/qa";
import type { Holdings } from "./holdings.ts";
import type { Membership } from "./membership.ts";
import type { Messenger } from "./messenger.ts";

/** The task a step belongs to, as its owner sees it. */
export interface TaskContext {
  readonly task: string;
  readonly attempt: number;
  /** Taken over from a dead owner. */
  readonly takeover: boolean;
  /** CLOCK_MONOTONIC ms. */
  readonly deadlineAt: number;
  /** Aborts at the deadline, and when the agent stops. */
  readonly signal: AbortSignal;
}

export interface StepsOptions {
  readonly self: AgentId;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly membership: Membership;
  readonly messenger: () => Messenger;
  readonly holdings: Holdings;
  readonly homeTools: HomeTools;
  readonly shardCount: number;
  readonly attemptTimeoutMs: number;
  readonly retries: boolean;
  readonly timeScale: number;
  /** Runs a tool of this very agent, when nobody else holds it. */
  readonly runLocally: (tool: Tool, step: string, context: TaskContext, input: unknown, attempt: number) => Promise<unknown>;
}

const RETRY_BASE_MS = 50;
const RETRY_MAX_MS = 1_000;
/**
 * A change of view wakes every step that waits for a holder, with every survivor at the same moment, and the new holder may not know yet that
 * it is one. So each goes on after a moment of its own, up to this long.
 */
const RETRY_SPREAD_MS = 30;

/**
 * The client's side of the work: asks tool holders and shard holders, tries again elsewhere. One retry policy for every protocol:
 * same (task, step), next attempt, after a seeded back-off or as soon as the view changes; never de-duplicated here.
 */
export class Steps {
  private readonly options: StepsOptions;

  constructor(options: StepsOptions) {
    this.options = options;
  }

  /** One tool step, tried until it is done or the task's deadline has passed. Throws CommError. */
  async callTool(tool: Tool, step: string, input: unknown, context: TaskContext): Promise<unknown> {
    const pause = this.pauses(`${context.task}/${step}/${context.attempt}`, context.signal);
    const failed = new Set<AgentId>();
    for (let attempt = 1; ; attempt++) {
      const cause: TrafficCause = attempt > 1 ? "retry" : context.takeover ? "takeover" : "work";
      const holder = this.pickHolder(tool, `${context.task}/${step}`, failed);
      try {
        return await this.attempt(holder, tool, step, input, context, attempt, cause);
      } catch (error) {
        context.signal.throwIfAborted();
        if (!this.options.retries) throw error;
        if (holder !== null) failed.add(holder);
        await pause();
      }
    }
  }

  /** The search tool's fan-out: every shard's best passages, merged; waits for missing shards until `deadlineAt`. */
  async lookupEverywhere(
    query: string,
    topK: number,
    options: { task: string; step: string; attempt: number; takeover: boolean; signal: AbortSignal },
  ): Promise<Hit[]> {
    const pause = this.pauses(`${options.task}/${options.step}/lookup`, options.signal);
    const lists: Hit[][] = [];
    let missing = Array.from({ length: this.options.shardCount }, (_, shard) => shard);
    for (let attempt = 1; ; attempt++) {
      const cause = attempt > 1 || options.attempt > 1 ? "retry" : options.takeover ? "takeover" : "work";
      const round = await this.lookupOnce(
        {
          op: "lookup",
          task: options.task,
          step: options.step,
          query,
          topK,
          shards: missing,
          ...(cause === "work" ? {} : { cause }),
        },
        cause,
        attempt,
        options.signal,
      );
      lists.push(...round.hits);
      missing = round.missing;
      if (missing.length === 0) return mergeHits(lists, topK);
      options.signal.throwIfAborted();
      if (!this.options.retries) throw new CommError("remote", "shards", `no holder answered for shard ${missing.join(", ")}`);
      await pause();
    }
  }

  private async attempt(
    holder: AgentId | null,
    tool: Tool,
    step: string,
    input: unknown,
    context: TaskContext,
    attempt: number,
    cause: TrafficCause,
  ): Promise<unknown> {
    const { self, attemptTimeoutMs, clock } = this.options;
    if (holder === null) throw new CommError("unknown_agent", tool, `nobody holds ${tool}`);
    if (holder === self) return this.options.runLocally(tool, step, context, input, attempt);
    const budgetMs = Math.min(attemptTimeoutMs, context.deadlineAt - clock.now());
    const signal = AbortSignal.any([context.signal, AbortSignal.timeout(Math.max(1, Math.ceil(budgetMs)))]);
    const request = { op: "tool", tool, task: context.task, step, attempt, budgetMs, takeover: context.takeover, input } as const;
    return this.options
      .messenger()
      .ask(
        { agentId: holder, request },
        { kind: "tool", cause, signal, task: context.task, step, attempt, idempotencyKey: `${context.task}/${step}` },
      );
  }

  /** The holder for this step; another than those that failed, while there is one; ourselves only when there is nobody else. */
  private pickHolder(tool: Tool, key: string, failed: Set<AgentId>): AgentId | null {
    const { self, membership, homeTools } = this.options;
    const holders = toolHolders(tool, membership.view, homeTools);
    const others = holders.filter((id) => id !== self);
    const candidates = others.length > 0 ? others : holders;
    const chosen = chooseHolder(key, candidates, failed);
    if (chosen !== null || failed.size === 0) return chosen;
    failed.clear();
    return chooseHolder(key, candidates);
  }

  private async lookupOnce(
    request: LookupRequest,
    cause: TrafficCause,
    attempt: number,
    outer: AbortSignal,
  ): Promise<{ hits: Hit[][]; missing: number[] }> {
    const { membership, holdings, self, attemptTimeoutMs } = this.options;
    const byOwner = new Map<AgentId, number[]>();
    for (const shard of request.shards) {
      const owner = shardOwner(shard, membership.view);
      if (owner !== null) byOwner.set(owner, [...(byOwner.get(owner) ?? []), shard]);
    }
    const own = holdings.lookup(byOwner.get(self) ?? [], request.query, request.topK);
    const served = new Set((byOwner.get(self) ?? []).filter((shard) => !own.missing.includes(shard)));
    byOwner.delete(self);
    const targets = [...byOwner].map(([agentId, shards]) => ({ agentId, request: { ...request, shards } }));
    const replies = await this.options.messenger().askAll(targets, {
      kind: "lookup",
      cause,
      signal: AbortSignal.any([outer, AbortSignal.timeout(attemptTimeoutMs)]),
      task: request.task,
      step: request.step,
      attempt,
    });
    const hits = own.hits;
    for (const [agentId, reply] of replies) {
      if (!reply.ok) continue;
      const answer = reply.data as { hits: Hit[][]; missing: number[] };
      hits.push(...answer.hits);
      for (const shard of byOwner.get(agentId) ?? []) if (!answer.missing.includes(shard)) served.add(shard);
    }
    return { hits, missing: request.shards.filter((shard) => !served.has(shard)) };
  }

  /** Pauses between the attempts at a step: the next back-off, or until shortly after the view changes. Rejects when `signal` aborts. */
  private pauses(label: string, signal: AbortSignal): () => Promise<void> {
    const { prng, timeScale, clock, membership } = this.options;
    const fork = prng.fork(`retry/${label}`);
    const backoff = createBackoff({
      prng: fork,
      baseMs: RETRY_BASE_MS * timeScale,
      maxMs: RETRY_MAX_MS * timeScale,
      factor: 3,
    });
    const spread = fork.fork("spread");
    return async () => {
      const change = membership.nextChange(signal).then(() => clock.sleep(spread.next() * RETRY_SPREAD_MS * timeScale, signal));
      await Promise.race([clock.sleep(backoff.next(), signal), change]);
    };
  }
}
