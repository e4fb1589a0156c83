import type { AgentId, Cancel, Clock } from "@failstorm/core";
import type { MessagePayload } from "../json.ts";
import type { AgentMessage } from "./message.ts";

/** Why there is no answer to a query. */
export type QueryErrorCode = "timeout" | "unreachable" | "refused" | "remote" | "stopped";

export class QueryError extends Error {
  readonly code: QueryErrorCode;
  readonly peer: AgentId;
  constructor(code: QueryErrorCode, peer: AgentId, message: string) {
    super(message);
    this.name = "QueryError";
    this.code = code;
    this.peer = peer;
  }
}

export interface QueryStatistics {
  asked: number;
  answered: number;
  timedOut: number;
  failed: number;
}

/** Questions without an answer so far. */
export interface OpenQueries {
  readonly statistics: Readonly<QueryStatistics>;
  /** Resolves with the answer to the message `id`; rejects with QueryError. */
  open(id: string, peer: AgentId, timeoutMs: number): Promise<MessagePayload>;
  /** An answer came; what nobody asked, or asked of somebody else, is passed over. */
  answer(message: AgentMessage): void;
  fail(id: string, code: QueryErrorCode, reason: string): void;
  failAll(code: QueryErrorCode, reason: string): void;
}

interface OpenQuery {
  readonly peer: AgentId;
  readonly resolve: (answer: MessagePayload) => void;
  readonly reject: (error: QueryError) => void;
  readonly cancel: Cancel;
}

/** The longest that a timer of Node waits; it takes what is longer for no time at all. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export function createOpenQueries(clock: Clock): OpenQueries {
  const queries = new Map<string, OpenQuery>();
  const statistics: QueryStatistics = { asked: 0, answered: 0, timedOut: 0, failed: 0 };

  const fail = (id: string, code: QueryErrorCode, reason: string): void => {
    const query = queries.get(id);
    if (query === undefined) return;
    queries.delete(id);
    query.cancel();
    if (code === "timeout") statistics.timedOut += 1;
    else statistics.failed += 1;
    query.reject(new QueryError(code, query.peer, `${query.peer}: ${reason}`));
  };

  return {
    statistics,
    open(id, peer, timeoutMs) {
      statistics.asked += 1;
      return new Promise((resolve, reject) => {
        const cancel = clock.after(Math.min(timeoutMs, MAX_TIMER_MS), () => fail(id, "timeout", "deadline passed"));
        queries.set(id, { peer, resolve, reject, cancel });
      });
    },
    answer({ correlationId, from, payload }) {
      const query = correlationId === null ? undefined : queries.get(correlationId);
      if (query === undefined || correlationId === null || query.peer !== from) return;
      const { result, error } = (payload ?? {}) as { readonly result?: MessagePayload; readonly error?: unknown };
      if (typeof error === "string" || result === undefined) {
        fail(correlationId, "remote", typeof error === "string" ? error : "the answer is none");
        return;
      }
      queries.delete(correlationId);
      statistics.answered += 1;
      query.cancel();
      query.resolve(result);
    },
    fail,
    failAll(code, reason) {
      for (const id of queries.keys()) fail(id, code, reason);
    },
  };
}
