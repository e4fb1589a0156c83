import type { Clock, LlmConfig, LlmStatus, NewEvent, Prng } from "@failstorm/core";
import { type Attempt, connectEndpoint, type Message, type OfferedFunction } from "./endpoint.ts";
import { createRateLimit, type Share } from "./rateLimit.ts";

/** What a request is made for; it stands in the request's events. */
export interface Purpose {
  readonly task: string;
  readonly step: string;
}

export interface ModelRequest {
  readonly messages: readonly Message[];
  readonly functions: readonly OfferedFunction[];
  /** false: the model is told to answer in words. */
  readonly mayCall: boolean;
  readonly purpose: Purpose;
  /** The deadline of what it is for. */
  readonly signal: AbortSignal;
}

/** What a model said, or why it said nothing that is of use. `text` may be half an answer unless the status is `ok`. */
export type Reply = Pick<Attempt, "status" | "text" | "calls">;

export type LlmCallEvent = Extract<NewEvent, { ev: "llm.call" }>;

/** A model behind an endpoint, with time-outs, retries, rate limit and accounting. */
export interface Model {
  readonly config: LlmConfig;
  /** Never rejects: whatever goes wrong is the reply's status. */
  ask(request: ModelRequest): Promise<Reply>;
}

export interface ModelOptions {
  readonly config: LlmConfig;
  /** See `takeLlmKey`; null = the endpoint wants none. */
  readonly apiKey: string | null;
  readonly clock: Clock;
  readonly prng: Prng;
  /** Which of the processes of the run that share the rate limit this is. */
  readonly share: Share;
  /** Told of every attempt when it has ended. */
  readonly onCall: (event: LlmCallEvent) => void;
  /** Told, once for each kind, what only the user can put right. No secret is in it. */
  readonly onProblem?: (message: string) => void;
  /** The platform's by default: what is said to a model is no traffic of the protocol under test, and is not counted as such. */
  readonly fetch?: typeof globalThis.fetch;
}

const BACKOFF_BASE_MS = 500;
const BACKOFF_MAX_MS = 8_000;
/** A provider that wants more patience than this is not waited for. */
const MAX_RETRY_AFTER_MS = 60_000;
const TOKENS_PER_PRICE = 1_000_000;

const RETRIED: ReadonlySet<LlmStatus> = new Set(["rate_limited", "server_error", "unreachable", "timeout", "cut"]);

const COMPLAINTS: Partial<Record<LlmStatus, string>> = {
  unauthorized: "the key is not accepted",
  rejected: "the request is not accepted",
  unreachable: "there is no connection",
};

/**
 * Opens the model; the client is loaded in the background. An attempt is repeated after 408, 409, 429, 5xx, a time-out, a refused or lost
 * connection, not after any other 4xx, nor after an exhausted quota. It waits for what `Retry-After` says, else for an exponential back-off
 * with jitter; `x-should-retry` has the last word (https://platform.openai.com/docs/guides/error-codes, and the official clients).
 */
export function openModel(options: ModelOptions): Model {
  const { config, clock, prng } = options;
  const { onProblem = () => {} } = options;
  const endpoint = connectEndpoint({ ...options, wallMs: () => clock.wall() });
  const complained = new Set<LlmStatus>();
  const limit = createRateLimit(clock, config.requestsPerMinute, options.share);

  const attempt = async (request: ModelRequest, number: number): Promise<Attempt> => {
    try {
      await limit.wait(request.signal);
    } catch {
      return {
        status: "aborted",
        text: "",
        calls: [],
        code: null,
        usage: null,
        retryAfterMs: null,
        shouldRetry: false,
        detail: null,
      };
    }
    const startedAt = clock.now();
    const ended = await endpoint.ask(request);
    options.onCall({
      ev: "llm.call",
      ...request.purpose,
      model: config.model,
      attempt: number,
      status: ended.status,
      code: ended.code,
      promptTokens: ended.usage?.prompt ?? null,
      completionTokens: ended.usage?.completion ?? null,
      cost: costOf(config, ended),
      ms: Math.round((clock.now() - startedAt) * 1000) / 1000,
    });
    if (COMPLAINTS[ended.status] !== undefined && !complained.has(ended.status)) {
      complained.add(ended.status);
      onProblem(
        `the model ${config.model} at ${config.baseUrl}: ${COMPLAINTS[ended.status]} (${ended.detail ?? "no more is known"})`,
      );
    }
    return ended;
  };

  const delayBefore = (retry: number, { retryAfterMs }: Attempt): number =>
    retryAfterMs ?? Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** (retry - 1)) * (1 - prng.next() / 4);

  return {
    config,
    async ask(request) {
      for (let number = 1; ; number++) {
        const ended = await attempt(request, number);
        const again = ended.shouldRetry ?? RETRIED.has(ended.status);
        if (!again) return ended;
        const delayMs = delayBefore(number, ended);
        if (delayMs > MAX_RETRY_AFTER_MS) return ended;
        // Too many requests is too many from this whole process, also where this one is not made again.
        if (ended.status === "rate_limited") limit.pause(delayMs);
        if (number > config.retries) return ended;
        try {
          await clock.sleep(delayMs, request.signal);
        } catch {
          return ended;
        }
      }
    },
  };
}

function costOf({ price }: LlmConfig, { usage }: Attempt): number | null {
  if (price === null || usage === null) return null;
  return (usage.prompt * price.prompt + usage.completion * price.completion) / TOKENS_PER_PRICE;
}
